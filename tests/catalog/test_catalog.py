from __future__ import annotations

from typing import Any

import pytest
import torch

from studio.catalog import FAMILIES, specs
from studio.text import LANGUAGES, t
from studio.types import Family, GenerationRequest, ModelSpec, Task


def test_ids_are_unique() -> None:
    assert len(specs()) == sum(len(family.specs) for family in FAMILIES)


@pytest.mark.parametrize("spec", specs().values(), ids=lambda spec: spec.id)
def test_the_defaults_of_a_model_make_a_valid_request(spec: ModelSpec) -> None:
    defaults = spec.defaults
    request = GenerationRequest(
        spec.id,
        "a house",
        0,
        width=defaults.width,
        height=defaults.height,
        num_inference_steps=defaults.num_inference_steps,
        guidance_scale=defaults.guidance_scale,
        scheduler=defaults.scheduler,
    )
    assert request.width == spec.native_size


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.id)
def test_a_family_draws_every_task_and_knows_its_models(family: Family) -> None:
    assert set(family.pipeline_classes) == set(Task)
    assert {spec.family for spec in family.specs} == {family.id}


@pytest.mark.parametrize("spec", specs().values(), ids=lambda spec: spec.id)
def test_a_model_states_its_licence_size_and_source(spec: ModelSpec) -> None:
    assert spec.license
    assert spec.bytes_estimate
    assert spec.sources


BASES = [spec for spec in specs().values() if spec.kind == "base"]
REMOTE = [spec for spec in BASES if any(source.hub == "huggingface" for source in spec.sources)]


@pytest.mark.parametrize("spec", REMOTE, ids=lambda spec: spec.id)
def test_a_model_of_a_hub_says_what_a_download_costs_and_where_its_licence_is(spec: ModelSpec) -> None:
    assert spec.download_bytes
    assert spec.license_url.startswith("https://huggingface.co/")
    assert spec.sources[0].hub == "local"  # a folder of one's own goes before the hub


@pytest.mark.parametrize("spec", BASES, ids=lambda spec: spec.id)
@pytest.mark.parametrize("language", LANGUAGES)
def test_every_model_is_described(spec: ModelSpec, language: str) -> None:
    assert t(f"model.{spec.id}.about", language)


def parameters(*modules: Any) -> int:
    return sum(parameter.numel() for module in modules for parameter in module.parameters())


@pytest.fixture(scope="module")
def shared_parts() -> tuple[Any, Any]:
    """The text encoder and the autoencoder of Stable Diffusion 1.5, which SDXL has too, without storage."""
    from diffusers import AutoencoderKL
    from transformers import CLIPTextConfig, CLIPTextModel

    with torch.device("meta"):
        text = CLIPTextModel(CLIPTextConfig(hidden_size=768, intermediate_size=3072, num_attention_heads=12))
        vae = AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            block_out_channels=(128, 256, 512, 512),
            layers_per_block=2,
        )
    return text, vae


@pytest.mark.parametrize(("model_id", "channels"), [("sd15", 4), ("sd15-inpaint", 9)])
def test_the_size_of_stable_diffusion_15_is_that_of_its_architecture(
    shared_parts: tuple[Any, Any], model_id: str, channels: int
) -> None:
    from diffusers import UNet2DConditionModel

    with torch.device("meta"):
        unet = UNet2DConditionModel(sample_size=64, in_channels=channels, cross_attention_dim=768)
    count, spec = parameters(unet, *shared_parts), specs()[model_id]
    assert (spec.bytes_in("float32"), spec.download_bytes) == (4 * count, 2 * count)


@pytest.mark.parametrize("model_id", ["sdxl", "sdxl-turbo"])
def test_the_size_of_sdxl_is_that_of_its_architecture(shared_parts: tuple[Any, Any], model_id: str) -> None:
    from diffusers import UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection

    with torch.device("meta"):
        second = CLIPTextConfig(
            hidden_size=1280,
            intermediate_size=5120,
            num_hidden_layers=32,
            num_attention_heads=20,
            projection_dim=1280,
        )
        unet = UNet2DConditionModel(
            sample_size=128,
            block_out_channels=(320, 640, 1280),
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            cross_attention_dim=2048,
            transformer_layers_per_block=(1, 2, 10),
            attention_head_dim=(5, 10, 20),
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=256,
            projection_class_embeddings_input_dim=2816,
        )
        count = parameters(unet, *shared_parts, CLIPTextModelWithProjection(second))
    spec = specs()[model_id]
    assert (spec.bytes_in("bfloat16"), spec.bytes_in("float32")) == (2 * count, 4 * count)
    assert spec.download_bytes == 2 * count


def test_previews_of_sdxl_are_grey_where_its_latents_are_nothing() -> None:
    offset = torch.tensor(specs()["sdxl"].latent_rgb[-1])
    published = torch.tensor([150.0, 140.0, 130.0])  # of 255, for latents of zero
    torch.testing.assert_close((offset + 1) * 127.5, published)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.id)
def test_every_class_of_a_family_is_one_of_diffusers(family: Family) -> None:
    import diffusers

    names = {*family.pipeline_classes.values(), *family.controlnet_classes.values()}
    assert set(family.controlnet_classes) == set(Task)
    assert all(hasattr(diffusers, name) for name in names)
    assert all("ControlNet" in name for name in family.controlnet_classes.values())
