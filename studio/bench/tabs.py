"""Does going through all tabs load the base once, and what does the whole process take of the memory?

Every endpoint that the page publishes is asked once, as a program would ask it, with what it offers by default. The
memory is measured against a process that draws one picture with stock diffusers.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from studio.bench.served import PROBED, open_client, peak_bytes, served
from studio.errors import StudioError
from studio.evaluate.ask import Ask
from studio.evaluate.report import Report, ReportRow
from studio.settings import ROOT, Settings

PROMPT = "a red ball on the beach"
SAMPLE_SIDE = 128
STOCK = """
import resource, sys
import torch
from diffusers import StableDiffusionPipeline
pipeline = StableDiffusionPipeline.from_pretrained(sys.argv[1], dtype=torch.float32)
pipeline(sys.argv[2], width=128, height=128, num_inference_steps=20)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def run(settings: Settings, ask: Ask) -> Report:
    """Ask every endpoint of a page. Raises StudioError if it does not come up."""
    started = time.perf_counter()
    with served(PROBED) as page, tempfile.TemporaryDirectory() as folder:
        asked = tuple(ask_all(page.url, Path(folder)))
        counters, peak = page.counters(), peak_bytes(page.process.pid)
    stock = stock_peak_bytes(settings.models_dir / "little-world")
    where = ", ".join(asked)
    sets = len(counters["resident"]) + counters["evictions"]
    rows = (
        ReportRow("endpoints_asked", len(asked), "", where),
        ReportRow("loads_over_models", counters["loads"] / sets, "ratio", where, target=1.0, sense="lower"),
        ReportRow("evictions", counters["evictions"], "", where),
        ReportRow("resident_megabytes", counters["bytes"] / 10**6, "MB", ", ".join(counters["resident"])),
        ReportRow("peak_megabytes", peak / 10**6, "MB", "the whole process"),
        ReportRow("stock_peak_megabytes", stock / 10**6, "MB", "one stock pipeline, one picture"),
        ReportRow("peak_over_stock", peak / stock, "ratio", "the whole process"),
    )
    return Report("bench tabs", rows, preset=ask.preset, samples=1, seconds=time.perf_counter() - started)


def ask_all(url: str, folder: Path) -> Iterator[str]:
    """Ask each endpoint of a page, one after another; yields their names. folder: for a sample picture."""
    client = open_client(url)
    endpoints: Mapping[str, Any] = client.view_api(print_info=False, return_format="dict")["named_endpoints"]
    for name, facts in endpoints.items():
        client.predict(**arguments(facts["parameters"], folder), api_name=name)
        yield name
    client.close()


def arguments(parameters: list[Mapping[str, Any]], folder: Path) -> dict[str, Any]:
    """By name, what an endpoint needs beside its defaults: a prompt, a seed, a picture for each place of one,
    two for a place of several. What comes as JSON may be left out."""
    values: dict[str, Any] = {}
    for parameter in parameters:
        name, component = parameter["parameter_name"], parameter.get("component")
        if name == "prompt":
            values[name] = PROMPT
        elif name == "seed":
            values[name] = 7
        elif component in ("Image", "ImageEditor"):
            values[name] = _sample_picture(folder)
        elif component == "File":
            values[name] = [_sample_picture(folder)] * 2
        elif component == "Json":
            values[name] = None
        elif not parameter["parameter_has_default"]:
            values[name] = "" if component == "Textbox" else parameter["example_input"]
    return values


def _sample_picture(folder: Path) -> Any:
    """A drawn scene as a file to upload."""
    from gradio_client import handle_file
    from PIL import Image

    from studio.world.render import render_image
    from studio.world.scene import scene_of_seed

    path = folder / "sample.png"
    Image.fromarray(render_image(scene_of_seed(7), SAMPLE_SIDE)).save(path)
    return handle_file(str(path))


def stock_peak_bytes(model: Path) -> int:
    """The most memory that one picture by stock diffusers takes, in a process of its own."""
    told = subprocess.run(
        [sys.executable, "-c", STOCK, str(model), PROMPT], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if told.returncode:
        raise StudioError("bench_server_ended", code=told.returncode)
    return int(told.stdout.split()[-1]) * 1024
