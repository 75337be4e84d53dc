"""The history's chosen picture: what is known of it, and what can be done with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from studio.ui.text import label
from studio.ui.workspace import Actions, draw_actions


@dataclass(frozen=True)
class Details:
    """The chosen picture, what is known of it, and what can be done with it."""

    hint: gr.HTML
    box: gr.Column
    image: gr.Image
    facts: gr.HTML
    send: gr.Button
    actions: Actions
    download: gr.DownloadButton
    delete: gr.Button
    confirm: gr.Column
    question: gr.HTML
    sure: gr.Button
    keep: gr.Button

    @property
    def outputs(self) -> list[Any]:
        return [self.hint, self.box, self.image, self.facts, self.send, self.download, self.confirm, self.question]


def draw_details() -> Details:
    """A hint, in whose place comes the picture that is chosen."""
    hint = gr.HTML(label("history.hint"), elem_classes="studio-note")
    with gr.Column(visible=False, elem_classes="studio-stack") as box:
        with gr.Column(elem_classes="studio-tile"):
            image = gr.Image(
                format="png",
                show_label=False,
                interactive=False,
                container=False,
                buttons=["fullscreen"],
                elem_id="history-picture",
            )
        send = gr.Button(label("history.send.text2img"), variant="primary", elem_id="history-send")
        actions = draw_actions("history", visible=True)
        with gr.Row(elem_classes="studio-actions"):
            download = gr.DownloadButton(label("history.download"), min_width=90, elem_id="history-download")
            delete = gr.Button(label("history.delete"), min_width=80, elem_id="history-delete")
        with gr.Column(visible=False, elem_classes="studio-confirm") as confirm:
            question = gr.HTML()
            with gr.Row(elem_classes="studio-actions"):
                sure = gr.Button(label("history.sure"), variant="stop", size="sm", min_width=90, elem_id="history-sure")
                keep = gr.Button(label("history.keep"), size="sm", min_width=90, elem_id="history-keep")
        facts = gr.HTML(elem_id="history-facts")
    return Details(hint, box, image, facts, send, actions, download, delete, confirm, question, sure, keep)
