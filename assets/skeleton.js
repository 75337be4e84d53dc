// Skeletons whose joints are dragged with mouse or finger, or moved with the keyboard. The value is OpenPose's JSON as
// text; Gradio calls this once for the place, and `watch` again for every value that the server sends.
// studio/ui/skeleton.py writes `given` before it: the joints' names, limbs, colours, examples and texts.

const SVG = "http://www.w3.org/2000/svg";
const SAY = given.texts[navigator.language.startsWith("zh") ? "zh" : "en"];
const STEP = 0.01, WIDE_STEP = 0.05; // shares of the picture, by an arrow key alone and with Shift
const REACH = 24; // pixels: so far from a joint a finger still takes it
const THICKNESS = 1 / 55, RADIUS = 1 / 55, LIMB_SHADE = 0.6; // shares of the shorter side, and of a colour
const MAX_PEOPLE = 8;
const TYPING_ENDS = 250; // milliseconds after which moves by key are told together
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

let canvas = { width: 512, height: 512 };
let people = []; // of each: 18 joints { x, y, shown }, x and y as shares of the picture
let start = ""; // what "reset" goes back to
let parts = []; // the elements of each person's joints and limbs
let chosen = 0; // who is removed or given another pose
let timer = 0;

const make = (name, attributes = {}, parent = null, space = null) => {
  const made = space ? document.createElementNS(space, name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (parent) parent.append(made);
  return made;
};
const button = (name, act) => {
  const made = make("button", { type: "button", "data-act": name }, tools);
  made.textContent = SAY[name];
  made.addEventListener("click", act);
  return made;
};
const within = (share) => Math.min(1, Math.max(0, share));
const shade = (colour, share) => `rgb(${colour.map((one) => Math.round(one * share)).join(" ")})`;
const percent = (share) => `${Math.round(share * 100)} %`;

// A joint that is not shown has no place of its own in the JSON: it waits beside a neighbour that is shown.
const placed = (joints) => {
  for (let round = 0; round < joints.length; round++)
    for (const [a, b] of given.limbs)
      for (const [lost, found] of [[a, b], [b, a]])
        if (joints[lost].x === null && joints[found].x !== null)
          Object.assign(joints[lost], { x: within(joints[found].x + 0.04), y: within(joints[found].y + 0.04) });
  return joints.map((joint) => (joint.x === null ? { x: 0.5, y: 0.5, shown: false } : joint));
};

const read = (text) => {
  let told = JSON.parse(text || "{}");
  if (Array.isArray(told)) told = told[0] ?? {};
  canvas = { width: told.canvas_width || canvas.width, height: told.canvas_height || canvas.height };
  people = (told.people ?? []).slice(0, MAX_PEOPLE).map(({ pose_keypoints_2d: numbers }) =>
    placed(given.joints.map((_, i) => {
      const [x, y, sure] = numbers.slice(3 * i, 3 * i + 3);
      return sure > 0 ? { x: x / canvas.width, y: y / canvas.height, shown: true } : { x: null, y: null, shown: false };
    })));
  chosen = Math.min(chosen, Math.max(0, people.length - 1));
};

const write = () => JSON.stringify({
  people: people.map((joints) => ({
    pose_keypoints_2d: joints.flatMap(({ x, y, shown }) =>
      shown ? [+(x * canvas.width).toFixed(2), +(y * canvas.height).toFixed(2), 1] : [0, 0, 0]),
  })),
  canvas_width: canvas.width,
  canvas_height: canvas.height,
});

// Why a text is no skeletons in OpenPose's JSON, as studio/world/skeleton.py says it too; nothing for one that is.
const isNumber = (value) => typeof value === "number" && Number.isFinite(value);
const wrong = (text) => {
  let told;
  try {
    told = JSON.parse(text);
  } catch {
    return "no JSON";
  }
  if (Array.isArray(told) && told.length === 1) [told] = told;
  if (told === null || typeof told !== "object" || Array.isArray(told)) return "no object";
  for (const side of ["canvas_width", "canvas_height"]) if (!isNumber(told[side]) || told[side] <= 0) return side;
  const { people: found } = told;
  if (!Array.isArray(found) || found.length < 1 || found.length > MAX_PEOPLE) return `people: 1 - ${MAX_PEOPLE}`;
  const values = 3 * given.joints.length;
  for (const [number, person] of found.entries()) {
    const numbers = person?.pose_keypoints_2d;
    if (!Array.isArray(numbers) || numbers.length !== values || !numbers.every(isNumber))
      return `people[${number}].pose_keypoints_2d: ${values}`;
  }
  return "";
};

const tell = () => {
  clearTimeout(timer);
  props.value = json.value = write();
  trigger("input");
};
const tellSoon = () => {
  clearTimeout(timer);
  timer = setTimeout(tell, TYPING_ENDS);
};

const named = (person, joint) => {
  const name = SAY.joints[joint];
  return people.length > 1 ? `${name} ${person + 1}` : name;
};
const described = (person, joint) => {
  const { x, y, shown } = people[person][joint];
  const where = SAY.place.replace("{x}", percent(x)).replace("{y}", percent(y));
  return `${named(person, joint)}: ${shown ? where : SAY.hidden}`;
};

const place = (person) => {
  const { width, height } = canvas, joints = people[person];
  given.limbs.forEach(([a, b], i) => {
    const line = parts[person].limbs[i];
    line.setAttribute("visibility", joints[a].shown && joints[b].shown ? "visible" : "hidden");
    [["x1", a, "x", width], ["y1", a, "y", height], ["x2", b, "x", width], ["y2", b, "y", height]].forEach(
      ([name, joint, axis, side]) => line.setAttribute(name, joints[joint][axis] * side));
  });
  joints.forEach((joint, i) => {
    const dot = parts[person].dots[i];
    dot.setAttribute("cx", joint.x * width);
    dot.setAttribute("cy", joint.y * height);
    dot.classList.toggle("skeleton-hidden", !joint.shown);
    dot.setAttribute("aria-label", described(person, i));
  });
};

const draw = () => {
  const side = Math.min(canvas.width, canvas.height);
  picture.setAttribute("viewBox", `0 0 ${canvas.width} ${canvas.height}`);
  picture.replaceChildren();
  parts = people.map((_, person) => ({
    limbs: given.limbs.map((limb, i) => make("line", {
      stroke: shade(given.colours[i], LIMB_SHADE), "stroke-width": side * THICKNESS, "stroke-linecap": "round",
    }, picture, SVG)),
    dots: given.joints.map((name, i) => {
      const dot = make("circle", {
        r: side * RADIUS, fill: shade(given.colours[i], 1), tabindex: 0, role: "button", "data-joint": name,
      }, picture, SVG);
      dot.addEventListener("keydown", (event) => press(event, person, i));
      dot.addEventListener("focus", () => { chosen = person; told.textContent = described(person, i); });
      return dot;
    }),
  }));
  people.forEach((_, person) => place(person));
  remove.disabled = people.length <= 1;
  add.disabled = people.length >= MAX_PEOPLE;
};

const move = (person, joint, x, y) => {
  Object.assign(people[person][joint], { x: within(x), y: within(y) });
  place(person);
  told.textContent = described(person, joint);
};

const press = (event, person, joint) => {
  const one = people[person][joint];
  if (event.key in ARROWS) {
    const [dx, dy] = ARROWS[event.key], step = event.shiftKey ? WIDE_STEP : STEP;
    move(person, joint, one.x + dx * step, one.y + dy * step);
  } else if (["Delete", "Backspace", "Enter", " "].includes(event.key)) {
    one.shown = event.key === "Enter" || event.key === " ";
    move(person, joint, one.x, one.y);
  } else return;
  event.preventDefault();
  tellSoon();
};

// The joint that is nearest to a place on the screen, within reach; those that are shown come first.
const taken = ({ clientX, clientY }) => {
  const found = people.flatMap((joints, person) => joints.map(({ shown }, joint) => {
    const box = parts[person].dots[joint].getBoundingClientRect();
    const far = Math.hypot(box.x + box.width / 2 - clientX, box.y + box.height / 2 - clientY);
    return { person, joint, far: shown ? far : far + REACH / 2 };
  })).sort((a, b) => a.far - b.far)[0];
  return found && found.far <= REACH ? found : null;
};

const begin = (event) => {
  const held = taken(event);
  if (!held) return;
  event.preventDefault();
  picture.setPointerCapture(event.pointerId);
  parts[held.person].dots[held.joint].focus({ preventScroll: true });
  const follow = ({ clientX, clientY }) => {
    const here = new DOMPoint(clientX, clientY).matrixTransform(picture.getScreenCTM().inverse());
    people[held.person][held.joint].shown = true;
    move(held.person, held.joint, here.x / canvas.width, here.y / canvas.height);
  };
  const end = () => {
    picture.removeEventListener("pointermove", follow);
    for (const name of ["pointerup", "pointercancel"]) picture.removeEventListener(name, end);
    tell();
  };
  picture.addEventListener("pointermove", follow);
  for (const name of ["pointerup", "pointercancel"]) picture.addEventListener(name, end);
};

// The examples are drawn for a square: on another canvas they keep their proportions.
const example = (name) => given.examples[name].map(([x, y]) => {
  const { width, height } = canvas, side = Math.min(width, height);
  return { x: 0.5 + ((x - 0.5) * side) / width, y: 0.5 + ((y - 0.5) * side) / height, shown: true };
});
const set = (joints) => {
  people[Math.min(chosen, people.length)] = joints;
  draw();
  tell();
};
const mirrored = (joints) => joints.map((_, i) => {
  const other = joints[given.mirror[i]];
  return { ...other, x: 1 - other.x };
});
const save = () => {
  const link = make("a", { download: "skeleton.json", href: URL.createObjectURL(new Blob([write()])) });
  link.click();
  URL.revokeObjectURL(link.href);
};

const root = make("div", { class: "skeleton" });
const tools = make("div", { class: "skeleton-tools", role: "toolbar", "aria-label": SAY.tools }, root);
const choice = make("select", { "aria-label": SAY.example }, tools);
make("option", { value: "" }, choice).textContent = SAY.example;
for (const name of Object.keys(given.examples)) make("option", { value: name }, choice).textContent = SAY.examples[name];
choice.addEventListener("change", () => {
  if (choice.value) set(example(choice.value));
  choice.value = "";
});
button("mirror", () => { people = people.map(mirrored); draw(); tell(); });
button("reset", () => { read(start); draw(); tell(); });
const add = button("add", () => {
  chosen = people.length;
  set(example("standing").map((joint) => ({ ...joint, x: within(joint.x + 0.2) })));
});
const remove = button("remove", () => { people.splice(chosen, 1); chosen = 0; draw(); tell(); });
button("save", save);
const picture = make("svg", { class: "skeleton-canvas", role: "group", "aria-label": SAY.canvas }, root, SVG);
picture.addEventListener("pointerdown", begin);
// Only a finger that takes a joint keeps the page from scrolling.
picture.addEventListener("touchstart", (event) => taken(event.touches[0]) && event.preventDefault(), { passive: false });
const told = make("p", { class: "skeleton-told", role: "status" }, root);
told.textContent = SAY.help;
const drawer = make("details", { class: "skeleton-json" }, root);
make("summary", {}, drawer).textContent = SAY.json;
make("p", {}, drawer).textContent = SAY.json_info;
const json = make("textarea", { rows: 5, spellcheck: "false", "aria-label": SAY.json }, drawer);
const use = make("button", { type: "button", "data-act": "use" }, drawer);
use.textContent = SAY.use;
use.addEventListener("click", () => {
  const reason = wrong(json.value);
  told.textContent = reason ? SAY.bad.replace("{reason}", reason) : SAY.help;
  if (reason) return;
  read(json.value);
  draw();
  tell();
});

const open = () => {
  start = json.value = props.value;
  read(start);
  draw();
};
element.querySelector(".skeleton-place").replaceChildren(root);
open();
watch("value", open);
