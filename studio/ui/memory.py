"""What is in memory: which models, how large, who holds them, and how well the need of a picture was foretold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr

from studio.engine.snapshot import RegistrySnapshot, ResidentSnapshot, WorkingSnapshot
from studio.text import size, t
from studio.ui import antd
from studio.ui.drawer import Drawer, Updates, draw_drawer
from studio.ui.text import label
from studio.ui.widgets import plain

if TYPE_CHECKING:
    from studio.build import Studio

FULL_PERCENT = 90
"""From here on the bar says that room becomes scarce."""
COLUMNS = ("model", "bytes", "state", "leases", "hits", "load_seconds")


@dataclass(frozen=True)
class MemoryDrawer:
    """The registry's snapshot, for a person to read."""

    studio: Studio
    drawer: Drawer
    bar: antd.Progress
    text: gr.HTML

    def connect(self, opener: gr.Button) -> None:
        self.drawer.connect(opener, self.updates, [self.bar, self.text])

    def updates(self, language: str) -> Updates:
        """What is in memory now."""
        if not self.studio.started:
            return {self.bar: gr.update(percent=0), self.text: plain(t("shell.starting", language))}
        snapshot = self.studio.registry.snapshot()
        used = snapshot.bytes + snapshot.reserved_bytes
        percent = min(100, 100 * used // max(snapshot.limit_bytes, 1))
        status = "exception" if percent >= FULL_PERCENT else "normal"
        return {self.bar: gr.update(percent=percent, status=status), self.text: markup(snapshot, language)}


def draw_memory(studio: Studio) -> MemoryDrawer:
    """The drawer, closed."""
    with draw_drawer("memory", "memory.title") as drawer:
        gr.HTML(label("memory.intro"), elem_classes="studio-drawer-intro")
        bar = antd.Progress(0, {"aria-label": "memory"})
        text = gr.HTML()
    return MemoryDrawer(studio, drawer, bar, text)


def markup(snapshot: RegistrySnapshot, language: str) -> str:
    """The snapshot as HTML: totals, a table of what is resident, and the last request's working memory."""
    totals = {
        "models": t("memory.of", language, used=size(snapshot.bytes), limit=size(snapshot.limit_bytes)),
        "device": snapshot.device,
        "reserved": size(snapshot.reserved_bytes) if snapshot.reserved_bytes else "",
        "parked": _parked(snapshot, language),
        "counters": t(
            "memory.counts", language, hits=snapshot.hits, misses=snapshot.misses, evictions=snapshot.evictions
        ),
    }
    return (
        f"{_facts(totals, language)}<h3>{_say('resident', language)}</h3>{_table(snapshot, language)}"
        f"<h3>{_say('last', language)}</h3>{_last(snapshot.last, language)}"
    )


def _say(name: str, language: str, **values: object) -> str:
    return plain(t(f"memory.{name}", language, **values))


def _facts(rows: dict[str, str], language: str) -> str:
    """Names and values; what has no value is left out."""
    listed = "".join(f"<dt>{_say(name, language)}</dt><dd>{plain(value)}</dd>" for name, value in rows.items() if value)
    return f'<dl class="studio-facts">{listed}</dl>'


def _parked(snapshot: RegistrySnapshot, language: str) -> str:
    """What stands in the machine's memory beside a graphics card; nothing where there is none."""
    if not snapshot.ram_limit_bytes:
        return ""
    return t("memory.of", language, used=size(snapshot.parked_bytes), limit=size(snapshot.ram_limit_bytes))


def _table(snapshot: RegistrySnapshot, language: str) -> str:
    """A row for each model in memory, the one used last first."""
    if not snapshot.resident:
        return f'<p class="studio-note">{_say("empty", language)}</p>'
    heads = "".join(f'<th scope="col">{_say(name, language)}</th>' for name in COLUMNS)
    rows = "".join(_row(one, language) for one in reversed(snapshot.resident))
    return (
        '<div class="studio-table" tabindex="0" role="group"><table>'
        f"<thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _row(one: ResidentSnapshot, language: str) -> str:
    """One model. What it shares with others is told beside what it holds."""
    name = t("memory.with_adapters", language, name=one.name, count=one.adapters) if one.adapters else one.name
    shared = one.bytes - one.own_bytes
    held = t("memory.shared", language, bytes=size(one.bytes), own=size(one.own_bytes)) if shared else size(one.bytes)
    cells: tuple[Any, ...] = (
        name,
        held,
        t(f"memory.state.{one.state.value}", language),
        one.leases,
        one.hits,
        f"{one.load_seconds:.2f} s",
    )
    return f"<tr>{''.join(f'<td>{plain(str(cell))}</td>' for cell in cells)}</tr>"


def _last(last: WorkingSnapshot | None, language: str) -> str:
    """What the last request took beside its model, against what had been foretold."""
    if last is None:
        return f'<p class="studio-note">{_say("no_last", language)}</p>'
    shape = last.shape
    foretold = size(last.predicted_bytes) if last.predicted_bytes is not None else t("memory.first_time", language)
    rows = {
        "request": f"{shape.model.base_id} · {shape.width} × {shape.height} · ×{shape.num_images}",
        "predicted": foretold,
        "peak": size(last.peak_bytes),
    }
    return _facts(rows, language)
