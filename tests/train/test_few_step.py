from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline
from safetensors import safe_open

from studio.engine.lora_usage import usage_of
from studio.errors import StudioError
from studio.lineage import file_sha256, require_built_on
from studio.train import few_step, places
from studio.train.few_step import PRESETS, STEPS, Student, distances, first_prompt, prompts
from studio.train.frozen import freeze, require_unchanged, state_sha256
from studio.train.run import Options, Run
from studio.train.unet import load_denoiser
from studio.types import MAX_SEED
from studio.world.scene import FIRST_HELD_OUT_SEED
from tests.tiny import make_little_world

PRESET = PRESETS["smoke"]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A base with random weights and the LoRA that was trained on it; the run lies beside it."""
    world = make_little_world(tmp_path_factory.mktemp("distilled"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(places, "RUNS", world.parent / "runs-of-few-step")
        few_step.main(Options("smoke", out=world))
        yield world


def student_of(world: Path, substeps: int = PRESET.substeps) -> Student:
    base = load_denoiser(world)
    freeze(base)
    return Student(base, replace(PRESET, substeps=substeps), PRESET.recipe, torch.ones(64, dtype=torch.long), 0)


def inputs(count: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    return torch.randn(count, 4, 8, 8, generator=generator), torch.randint(2, 90, (count, 64), generator=generator)


def test_the_file_tells_how_it_is_used_and_what_it_builds_on(world: Path):
    path = world / "loras" / "few_step.safetensors"
    facts = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    assert facts["sha256"] == file_sha256(path) and set(facts["metrics"]) == {"student_mse", "base_mse"}
    require_built_on("few_step", facts, "unet", world / "unet")
    with safe_open(path, "pt") as opened:
        usage = usage_of(opened.metadata())
        assert usage is not None and (usage.sampler.value, usage.steps, usage.guidance_scale) == ("ddim", STEPS, 1)
        assert not any(name.startswith("text_encoder") for name in opened.keys())  # noqa: SIM118
    assert "train few-step --preset smoke" in path.with_suffix(".md").read_text(encoding="utf-8")


def test_stock_diffusers_draws_with_it(world: Path):
    pipeline = StableDiffusionPipeline.from_pretrained(world, dtype=torch.float32)
    pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)

    def draw() -> np.ndarray:
        generator = torch.Generator().manual_seed(0)
        return pipeline(
            "a cat", num_inference_steps=STEPS, guidance_scale=1.0, generator=generator, output_type="np"
        ).images[0]

    before = draw()
    pipeline.load_lora_weights(str(world / "loras"), weight_name="few_step.safetensors")
    assert not np.array_equal(draw(), before)


def test_a_teacher_of_one_step_without_guidance_finds_nothing_to_teach(world: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(few_step, "GUIDANCE", 1.0)
    student = student_of(world, substeps=1)
    assert float(student.path_loss(*inputs()).detach()) < 1e-4


def test_only_the_lora_learns_and_it_leaves_the_base_as_it_was(world: Path):
    base = load_denoiser(world)  # not frozen: the student sees to that
    before = state_sha256(base)
    student = Student(base, PRESET, PRESET.recipe, torch.ones(64, dtype=torch.long), 0)
    losses = [student.step(student.path_loss(*inputs()), lambda parameters: 0.1)[0] for _ in range(12)]
    assert losses[-1] < losses[0]
    student.detach()
    require_unchanged(base, before)


def test_the_distances_are_to_the_teachers_end(world: Path, monkeypatch: pytest.MonkeyPatch):
    noise, tokens = inputs()
    student = student_of(world)
    assert distances(student, noise, tokens, substeps=1)["base_mse"] == 0  # the same steps
    monkeypatch.setattr(few_step, "GUIDANCE", 1.0)
    assert distances(student, noise, tokens, substeps=1) == {"student_mse": 0, "base_mse": 0}  # nothing learnt


def test_prompts_are_of_both_languages_and_the_same_again():
    texts = prompts(FIRST_HELD_OUT_SEED, 6)
    assert texts == prompts(FIRST_HELD_OUT_SEED, 6) and len(set(texts)) == 6
    chinese = [any("\u4e00" <= sign <= "\u9fff" for sign in text) for text in texts]
    assert set(chinese) == {True, False}


def test_no_two_steps_or_processes_share_a_prompt_and_none_is_held_out():
    batch, seen = 4, set[int]()
    for step in range(5):
        for rank in range(2):
            first = first_prompt(3, step, rank, 2, batch)
            own = set(range(first, first + batch))
            assert not own & seen
            seen |= own
    largest = first_prompt(MAX_SEED, 999_999, 3, 4, batch)
    assert max(max(seen), largest + batch - 1) < FIRST_HELD_OUT_SEED


def test_resuming_goes_on_from_the_saved_step(world: Path, monkeypatch: pytest.MonkeyPatch):
    done = PRESET.max_steps
    assert done is not None
    monkeypatch.setitem(PRESETS, "smoke", replace(PRESET, max_steps=done + 2))
    steps: list[int] = []
    monkeypatch.setattr(Run, "log", lambda run, **scalars: steps.append(run.step))
    few_step.main(Options("smoke", resume=True, out=world))
    assert steps == [done + 1, done + 2]


def test_a_warm_start_is_refused(tmp_path: Path):
    with pytest.raises(StudioError, match="init-from"):
        few_step.main(Options("smoke", init_from=tmp_path))
