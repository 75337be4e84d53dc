"""Complete model folders with random weights, written in under a second: the studio's shapes, but smaller."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

TOKENS = 64
TEXT_DIMS = 32
TIME_ID_DIMS = 8
LATENT_CHANNELS = 4
NATIVE_SIZE = 64


def make_little_world(folder: Path, seed: int = 0) -> Path:
    """A folder like models/little-world: AutoencoderTiny, v-prediction, zero terminal SNR, trailing spacing."""
    from diffusers import AutoencoderTiny, DDIMScheduler

    torch.manual_seed(seed)
    vae = AutoencoderTiny(
        encoder_block_out_channels=(8, 8, 8, 8),
        decoder_block_out_channels=(8, 8, 8, 8),
        num_encoder_blocks=(1, 1, 1, 1),
        num_decoder_blocks=(1, 1, 1, 1),
        latent_channels=LATENT_CHANNELS,
        scaling_factor=1.0,
    )
    scheduler = DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        clip_sample=False,
        set_alpha_to_one=True,
        steps_offset=1,
    )
    _save(folder, vae, scheduler)
    weight = torch.randn(LATENT_CHANNELS, 3) * 0.3
    fitted = {"weight": weight.tolist(), "bias": [0.1, 0.0, -0.1]}
    (folder / "vae" / "latent_rgb.json").write_text(json.dumps(fitted), encoding="utf-8")
    return folder


def make_sd15(folder: Path, seed: int = 0, in_channels: int = LATENT_CHANNELS) -> Path:
    """A folder like Stable Diffusion 1.5: AutoencoderKL, epsilon-prediction, PNDM as its own scheduler.

    in_channels: 9 for one like its inpainting checkpoint.
    """
    from diffusers import PNDMScheduler

    torch.manual_seed(seed)
    vae = _kl_autoencoder()
    scheduler = PNDMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        skip_prk_steps=True,
        set_alpha_to_one=False,
        steps_offset=1,
    )
    _save(folder, vae, scheduler, in_channels)
    config = folder / "scheduler" / "scheduler_config.json"
    with_clip = {**json.loads(config.read_text(encoding="utf-8")), "clip_sample": False}
    config.write_text(json.dumps(with_clip), encoding="utf-8")
    return folder


def make_sdxl(folder: Path, seed: int = 0, spacing: str = "leading") -> Path:
    """A folder like Stable Diffusion XL: two text encoders, pooled embeddings and time ids, an autoencoder that is to
    run in float32, Euler as its own scheduler. spacing "trailing": like its turbo model."""
    from diffusers import EulerDiscreteScheduler, StableDiffusionXLPipeline
    from transformers import CLIPTextModel, CLIPTextModelWithProjection

    torch.manual_seed(seed)
    vae = _kl_autoencoder(force_upcast=True, scaling_factor=0.13025)
    tokenizer = make_tokenizer()
    config = _text_config(len(tokenizer), tokenizer.eos_token_id)
    scheduler = EulerDiscreteScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        timestep_spacing=spacing,
        steps_offset=1,
    )
    pipeline = StableDiffusionXLPipeline(
        vae=vae,
        text_encoder=CLIPTextModel(config),
        text_encoder_2=CLIPTextModelWithProjection(config),
        tokenizer=tokenizer,
        tokenizer_2=make_tokenizer(),
        unet=_unet(
            cross_attention_dim=2 * TEXT_DIMS,
            addition_embed_type="text_time",
            addition_time_embed_dim=TIME_ID_DIMS,
            projection_class_embeddings_input_dim=TEXT_DIMS + 6 * TIME_ID_DIMS,
            transformer_layers_per_block=(1, 2),
            use_linear_projection=True,
        ),
        scheduler=scheduler,
        add_watermarker=False,
    )
    pipeline.save_pretrained(folder)
    return folder


def _save(folder: Path, vae: Any, scheduler: Any, in_channels: int = LATENT_CHANNELS) -> None:
    """Write a StableDiffusionPipeline of these two, a UNet, a text encoder and a tokenizer."""
    from diffusers import StableDiffusionPipeline

    tokenizer = make_tokenizer()
    pipeline = StableDiffusionPipeline(
        vae=vae,
        text_encoder=_text_encoder(len(tokenizer), tokenizer.eos_token_id),
        tokenizer=tokenizer,
        unet=_unet(in_channels=in_channels),
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        image_encoder=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(folder)


def make_tokenizer() -> Any:
    """Every byte is a token and every Han character stands alone: nothing is ever unknown."""
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    start, end = "<|startoftext|>", "<|endoftext|>"
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: index for index, letter in enumerate([*letters, start, end])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"\p{Han}"), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{start} $A {end}", special_tokens=[(start, vocabulary[start]), (end, vocabulary[end])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=start, eos_token=end, pad_token=end, model_max_length=TOKENS
    )


def _text_encoder(vocabulary_size: int, end_id: int) -> Any:
    from transformers import CLIPTextModel

    return CLIPTextModel(_text_config(vocabulary_size, end_id))


def _text_config(vocabulary_size: int, end_id: int) -> Any:
    from transformers import CLIPTextConfig

    return CLIPTextConfig(
        vocab_size=vocabulary_size,
        hidden_size=TEXT_DIMS,
        intermediate_size=2 * TEXT_DIMS,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=TOKENS,
        projection_dim=TEXT_DIMS,
        bos_token_id=end_id - 1,
        eos_token_id=end_id,
        pad_token_id=end_id,
    )


def _kl_autoencoder(**options: Any) -> Any:
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(8, 8, 8, 8),
        layers_per_block=1,
        latent_channels=LATENT_CHANNELS,
        norm_num_groups=4,
        sample_size=NATIVE_SIZE,
        **options,
    )


def _unet(**options: Any) -> Any:
    from diffusers import UNet2DConditionModel

    settings: dict[str, Any] = {"cross_attention_dim": TEXT_DIMS, "in_channels": LATENT_CHANNELS, **options}
    return UNet2DConditionModel(
        sample_size=NATIVE_SIZE // 8,
        out_channels=LATENT_CHANNELS,
        block_out_channels=(16, 32),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        layers_per_block=1,
        attention_head_dim=8,
        norm_num_groups=8,
        **settings,
    )
