"""ControlNets steer as stock diffusers does, add up, and refuse a map that says nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from studio.controls import CONTROLS
from studio.engine.generate import Generation
from studio.engine.loaders import FolderLoader
from studio.engine.registry import Registry
from studio.errors import InvalidInput
from studio.settings import ROOT
from studio.types import Control, ControlUse, GenerationRequest, PipelineKey, Scheduler, Task
from tests.controls.conftest import KINDS
from tests.engine.conftest import Listener
from tests.tiny import NATIVE_SIZE

Requests = Callable[..., GenerationRequest]
SIZE = (NATIVE_SIZE, NATIVE_SIZE)
BASES = {"little-world": "little-world-controlnet", "sd15": "sd15-controlnet"}
TASKS = tuple(Task)


def noise(seed: int, mode: str = "RGB") -> Image.Image:
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (*SIZE, 3), np.uint8)).convert(mode)


def use(kind: str, base: str = "little-world", **changes: Any) -> ControlUse:
    values: dict[str, Any] = {"images": (noise(len(kind)),), **changes}
    return ControlUse(kind, f"{BASES[base]}-{kind}", **values)


def of_task(task: Task) -> dict[str, Any]:
    """What a request of a task holds beside its text."""
    if task is Task.TEXT_TO_IMAGE:
        return {}
    mask = Image.new("L", SIZE, 0)
    mask.paste(255, (16, 16, 48, 48))
    from_picture = {"task": task, "init_image": noise(1), "strength": 0.8}
    return from_picture if task is Task.IMAGE_TO_IMAGE else {**from_picture, "mask": mask}


def pixels(registry: Registry, request: GenerationRequest) -> np.ndarray:
    return np.stack([np.asarray(image) for image in Generation(request).run(Listener(registry)).images])


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("task", TASKS)
def test_a_scale_of_zero_is_the_base_bit_by_bit(registry: Registry, request_for: Requests, base: str, task: Task):
    plain = request_for(base, **of_task(task))
    off, on = (request_for(base, **of_task(task), controls=(use("depth", base, scale=scale),)) for scale in (0.0, 1.0))
    without = pixels(registry, plain)
    assert (pixels(registry, off) == without).all()
    assert (pixels(registry, on) != without).any()


@pytest.mark.parametrize("base", BASES)
def test_it_draws_what_stock_diffusers_draws(registry: Registry, request_for: Requests, base: str):
    from diffusers import ControlNetModel, StableDiffusionControlNetPipeline

    units = (use("canny", base, scale=0.7, end=0.5), use("pose", base, scale=1.3, start=0.25))
    request = request_for(base, controls=units, scheduler=Scheduler.DDIM)
    own = pixels(registry, request)[0]
    with registry.lease(registry.key(base)) as lease:
        parts = dict(lease.view(Task.TEXT_TO_IMAGE, Scheduler.DDIM).components)
    folders = [registry.specs[unit.model_id].sources[0].repo for unit in units]
    nets = [ControlNetModel.from_pretrained(folder, dtype=torch.float32) for folder in folders]
    stock = StableDiffusionControlNetPipeline(**parts, controlnet=nets, requires_safety_checker=False)
    picture = stock(
        request.prompt,
        image=[unit.images[0] for unit in units],
        width=NATIVE_SIZE,
        height=NATIVE_SIZE,
        num_inference_steps=request.num_inference_steps,
        guidance_scale=request.guidance_scale,
        controlnet_conditioning_scale=[0.7, 1.3],
        control_guidance_start=[0.0, 0.25],
        control_guidance_end=[0.5, 1.0],
        generator=torch.Generator().manual_seed(request.seed),
    ).images[0]
    assert (own == np.asarray(picture)).all()


@pytest.mark.parametrize("base", BASES)
def test_two_units_add_the_sum_of_their_residuals(registry: Registry, request_for: Requests, base: str):
    units = (use("canny", base, scale=0.5), use("depth", base, scale=1.5))
    g = torch.Generator().manual_seed(3)
    with registry.lease_for(request_for(base, controls=units)) as lease:
        view = lease.view(Task.TEXT_TO_IMAGE, Scheduler.DDIM)
        both, nets = view.controlnet, view.controlnet.nets
        x = torch.randn(1, 4, 8, 8, generator=g)
        words = torch.randn(1, 5, view.unet.config.cross_attention_dim, generator=g)
        maps = [torch.rand(1, 3, *SIZE, generator=g) for _ in nets]
        given = {"sample": x, "timestep": torch.tensor(500), "encoder_hidden_states": words, "return_dict": False}
        with torch.no_grad():
            down, mid = both(controlnet_cond=maps, conditioning_scale=[0.5, 1.5], **given)
            alone = [
                net(controlnet_cond=one, conditioning_scale=scale, **given)
                for net, one, scale in zip(nets, maps, (0.5, 1.5), strict=True)
            ]
    for together, first, second in zip([*down, mid], *([*one[0], one[1]] for one in alone), strict=True):
        assert together.equal(first + second)
        assert together.abs().max() > 0


@pytest.mark.parametrize("task", TASKS)
def test_every_task_is_steered_by_several_units(registry: Registry, request_for: Requests, task: Task):
    request = request_for("sd15", **of_task(task), controls=(use("canny", "sd15"), use("pose", "sd15")))
    without = request_for("sd15", **of_task(task))
    assert (pixels(registry, request) != pixels(registry, without)).any()


def test_the_base_is_not_loaded_again(registry: Registry, request_for: Requests):
    pixels(registry, request_for())
    before = registry.snapshot().misses
    with registry.lease_for(request_for(controls=(use("depth"),))) as lease:
        assert lease.view(Task.TEXT_TO_IMAGE, Scheduler.DDIM).unet is lease.pristine.components["unet"]
    assert registry.snapshot().misses <= before + 1


@pytest.mark.parametrize(
    ("kind", "colour", "key"),
    [
        ("canny", (0, 0, 0), "map_without_edges"),
        ("pose", (3, 0, 9), "map_without_person"),
        ("depth", (90, 90, 90), "map_flat"),
    ],
)
def test_a_map_that_says_nothing_is_refused_by_name(
    registry: Registry, request_for: Requests, kind: str, colour: tuple[int, int, int], key: str
):
    request = request_for(controls=(use(kind, images=(Image.new("RGB", SIZE, colour),)),))
    with pytest.raises(InvalidInput) as caught, registry.lease_for(request):
        pass
    assert (caught.value.key, caught.value.values["field"]) == (key, "controls")


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"images": ()}, "needs_map"),
        ({"images": (noise(1), noise(2))}, "needs_map"),
        ({"images": (noise(1).resize((32, 32)),)}, "picture_of_another_size"),
        ({"options": {"guess_mode": True}}, "unknown_option"),
    ],
)
def test_what_is_no_map_of_the_size_is_refused(
    registry: Registry, request_for: Requests, changes: dict[str, Any], key: str
):
    with pytest.raises(InvalidInput) as caught, registry.lease_for(request_for(controls=(use("depth", **changes),))):
        pass
    assert caught.value.key == key


def test_a_grey_map_is_taken_as_colours(registry: Registry, request_for: Requests):
    grey = noise(4, "L")
    drawn = [
        pixels(registry, request_for(controls=(use("depth", images=(one,)),))) for one in (grey, grey.convert("RGB"))
    ]
    assert (drawn[0] == drawn[1]).all()


def test_one_for_another_family_is_refused_by_name(registry: Registry, request_for: Requests):
    with pytest.raises(InvalidInput, match="family"), registry.lease_for(request_for(controls=(use("depth", "sd15"),))):
        pass


def test_an_inpainting_checkpoint_is_steered_too(registry: Registry, request_for: Requests):
    changes = of_task(Task.INPAINT)
    steered = request_for("sd15-inpaint", **changes, controls=(use("depth", "sd15"),))
    assert (pixels(registry, steered) != pixels(registry, request_for("sd15-inpaint", **changes))).any()


@pytest.mark.parametrize("control", [one for one in CONTROLS if one.id in KINDS], ids=lambda one: one.id)
def test_every_model_states_its_licence_its_size_and_where_it_is(control: Control):
    for spec in control.specs:
        assert spec.kind == "controlnet"
        assert spec.license and spec.bytes_estimate
        assert spec.sources[0].hub == "local"
        assert bool(spec.download_bytes) == (spec.sources[-1].hub == "huggingface")


def test_the_shipped_network_takes_what_its_model_states():
    shipped = {spec.id: spec for one in CONTROLS for spec in one.specs}["little-world-controlnet-depth"]
    assert FolderLoader(ROOT)(shipped, PipelineKey(shipped.id)).bytes == shipped.bytes_estimate
