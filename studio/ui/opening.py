"""What happens when a page is opened: a new browser gets the name under which its jobs run, seeds are thrown, and jobs
found that go on or were cut.

One event asks the server. The seeds are thrown in the browser, at once: they cannot come after what a person has filled
in meanwhile. It has few outputs, since gradio's browser code touches every output that any event ever had with each
event that follows: a page which fills itself widely when it is opened is slow for as long as it is open.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import gradio as gr

from studio.errors import StudioError
from studio.ui.cut import cut_record
from studio.ui.run import owner_of
from studio.ui.widgets import INSTANT, LARGEST_SEED

if TYPE_CHECKING:
    from studio.build import Studio

THROW = "() => Array.from({length: %d}, () => Math.floor(Math.random() * %d))"


@dataclass(frozen=True)
class Opening:
    """Collects what the tabs want done; the page then wires it once."""

    seeds: list[gr.Number] = field(default_factory=list)
    jobs: list[tuple[gr.BrowserState, gr.Textbox]] = field(default_factory=list)

    def seed(self, widget: gr.Number) -> None:
        """A seed that every opened page throws anew."""
        self.seeds.append(widget)

    def job(self, job_id: gr.BrowserState) -> gr.Textbox:
        """What changes when a page is opened whose browser kept the id of a job that there is something to tell of."""
        # On a tab that has not been opened yet nothing is read from the browser: both stand on the page itself.
        job_id.unrender()
        # Not a gr.State: its `change` comes with every answer, also where it was skipped.
        found = gr.Textbox(visible=False, render=False)
        self.jobs.append((job_id, found))
        return found

    def connect(self, studio: Studio, blocks: gr.Blocks, owner: gr.BrowserState) -> None:
        """Wire the page's load."""
        kept, found = [job_id for job_id, _ in self.jobs], [widget for _, widget in self.jobs]

        for widget in (*kept, *found):
            widget.render()

        def open_page(owner: object, *job_ids: object) -> list[Any]:
            name = owner_of(owner)
            return [name, *(_known(studio, name, one) for one in job_ids)]

        if self.seeds:
            blocks.load(None, None, self.seeds, js=THROW % (len(self.seeds), LARGEST_SEED + 1), **INSTANT)
        blocks.load(open_page, [owner, *kept], [owner, *found], **INSTANT)


def _known(studio: Studio, owner: str, job_id: object) -> Any:
    """The id, if the studio knows what became of its job; else nothing."""
    if not isinstance(job_id, str):
        return gr.skip()
    try:
        return studio.jobs.get(job_id).id
    except StudioError:
        return job_id if cut_record(studio, owner, job_id) is not None else gr.skip()
