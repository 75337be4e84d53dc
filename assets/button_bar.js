// A row of buttons that is one widget. Gradio calls this once for the place; a press makes the value the button's name,
// and tells it. studio/ui/button_bar.py writes `given` before it: the buttons' names, and their texts and ids.

const SAY = given.texts[navigator.language.startsWith("zh") ? "zh" : "en"];
const bar = document.createElement("div");
bar.className = "studio-buttons";
bar.setAttribute("role", "group");
for (const name of given.names) {
  const made = document.createElement("button");
  made.type = "button";
  made.id = `${given.prefix}-${name}`;
  made.textContent = SAY[name];
  made.addEventListener("click", () => {
    props.value = name;
    trigger("input");
  });
  bar.append(made);
}
element.querySelector(".button-bar-place").replaceChildren(bar);
