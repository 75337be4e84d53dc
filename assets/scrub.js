// Asks for a view with each move of a slider, past gradio: an event of gradio's costs the browser more than the view does.
// Gradio calls this once for the place; studio/ui/scrub.py writes `given` before it: the slider's id. One question is on
// its way at a time, and what was moved meanwhile is asked after it: what is older than that is never asked.

let waiting = null;
let asking = false;

async function ask() {
  if (asking) return;
  asking = true;
  try {
    while (waiting !== null) {
      const shown = element.querySelector("[data-scrub]");
      if (!shown) break;
      const question = { name: shown.dataset.scrub, value: waiting };
      waiting = null;
      const html = await server.view(question);
      const still = element.querySelector("[data-scrub]")?.dataset.scrub === question.name;
      if (html && still) props.value = html;
    }
  } catch {
    // The server is away, or has forgotten: the slider's release asks again by gradio's way, which tells why.
  } finally {
    waiting = null;
    asking = false;
  }
}

function moved(event) {
  if (!element.isConnected) {
    document.removeEventListener("input", moved);
  } else if (event.target.closest(`#${given.slider}`) && event.target.value !== "") {
    waiting = Number(event.target.value);
    ask();
  }
}

document.addEventListener("input", moved);
