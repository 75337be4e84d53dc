"""The plot of where a picture enters, and the words below it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from studio.catalog import specs
from studio.errors import InvalidInput, ModelUnavailable
from studio.types import Scheduler, Task
from studio.ui.strength import entries_of, shown
from tests.engine.test_entry import alpha_bars

BASE = "little-world"


def studio(zero_terminal: bool = True, resident: bool = True, failure: ModelUnavailable | None = None) -> Any:
    """A studio whose registry holds nothing but a noise schedule."""
    from diffusers import DDIMScheduler

    scheduler = DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        rescale_betas_zero_snr=zero_terminal,
        timestep_spacing="trailing",
        clip_sample=False,
    )

    @contextmanager
    def lease(key: str) -> Iterator[Any]:
        if failure is not None:
            raise failure
        yield SimpleNamespace(components=SimpleNamespace(components={"scheduler": scheduler}))

    registry = SimpleNamespace(key=lambda base_id: base_id, is_resident=lambda key: resident, lease=lease)
    return SimpleNamespace(specs=specs(), registry=registry)


def say(task: Task = Task.IMAGE_TO_IMAGE, strength: Any = 0.6, language: str = "en", **changes: Any) -> str:
    values = {"total": 20, "scheduler": "ddim", "base_id": BASE, "studio": studio(), **changes}
    one = values.pop("studio")
    return shown(one, task, language, strength, values["total"], values["scheduler"], values["base_id"])


def test_the_words_say_how_many_steps_run_and_from_where():
    said = say()
    assert "12 of 20 steps are run, from t = 599 of 999" in said
    alpha_bar = alpha_bars(zero_terminal=True)[599]
    left, noise = f"{alpha_bar**0.5:.3f}", f"{(1 - alpha_bar) ** 0.5:.3f}"
    assert f"√ᾱ = {left} of the picture and √(1−ᾱ) = {noise} of noise" in said


def test_the_dot_stands_on_the_curve_where_the_picture_enters():
    dot = re.search(r'<circle cx="([\d.]+)%" cy="([\d.]+)%"', say())
    assert dot is not None
    across, down = map(float, dot.groups())
    assert across == pytest.approx(100 * 599 / 999, abs=0.01)
    points = re.search(r'points="([^"]+)"', say())
    assert points is not None
    curve = [tuple(map(float, point.split(","))) for point in points[1].split()]
    before = max(point for point in curve if point[0] <= across)
    after = min(point for point in curve if point[0] >= across)
    assert before[1] - 0.1 <= down <= after[1] + 0.1


def test_at_a_zero_terminal_schedule_strength_one_is_text_to_image_with_ddim_alone():
    assert "Strength 1 is text to image here: √ᾱ = 0" in say()
    assert "Strength 1 is not text to image here: √ᾱ = 0.0002" in say(scheduler="euler")


def test_what_strength_one_leaves_is_told_by_how_much():
    assert "Strength 1 is not text to image here: √ᾱ = 0.068" in say(studio=studio(zero_terminal=False))


def test_inpainting_at_full_strength_says_that_it_begins_with_noise():
    assert "begins as noise alone" in say(Task.INPAINT, 1)
    assert "begins as noise alone" not in say(Task.INPAINT, 0.9)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_axes_have_names(language: str):
    names = {"en": ("timestep t", "ᾱ, picture left"), "zh": ("时间步 t", "ᾱ 图片占比")}[language]
    assert all(name in say(language=language) for name in names)


def test_a_strength_that_runs_no_step_is_told_instead_of_a_plot():
    said = say(strength=0.01)
    assert "leave no step to do" in said and "<svg" not in said


@pytest.mark.parametrize(
    "values",
    [
        (None, 20, "ddim", BASE),
        (2, 20, "ddim", BASE),
        (0.5, 0, "ddim", BASE),
        (0.5, None, "ddim", BASE),
        (0.5, 20, "magic", BASE),
        (0.5, 20, ["ddim"], BASE),
        (0.5, 20, "ddim", None),
        (float("nan"), 20, "ddim", BASE),
    ],
)
def test_values_that_no_request_may_have_are_refused(values: tuple[Any, ...]):
    with pytest.raises(InvalidInput):
        entries_of(studio(), *values)


def test_another_model_is_not_loaded_for_a_plot():
    assert entries_of(studio(resident=False), 0.5, 20, "ddim", "sd15") is None
    assert "once this model is loaded" in say(studio=studio(resident=False), base_id="sd15")


def test_a_model_that_cannot_be_loaded_says_why():
    failure = ModelUnavailable("model_missing", model=BASE, missing="unet/config.json")
    assert "unet/config.json is missing" in say(studio=studio(failure=failure))


def test_every_sampler_has_an_entry():
    for scheduler in Scheduler:
        found = entries_of(studio(), 0.5, 20, scheduler.value, BASE)
        assert found is not None and found[0].steps == 10
