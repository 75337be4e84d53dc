"""Stable Diffusion 1.5, from its Hugging Face repository, for pictures of 512 x 512.

1.07 billion parameters in a text encoder, a UNet and an autoencoder; the half-precision copy, which is downloaded, has
2.13 GB.
"""

from __future__ import annotations

from dataclasses import replace

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
    title="Stable Diffusion 1.5",
    sources=(
        Source("local", "models/sd15"),
        Source("huggingface", "stable-diffusion-v1-5/stable-diffusion-v1-5"),
    ),
    native_size=512,
    bytes_estimate=4_264_941_228,
    download_bytes=2_132_470_614,
    variant="fp16",
    license="CreativeML Open RAIL-M",
    license_url="https://huggingface.co/spaces/CompVis/stable-diffusion-license",
    defaults=Defaults(width=512, height=512, num_inference_steps=25, guidance_scale=7.0, scheduler=Scheduler.DPMPP_2M),
    latent_rgb=LATENT_RGB,
)

# Its UNet reads nine channels: the latents, the mask, and the latents of the picture without what the mask covers.
# Those five more, with 3 x 3 weights to 320 channels, are 14,400 parameters. Of its repository the half-precision
# copy is the one in safetensors.
SD15_INPAINT = replace(
    SD15,
    id="sd15-inpaint",
    title="Stable Diffusion 1.5 Inpainting",
    sources=(
        Source("local", "models/sd15-inpaint"),
        Source("huggingface", "stable-diffusion-v1-5/stable-diffusion-inpainting"),
    ),
    bytes_estimate=SD15.bytes_estimate + 4 * 14_400,
    download_bytes=SD15.download_bytes + 2 * 14_400,
    tasks=(Task.INPAINT,),
)

FAMILY = Family(
    id="sd15",
    specs=(SD15, SD15_INPAINT),
    pipeline_classes={
        Task.TEXT_TO_IMAGE: "StableDiffusionPipeline",
        Task.IMAGE_TO_IMAGE: "StableDiffusionImg2ImgPipeline",
        Task.INPAINT: "StableDiffusionInpaintPipeline",
    },
    controlnet_classes={
        Task.TEXT_TO_IMAGE: "StableDiffusionControlNetPipeline",
        Task.IMAGE_TO_IMAGE: "StableDiffusionControlNetImg2ImgPipeline",
        Task.INPAINT: "StableDiffusionControlNetInpaintPipeline",
    },
)
