// A comparison of quantized models: which row is looked at, how far the slider reaches, how the table is sorted.
const state = { row: 0, at: "50%", column: -1, down: false };
const all = (query) => [...element.querySelectorAll(query)];

function look(row) {
  state.row = row;
  all("[data-pair]").forEach((pair) => { pair.hidden = Number(pair.dataset.pair) !== row; });
  all("[data-row]").forEach((tile) => tile.setAttribute("aria-pressed", String(Number(tile.dataset.row) === row)));
  all("[data-line]").forEach((line) => line.classList.toggle("quant-now", Number(line.dataset.line) === row));
  all("[data-layers]").forEach((part) => { part.hidden = Number(part.dataset.layers) !== row; });
}

function sort(column, down) {
  Object.assign(state, { column, down });
  const body = element.querySelector(".quant-table tbody");
  if (!body || column < 0) return;
  const value = (line) => line.children[column].dataset.value;
  const lines = [...body.children].sort((a, b) => {
    const [x, y] = [value(a), value(b)];
    if (x === "" || y === "") return (x === "") - (y === ""); // what is not told comes last either way
    const order = column ? Number(x) - Number(y) : x.localeCompare(y);
    return down ? -order : order;
  });
  body.append(...lines);
  all(".quant-table thead th").forEach((head, index) =>
    head.setAttribute("aria-sort", index !== column ? "none" : down ? "descending" : "ascending"));
}

element.addEventListener("click", ({ target }) => {
  const tile = target.closest("[data-row]");
  if (tile) look(Number(tile.dataset.row));
  const head = target.closest("[data-column]");
  if (head) {
    const column = Number(head.dataset.column);
    sort(column, column === state.column && !state.down);
  }
});
element.addEventListener("input", ({ target }) => {
  if (!target.matches(".studio-compare input")) return;
  state.at = target.value + "%";
  all(".studio-compare").forEach((one) => one.style.setProperty("--at", state.at));
  all(".studio-compare input").forEach((one) => { one.value = target.value; });
});
// Each row that is finished replaces everything: what was chosen stays chosen.
new MutationObserver(() => {
  const count = all("[data-row]").length;
  if (!count || element.querySelector("[aria-pressed='true']")) return;
  look(Math.min(state.row, count - 1));
  sort(state.column, state.down);
  all(".studio-compare").forEach((one) => one.style.setProperty("--at", state.at));
}).observe(element, { childList: true, subtree: true });
look(0);
