"""How soon is the page there, and how soon the first picture?

The page is measured against an empty one, started in turn, that imports gradio and modelscope_studio as their
documentation does; the studio imports the latter's components one by one, which takes 1.4 seconds less.
The first picture is asked for as soon as the page answers, with nothing loaded yet.
"""

from __future__ import annotations

import time
from functools import partial

from studio.bench.served import APP, open_client, served
from studio.bench.timing import interleave, median_row, ratio_row
from studio.evaluate.ask import Ask
from studio.evaluate.report import Report
from studio.settings import Settings

ROUNDS = {"smoke": 1, "cpu": 5, "gpu": 5}
MOST_OVER_EMPTY = 1.5
MOST_SECONDS_TO_PICTURE = 12.0
EMPTY_PAGE = """
import os
import gradio as gr
import modelscope_studio.components.antd as antd
import modelscope_studio.components.base as ms

with gr.Blocks(analytics_enabled=False) as page:
    with ms.Application():
        antd.Button("empty")
page.launch(server_name="127.0.0.1", server_port=int(os.environ["STUDIO_PORT"]), ssr_mode=False)
"""


def run(settings: Settings, ask: Ask) -> Report:
    """Start pages `ask.samples` times. Raises StudioError if one does not come up."""
    started = time.perf_counter()
    rounds = ask.samples or ROUNDS[ask.preset]
    answered: dict[str, list[float]] = {"page": [], "empty_page": []}

    def start(name: str, arguments: tuple[str, ...]) -> None:
        with served(arguments) as page:
            answered[name].append(page.answered_seconds)

    ways = {"page": APP, "empty_page": ("-c", EMPTY_PAGE)}
    interleave({name: partial(start, name, arguments) for name, arguments in ways.items()}, rounds)
    page, empty = answered["page"][1:], answered["empty_page"][1:]  # the first round warms the disk's cache
    pictures = [seconds_to_picture() for _ in range(rounds)]
    where = "from the start of the process"
    rows = (
        ratio_row("page_over_empty_page", page, empty, where, MOST_OVER_EMPTY),
        median_row("first_picture_seconds", pictures, "s", where, MOST_SECONDS_TO_PICTURE),
        median_row("page_seconds", page, "s", where),
        median_row("empty_page_seconds", empty, "s", where),
    )
    return Report("bench start", rows, preset=ask.preset, samples=rounds, seconds=time.perf_counter() - started)


def seconds_to_picture() -> float:
    """Seconds from the start of a studio until a program that waits at its door has a picture."""
    with served() as page:
        client = open_client(page.url)
        client.predict(prompt="a red ball on the beach", negative_prompt="", seed=7, api_name="/text2img")
        seconds = page.age_seconds
        client.close()
    return seconds
