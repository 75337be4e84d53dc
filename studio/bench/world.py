"""How many scenes a second does one core draw, with and without their maps?"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import cv2

from studio.evaluate.ask import Ask
from studio.evaluate.report import Report, ReportRow, bootstrap_mean
from studio.settings import Settings
from studio.world.render import render, render_image
from studio.world.scene import Scene, scene_of_seed

SCENES = {"smoke": 16, "cpu": 600, "gpu": 600}
SIZE, PARTS, FEWEST_A_SECOND = 128, 8, 300.0


def run(settings: Settings, ask: Ask) -> Report:
    """Time rendering in parts, pictures and maps in turn, on one thread."""
    started = time.monotonic()
    count = ask.samples or SCENES[ask.preset]
    scenes = [scene_of_seed(ask.seed * 1_000_000 + i) for i in range(count)]
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    rates: dict[str, list[float]] = {"picture": [], "picture and maps": []}
    try:
        for part in (scenes[i::PARTS] for i in range(min(PARTS, count))):
            rates["picture"].append(_rate(render_image, part))
            rates["picture and maps"].append(_rate(render, part))
    finally:
        cv2.setNumThreads(threads)
    target = None if ask.preset == "smoke" else FEWEST_A_SECOND
    return Report(
        command="bench world",
        rows=tuple(_row(name, values, ask.seed, target) for name, values in rates.items()),
        preset=ask.preset,
        seed=ask.seed,
        samples=count,
        seconds=time.monotonic() - started,
    )


def _rate(draw: Callable[[Scene, int], Any], scenes: list[Scene]) -> float:
    """Scenes a second."""
    started = time.perf_counter()
    for scene in scenes:
        draw(scene, SIZE)
    return len(scenes) / (time.perf_counter() - started)


def _row(name: str, rates: list[float], seed: int, target: float | None) -> ReportRow:
    low, high = bootstrap_mean(rates, seed)
    return ReportRow(
        name, sum(rates) / len(rates), "scenes/s", f"{SIZE} x {SIZE}, one thread", low, high, target=target
    )
