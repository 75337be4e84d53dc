"""Stable Diffusion XL, from its Hugging Face repositories: the base model, and the turbo model of one to four steps.

Both are 3.47 billion parameters in two text encoders, a UNet and an autoencoder (2307.01952); their half-precision
copies, which are downloaded, have 6.94 GB. The autoencoder's activations overflow float16 (`force_upcast` in its
configuration), so it runs in float32 there.
"""

from __future__ import annotations

from studio.types import Defaults, Family, ModelSpec, Scheduler, Source, Task

# The linear approximation of SDXL's decoder, as diffusers documents it for previews: rows are the four channels'
# weights and the offset, to RGB from 0 to 255. First published at
# https://huggingface.co/blog/TimothyAlexisVass/explaining-the-sdxl-latent-space
LATENT_RGB_255 = ((60, 60, 60), (-60, -5, 10), (25, 15, -5), (-70, -50, -35), (150, 140, 130))
*WEIGHTS, OFFSET = [[value / 127.5 for value in row] for row in LATENT_RGB_255]
LATENT_RGB = tuple((red, green, blue) for red, green, blue in [*WEIGHTS, [value - 1.0 for value in OFFSET]])

BYTES_FLOAT32 = 13_875_351_468
"""3,468,837,867 parameters."""
BYTES_FLOAT16 = 6_937_675_734

SDXL = ModelSpec(
    id="sdxl",
    kind="base",
    family="sdxl",
    title="SDXL 1.0",
    sources=(
        Source("local", "models/sdxl"),
        Source("huggingface", "stabilityai/stable-diffusion-xl-base-1.0"),
    ),
    native_size=1024,
    bytes_estimate=BYTES_FLOAT32,
    download_bytes=BYTES_FLOAT16,
    variant="fp16",
    license="CreativeML Open RAIL++-M",
    license_url="https://huggingface.co/stabilityai/stable-diffusion-xl-base-1.0/blob/main/LICENSE.md",
    defaults=Defaults(width=1024, height=1024, num_inference_steps=25, guidance_scale=6.0),
    latent_rgb=LATENT_RGB,
)

# Distilled to predict x0 in one to four steps, without guidance (2311.17042). Its own sampler is ancestral Euler with
# trailing timesteps. The spacing comes with its configuration; plain Euler goes the same way without fresh noise
# between steps, and in one step the two are the same. Four steps, so that drawing from a picture leaves some to do.
SDXL_TURBO = ModelSpec(
    id="sdxl-turbo",
    kind="base",
    family="sdxl",
    title="SDXL Turbo",
    sources=(
        Source("local", "models/sdxl-turbo"),
        Source("huggingface", "stabilityai/sdxl-turbo"),
    ),
    native_size=512,
    bytes_estimate=BYTES_FLOAT32,
    download_bytes=BYTES_FLOAT16,
    variant="fp16",
    license="Stability AI Non-Commercial Research Community",
    license_url="https://huggingface.co/stabilityai/sdxl-turbo/blob/main/LICENSE.md",
    defaults=Defaults(width=512, height=512, num_inference_steps=4, guidance_scale=0.0, scheduler=Scheduler.EULER),
    latent_rgb=LATENT_RGB,
)

FAMILY = Family(
    id="sdxl",
    specs=(SDXL, SDXL_TURBO),
    pipeline_classes={
        Task.TEXT_TO_IMAGE: "StableDiffusionXLPipeline",
        Task.IMAGE_TO_IMAGE: "StableDiffusionXLImg2ImgPipeline",
        Task.INPAINT: "StableDiffusionXLInpaintPipeline",
    },
    controlnet_classes={
        Task.TEXT_TO_IMAGE: "StableDiffusionXLControlNetPipeline",
        Task.IMAGE_TO_IMAGE: "StableDiffusionXLControlNetImg2ImgPipeline",
        Task.INPAINT: "StableDiffusionXLControlNetInpaintPipeline",
    },
)
