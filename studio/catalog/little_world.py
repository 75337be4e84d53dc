"""The studio's own family: small Stable Diffusion models of drawn scenes that a CPU runs in a second."""

from __future__ import annotations

from studio.types import Defaults, Family, ModelSpec, Scheduler, Source, Task

LITTLE_WORLD = ModelSpec(
    id="little-world",
    kind="base",
    family="little_world",
    title="Little world",
    sources=(Source("local", "models/little-world"),),
    native_size=128,
    bytes_estimate=70_000_000,
    license="apache-2.0",
    defaults=Defaults(width=128, height=128, num_inference_steps=20, guidance_scale=4.0, scheduler=Scheduler.DPMPP_2M),
)

FAMILY = Family(
    id="little_world",
    specs=(LITTLE_WORLD,),
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
