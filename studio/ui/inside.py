"""Inside a generation, on the page: a strip of its steps, a heat map for each word, and guidance's share.

Python writes the markup and packs the maps; `assets/inside.js` paints what is chosen, without asking the server.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import gradio as gr
import numpy as np

from studio.engine.images import thumbnail_bytes
from studio.engine.inside import Frame, Inside
from studio.engine.maps import Maps
from studio.engine.words import Word
from studio.events import Done, Event, GenerationResult
from studio.settings import ROOT
from studio.text import t
from studio.ui.plot import across, line_plot
from studio.ui.text import label
from studio.ui.widgets import plain

if TYPE_CHECKING:
    from PIL.Image import Image

Updates = dict[Any, Any]
Show = Callable[[Event, str], Iterator[Updates]]
SCRIPT = (ROOT / "assets" / "inside.js").read_text(encoding="utf-8")
STAGE_SIDE = 512
"""In pixels, of the picture under a heat map."""
MAX_PHRASE = 4
"""Characters."""


@dataclass(frozen=True)
class InsidePanel:
    """Where the inside of a generation is shown. phrases: Chinese words of more than one character."""

    box: gr.Accordion
    html: gr.HTML
    phrases: Collection[str]

    @property
    def outputs(self) -> list[Any]:
        return [self.box, self.html]

    def beside(self, show: Show) -> Show:
        """The updates of `show`, and with each of them this panel's own."""

        def both(event: Event, language: str) -> Iterator[Updates]:
            own = self.updates(event, language)
            for updates in show(event, language):
                yield {**updates, **own}

        return both

    def updates(self, event: Event, language: str) -> Updates:
        """Show what a result brings; hide what an earlier one brought."""
        result = event.result if isinstance(event, Done) else None
        if not isinstance(result, GenerationResult) or result.inside is None:
            return {self.box: gr.update(visible=False), self.html: ""}
        seen = with_phrases(result.inside, result.request.prompt, self.phrases)
        return {self.box: gr.update(visible=True), self.html: markup(seen, result, language)}


def draw_inside(phrases: Collection[str] = (), prefix: str = "") -> InsidePanel:
    """The place, which shows itself with the first result that was watched. prefix: makes its names on the page new."""
    names: dict[str, Any] = {"elem_id": f"{prefix}inside", "elem_classes": "studio-inside-box"}
    with gr.Accordion(label("inside.title"), open=True, visible=False, **names) as box:
        html = gr.HTML(js_on_load=SCRIPT, elem_classes="studio-inside")
    return InsidePanel(box, html, phrases)


def inside_switch(prefix: str = "") -> gr.Checkbox:
    """Asks for the inside of the next generation."""
    texts: dict[str, Any] = {"label": label("inside.switch"), "info": label("inside.switch_info")}
    return gr.Checkbox(False, **texts, container=False, elem_id=f"{prefix}inside-switch")


def with_phrases(seen: Inside, prompt: str, phrases: Collection[str]) -> Inside:
    """The same, where neighbouring characters that make a phrase are one word: their shares add up."""
    groups: list[range] = []
    start = 0
    while start < len(seen.words):
        ends = range(min(start + MAX_PHRASE, len(seen.words)), start, -1)
        end = next((end for end in ends if _text(seen.words[start:end], prompt) in phrases), start + 1)
        groups.append(range(start, end))
        start = end
    words = [
        Word(_text(own, prompt), own[0].start, own[-1].end) for own in (seen.words[g.start : g.stop] for g in groups)
    ]
    columns = [*groups, range(len(seen.words), len(seen.words) + 1)]
    frames = [
        replace(frame, maps=np.stack([frame.maps[:, own].sum(1) for own in columns], axis=1)) for frame in seen.frames
    ]
    return replace(seen, words=tuple(words), frames=tuple(frames))


def _text(words: Sequence[Word], prompt: str) -> str:
    """What stands in a prompt from the first to the last of neighbouring words."""
    return prompt[words[0].start : words[-1].end]


def markup(seen: Inside, result: GenerationResult, language: str) -> str:
    """All of it as HTML. The first word to be shown is the one whose map varies most from place to place."""
    pictures = range(len(result.images))
    parts = [
        _choice_of_picture(len(pictures), language),
        _prompt(seen.words, result.request.prompt, language),
        _references(seen, language),
        _stage(seen, language),
        *(
            f'<div data-picture="{index}"{"" if index == 0 else " hidden"}>'
            f"{_strip(seen, index, language)}{_in_the_sum(seen, index, language)}"
            f"{_guidance(seen, index, language)}</div>"
            for index in pictures
        ),
    ]
    packed = plain(json.dumps(_packed(seen, result.images, language), ensure_ascii=False))
    return f'<div class="inside" data-inside="{packed}">{"".join(parts)}</div>'


def _packed(seen: Inside, images: Sequence[Image], language: str) -> dict[str, Any]:
    """What the script paints from. maps: for each picture (1 + frames, columns, h, w) bytes, the mean of all frames
    first, columns: the words, what is no word, and the references; ranges: what the bytes 0 and 255 of each of those
    maps stand for; places: of the frames on the plot.
    """
    maps = np.stack([_columns(frame) for frame in seen.frames]).astype(np.float32)  # (frames, images, columns, h, w)
    maps = np.concatenate([maps.mean(0, keepdims=True), maps])
    low, high = maps.min((-2, -1)), maps.max((-2, -1))  # (1 + frames, images, columns)
    scale = np.maximum(high - low, np.finfo(np.float32).tiny)[..., None, None]
    levels = ((maps - low[..., None, None]) / scale * 255).round().astype(np.uint8)
    average = t("inside.average", language, count=len(seen.frames))
    return {
        "size": [maps.shape[-1], maps.shape[-2]],
        "maps": [base64.b64encode(levels[:, index].tobytes()).decode() for index in range(len(images))],
        "ranges": np.stack([low, high], axis=-1).swapaxes(0, 1).round(5).tolist(),
        "first": int((high - low)[0, 0, : len(seen.words)].argmax()) if seen.words else 0,
        "labels": [average, *(_step_label(frame, seen, language) for frame in seen.frames)],
        "places": [across(frame.index - 1, seen.total_steps) for frame in seen.frames],
        "pictures": [_data_uri(image, STAGE_SIDE) for image in images],
    }


def _columns(frame: Frame) -> Maps:
    """All that can be chosen of a frame, (images, columns, h, w)."""
    return frame.maps if frame.references is None else np.concatenate([frame.maps, frame.references], axis=1)


def _say(name: str, language: str, **values: object) -> str:
    return plain(t(f"inside.{name}", language, **values))


def _data_uri(image: Image, side: int) -> str:
    return f"data:image/webp;base64,{base64.b64encode(thumbnail_bytes(image, side)).decode()}"


def _choice_of_picture(count: int, language: str) -> str:
    """Buttons between the pictures of one generation, where there are several."""
    if count == 1:
        return ""
    buttons = "".join(
        f'<button type="button" class="inside-chip" data-choose="{index}" aria-pressed="{str(index == 0).lower()}">'
        f"{_say('picture', language, number=index + 1)}</button>"
        for index in range(count)
    )
    return f'<div class="inside-row" role="group">{buttons}</div>'


def _prompt(words: Sequence[Word], prompt: str, language: str) -> str:
    """The prompt, each of its words a button; what the text encoder did not read is left out."""
    told, end = [], 0
    for index, word in enumerate(words):
        told.append(plain(prompt[end : word.start]))
        told.append(_word_button(word.text, index))
        end = word.end
    rest = _word_button(t("inside.rest", language), len(words), t("inside.rest_info", language))
    return f'<p class="inside-prompt" role="group" aria-label="{_say("words", language)}">{"".join(told)} {rest}</p>'


def _references(seen: Inside, language: str) -> str:
    """A button for each reference picture, where there are any; their maps follow those of the words."""
    told = seen.frames[0].references
    if told is None:
        return ""
    first = len(seen.words) + 1
    buttons = "".join(
        _word_button(t("inside.reference", language, number=number + 1), first + number, t("inside.sum_info", language))
        for number in range(told.shape[1])
    )
    return f'<p class="inside-prompt" role="group" aria-label="{_say("references", language)}">{buttons}</p>'


def _in_the_sum(seen: Inside, picture: int, language: str) -> str:
    """How much the reference pictures bring into the attention's sum at every step, if there are any."""
    shares = [float(one.references[picture].sum(0).mean()) for one in seen.frames if one.references is not None]
    if not shares:
        return ""
    title, note = _say("sum", language), _say("sum_info", language)
    if len(shares) < seen.total_steps:
        mean = _say("sum_mean", language, share=f"{np.mean(shares):.0%}")
        return f'<h4>{title}</h4><p class="studio-note">{mean} {note}</p>'
    plot = line_plot(
        shares, t("inside.axis_step", language), t("inside.axis_share", language), t("inside.sum", language)
    )
    return f'<h4>{title}</h4>{plot}<p class="studio-note">{note}</p>'


def _word_button(text: str, column: int, title: str = "") -> str:
    kind = "inside-chip inside-rest" if title else "inside-chip"
    return (
        f'<button type="button" class="{kind}" data-word="{column}" aria-pressed="false" title="{plain(title)}">'
        f"{plain(text)}</button>"
    )


def _stage(seen: Inside, language: str) -> str:
    """The picture under the heat map; beside it the step, the scale of the colours, and what they mean."""
    return (
        '<div class="inside-look"><figure class="inside-stage"><img alt=""><canvas></canvas></figure>'
        '<div class="inside-knobs">'
        f'<label class="inside-step"><span>{_say("steps", language)}</span>'
        f'<input type="range" min="0" max="{len(seen.frames)}" value="0"><output></output></label>'
        f'<div class="inside-scale"><span>{_say("share", language)}</span><span class="inside-colours"></span>'
        '<span class="inside-low"></span><span class="inside-high"></span></div>'
        f'<p class="studio-note">{_say("map_info", language)}</p></div></div>'
    )


def _strip(seen: Inside, picture: int, language: str) -> str:
    """The steps from left to right, x_t above the predicted x0; a click chooses the step."""
    if not seen.frames[0].noisy:
        return f'<p class="studio-note">{_say("no_colours", language)}</p>'
    frames = "".join(
        f'<button type="button" class="inside-frame" data-frame="{index}" aria-pressed="false" '
        f'title="{plain(_step_label(frame, seen, language))}">'
        f'<img alt="" src="{_data_uri(frame.noisy[picture], STAGE_SIDE)}">'
        f'<img alt="" src="{_data_uri(frame.denoised[picture], STAGE_SIDE)}"><span>{frame.index}</span></button>'
        for index, frame in enumerate(seen.frames, start=1)
    )
    left_out = len(seen.frames) < seen.total_steps
    some = _say("some_steps", language, count=len(seen.frames), total=seen.total_steps) if left_out else ""
    return (
        f'<h4>{_say("strip", language)}</h4><div class="inside-strip">'
        f'<div class="inside-names"><span>x<sub>t</sub></span><span>x̂<sub>0</sub></span><span>'
        f"{_say('axis_step', language)}</span></div>"
        f'<div class="inside-frames" tabindex="0" role="group" aria-label="{_say("strip", language)}">{frames}</div>'
        f'</div><p class="studio-note">{_say("strip_info", language)} {some}</p>'
    )


def _step_label(frame: Frame, seen: Inside, language: str) -> str:
    return t("inside.step", language, index=frame.index, total=seen.total_steps, noise=f"{frame.noise:.0%}")


def _guidance(seen: Inside, picture: int, language: str) -> str:
    """Guidance's share at every step, or why there is none."""
    title = _say("guidance", language)
    if not seen.guidance:
        return f'<h4>{title}</h4><p class="studio-note">{_say("no_guidance", language)}</p>'
    values = [of_step[picture] for of_step in seen.guidance]
    plot = line_plot(
        values, t("inside.axis_step", language), t("inside.axis_share", language), t("inside.guidance", language)
    )
    return f'<h4>{title}</h4>{plot}<p class="studio-note">{_say("guidance_info", language)}</p>'
