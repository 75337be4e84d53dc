// Paints what was seen inside a generation: the heat map of the chosen words over the picture, at the chosen step.
// Gradio calls this once for the place, and `watch` again for every new value. The markup is studio/ui/inside.py's.

// Dark violet, red, yellow, pale: even steps of lightness, so that it reads without colour too.
const COLOURS = [[13, 8, 40], [87, 16, 110], [188, 55, 84], [249, 142, 9], [252, 255, 196]];
const SIDE = 256;

const colour = (share) => {
  const place = share * (COLOURS.length - 1);
  const below = Math.min(Math.floor(place), COLOURS.length - 2);
  return COLOURS[below].map((low, i) => low + (COLOURS[below + 1][i] - low) * (place - below));
};

const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
const percent = (share) => (100 * share).toFixed(share < 0.1 ? 1 : 0) + "%";

const open = () => {
  const root = element.querySelector(".inside");
  if (!root) return;
  const seen = JSON.parse(root.dataset.inside);
  const [width, height] = seen.size;
  const maps = seen.maps.map(bytes);
  const all = (selector) => [...root.querySelectorAll(selector)];
  const one = (selector) => root.querySelector(selector);
  const canvas = one("canvas");
  const slider = one("input");
  const words = all("[data-word]");
  let picture = 0, frame = 0, chosen = new Set(words.length > 1 ? [seen.first] : []);

  // The shares of the chosen words, added up: one number for each place of the grid.
  const shares = () => {
    const total = new Float32Array(width * height);
    for (const word of chosen) {
      const [low, high] = seen.ranges[picture][frame][word];
      const start = (frame * words.length + word) * total.length;
      for (let i = 0; i < total.length; i++) total[i] += low + ((high - low) * maps[picture][start + i]) / 255;
    }
    return total;
  };

  // Between four places of the grid the share is their weighted mean.
  const at = (values, x, y) => {
    const left = Math.max(0, Math.min(width - 1, x)), top = Math.max(0, Math.min(height - 1, y));
    const i = Math.min(Math.floor(left), Math.max(0, width - 2)), j = Math.min(Math.floor(top), Math.max(0, height - 2));
    const u = left - i, v = top - j, right = width > 1 ? 1 : 0, below = height > 1 ? width : 0, here = j * width + i;
    return (1 - v) * ((1 - u) * values[here] + u * values[here + right])
      + v * ((1 - u) * values[here + below] + u * values[here + below + right]);
  };

  const paintMap = () => {
    const values = shares(), low = Math.min(...values), high = Math.max(...values);
    const scale = SIDE / Math.max(width, height);
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
    const image = new ImageData(canvas.width, canvas.height);
    for (let y = 0; y < canvas.height; y++) {
      for (let x = 0; x < canvas.width; x++) {
        const value = at(values, (x + 0.5) / scale - 0.5, (y + 0.5) / scale - 0.5);
        const share = high > low ? (value - low) / (high - low) : 0;
        image.data.set([...colour(share), 140 + 75 * share], 4 * (y * canvas.width + x));
      }
    }
    canvas.getContext("2d").putImageData(image, 0, 0);
    one(".inside-low").textContent = percent(low);
    one(".inside-high").textContent = percent(high);
  };

  const paint = () => {
    one("figure img").src = seen.pictures[picture];
    canvas.hidden = chosen.size === 0;
    one(".inside-scale").hidden = chosen.size === 0;
    if (chosen.size) paintMap();
    one("output").textContent = seen.labels[frame];
    slider.value = frame;
    slider.setAttribute("aria-valuetext", seen.labels[frame]);
    for (const word of words) word.setAttribute("aria-pressed", chosen.has(Number(word.dataset.word)));
    for (const button of all("[data-choose]")) button.setAttribute("aria-pressed", Number(button.dataset.choose) === picture);
    for (const part of all("[data-picture]")) part.hidden = Number(part.dataset.picture) !== picture;
    for (const step of all("[data-frame]")) step.setAttribute("aria-pressed", Number(step.dataset.frame) === frame);
    for (const mark of all(".studio-plot-now")) {
      mark.setAttribute("visibility", frame ? "visible" : "hidden");
      for (const end of ["x1", "x2"]) mark.setAttribute(end, `${frame ? seen.places[frame - 1] : 0}%`);
    }
  };

  root.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    const { word, choose, frame: step } = button.dataset;
    if (choose !== undefined) picture = Number(choose);
    if (step !== undefined) frame = frame === Number(step) ? 0 : Number(step);
    if (word !== undefined) {
      const others = event.shiftKey || event.ctrlKey || event.metaKey ? [...chosen] : [];
      const again = chosen.has(Number(word));
      chosen = new Set(others.filter((other) => other !== Number(word)));
      if (!again) chosen.add(Number(word));
    }
    paint();
  });
  slider.addEventListener("input", () => {
    frame = Number(slider.value);
    paint();
  });
  paint();
};

watch("value", open);
open();
