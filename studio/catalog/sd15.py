"""Stable Diffusion 1.5, from its Hugging Face repository: 4.3 GB of float32 weights, pictures of 512 x 512."""

from __future__ import annotations

from studio.types import Defaults, Family, ModelSpec, Scheduler, Source, Task

# The linear approximation of SD 1's decoder that every web interface previews with. First published at
# https://discuss.huggingface.co/t/decoding-latents-to-rgb-without-upscaling/23204
LATENT_RGB = (
    (0.298, 0.207, 0.208),
    (0.187, 0.286, 0.173),
    (-0.158, 0.189, 0.264),
    (-0.184, -0.271, -0.473),
    (0.0, 0.0, 0.0),
)

SD15 = ModelSpec(
    id="sd15",
    kind="base",
    family="sd15",
    sources=(Source("huggingface", "stable-diffusion-v1-5/stable-diffusion-v1-5"),),
    native_size=512,
    bytes_estimate=4_300_000_000,
    license="creativeml-openrail-m",
    defaults=Defaults(width=512, height=512, num_inference_steps=25, guidance_scale=7.0, scheduler=Scheduler.DPMPP_2M),
    latent_rgb=LATENT_RGB,
)

FAMILY = Family(
    id="sd15",
    specs=(SD15,),
    pipeline_classes={
        Task.TEXT_TO_IMAGE: "StableDiffusionPipeline",
        Task.IMAGE_TO_IMAGE: "StableDiffusionImg2ImgPipeline",
        Task.INPAINT: "StableDiffusionInpaintPipeline",
    },
)
