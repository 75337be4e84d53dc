"""What is told of a steered picture: how far it follows, over the scales, inside, and how its ControlNet woke up."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest

from studio.engine.jobs import JobQueue
from studio.engine.residuals import Residuals
from studio.engine.scales import ScalePoint
from studio.errors import ModelUnavailable
from studio.events import GenerationResult
from studio.perception.following import Following
from studio.types import ControlUse, ModelSpec, Source
from studio.ui import compared
from studio.ui.compared import draw_compared, followed
from studio.ui.residuals import PALETTE, colour, residual_map
from studio.ui.scales import swept
from studio.ui.waking import waking
from tests.ui.works import Scripted, finished, picture, result

USES = (ControlUse("pose", "pose-net", (picture(),)), ControlUse("canny", "canny-net", (picture("blue"),)))


def of(uses: tuple[ControlUse, ...]) -> GenerationResult:
    """A picture that was steered."""
    plain = result()
    return replace(plain, request=replace(plain.request, controls=uses))


def following(*measured: Following | None) -> Any:
    answers = iter(measured)
    return SimpleNamespace(follow=lambda kind, wished, steered, without: next(answers))


def test_each_map_has_its_numbers_and_its_gain():
    html = followed(following(Following(0.8, 0.2, 1.0), Following(0.5, 0.5, 0.5)), of(USES), picture(), "en")
    assert "1. Joints in their places" in html and "2. Edges that agree" in html
    assert re.findall(r"<dd>([\d.]+)</dd>", html) == ["0.80", "0.20", "1.00", "0.50", "0.50", "0.50"]
    assert html.count("75%") == 1, "where nothing can be gained no gain is told"


def test_without_a_comparison_only_the_picture_is_told():
    html = followed(following(Following(0.8, None, 1.0)), of(USES[:1]), None, "zh")
    assert re.findall(r"<dd>([\d.]+)</dd>", html) == ["0.80", "1.00"]


def test_what_cannot_be_measured_says_why():
    def refuse(*values: object) -> None:
        raise ModelUnavailable("no_heads")

    assert "<dd>" not in followed(following(None), of(USES[:1]), None, "en")
    assert "heads" in followed(SimpleNamespace(follow=refuse), of(USES[:1]), None, "en")  # type: ignore[arg-type]


def test_a_finished_job_is_drawn_again_without_control(
    page: gr.Blocks, queue: JobQueue, monkeypatch: pytest.MonkeyPatch
):
    asked: list[Any] = []

    def generation(request: Any) -> Scripted:
        asked.append(request)
        return finished(result())

    monkeypatch.setattr(compared, "Generation", generation)
    steered = of(USES)
    job = queue.submit(finished(steered), "owner")
    assert list(job.tail(5.0))
    parts = draw_compared("controlnet")
    numbers = following(*[Following(0.9, None, 1.0)] * 2, *[Following(0.9, 0.1, 1.0)] * 2)
    *_, last = parts.updates(SimpleNamespace(jobs=queue), "owner", job.id, True, partial(followed, numbers), "en")  # type: ignore[arg-type]
    assert asked == [replace(steered.request, controls=(), num_images=1)]
    assert last[parts.box]["visible"] and last[parts.slider].count("<img") == 2


@pytest.mark.parametrize("job", [None, "unknown"])
def test_without_a_finished_job_there_is_nothing_to_compare(page: gr.Blocks, queue: JobQueue, job: object):
    parts = draw_compared("controlnet")
    (only,) = parts.updates(SimpleNamespace(jobs=queue), "owner", job, True, partial(followed, following()), "en")  # type: ignore[arg-type]
    assert not only[parts.box]["visible"]


def test_a_sweep_has_a_line_for_each_number_and_every_picture():
    points = [ScalePoint(scale, picture(), {"obedience": scale / 2, "prompt": None}) for scale in (0.0, 1.0, 2.0)]
    html = swept(points, "en")
    assert html.count("<polyline") == 1 and html.count("<img") == 3
    assert "Follows the map" in html and "Fulfils the prompt" not in html


def test_a_residual_map_has_a_cell_for_each_step_and_place():
    unit = ((0.0, 0.5), (0.25, 1.0), (0.0, 0.0))
    html = residual_map(Residuals(("down 0", "mid"), (unit, unit)), "en")
    assert html.count("<rect") == 12 and html.count("<svg") == 2
    assert "mid, step 2: 1" in html
    assert colour(0) == "rgb({} {} {})".format(*PALETTE[0]) and colour(2) == "rgb({} {} {})".format(*PALETTE[-1])


def test_residuals_of_nothing_are_dark():
    html = residual_map(Residuals(("mid",), (((0.0,),),)), "zh")
    assert colour(0) in html


def test_what_training_wrote_down_is_drawn(tmp_path: Path):
    notes = [{"step": 0, "norms": {"hint": 0.0, "mid": 0.0}, "obedience": 0.1}]
    notes += [{"step": 8, "norms": {"hint": 0.1, "mid": 0.3}, "obedience": 0.4}]
    (tmp_path / "waking.json").write_text(json.dumps({"kind": "depth", "without": {}, "steps": notes}))
    spec = ModelSpec("net", "controlnet", "little_world", (Source("local", str(tmp_path)),))
    html = waking(spec, "en")
    assert html.count("<polyline") == 3 and "exactly zero" in html


def test_where_nothing_was_written_down_that_is_said():
    spec = ModelSpec("net", "controlnet", "sd15", (Source("huggingface", "some/repo"),))
    assert "nothing was written down" in waking(spec, "en")
