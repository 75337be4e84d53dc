from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import ControlNetModel
from safetensors import safe_open

from studio.errors import ModelUnavailable, StudioError
from studio.lineage import require_base, weights_sha256
from studio.train import controlnet, places
from studio.train.controlnet import PRESETS, STRATA, build_control, hidden_of
from studio.train.frozen import freeze, require_unchanged
from studio.train.hinted import ahead
from studio.train.run import Options, Run
from studio.train.unet import Denoiser, build_denoiser
from studio.train.waking import FILE, controlled, zero_convolutions
from studio.world.maps import true_map
from studio.world.render import render
from studio.world.scene import FIRST_HELD_OUT_SEED, scene_of_seed
from tests.tiny import make_little_world

TEN_MEGABYTES = 10_000_000
MOST_NOTES_BYTES = 50_000


@pytest.fixture(scope="module")
def base() -> Denoiser:
    torch.manual_seed(0)
    return build_denoiser().requires_grad_(False).eval()


@pytest.fixture(scope="module")
def inputs() -> tuple[torch.Tensor, ...]:
    """x, t, tokens and hint of two pictures."""
    generator = torch.Generator().manual_seed(1)
    x, hint = torch.randn(2, 4, 16, 16, generator=generator), torch.rand(2, 3, 128, 128, generator=generator)
    return x, torch.tensor([20, 900]), torch.randint(0, 500, (2, 64), generator=generator), hint


def fresh(base: Denoiser) -> ControlNetModel:
    torch.manual_seed(2)
    return build_control(base.unet, None)


def test_before_the_first_step_the_base_is_unchanged_bit_for_bit(base: Denoiser, inputs: tuple[torch.Tensor, ...]):
    x, t, tokens, hint = inputs
    with torch.no_grad():
        assert torch.equal(controlled(base, fresh(base), x, t, tokens, hint), base(x, t, tokens))


def test_at_the_first_step_zero_convolutions_have_a_gradient_and_what_feeds_them_has_none(
    base: Denoiser, inputs: tuple[torch.Tensor, ...]
):
    control, (x, t, tokens, hint) = fresh(base), inputs
    hint = hint.requires_grad_()
    controlled(base, control, x, t, tokens, hint).square().mean().backward()
    zeros = dict(zero_convolutions(control))
    hint_convolution = zeros.pop("hint")
    assert all(float(zero.weight.grad.abs().max()) > 0 for zero in zeros.values())
    behind = {p for zero in zeros.values() for p in zero.parameters()}
    fed = [p for p in control.parameters() if p not in behind]
    assert fed and all(p.grad is None or not p.grad.any() for p in fed)
    assert hint_convolution.weight.grad is not None and not hint_convolution.weight.grad.any()
    assert hint.grad is not None and not hint.grad.any()


def test_only_the_control_gets_a_gradient_and_the_base_stays_the_same(inputs: tuple[torch.Tensor, ...]):
    base = build_denoiser()
    before = freeze(base)
    control = fresh(base)
    for _, convolution in zero_convolutions(control):
        torch.nn.init.normal_(convolution.weight, std=0.1)
    controlled(base, control, *inputs).square().mean().backward()
    assert all(p.grad is None for p in base.parameters())
    assert all(p.grad is not None for p in control.parameters())
    require_unchanged(base, before)


def test_muon_moves_neither_what_starts_at_zero_nor_the_first_layers(base: Denoiser):
    control = fresh(base)
    hidden, names = set(hidden_of(control)), dict(control.named_parameters())
    assert all(p.ndim in (2, 4) for p in hidden)
    assert not any(convolution.weight in hidden for _, convolution in zero_convolutions(control))
    for name in ("conv_in.weight", "controlnet_cond_embedding.conv_in.weight"):
        assert names[name] not in hidden
    assert names["mid_block.resnets.0.conv1.weight"] in hidden
    assert names["controlnet_cond_embedding.blocks.0.weight"] in hidden


def test_the_zero_convolutions_are_all_that_is_zero_at_first(base: Denoiser):
    control = fresh(base)
    zeros = {convolution.weight for _, convolution in zero_convolutions(control)}
    assert zeros == {p for p in control.parameters() if p.ndim == 4 and not p.any()}


@pytest.mark.parametrize("threads", [1, 3])
def test_batches_come_in_order_whoever_makes_them(threads: int):
    assert list(islice(ahead(lambda step: step, 5, threads), 6)) == [5, 6, 7, 8, 9, 10]  # type: ignore[arg-type, return-value]


@pytest.mark.parametrize("kind", [None, "scribble"])
def test_a_kind_of_map_has_to_be_named(kind: str | None):
    with pytest.raises(StudioError, match="canny, depth, pose"):
        controlnet.main(Options("smoke", kind=kind))


def test_presets_train_on_no_seed_that_measures_and_measure_by_the_strata():
    assert all(3 * preset.scenes <= FIRST_HELD_OUT_SEED for preset in PRESETS.values())
    assert all(preset.measured % STRATA == 0 for preset in PRESETS.values())


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A base with random weights, and the ControlNets that were trained on it for a few steps; runs lie beside it."""
    folder = make_little_world(tmp_path_factory.mktemp("steered"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(places, "RUNS", folder.parent / "runs-of-controlnets")
        for kind in ("canny", "pose"):
            controlnet.main(Options("smoke", out=folder, kind=kind))
        yield folder


def facts(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "metrics.json").read_text(encoding="utf-8"))


def test_what_is_written_is_small_half_precision_and_says_its_kind(world: Path):
    folder = world / "controlnet-canny"
    files = list(folder.glob("*.safetensors"))
    assert files and all(file.stat().st_size < TEN_MEGABYTES for file in files)
    with safe_open(files[0], "pt") as opened:
        assert {opened.get_tensor(name).dtype for name in opened.keys()} == {torch.float16}  # noqa: SIM118
    assert facts(folder)["kind"] == "canny"
    assert "train controlnet --kind canny --preset smoke" in (folder / "README.md").read_text(encoding="utf-8")


def test_a_controlnet_stands_on_its_base_and_is_refused_on_another(world: Path, tmp_path: Path):
    folder = world / "controlnet-pose"
    assert facts(folder)["builds_on"]["unet"] == weights_sha256(world / "unet")
    require_base(folder, "unet", world / "unet")
    with pytest.raises(ModelUnavailable, match="controlnet-pose"):
        require_base(folder, "unet", world / "vae")


def test_the_notes_of_the_first_steps_start_at_nothing(world: Path):
    path = world / "controlnet-canny" / FILE
    notes = json.loads(path.read_text(encoding="utf-8"))
    assert path.stat().st_size < MOST_NOTES_BYTES
    steps = notes["steps"]
    assert [note["step"] for note in steps] == [0, 1, 2, 3, 4]
    assert set(steps[0]["norms"].values()) == {0.0}
    assert (steps[0]["loss"], steps[0]["obedience"]) == (notes["without"]["loss"], notes["without"]["obedience"])
    assert min(steps[-1]["norms"].values()) > 0
    assert steps[3]["loss"] != steps[0]["loss"]


def test_without_heads_poses_are_noted_without_obedience(world: Path):
    notes = json.loads((world / "controlnet-pose" / FILE).read_text(encoding="utf-8"))
    assert notes["without"]["obedience"] is None
    assert notes["without"]["loss"] > 0


@pytest.mark.parametrize("kind", ["canny", "pose"])
def test_the_stock_pipeline_loads_and_draws_with_it(world: Path, kind: Any):
    from diffusers import StableDiffusionControlNetPipeline
    from PIL import Image

    control = ControlNetModel.from_pretrained(world / f"controlnet-{kind}")
    pipeline = StableDiffusionControlNetPipeline.from_pretrained(world, controlnet=control)
    pipeline.set_progress_bar_config(disable=True)
    scene = next(scene for scene in map(scene_of_seed, range(50)) if scene.person is not None)
    hint = Image.fromarray(true_map(kind, render(scene, 128)))
    pictures = [
        pipeline(
            "a person in a room",
            image=hint,
            num_inference_steps=2,
            controlnet_conditioning_scale=scale,
            generator=torch.Generator().manual_seed(0),
            output_type="np",
        ).images[0]
        for scale in (0.0, 1.0)
    ]
    assert pictures[0].shape == (128, 128, 3) and np.isfinite(pictures[1]).all()
    assert not np.array_equal(*pictures)


def test_training_can_start_from_a_controlnet(world: Path, tmp_path: Path):
    for part in ("tokenizer", "vae", "unet", "text_encoder"):
        (tmp_path / part).symlink_to(world / part)
    source = world / "controlnet-canny"
    controlnet.main(Options("smoke", minutes=1e-6, init_from=source, out=tmp_path, kind="canny"))
    notes = json.loads((tmp_path / "controlnet-canny" / FILE).read_text(encoding="utf-8"))
    assert facts(tmp_path / "controlnet-canny")["warm_start"] is True
    assert min(notes["steps"][0]["norms"].values()) > 0


def test_resuming_goes_on_from_the_saved_step_with_its_notes(world: Path, monkeypatch: pytest.MonkeyPatch):
    done = PRESETS["smoke"].max_steps
    assert done is not None
    monkeypatch.setitem(controlnet.PRESETS, "smoke", replace(PRESETS["smoke"], max_steps=done + 1))
    steps: list[int] = []
    monkeypatch.setattr(Run, "log", lambda run, **scalars: steps.append(run.step))
    controlnet.main(Options("smoke", resume=True, out=world, kind="pose"))
    assert steps == [done + 1]
    notes = json.loads((world / "controlnet-pose" / FILE).read_text(encoding="utf-8"))
    assert [note["step"] for note in notes["steps"]] == list(range(done + 2))
