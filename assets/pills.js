// Words to press, one widget for as many as there are. Gradio calls this once for the place, and `watch` again for every
// value that the server sends: JSON of the words, and of the one that was pressed last. studio/ui/pills.py writes none of
// them into the page itself: what strangers wrote is text here and nothing else.

const list = document.createElement("div");
list.className = "pills";
list.setAttribute("role", "group");

const press = (words, pressed) => {
  props.value = JSON.stringify({ words, pressed });
  trigger("input");
};
const open = () => {
  const { words = [] } = JSON.parse(props.value || "{}");
  list.replaceChildren(...words.map((word) => {
    const made = document.createElement("button");
    made.type = "button";
    made.textContent = word;
    made.addEventListener("click", () => press(words, word));
    return made;
  }));
};
element.querySelector(".pills-place").replaceChildren(list);
open();
watch("value", open);
