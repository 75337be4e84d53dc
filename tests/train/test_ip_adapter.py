from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image
from safetensors import safe_open
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPVisionModelWithProjection

from studio.errors import ModelUnavailable
from studio.lineage import require_base, weights_sha256
from studio.train import ip_adapter, places
from studio.train.clip import PROJECTION, SIDE, build_clip, image_processor
from studio.train.frozen import freeze, require_unchanged
from studio.train.ip_adapter import PRESETS, STRATA, left_out
from studio.train.picture_prompt import FILE, TOKENS, PicturePrompt, prompted
from studio.train.references import References, embeddings_of
from studio.train.run import Options, Run
from studio.train.unet import Denoiser, load_denoiser
from studio.world.render import render_image
from studio.world.scene import FIRST_HELD_OUT_SEED, scene_of_seed
from studio.world.vocabulary import BACKGROUNDS, STYLES
from tests.tiny import make_little_world

TEN_MEGABYTES = 10_000_000
DIMS = 24


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base and a CLIP, both with random weights."""
    folder = make_little_world(tmp_path_factory.mktemp("referring"))
    torch.manual_seed(3)
    small = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    vision = {**small, "image_size": SIDE, "patch_size": 32, "projection_dim": DIMS}
    towers = CLIPModel(CLIPConfig(text_config=small, vision_config=vision, projection_dim=DIMS))
    towers.to(torch.float16).save_pretrained(folder / "clip")
    image_processor().save_pretrained(folder / "clip")
    return folder


@pytest.fixture(scope="module")
def world(bare: Path) -> Iterator[Path]:
    """The same, with the adapter that was trained on it for a few steps; runs lie beside it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(places, "RUNS", bare.parent / "runs-of-ip-adapters")
        ip_adapter.main(Options("smoke", out=bare))
        yield bare


@pytest.fixture
def base(bare: Path) -> Denoiser:
    return load_denoiser(bare)


def inputs(width: int) -> tuple[torch.Tensor, ...]:
    """x, t, tokens and embeddings of two pictures."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(2, 4, width, width, generator=generator)
    tokens = torch.randint(0, 200, (2, 64), generator=generator)
    return x, torch.tensor([20, 900]), tokens, torch.randn(2, DIMS, generator=generator)


def facts(world: Path) -> dict[str, Any]:
    return json.loads((world / "ip-adapter" / "metrics.json").read_text(encoding="utf-8"))


def stock(world: Path, adapted: bool = True) -> Any:
    """diffusers' own pipeline, loaded as the card says."""
    pipeline = StableDiffusionPipeline.from_pretrained(
        world,
        image_encoder=CLIPVisionModelWithProjection.from_pretrained(world / "clip", dtype=torch.float32),
        feature_extractor=CLIPImageProcessor.from_pretrained(world / "clip"),
        dtype=torch.float32,
    )
    pipeline.set_progress_bar_config(disable=True)
    if adapted:
        pipeline.load_ip_adapter(str(world / "ip-adapter"), subfolder="", weight_name=FILE, image_encoder_folder=None)
    return pipeline


def drawn(pipeline: Any, **settings: Any) -> np.ndarray:
    generator = torch.Generator().manual_seed(0)
    return pipeline("a cat", num_inference_steps=2, generator=generator, output_type="np", **settings).images[0]


def test_keys_and_values_start_as_those_of_the_text(base: Denoiser):
    adapter = PicturePrompt(base.unet, DIMS)
    for name, attention in zip(adapter.names, adapter.attentions, strict=True):
        own = base.unet.get_submodule(name.removesuffix(".processor"))
        assert torch.equal(attention.to_k_ip[0].weight, own.to_k.weight)
        assert torch.equal(attention.to_v_ip[0].weight, own.to_v.weight)


def test_every_weight_of_the_adapter_gets_a_gradient_and_none_of_the_base(base: Denoiser):
    before = freeze(base)
    adapter = PicturePrompt(base.unet, DIMS)
    with adapter.on(base.unet):
        prompted(base, *inputs(8)).square().mean().backward()
        assert all(p.grad is not None and p.grad.any() for p in adapter.parameters())
    assert all(p.grad is None for p in base.parameters())
    require_unchanged(base, before)


def test_taking_it_off_gives_the_base_back_even_after_an_error(base: Denoiser):
    x, t, tokens, embeddings = inputs(8)
    with torch.no_grad():
        before = base(x, t, tokens)
        with pytest.raises(ZeroDivisionError), PicturePrompt(base.unet, DIMS).on(base.unet):
            changed = prompted(base, x, t, tokens, embeddings)
            raise ZeroDivisionError
        assert torch.equal(base(x, t, tokens), before)
    assert not torch.equal(changed, before)


def many_references(count: int = 3_000, embedded: int = 1_000) -> References:
    scenes = [scene_of_seed(seed) for seed in range(count)]
    styles = np.array([STYLES.index(scene.style) for scene in scenes])
    return References(np.zeros((count, 4, 64), np.int16), styles, np.zeros((embedded, 2), np.float32))


def test_a_reference_is_another_scene_of_the_same_style():
    references, rng = many_references(), np.random.default_rng(0)
    picks = np.arange(len(references.styles))
    partners = references.partners(picks, rng)
    assert (references.styles[partners] == references.styles).all()
    assert (partners != picks).all()
    assert partners.max() < len(references.embeddings)


def test_the_style_is_all_that_a_reference_tells():
    """Its place agrees with the picture's as often as two scenes' places do by chance, neither more nor less."""
    references, rng = many_references(), np.random.default_rng(0)
    places_of = np.array([BACKGROUNDS.index(scene_of_seed(seed).background) for seed in range(3_000)])
    alike = (places_of[references.partners(np.arange(3_000), rng)] == places_of).mean()
    assert alike == pytest.approx(1 / len(BACKGROUNDS), abs=0.025)


def test_text_picture_or_both_are_left_out_as_often_as_the_preset_says():
    count, preset = 10_000, PRESETS["cpu"]
    tokens, embeddings = np.ones((count, 3), np.int64), np.ones((count, 2), np.float32)
    chance = (np.arange(count) + 0.5) / count
    texts, pictures = left_out(tokens, embeddings, np.zeros(3, np.int64), preset, chance)
    no_text, no_picture = (texts == 0).all(1), (pictures == 0).all(1)
    assert (no_text & no_picture).mean() == pytest.approx(preset.without_both)
    assert (no_text & ~no_picture).mean() == pytest.approx(preset.without_text)
    assert (~no_text & no_picture).mean() == pytest.approx(preset.without_picture)


def test_presets_train_on_no_seed_that_measures_and_measure_by_the_strata():
    assert all(preset.scenes <= FIRST_HELD_OUT_SEED for preset in PRESETS.values())
    assert all(preset.held_out % STRATA == 0 for preset in PRESETS.values())
    assert all(preset.references <= preset.scenes for preset in PRESETS.values())


def test_the_stage_that_trains_clip_says_in_each_tower_how_wide_their_space_is():
    config = build_clip().config
    assert config.vision_config.projection_dim == config.text_config.projection_dim == PROJECTION


def test_the_image_tower_of_a_clip_folder_loads_alone(bare: Path):
    picture = render_image(scene_of_seed(4), 128)
    tower = CLIPVisionModelWithProjection.from_pretrained(bare / "clip", dtype=torch.float32)
    pixels = CLIPImageProcessor.from_pretrained(bare / "clip")(images=Image.fromarray(picture), return_tensors="pt")
    with torch.no_grad():
        expected = tower(**pixels).image_embeds
    clip = CLIPModel.from_pretrained(bare / "clip", dtype=torch.float32)
    found = embeddings_of(clip, picture[None])
    assert found.shape == (1, DIMS)
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-5)


def test_the_file_has_the_official_layout_and_is_small(world: Path):
    path = world / "ip-adapter" / FILE
    assert path.stat().st_size < TEN_MEGABYTES
    unet = load_denoiser(world).unet
    places_of = [i for i, name in enumerate(unet.attn_processors) if "attn2" in name]
    with safe_open(path, "pt") as opened:
        shapes = {name: tuple(opened.get_slice(name).get_shape()) for name in opened.keys()}  # noqa: SIM118
        assert {opened.get_tensor(name).dtype for name in shapes} == {torch.float16}
    attention = {f"ip_adapter.{i}.{name}.weight" for i in places_of for name in ("to_k_ip", "to_v_ip")}
    projection = {f"image_proj.{name}" for name in ("proj.weight", "proj.bias", "norm.weight", "norm.bias")}
    assert set(shapes) == attention | projection
    width = unet.config.cross_attention_dim
    assert shapes["image_proj.proj.weight"] == (TOKENS * width, DIMS)


def test_stock_diffusers_computes_what_was_trained(world: Path):
    base, pipeline = load_denoiser(world), stock(world)
    adapter = PicturePrompt(base.unet, DIMS)
    adapter.load(world / "ip-adapter" / FILE)
    x, t, tokens, embeddings = inputs(16)
    with torch.no_grad():
        with adapter.on(base.unet):
            expected = prompted(base, x, t, tokens, embeddings)
        context = base.text_encoder(tokens).last_hidden_state
        told = {"image_embeds": [embeddings[:, None]]}
        found = pipeline.unet(x, t, context, added_cond_kwargs=told, return_dict=False)[0]
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=1e-4)


def test_the_stock_pipeline_draws_from_a_picture_and_at_scale_zero_as_the_base_does(world: Path):
    plain, pipeline = stock(world, adapted=False), stock(world)
    picture = Image.fromarray(render_image(scene_of_seed(4), 128))
    referred = drawn(pipeline, ip_adapter_image=picture)
    pipeline.set_ip_adapter_scale(0.0)
    assert np.array_equal(drawn(pipeline, ip_adapter_image=picture), drawn(plain))
    assert np.isfinite(referred).all() and not np.array_equal(referred, drawn(plain))


def test_it_stands_on_its_base_and_its_clip_and_is_refused_on_others(world: Path):
    assert facts(world)["builds_on"] == {"unet": weights_sha256(world / "unet"), "clip": weights_sha256(world / "clip")}
    require_base(world / "ip-adapter", "clip", world / "clip")
    with pytest.raises(ModelUnavailable, match="ip-adapter"):
        require_base(world / "ip-adapter", "unet", world / "vae")


def test_it_is_measured_with_the_right_reference_without_one_and_with_a_wrong_one(world: Path):
    metrics = facts(world)["metrics"]
    assert set(metrics) == {"held_out_mse", "without_reference_mse", "other_style_mse"}
    assert len(set(metrics.values())) == 3
    assert "ip_adapter_image=" in (world / "ip-adapter" / "README.md").read_text(encoding="utf-8")


def test_a_sheet_shows_every_style_as_reference(world: Path):
    (sheet,) = places.run_folder("ip-adapter", "smoke").glob("samples-*.png")
    with Image.open(sheet) as opened:
        assert opened.size == (128 * len(STYLES), 128 * (1 + len(ip_adapter.SHEET_PROMPTS)))


def test_resuming_goes_on_from_the_saved_step(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    done = PRESETS["smoke"].max_steps
    assert done is not None
    for part in ("tokenizer", "vae", "unet", "text_encoder", "clip"):
        (tmp_path / part).symlink_to(world / part)
    monkeypatch.setitem(ip_adapter.PRESETS, "smoke", replace(PRESETS["smoke"], max_steps=done + 1))
    steps: list[int] = []
    monkeypatch.setattr(Run, "log", lambda run, **scalars: steps.append(run.step))
    ip_adapter.main(Options("smoke", resume=True, init_from=world / "ip-adapter", out=tmp_path))
    assert steps == [done + 1]
    assert facts(tmp_path)["warm_start"] is True
