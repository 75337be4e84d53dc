"""Sample sheets while training goes on, and the index that makes a folder a stock pipeline."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers import AutoencoderTiny, DDIMScheduler, StableDiffusionPipeline
from PIL import Image
from transformers import PreTrainedTokenizerFast

from studio.train.artefact import edit_config
from studio.train.run import Run

SIDE = 128
SAMPLE_PROMPTS = (
    "a red umbrella and a blue car on the beach, watercolour",
    "沙滩上的红伞和蓝色汽车,水彩",
    "a yellow cat in a room, flat",
    "a purple house in the snow, crayon",
    "a green mug in the city at night, neon",
    "一只白猫和一朵红蘑菇,森林里,像素画",
    "a person waving in a red shirt and blue trousers in a meadow, flat",
    "一个人跳跃,沙漠里,线稿",
)


def quiet_pipeline(**parts: Any) -> StableDiffusionPipeline:
    """diffusers' own pipeline over these parts, without a safety checker and without progress bars."""
    pipeline = StableDiffusionPipeline(
        **{"safety_checker": None, "feature_extractor": None, **parts}, requires_safety_checker=False
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@torch.no_grad()
def save_sample_sheet(
    model: Any, vae_folder: Path, tokenizer: PreTrainedTokenizerFast, scheduler: DDIMScheduler, run: Run
) -> Path:
    """Draw the sample prompts with what has been learnt so far, two seeds each; returns the sheet's path."""
    vae = AutoencoderTiny.from_pretrained(vae_folder, dtype=torch.float32).to(run.device)
    pipeline = quiet_pipeline(
        vae=vae, text_encoder=model.text_encoder, tokenizer=tokenizer, unet=model.unet, scheduler=scheduler
    )
    rows = []
    for seed in (1, 2):
        generators = [torch.Generator().manual_seed(seed) for _ in SAMPLE_PROMPTS]
        with run.autocast():
            images = pipeline(
                list(SAMPLE_PROMPTS),
                height=SIDE,
                width=SIDE,
                num_inference_steps=16,
                guidance_scale=4.0,
                generator=generators,
            ).images
        rows.append(images)
    path = run.folder / f"samples-{run.step:06d}.png"
    sheet_of(rows).save(path)
    return path


def sheet_of(rows: Sequence[Sequence[Image.Image]]) -> Image.Image:
    """Rows of as many pictures each, as one picture."""
    sheet = Image.new("RGB", (SIDE * len(rows[0]), SIDE * len(rows)))
    for y, images in enumerate(rows):
        for x, image in enumerate(images):
            sheet.paste(image.resize((SIDE, SIDE)), (x * SIDE, y * SIDE))
    return sheet


def write_pipeline(folder: Path, scheduler: DDIMScheduler) -> None:
    """model_index.json and the scheduler, so that stock `StableDiffusionPipeline.from_pretrained(folder)` works.

    transformers reads a half-precision folder as float16 while diffusers reads it as float32: the text encoder's
    config says float32, so that both agree without an argument.
    """
    scheduler.save_pretrained(folder / "scheduler")
    index = {
        "_class_name": "StableDiffusionPipeline",
        "_diffusers_version": diffusers.__version__,
        "feature_extractor": [None, None],
        "image_encoder": [None, None],
        "requires_safety_checker": False,
        "safety_checker": [None, None],
        "scheduler": ["diffusers", "DDIMScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "PreTrainedTokenizerFast"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderTiny"],
    }
    (folder / "model_index.json").write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
    edit_config(folder / "text_encoder", dtype="float32")
