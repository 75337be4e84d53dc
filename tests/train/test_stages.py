from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from transformers import CLIPModel

from studio.diffusion.super_resolution import SuperResolver
from studio.perception.measure import Measure
from studio.perception.network import FEATURES
from studio.train import clip, places, unet, upscale, vae
from studio.train.artefact import latents_sha256, weights_sha256
from studio.train.data import rendered_pictures
from studio.train.pictures import to_unit
from studio.train.run import Options, Run
from studio.train.samples import SAMPLE_PROMPTS, save_sample_sheet
from studio.train.tokenizer import load_tokenizer

PROMPTS = ("a red umbrella and a blue car on the beach, watercolour", "沙滩上的红伞和蓝色汽车,水彩")
SAMPLERS = {
    "DDIMScheduler": {},
    "EulerDiscreteScheduler": {},
    "DPMSolverMultistepScheduler": {"algorithm_type": "dpmsolver++", "solver_order": 2},
    "UniPCMultistepScheduler": {},
}


def facts(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "metrics.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def pipeline(trained: Path) -> Any:
    from diffusers import StableDiffusionPipeline

    pipe = StableDiffusionPipeline.from_pretrained(trained)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def test_the_stock_pipeline_loads_in_one_precision(pipeline: Any):
    parts = (pipeline.vae, pipeline.text_encoder, pipeline.unet)
    assert {p.dtype for part in parts for p in part.parameters()} == {torch.float32}


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_stock_pipeline_draws_in_both_languages(pipeline: Any, sampler: str):
    import diffusers

    own = pipeline.scheduler
    pipeline.scheduler = getattr(diffusers, sampler).from_config(own.config, **SAMPLERS[sampler])
    generators = [torch.Generator().manual_seed(seed) for seed in (0, 1)]
    pictures = pipeline(
        list(PROMPTS), num_inference_steps=4, guidance_scale=3.0, generator=generators, output_type="np"
    ).images
    pipeline.scheduler = own
    assert pictures.shape == (2, 128, 128, 3)
    assert np.isfinite(pictures).all() and pictures.std() > 0


def test_every_artefact_says_its_hash_and_what_it_builds_on(trained: Path):
    latents, text_hash = latents_sha256(trained / "vae"), weights_sha256(trained / "text_encoder")
    assert facts(trained / "text_encoder")["builds_on"] == {"latents": latents}
    assert facts(trained / "unet")["builds_on"] == {"latents": latents, "text_encoder": text_hash}
    for part in ("vae", "text_encoder", "unet", "perception"):
        assert facts(trained / part)["sha256"] == weights_sha256(trained / part)
        assert facts(trained / part)["steps"] > 0


def test_scaled_latents_have_unit_variance(trained: Path, pipeline: Any):
    pictures = to_unit(rendered_pictures(0, vae.PRESETS["smoke"].pictures, 128))
    with torch.no_grad():
        latents = pipeline.vae.encode(pictures).latents * pipeline.vae.config.scaling_factor
    assert float(latents.std()) == pytest.approx(1, rel=0.02)


def test_the_preview_maps_latents_to_colours(trained: Path):
    fitted = json.loads((trained / "vae" / "latent_rgb.json").read_text(encoding="utf-8"))
    assert (np.array(fitted["weight"]).shape, np.array(fitted["bias"]).shape) == ((4, 3), (3,))


def test_the_eye_loads_and_reads_with_a_ceiling_for_every_mark(trained: Path):
    measure = Measure.load(trained / "perception")
    prompt = "a person waving in a red shirt and blue trousers and a green cat in a room, flat"
    (found,) = measure.obedience(prompt, [Image.new("RGB", (128, 128))])
    assert len(found) == 7
    assert measure.read([Image.new("RGB", (64, 64))]).features.shape == (1, FEATURES)


def test_the_towers_of_clip_load_and_agree_on_a_width(trained: Path):
    towers = CLIPModel.from_pretrained(trained / "clip")
    tokens = torch.zeros(2, 64, dtype=torch.long)
    output = towers(input_ids=tokens, pixel_values=torch.zeros(2, 3, 128, 128))
    assert output.image_embeds.shape == output.text_embeds.shape == (2, clip.PROJECTION)
    assert 0 <= facts(trained / "clip")["metrics"]["top1_of_64_zh"] <= 1


def test_the_super_resolver_doubles_the_side_and_is_measured_against_interpolation(trained: Path):
    resolver = SuperResolver()
    resolver.load_state_dict({k: v.float() for k, v in load_file(trained / "upscale" / upscale.WEIGHTS).items()})
    assert resolver(torch.zeros(1, 3, 16, 24)).shape == (1, 3, 32, 48)
    found = facts(trained / "upscale")
    assert set(found["metrics"]) == {"psnr_db", "bilinear_psnr_db"}
    assert found["builds_on"] == {"vae": weights_sha256(trained / "vae")}


def test_training_again_reads_what_was_rendered_and_encoded(trained: Path):
    names = {path.name.partition("-")[0] for path in places.data_folder().iterdir()}
    assert names == {"pictures", "latents", "anything"}
    assert not list(places.data_folder().glob("*.partial")) + list(places.data_folder().glob("*.tmp.npy"))


def test_resuming_goes_on_from_the_saved_step(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    done = vae.PRESETS["smoke"].max_steps
    assert done is not None
    monkeypatch.setitem(vae.PRESETS, "smoke", replace(vae.PRESETS["smoke"], max_steps=done + 2))
    steps = []
    monkeypatch.setattr(Run, "log", lambda run, **scalars: steps.append(run.step))
    vae.main(Options("smoke", resume=True, out=tmp_path))
    assert steps == [done + 1, done + 2]
    assert facts(tmp_path / "vae")["steps"] == done + 2


def test_training_can_start_from_weights(trained: Path, tmp_path: Path):
    vae.main(Options("smoke", minutes=1e-6, init_from=trained / "vae", out=tmp_path))
    assert facts(tmp_path / "vae")["warm_start"] is True


def test_a_sample_sheet_shows_every_prompt_twice(trained: Path):
    run = Run("unet", 0, 1, Options("smoke"), minutes=1)
    model = unet.load_denoiser(trained)
    tokenizer = load_tokenizer(trained / "tokenizer")
    path = save_sample_sheet(model, trained / "vae", tokenizer, unet.build_scheduler(), run)
    with Image.open(path) as sheet:
        assert sheet.size == (128 * len(SAMPLE_PROMPTS), 2 * 128)


def test_a_warm_start_refines_the_decoder_and_leaves_the_latents(trained: Path, tmp_path: Path):
    vae.main(Options("smoke", init_from=trained / "vae", out=tmp_path))
    before, after = (load_file(f / "vae" / "diffusion_pytorch_model.safetensors") for f in (trained, tmp_path))
    changed = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"decoder"}
    assert latents_sha256(trained / "vae") == latents_sha256(tmp_path / "vae")
