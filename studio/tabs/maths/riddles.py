"""Riddles: be the network, and tell what it drew from what is true."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr

from studio.errors import InvalidInput, StudioError
from studio.tabs.maths import page
from studio.tabs.maths.page import accepted, note, numbers, refused, shown, strip
from studio.tabs.maths.reverse import FOLDER, opened_model
from studio.text import t as text
from studio.ui import antd
from studio.ui.services import Services
from studio.ui.text import label, language_of
from studio.ui.widgets import card

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from studio.engine.pixel import PixelModel

Updates = dict[Any, Any]
LETTERS, QUIZ, LARGE, SEEDS = "ABCD", 8, 128, 1 << 20


@dataclass(frozen=True)
class Score:
    """Of this page: which riddle and which quiz are asked, and how many answers were right, of how many."""

    riddle: int | None = None
    quiz: int | None = None
    right: int = 0
    asked: int = 0


@dataclass(frozen=True)
class Riddles:
    """The widgets of both games, and the score."""

    score: gr.State
    alert: antd.Alert
    ask: gr.Button
    riddle: gr.HTML
    guess: gr.Radio
    verdict: gr.HTML
    show: gr.Button
    pictures: gr.HTML
    said: gr.CheckboxGroup
    judge: gr.Button
    result: gr.HTML

    def connect(self, services: Services) -> None:
        """Wire the buttons. Through the queue: only there does gradio notice that a gr.State has changed."""
        folder = services.studio.settings.models_dir / FOLDER

        def handler(act: Any) -> Any:
            def handle(request: gr.Request, score: Score, *values: Any) -> Updates:
                language = language_of(request)
                try:
                    return {self.alert: accepted(), **act(opened_model(folder), score, language, *values)}
                except StudioError as error:
                    return {self.alert: refused(error, language)}

            return handle

        private: dict[str, Any] = {"show_progress": "minimal", "api_visibility": "private", "preprocess": False}
        both, asking = [self.alert, self.score], [self.riddle, self.guess, self.verdict]
        self.ask.click(handler(self.new_riddle), self.score, [*both, *asking], **private)
        self.guess.input(handler(self.answer), [self.score, self.guess], [*both, self.verdict, self.guess], **private)
        quiz = [self.pictures, self.said, self.result]
        self.show.click(handler(self.new_quiz), self.score, [*both, *quiz], **private)
        self.judge.click(handler(self.tell), [self.score, self.said], [*both, self.result], **private)

    def new_riddle(self, model: PixelModel, score: Score, language: str) -> Updates:
        """A noised picture, and the four that it may be."""
        seed = secrets.randbelow(SEEDS)
        html = riddle_html(model, seed, language)
        asked = Score(seed, score.quiz, score.right, score.asked)
        guess = gr.update(value=None, visible=True, interactive=True)
        return {self.score: asked, self.riddle: html, self.guess: guess, self.verdict: ""}

    def answer(self, model: PixelModel, score: Score, language: str, guess: Any) -> Updates:
        """The losses of the person, of the network, and of who says nothing."""
        from studio.engine.riddles import judge, riddle

        if score.riddle is None:
            raise InvalidInput("no_riddle", field="guess")
        asked = riddle(score.riddle, true_pictures, model)
        found = judge(asked, guess, model)
        losses = {"person": found.person, "network": found.network, "nothing": found.nothing}
        pairs = [(text(f"maths.loss_of.{name}", language), f"{value:.3f}") for name, value in losses.items()]
        kept = Score(None, score.quiz, score.right + found.right, score.asked + 1)
        said = text(
            "maths.riddle_right" if found.right else "maths.riddle_wrong", language, answer=LETTERS[asked.answer]
        )
        told = f"{numbers(pairs)}{note(said)}{note(scored(kept, language))}"
        return {self.score: kept, self.verdict: told, self.guess: gr.update(interactive=False)}

    def new_quiz(self, model: PixelModel, score: Score, language: str) -> Updates:
        """Eight pictures, some true and some drawn."""
        from studio.engine.noising import to_picture
        from studio.engine.riddles import quiz

        seed = secrets.randbelow(SEEDS)
        pictures = [to_picture(one[None]) for one in quiz(seed, true_pictures, model).pictures]
        html = strip([("", pictures)], [str(place + 1) for place in range(QUIZ)], pixelated=True)
        asked = Score(score.riddle, seed, score.right, score.asked)
        return {self.score: asked, self.pictures: html, self.said: gr.update(value=[], visible=True), self.result: ""}

    def tell(self, model: PixelModel, score: Score, language: str, said: Any) -> Updates:
        """How many were told apart, and which ones were drawn."""
        from studio.engine.riddles import quiz

        if score.quiz is None:
            raise InvalidInput("no_riddle", field="quiz")
        asked = quiz(score.quiz, true_pictures, model)
        right = asked.score({int(place) for place in said or ()})
        drawn = ", ".join(str(place + 1) for place, own in enumerate(asked.drawn) if own)
        kept = Score(score.riddle, None, score.right + right, score.asked + QUIZ)
        told = text("maths.quiz_told", language, right=right, total=QUIZ, drawn=drawn)
        return {self.score: kept, self.result: note(told) + note(scored(kept, language))}


def draw_riddles() -> Riddles:
    """The widgets of both games."""
    score = gr.State(Score())
    alert = antd.Alert(message="", elem_id="riddles-refused", **page.ALERT)
    with card("maths.card.riddle", "maths"):
        page.formula("maths.riddle_hint")
        ask = gr.Button(label("maths.riddle_ask"), variant="primary", elem_id="riddle-ask")
        riddle = gr.HTML(elem_id="riddle-shown")
        guess = gr.Radio(
            [(letter, place) for place, letter in enumerate(LETTERS)],
            label=label("maths.riddle_guess"),
            visible=False,
            elem_id="riddle-guess",
        )
        verdict = gr.HTML(elem_id="riddle-verdict")
    with card("maths.card.quiz", "maths"):
        gr.HTML(label("maths.quiz_hint"), elem_classes="studio-note")
        show = gr.Button(label("maths.quiz_ask"), elem_id="quiz-ask")
        pictures = gr.HTML(elem_id="quiz-shown")
        choices = [(str(place + 1), place) for place in range(QUIZ)]
        said = gr.CheckboxGroup(choices, label=label("maths.quiz_said"), visible=False, elem_id="quiz-said")
        judge = gr.Button(label("maths.quiz_judge"), size="sm", elem_id="quiz-judge")
        result = gr.HTML(elem_id="quiz-result")
    return Riddles(score, alert, ask, riddle, guess, verdict, show, pictures, said, judge, result)


def riddle_html(model: PixelModel, seed: int, language: str) -> str:
    """The noised picture, large, and the four below it."""
    from studio.engine.noising import to_picture
    from studio.engine.riddles import riddle

    asked = riddle(seed, true_pictures, model)
    noised = to_picture(asked.xt / asked.xt.std().clamp(min=1)).resize((LARGE, LARGE), 0)
    told = text("maths.riddle_shown", language, t=asked.t, share=f"{model.schedule.alpha_bar(asked.t):.1%}")
    choices = [to_picture(one[None]) for one in asked.pictures]
    row = strip([("", choices)], list(LETTERS), pixelated=True)
    return f'<div class="maths-clicked">{shown(noised, told, pixelated=True)}</div>{note(told)}{row}'


def scored(score: Score, language: str) -> str:
    return text("maths.score", language, right=score.right, asked=score.asked)


def true_pictures(seed: int, count: int) -> NDArray[np.uint8]:
    """Scenes of one thing that no training saw. (count, 32, 32, 3)"""
    import numpy as np

    from studio.world.lone import lone_of_seed
    from studio.world.render import render_image
    from studio.world.scene import FIRST_HELD_OUT_SEED

    first = FIRST_HELD_OUT_SEED + QUIZ * seed
    return np.stack([render_image(lone_of_seed(first + i), 32) for i in range(count)])
