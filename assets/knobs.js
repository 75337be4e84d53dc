// Sliders that are one widget: a drawer of named ranges, each with its number beside it, and a button that puts all of
// them back. Gradio calls this once for the place, and `watch` again for every value that the server sends. The value is
// JSON of those knobs alone that are not as usual. studio/ui/knobs.py writes `given` before it: knobs, texts and prefix.

const SAY = given.texts[navigator.language.startsWith("zh") ? "zh" : "en"];
const make = (name, attributes, parent) => {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  parent?.append(made);
  return made;
};

const root = make("details", { class: "knobs" });
const title = make("summary", {}, root);
const list = make("div", { class: "knobs-list" }, root);
const knobs = given.knobs.map(({ name, minimum, maximum, step, usual }) => {
  const label = make("label", {}, list);
  make("span", {}, label).textContent = SAY.knobs[name];
  const number = make("output", {}, label);
  const range = make("input", { type: "range", min: minimum, max: maximum, step, id: `${given.prefix}-${name}` }, label);
  range.addEventListener("input", tell);
  return { name, usual, number, range };
});
const foot = make("div", { class: "knobs-foot" }, root);
make("span", { class: "studio-note" }, foot).textContent = SAY.hint;
const reset = make("button", { type: "button" }, foot);
reset.textContent = SAY.reset;
reset.addEventListener("click", () => {
  for (const { range, usual } of knobs) range.value = usual;
  tell();
});

const changed = () => knobs.filter(({ range, usual }) => +range.value !== usual);
function show() {
  for (const { range, number } of knobs) {
    number.textContent = range.value;
    range.style.setProperty("--share", `${(100 * (range.value - range.min)) / (range.max - range.min)}%`);
  }
  reset.disabled = changed().length === 0;
  title.textContent = changed().length ? `${SAY.title} · ${changed().length}` : SAY.title;
}
function tell() {
  show();
  props.value = JSON.stringify(Object.fromEntries(changed().map(({ name, range }) => [name, +range.value])));
  trigger("input");
}
function open() {
  const told = JSON.parse(props.value || "{}");
  for (const { name, usual, range } of knobs) range.value = told[name] ?? usual;
  show();
}
element.querySelector(".knobs-place").replaceChildren(root);
open();
watch("value", open);
