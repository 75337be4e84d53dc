// Which is the quantized one? Ten rounds, one at a time; the score is kept beside the round.
const all = (query) => [...element.querySelectorAll(query)];
element.addEventListener("click", ({ target }) => {
  const choice = target.closest("[data-side]");
  const game = element.querySelector(".blind");
  if (choice) {
    const round = choice.closest(".blind-round");
    if (round.dataset.said) return;
    const right = choice.dataset.side === round.dataset.quantized;
    round.dataset.said = right ? "right" : "wrong";
    round.querySelectorAll("[data-side]").forEach((one) => {
      one.classList.add(one.dataset.side === round.dataset.quantized ? "blind-quantized" : "blind-full");
      one.setAttribute("aria-disabled", "true");
    });
    round.querySelector(right ? ".blind-right" : ".blind-wrong").hidden = false;
    round.querySelector(".blind-next").hidden = false;
    const rounds = all(".blind-round");
    const [said, won] = [rounds.filter((one) => one.dataset.said).length, rounds.filter((one) => one.dataset.said === "right").length];
    game.querySelector(".blind-score").textContent = game.dataset.score.replace("{right}", won).replace("{asked}", said);
    if (said === rounds.length) game.querySelector(won >= 9 ? ".blind-seen" : ".blind-unseen").hidden = false;
    round.querySelector(".blind-next").focus();
  }
  if (target.closest(".blind-next")) {
    const round = target.closest(".blind-round");
    const next = round.nextElementSibling;
    if (!next || !next.classList.contains("blind-round")) return;
    round.hidden = true;
    next.hidden = false;
    next.querySelector("[data-side]").focus();
  }
});
