"""A place to drop a picture on: what it says of itself fills the page's fields."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from studio.engine.infotext import FORMATS, Restored, read
from studio.errors import InvalidInput, StudioError
from studio.text import t
from studio.types import MIN_SIDE, ModelSpec
from studio.ui import antd
from studio.ui.services import Sent
from studio.ui.text import describe, label, language_of
from studio.ui.widgets import INSTANT, Sampling, largest_side

Updates = dict[Any, Any]
FILE_ENDINGS = [f".{name.lower()}" for name in (*FORMATS, "JPG")]
DROP_HEIGHT = 48
"""In pixels."""
HASH_CHARACTERS = 10
"""So many of a hash are enough to tell two pictures apart."""
Fill = Callable[[Restored], Updates]
NOT_RECORDED = {"keep_seed", "num_images"}
"""The fields of which a picture says nothing: each is described as if it were drawn alone."""


def nothing(restored: Restored) -> Updates:
    """For a page that is all fields."""
    return {}


@dataclass(frozen=True)
class Restore:
    """The place, and what it fills. fields: widgets by the names of the request's fields, and `keep_seed`; tab: whose
    fields they are; others: what else of the page `fill` fills from a picture."""

    file: gr.File
    alert: antd.Alert
    fields: Mapping[str, Any]
    knobs: Sampling
    specs: Mapping[str, ModelSpec]
    tab: str = "text2img"
    others: Sequence[Any] = ()
    fill: Fill = nothing

    def connect(self, sent: gr.State) -> None:
        """Wire the fields with the place, and with the pictures that another tab sends."""
        outputs = [self.file, self.alert, *self.fields.values(), *self.others]
        self.file.upload(self.restore, [self.file, self.fields["base_id"]], outputs, **INSTANT)
        sent.change(self.restore_sent, [sent, self.fields["base_id"]], outputs, **INSTANT)

    def restore_sent(self, request: gr.Request, sent: Sent, base_id: str) -> Updates:
        """The same for a picture that another tab sent here to be drawn again."""
        if sent.tab != self.tab or sent.as_input:
            return {self.file: gr.skip()}
        return self.restore(request, sent.data, base_id)

    def restore(self, request: gr.Request, data: bytes | None, base_id: Any) -> Updates:
        """Fill the fields from a file's bytes, and say what could not be filled. The place is free again after."""
        language = language_of(request)
        base_id = base_id if base_id in tuple(self.specs) else next(iter(self.specs))
        try:
            restored = read(data or b"", tuple(self.specs))
        except StudioError as error:
            return {self.file: None, self.alert: _told("error", [describe(error, language)])}
        values, problems = self._fitting(restored, self.specs[restored.values.get("base_id", base_id)])
        names = [name for name in self.fields if name in values]
        complete = len(names) == len(self.fields.keys() - NOT_RECORDED)
        listed = ", ".join(t(f"text2img.{name}", language) for name in names)
        first = t("text2img.restored_all", language) if complete else t("text2img.restored", language, fields=listed)
        sentences = [first, *(describe(problem, language) for problem in problems)]
        if source := restored.sources.get("init_image"):
            sentences.append(t("source.wanted", language, hash=source[:HASH_CHARACTERS]))
        told = _told("warning" if problems or not complete else "success", sentences)
        return {self.file: None, self.alert: told, **self._filled(values, base_id), **self.fill(restored)}

    def _fitting(self, restored: Restored, spec: ModelSpec) -> tuple[dict[str, Any], list[StudioError]]:
        """The values that this page offers with a model, and why it does not offer the others."""
        values, problems = dict(restored.values), list(restored.problems)
        side = largest_side(spec)
        for name in ("width", "height"):
            if values.get(name, 0) > side:
                found = values.pop(name)
                problems.append(
                    InvalidInput("bad_whole_number", field=name, minimum=MIN_SIDE, maximum=side, value=found)
                )
        if (method := values.get("quant_id", "none")) != "none":
            problems.append(InvalidInput("not_a_choice", field="quant_id", value=method[:40], choices="none"))
        return values, problems

    def _filled(self, values: Mapping[str, Any], base_id: str) -> Updates:
        """Updates of the fields; another model than the present one brings its own defaults and bounds first."""
        new_id = values.get("base_id", base_id)
        updates: Updates = dict(self.knobs.defaults(self.specs[new_id])) if new_id != base_id else {}
        for name, widget in self.fields.items():
            if name in values:
                updates[widget] = {**updates.get(widget, {}), **gr.update(value=values[name])}
        if "seed" in values:
            updates[self.fields["keep_seed"]] = True
        return updates


def draw_restore(
    fields: Mapping[str, Any],
    knobs: Sampling,
    specs: Mapping[str, ModelSpec],
    tab: str = "text2img",
    others: Sequence[Any] = (),
    fill: Fill = nothing,
) -> Restore:
    """The place, and the alert below it that shows itself with the first picture."""
    prefix = "" if tab == "text2img" else f"{tab}-"
    file = gr.File(
        type="binary",
        file_types=FILE_ENDINGS,
        label=label("text2img.restore"),
        height=DROP_HEIGHT,
        elem_id=f"{prefix}restore",
        elem_classes="studio-restore",
    )
    alert = antd.Alert(
        message="", show_icon=True, visible=False, elem_id=f"{prefix}restored", elem_classes="studio-restored"
    )
    return Restore(file, alert, fields, knobs, specs, tab, others, fill)


def _told(kind: str, sentences: Sequence[str]) -> dict[str, Any]:
    """An update of the alert: a line for each sentence."""
    return gr.update(visible=True, type=kind, message="\n".join(sentences))
