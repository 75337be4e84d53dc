"""The shelf of LoRAs on the page: which are at hand, what the chosen one is, and the gate for one of a person's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from studio.engine.parameters import SAMPLER_NAMES
from studio.errors import StudioError
from studio.text import t
from studio.ui import antd
from studio.ui.lora_lab import ledger_table
from studio.ui.lora_truth import spectrum_plot, truth_panel
from studio.ui.pills import draw_pills, pressed, write_pills
from studio.ui.services import Services
from studio.ui.text import describe, label, language_of
from studio.ui.widgets import INSTANT, plain

if TYPE_CHECKING:
    from studio.build import Studio
    from studio.engine.lora_usage import Usage

Updates = dict[Any, Any]
MAX_TRIGGERS = 6
USAGE_FIELDS = ("scheduler", "num_inference_steps", "guidance_scale")
DROP_HEIGHT = 64
"""In pixels."""
MAX_RANK = 64


@dataclass(frozen=True)
class Shelf:
    """chosen: the name of the one that is looked at; layer, cut, spectrum: the singular values of one of its layers;
    usage: sets what it asks for."""

    chosen: gr.Radio
    file: gr.File
    alert: antd.Alert
    triggers: gr.HTML
    usage: gr.Button
    truth: gr.HTML
    layer: gr.Dropdown
    cut: gr.Slider
    spectrum: gr.HTML
    ledger: gr.HTML

    @property
    def outputs(self) -> list[Any]:
        return [
            self.chosen, self.alert, self.triggers, self.usage, self.truth, self.layer, self.spectrum, self.ledger
        ]  # fmt: skip

    def connect(self, services: Services, fields: Mapping[str, Any], names: list[gr.Dropdown]) -> None:
        """Wire it. fields: of a wish, by name; names: further choices of what is on the shelf."""
        studio, prompt, base_id = services.studio, fields["prompt"], fields["base_id"]
        settings = [fields[name] for name in USAGE_FIELDS]
        everywhere = [*self.outputs, *names]

        def opened(request: gr.Request, chosen: Any, *used: Any) -> Updates:
            return {**self.seen(studio, chosen, language_of(request)), **_choices(studio, names, used)}

        def brought(request: gr.Request, file: Any, base: Any, chosen: Any, *used: Any) -> Updates:
            language = language_of(request)
            try:
                name = self.taken(studio, file, base)
            except StudioError as error:
                told = gr.update(visible=True, type="error", message=describe(error, language))
                return {self.file: None, self.alert: told}
            seen = self.seen(studio, name, language)
            told = gr.update(visible=True, type="success", message=t("loras.passed", language, name=name))
            return {self.file: None, **seen, self.alert: told, **_choices(studio, names, used)}

        def looked(request: gr.Request, chosen: Any) -> Updates:
            return self.seen(studio, chosen, language_of(request))

        def spectrum(request: gr.Request, chosen: Any, layer: Any, rank: Any) -> str:
            return self.spectrum_of(studio, chosen, layer, rank, language_of(request))

        def asked(request: gr.Request, chosen: Any, *used: Any) -> Updates:
            try:
                usage = studio.loras.truth(str(chosen)).usage
            except StudioError as error:  # it has gone from the shelf meanwhile
                told = describe(error, language_of(request))
                return {self.alert: gr.update(visible=True, type="error", message=told)}
            if usage is None:
                return {self.usage: gr.update(visible=False)}
            wanted = (usage.sampler.value, usage.steps, usage.guidance_scale)
            return {**dict(zip(settings, wanted, strict=True)), **_placed(str(chosen), names, used)}

        # Not when the page is opened: a file is looked through with torch, which takes its time to come.
        services.tab.select(opened, [self.chosen, *names], everywhere, **INSTANT)
        self.file.upload(
            brought, [self.file, base_id, self.chosen, *names], [self.file, *everywhere],
            preprocess=False, show_progress="hidden", api_visibility="private",
        )  # fmt: skip
        self.chosen.input(looked, self.chosen, self.outputs, preprocess=False, **INSTANT)
        for event in (self.layer.input, self.cut.input):
            event(spectrum, [self.chosen, self.layer, self.cut], self.spectrum, preprocess=False, **INSTANT)
        set_by_it = [*settings, *names, self.alert, self.usage]
        self.usage.click(asked, [self.chosen, *names], set_by_it, preprocess=False, **INSTANT)
        self.triggers.input(_inserted, [prompt, self.triggers], prompt, preprocess=False, **INSTANT)

    def arrived(
        self, studio: Studio, name: str, language: str, names: list[gr.Dropdown], used: tuple[Any, ...]
    ) -> Updates:
        """The shelf with a new one that is looked at, and chosen in the first place that is free."""
        choices = _choices(studio, names, used)
        placed = {one: {**choices[one], "value": value} for one, value in _placed(name, names, used).items()}
        return {**self.seen(studio, name, language), **choices, **placed}

    def taken(self, studio: Studio, file: Any, base_id: Any) -> str:
        """Let an uploaded file through the gate onto the shelf; its name there. Raises StudioError."""
        if studio.settings.public:
            raise StudioError("lora_no_uploads")
        path, name = (file.get("path"), file.get("orig_name")) if isinstance(file, dict) else (None, None)
        if not isinstance(path, str):
            raise StudioError("lora_nothing_brought")
        return studio.loras.add(Path(path), str(name or path), str(base_id)).name

    def seen(self, studio: Studio, chosen: Any, language: str) -> Updates:
        """The shelf as it is now, and the truth about the chosen one, or about the first."""
        items = {one.name: one for one in studio.loras.items()}
        name = chosen if chosen in items else next(iter(items), None)
        updates: Updates = {
            self.chosen: gr.update(
                choices=[(_title(one.name, one.own, language), one.name) for one in items.values()], value=name
            ),
            self.alert: gr.update(visible=False),
            self.triggers: "",
            self.usage: gr.update(visible=False),
        }
        if name is None:
            return {
                **updates,
                self.truth: _note(t("loras.empty", language)),
                self.layer: gr.update(choices=[], value=None),
                self.spectrum: "",
            }
        try:
            truth, spectra = studio.loras.truth(name), studio.loras.spectra(name)
        except StudioError as error:
            hidden = {self.layer: gr.update(choices=[], value=None), self.spectrum: ""}
            return {**updates, self.truth: _note(describe(error, language)), **hidden}
        layers = sorted(spectra, key=lambda layer: -spectra[layer][0])
        return {
            **updates,
            self.triggers: write_pills(truth.triggers[:MAX_TRIGGERS]),
            self.usage: gr.update(visible=truth.usage is not None, value=_asked(truth.usage, language)),
            self.truth: truth_panel(truth, language),
            self.layer: gr.update(choices=layers, value=layers[0]),
            self.spectrum: spectrum_plot(spectra[layers[0]], 0, language),
            self.ledger: ledger_table(studio.loras.base(items[name].family).modules["unet"], language),
        }  # fmt: skip

    def spectrum_of(self, studio: Studio, chosen: Any, layer: Any, rank: Any, language: str) -> str:
        """The singular values of one layer of the chosen one; nothing for what is not there."""
        try:
            spectra = studio.loras.spectra(str(chosen))
        except StudioError as error:
            return _note(describe(error, language))
        kept = int(rank) if isinstance(rank, (int, float)) and 0 <= rank <= MAX_RANK else 0
        return spectrum_plot(spectra.get(str(layer), ()), kept, language)


def draw_shelf(prefix: str, uploads: bool = True) -> Shelf:
    """The widgets. prefix: of their ids on the page; uploads: whether a person may bring files."""
    chosen = gr.Radio([], label=label("loras.shelf"), elem_id=f"{prefix}-shelf", elem_classes="lora-shelf")
    triggers = draw_pills(f"{prefix}-triggers")
    usage = gr.Button(size="sm", visible=False, elem_id=f"{prefix}-usage")
    file = gr.File(
        label=label("loras.upload"),
        height=DROP_HEIGHT,
        visible=uploads,
        elem_id=f"{prefix}-upload",
        elem_classes="studio-restore",
    )
    alert = antd.Alert(message="", show_icon=True, visible=False, elem_id=f"{prefix}-gate")
    with gr.Accordion(label("loras.truth"), open=True, elem_id=f"{prefix}-truth-box", elem_classes="studio-lights"):
        truth = gr.HTML(elem_id=f"{prefix}-truth", elem_classes="lora-truth")
    with gr.Accordion(label("loras.lab"), open=False, elem_id=f"{prefix}-lab", elem_classes="studio-lights"):
        gr.HTML(label("loras.lab_info"), elem_classes="studio-note")
        layer = gr.Dropdown([], label=label("loras.layer"), elem_id=f"{prefix}-layer")
        cut = gr.Slider(
            0, MAX_RANK, 0, step=1, label=label("loras.cut"), info=label("loras.cut_info"), elem_id=f"{prefix}-cut"
        )
        spectrum = gr.HTML(elem_id=f"{prefix}-spectrum")
        ledger = gr.HTML(elem_id=f"{prefix}-ledger")
    return Shelf(chosen, file, alert, triggers, usage, truth, layer, cut, spectrum, ledger)


def _choices(studio: Studio, names: list[gr.Dropdown], used: tuple[Any, ...]) -> Updates:
    """What can be used, for each place that chooses; what is chosen stays while it is there."""
    usable = list(studio.loras.usable())
    return {
        one: gr.update(choices=[("—", ""), *((name, name) for name in usable)], value=now if now in usable else "")
        for one, now in zip(names, used, strict=True)
    }


def _placed(name: str, names: list[gr.Dropdown], used: tuple[Any, ...]) -> dict[Any, str]:
    """The first place that is free with this LoRA in it; nothing if it has one already, or if there is none."""
    free = next((one for one, now in zip(names, used, strict=True) if not now), None)
    return {} if name in used or free is None else {free: name}


def _asked(usage: Usage | None, language: str) -> str:
    """What a LoRA asks for, on a button."""
    if usage is None:
        return ""
    sampler, guidance = SAMPLER_NAMES[usage.sampler], f"{usage.guidance_scale:g}"
    return t("loras.usage", language, sampler=sampler, steps=usage.steps, guidance=guidance)


def _inserted(prompt: Any, value: Any) -> str:
    """A prompt with the trigger word that was pressed at its end, once."""
    text, word = str(prompt or "").strip(), pressed(value)
    if word.lower() in text.lower():
        return text
    return f"{text.rstrip(',，')}, {word}" if text else word


def _title(name: str, own: bool, language: str) -> str:
    return t("loras.own", language, name=name) if own else name


def _note(text: str) -> str:
    return f'<p class="studio-note" role="status">{plain(text)}</p>'
