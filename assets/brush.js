// A sheet to draw on with mouse, finger or keyboard, pixel by pixel. Gradio calls this once for the place, and `watch`
// again for every value that the server sends: a picture as a data address. Either that is drawn on, and the value
// becomes what it is then; or it lies under the sheet, and the value becomes the strokes alone, none at first.
// studio/ui/brush.py writes `given` before it: ink and paper (none: see-through), under, widths, tools and texts.

const SAY = given.texts[navigator.language.startsWith("zh") ? "zh" : "en"];
const MAX_STEPS = 30; // that can be taken back
const STEP = 1, WIDE_STEP = 8; // pixels of the sheet, by an arrow key alone and with Shift
const TYPING_ENDS = 250; // milliseconds after which dots by key are told together
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

let erasing = false, width = given.widths[1];
let found = null; // what "restore" goes back to
let before = []; // pictures to take steps back to
let cursor = null; // where the keyboard draws, in pixels of the sheet
let timer = 0;

const make = (name, attributes, parent) => {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  parent?.append(made);
  return made;
};
const button = (name, act) => {
  const made = make("button", { type: "button", "data-act": name }, tools);
  made.textContent = SAY[name];
  made.addEventListener("click", act);
  return made;
};

const tell = () => {
  clearTimeout(timer);
  props.value = canvas.toDataURL("image/png");
  trigger("input");
};
const keep = () => {
  before = [...before, paper.getImageData(0, 0, canvas.width, canvas.height)].slice(-MAX_STEPS);
  undo.disabled = false;
};
const put = (picture) => {
  paper.putImageData(picture, 0, 0);
  tell();
};
const choose = (name) => {
  erasing = name === "erase";
  for (const one of [draw, erase]) one.setAttribute("aria-pressed", one.dataset.act === name);
};

// A dot of whole rows of pixels, round where it is large: nothing half drawn, which would neither count nor not count.
const dot = (x, y) => {
  const fill = erasing ? given.paper : given.ink;
  paper.fillStyle = fill ?? "black";
  for (let row = 0; row < width; row++) {
    const off = (row + 0.5) / (width / 2) - 1;
    const wide = width < 4 ? width : Math.max(1, Math.round(width * Math.sqrt(1 - off * off)));
    const pixels = [Math.round(x - wide / 2), Math.round(y - width / 2) + row, wide, 1];
    if (fill) paper.fillRect(...pixels);
    else paper.clearRect(...pixels);
  }
};
const wipe = () => {
  paper.clearRect(0, 0, canvas.width, canvas.height);
  if (!given.paper) return;
  paper.fillStyle = given.paper;
  paper.fillRect(0, 0, canvas.width, canvas.height);
};
const line = (from, to) => {
  const steps = Math.max(1, Math.ceil(Math.hypot(to.x - from.x, to.y - from.y)));
  for (let i = 0; i <= steps; i++)
    dot(from.x + ((to.x - from.x) * i) / steps, from.y + ((to.y - from.y) * i) / steps);
};
const place = ({ clientX, clientY }) => {
  const box = canvas.getBoundingClientRect();
  const x = ((clientX - box.x) / box.width) * canvas.width, y = ((clientY - box.y) / box.height) * canvas.height;
  return { x, y };
};

const begin = (event) => {
  event.preventDefault();
  canvas.focus({ preventScroll: true });
  canvas.setPointerCapture(event.pointerId);
  keep();
  let last = place(event);
  line(last, last);
  const follow = (moved) => {
    const here = place(moved);
    line(last, here);
    last = here;
  };
  const end = () => {
    canvas.removeEventListener("pointermove", follow);
    for (const name of ["pointerup", "pointercancel"]) canvas.removeEventListener(name, end);
    tell();
  };
  canvas.addEventListener("pointermove", follow);
  for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, end);
};

const press = (event) => {
  cursor ??= { x: canvas.width / 2, y: canvas.height / 2 };
  if (event.key in ARROWS) {
    const [dx, dy] = ARROWS[event.key], step = event.shiftKey ? WIDE_STEP : STEP;
    cursor.x = Math.min(canvas.width - 1, Math.max(0, cursor.x + dx * step));
    cursor.y = Math.min(canvas.height - 1, Math.max(0, cursor.y + dy * step));
  } else if (event.key === " " || event.key === "Enter") {
    keep();
    dot(cursor.x, cursor.y);
    clearTimeout(timer);
    timer = setTimeout(tell, TYPING_ENDS);
  } else return;
  event.preventDefault();
  cross.hidden = false;
  cross.style.left = `${(100 * cursor.x) / canvas.width}%`;
  cross.style.top = `${(100 * cursor.y) / canvas.height}%`;
};

const root = make("div", { class: "skeleton brush" });
const tools = make("div", { class: "skeleton-tools", role: "toolbar", "aria-label": SAY.tools }, root);
const draw = button("draw", () => choose("draw"));
const erase = button("erase", () => choose("erase"));
const thickness = make("label", {}, tools);
thickness.textContent = SAY.thickness;
const [thinnest, , thickest] = given.widths;
const slider = make("input", { type: "range", min: thinnest, max: thickest, value: width }, thickness);
slider.addEventListener("input", () => { width = +slider.value; });
const undo = button("undo", () => {
  put(before.pop());
  undo.disabled = before.length === 0;
});
button("clear", () => {
  keep();
  wipe();
  tell();
});
if (!given.under)
  button("restore", () => {
    keep();
    put(found);
  });
const sheet = make("div", { class: given.under ? "brush-sheet brush-under" : "brush-sheet" }, root);
const canvas = make("canvas", { tabindex: 0, role: "img", "aria-label": SAY.canvas }, sheet);
const cross = make("span", { class: "brush-cross", hidden: "" }, sheet);
const paper = canvas.getContext("2d", { willReadFrequently: true });
make("p", { class: "skeleton-told" }, root).textContent = SAY.help;
canvas.addEventListener("pointerdown", begin);
canvas.addEventListener("keydown", press);
canvas.addEventListener("blur", () => { cross.hidden = true; });
choose("draw");

const open = async () => {
  if (!props.value) return;
  const picture = new Image();
  picture.src = props.value;
  await picture.decode();
  [canvas.width, canvas.height] = [picture.naturalWidth, picture.naturalHeight];
  if (given.under && !props.value.startsWith("data:image/png")) {
    sheet.style.backgroundImage = `url(${props.value})`;
    props.value = "";
  } else paper.drawImage(picture, 0, 0);
  found = paper.getImageData(0, 0, canvas.width, canvas.height);
  before = [];
  cursor = null;
  undo.disabled = true;
};
element.querySelector(".brush-place").replaceChildren(root);
open();
watch("value", open);
