from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image
from safetensors import safe_open

from studio.errors import StudioError
from studio.train.frozen import freeze, require_unchanged
from studio.train.lessons import Lessons, Told, encoded
from studio.train.lora import PRESETS
from studio.train.lora_files import save_lora
from studio.train.lora_steps import Learner, Progress, Recipe, fixed_loss, lora_steps, mixed, within
from studio.train.unet import build_denoiser, build_scheduler
from tests.tiny import NATIVE_SIZE, make_little_world, make_sd15

TWO_MEGABYTES = 2_000_000
RECIPE = Recipe(rank=4, alpha=2, batch=4, learning_rate=1e-2, warmup_steps=2, prior_share=0.5)
WORLDS = {"little-world": make_little_world, "sd15": make_sd15}


@pytest.fixture(scope="module", params=WORLDS)
def family(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return WORLDS[request.param](tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_little_world(tmp_path_factory.mktemp("base"))


def pipeline_of(folder: Path) -> Any:
    pipeline = StableDiffusionPipeline.from_pretrained(folder, dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def learner_of(pipeline: Any, recipe: Recipe = RECIPE) -> Learner:
    return Learner(pipeline.unet, pipeline.text_encoder, pipeline.scheduler, recipe, seed=0)


def lessons_of(pipeline: Any, colour: str = "red", caption: str = "sks") -> Lessons:
    picture = np.asarray(Image.new("RGB", (NATIVE_SIZE, NATIVE_SIZE), colour))
    return encoded(Told(np.stack([picture] * 4), [[caption]] * 4), pipeline.vae, pipeline.tokenizer)


def until(steps: int) -> Any:
    """A budget of steps."""
    done = iter(range(1, steps + 1))
    return lambda parameters: next(done) / steps


def drawn(pipeline: Any) -> np.ndarray:
    generator = torch.Generator().manual_seed(0)
    return pipeline("sks", num_inference_steps=2, generator=generator, output_type="np").images[0]


def taught(folder: Path) -> tuple[Any, Learner]:
    pipeline = pipeline_of(folder)
    learner = learner_of(pipeline)
    for _ in lora_steps(learner, lessons_of(pipeline), until(6), pipeline.tokenizer):
        pass
    learner.round()
    return pipeline, learner


def test_before_the_first_step_the_base_draws_the_same(folder: Path):
    pipeline = pipeline_of(folder)
    processors, before = dict(pipeline.unet.attn_processors), drawn(pipeline)
    learner_of(pipeline)
    pipeline.unet.set_attn_processor(processors)  # on a CPU learning uses other kernels of attention
    assert np.array_equal(drawn(pipeline), before)


def test_a_lora_learns_its_pictures_whichever_the_family(family: Path):
    pipeline = pipeline_of(family)
    learner, lessons = learner_of(pipeline), lessons_of(pipeline)
    before = fixed_loss(learner, lessons)
    steps = list(lora_steps(learner, lessons, until(25), pipeline.tokenizer))
    assert [progress.step for progress in steps] == list(range(1, 26))
    assert fixed_loss(learner, lessons) < 0.9 * before
    with learner.switched_off():
        assert fixed_loss(learner, lessons) == pytest.approx(before)


def test_taken_off_the_base_is_what_it_was_bit_for_bit(family: Path):
    pipeline = pipeline_of(family)
    hashes = {part: freeze(getattr(pipeline, part)) for part in ("unet", "text_encoder")}
    processors, before = dict(pipeline.unet.attn_processors), drawn(pipeline)
    learner = learner_of(pipeline)
    list(lora_steps(learner, lessons_of(pipeline), until(2), pipeline.tokenizer))
    learner.detach()
    for part, hashed in hashes.items():
        require_unchanged(getattr(pipeline, part), hashed)
    assert pipeline.unet.attn_processors == processors
    assert np.array_equal(drawn(pipeline), before)
    learner_of(pipeline)  # and another one can be put on


def test_every_matrix_learns_and_nothing_of_the_base_does(folder: Path):
    pipeline = pipeline_of(folder)
    learner = learner_of(pipeline)
    own = set(learner.parameters)
    states = {p: p.detach().clone() for p in own}
    list(lora_steps(learner, lessons_of(pipeline), until(3), pipeline.tokenizer))
    assert all(not torch.equal(p, states[p]) for p in own)
    for part in learner.parts.values():
        assert all(p.grad is None for p in part.parameters() if p not in own)


def test_convolutions_and_the_text_encoder_learn_too(folder: Path):
    weights = learner_of(pipeline_of(folder)).weights()
    assert any(name.endswith("conv1") for name in weights["unet"])
    assert any("ff.net.0.proj" in name for name in weights["unet"])
    assert any("mlp.fc1" in name for name in weights["text_encoder"])


def test_a_model_that_predicts_something_else_is_refused(folder: Path):
    pipeline = pipeline_of(folder)
    pipeline.scheduler.register_to_config(prediction_type="sample")
    with pytest.raises(StudioError, match="sample"):
        learner_of(pipeline)


def test_the_same_seed_learns_the_same(folder: Path):
    (_, one), (_, other) = taught(folder), taught(folder)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters, other.parameters, strict=True))


def test_training_leaves_the_random_stream_of_others_alone(folder: Path):
    pipeline = pipeline_of(folder)
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    learner = learner_of(pipeline)
    list(lora_steps(learner, lessons_of(pipeline), until(2), pipeline.tokenizer))
    assert torch.equal(torch.rand(3), expected)


def test_pictures_of_progress_come_at_the_first_step_and_at_the_end(folder: Path):
    pipeline = pipeline_of(folder)
    picture = Image.new("RGB", (1, 1))
    steps = list(
        lora_steps(
            learner_of(pipeline),
            lessons_of(pipeline),
            until(4),
            pipeline.tokenizer,
            sketch=lambda: picture,
            sketch_every_seconds=3600,
        )
    )
    assert [progress.picture is picture for progress in steps] == [True, False, False, True]
    assert all(isinstance(progress, Progress) and np.isfinite(progress.loss) for progress in steps)
    assert steps[-1].fraction == 1


def test_a_budget_of_time_ends(folder: Path):
    pipeline = pipeline_of(folder)
    steps = lora_steps(learner_of(pipeline), lessons_of(pipeline), within(1e-9), pipeline.tokenizer)
    assert len(list(steps)) == 1


def test_a_share_of_every_batch_is_what_the_base_knows_already(folder: Path):
    pipeline = pipeline_of(folder)
    empty = torch.zeros(64, dtype=torch.long)
    own, prior = (Lessons(torch.full((3, 1, 2, 2), v), torch.ones(3, 1, 64, dtype=torch.long)) for v in (1.0, 2.0))
    recipe = replace(RECIPE, batch=8, prior_share=0.25, prompt_dropout=0.0)
    latents, times, tokens = mixed(own, prior, recipe, empty, np.random.default_rng(0))
    assert latents[:, 0, 0, 0].tolist() == [1.0] * 6 + [2.0] * 2
    assert (times.shape, tokens.shape) == ((8,), (8, 64))
    alone, _, dropped = mixed(own, None, replace(recipe, prompt_dropout=1.0), empty, np.random.default_rng(0))
    assert alone.eq(1).all() and dropped.eq(0).all()
    assert len(lessons_of(pipeline)) == 4


@pytest.mark.parametrize("file_format", ["diffusers", "kohya"])
def test_stock_diffusers_loads_either_format_and_draws_what_was_trained(folder: Path, tmp_path: Path, file_format: str):
    pipeline, learner = taught(folder)
    save_lora(tmp_path / "sks.safetensors", learner.weights(), RECIPE.rank, RECIPE.alpha, file_format, {"trigger": "x"})
    expected, plain = drawn(pipeline), pipeline_of(folder)
    without = drawn(plain)
    plain.load_lora_weights(str(tmp_path), weight_name="sks.safetensors")
    found = drawn(plain)
    np.testing.assert_allclose(found, expected, atol=2e-4)
    assert np.abs(found - without).max() > 50 * 2e-4


def test_both_formats_say_rank_alpha_and_what_the_training_knew(folder: Path, tmp_path: Path):
    _, learner = taught(folder)
    for file_format in ("diffusers", "kohya"):
        path = tmp_path / f"{file_format}.safetensors"
        save_lora(path, learner.weights(), RECIPE.rank, RECIPE.alpha, file_format, {"trigger": "sks", "steps": "6"})
        with safe_open(path, "pt") as opened:
            header, names = opened.metadata(), list(opened.keys())
            assert all(opened.get_tensor(name).dtype == torch.float16 for name in names)
        assert (header["rank"], header["alpha"], header["trigger"], header["steps"]) == ("4", "2", "sks", "6")
        marks = ("lora_unet_", "lora_te_text_model_") if file_format == "kohya" else ("unet.", "text_encoder.")
        assert {mark for mark in marks for name in names if name.startswith(mark)} == set(marks)


def test_a_lora_of_the_little_world_is_small():
    base = build_denoiser()
    for preset in PRESETS.values():
        learner = Learner(base.unet, base.text_encoder, build_scheduler(), preset.recipe, 0)
        assert 2 * sum(p.numel() for p in learner.parameters) < 0.9 * TWO_MEGABYTES
        learner.detach()
