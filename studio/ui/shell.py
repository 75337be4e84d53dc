"""The frame of the page: the header that says what runs where, and the tabs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr

from studio.text import t
from studio.types import Tab
from studio.ui import antd
from studio.ui.language import SWITCH_LANGUAGE, SWITCH_THEME
from studio.ui.memory import draw_memory
from studio.ui.models import draw_models, offers
from studio.ui.opening import Opening
from studio.ui.run import browser_state
from studio.ui.services import ModelChoice, Services
from studio.ui.text import label, language_of
from studio.ui.theme import ANTD_TOKENS
from studio.ui.widgets import INSTANT

if TYPE_CHECKING:
    from studio.build import Studio

REFRESH_SECONDS = 5
NAME = '<h1 class="studio-name">Diffusion Studio</h1>'
ANTD_LOCALES = {"en": "en_US", "zh": "zh_CN"}
STATE_COLOURS = {"starting": "default", "loading": "gold", "busy": "blue", "ready": "green"}


@dataclass(frozen=True)
class Header:
    """The tags of the header, and the buttons that open its drawers."""

    model: antd.Tag
    device: antd.Tag
    memory: antd.Tag
    state: antd.Tag
    models: gr.Button
    residents: gr.Button

    @property
    def outputs(self) -> list[Any]:
        return [self.model, self.device, self.memory, self.state]


def build_shell(studio: Studio, tabs: Sequence[Tab]) -> gr.Blocks:
    """The whole page."""
    with gr.Blocks(title="Diffusion Studio", analytics_enabled=False, delete_cache=(600, 3600)) as blocks:
        owner = browser_state("owner")
        with antd.Application(), antd.ConfigProvider(locale="en_US", theme_config=ANTD_TOKENS) as provider:
            header = _draw_header(studio)
            models, memory = draw_models(studio), draw_memory(studio)
            sent, choices, opening = gr.State(None), list[ModelChoice](), Opening()
            with gr.Tabs(elem_classes="studio-tabs") as bar:
                for tab in sorted(tabs, key=lambda one: one.order):
                    with gr.Tab(label(f"shell.tab.{tab.id}"), id=tab.id) as page:
                        tab.build(Services(studio, blocks, owner, bar, page, sent, choices, opening))
        opening.connect(studio, blocks, owner)
        models.connect(header.models)
        memory.connect(header.residents)
        offered = gr.State(None)
        outputs = [*header.outputs, offered, *(choice.widget for choice in choices)]

        def refresh(request: gr.Request, told: tuple[str, ...] | None) -> dict[Any, Any]:
            updates = _header_updates(studio, header, language_of(request))
            present = studio.places.present()
            return updates if present == told else {**updates, **offers(choices, present), offered: present}

        def localise(request: gr.Request) -> dict[str, Any]:
            return gr.update(locale=ANTD_LOCALES[language_of(request)])

        blocks.load(localise, None, provider, **INSTANT)
        blocks.load(refresh, offered, outputs, **INSTANT)
        gr.Timer(REFRESH_SECONDS).tick(refresh, offered, outputs, **INSTANT)
    return blocks


def _draw_header(studio: Studio) -> Header:
    """The name, the tags, and the switches of language and theme."""
    with gr.Row(elem_classes="studio-header"):
        gr.HTML(NAME)
        with gr.Row(elem_classes="studio-state"):
            tags = {
                "model": antd.Tag(next(iter(studio.specs))),
                "device": antd.Tag("", visible=False),
                "memory": antd.Tag("", visible=False),
                "state": antd.Tag(label("shell.starting")),
            }
        with gr.Row(elem_classes="studio-switches"):
            models = gr.Button(label("models.title"), size="sm", min_width=0, scale=0, elem_id="open-models")
            residents = gr.Button(label("memory.title"), size="sm", min_width=0, scale=0, elem_id="open-memory")
            language = gr.Button(label("shell.other_language"), size="sm", min_width=0, scale=0, elem_id="language")
            theme = gr.Button(label("shell.theme"), size="sm", min_width=0, scale=0, elem_id="theme")
    language.click(None, js=SWITCH_LANGUAGE, api_visibility="private")
    theme.click(None, js=SWITCH_THEME, api_visibility="private")
    return Header(**tags, models=models, residents=residents)


def _header_updates(studio: Studio, header: Header, language: str) -> dict[Any, Any]:
    """What the tags say now."""
    if not studio.started:
        return {header.state: gr.update(value=t("shell.starting", language), color=STATE_COLOURS["starting"])}
    registry = studio.registry
    snapshot = registry.snapshot()
    state = "ready"
    if any(one.leases for one in snapshot.resident):
        state = "loading" if any(one.loading for one in snapshot.resident) else "busy"
    # Not what steers them: those are many, and the memory drawer lists them.
    bases = dict.fromkeys(one.base_id for one in snapshot.resident if registry.specs[one.base_id].kind == "base")
    models = ", ".join(bases) or next(iter(studio.specs))
    memory = t("shell.memory", language, used=f"{snapshot.bytes / 10**6:,.0f} MB", limit=_gb(snapshot.limit_bytes))
    return {
        header.model: gr.update(value=models),
        header.device: gr.update(value=f"{registry.device} · {registry.dtype}", visible=True),
        header.memory: gr.update(value=memory, visible=True),
        header.state: gr.update(value=t(f"shell.{state}", language), color=STATE_COLOURS[state]),
    }


def _gb(size_bytes: int) -> str:
    return f"{size_bytes / 10**9:.1f} GB"
