"""An IP-Adapter steers as stock diffusers does, at scale 0 not at all, and only where and when it is told to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline
from diffusers.image_processor import IPAdapterMaskProcessor
from PIL import Image
from safetensors.torch import save_file
from transformers import CLIPImageProcessor, CLIPVisionModelWithProjection

from studio.controls import ip_adapter
from studio.controls.ip_adapter import CONTROL
from studio.engine.generate import Generation
from studio.engine.loaders import FolderLoader
from studio.engine.registry import Registry
from studio.errors import InvalidInput
from studio.types import ControlUse, Family, GenerationRequest, ModelSpec, Scheduler, Source, Task
from tests.engine.conftest import Listener
from tests.tiny import NATIVE_SIZE
from tests.tiny_adapters import make_image_encoder, make_ip_adapter

Requests = Callable[..., GenerationRequest]
SIZE = (NATIVE_SIZE, NATIVE_SIZE)
BASES = ("little-world", "sd15")
FILE = "ip.safetensors"
HALF = np.arange(NATIVE_SIZE) < NATIVE_SIZE // 2


def noise(seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (40, 30, 3), np.uint8))


def mask(columns: np.ndarray) -> Image.Image:
    """White in these columns."""
    return Image.fromarray(np.where(np.broadcast_to(columns, SIZE), np.uint8(255), np.uint8(0)))


def use(base: str = "little-world", *images: Image.Image, **changes: Any) -> ControlUse:
    options = changes.pop("options", {})
    return ControlUse("ip_adapter", f"{base}-ip-adapter", images or (noise(1),), options=options, **changes)


@pytest.fixture(scope="module")
def folder(models_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An IP-Adapter for each base, and the encoder of both."""
    root = tmp_path_factory.mktemp("ip-adapters")
    for seed, base in enumerate(BASES):
        make_ip_adapter(root / base / FILE, models_root / base, seed)
    parts = make_image_encoder()
    parts["image_encoder"].save_pretrained(root / "encoder")
    parts["feature_extractor"].save_pretrained(root / "encoder")
    return root


@pytest.fixture(scope="module")
def registry(families: tuple[Family, ...], load: FolderLoader, folder: Path) -> Registry:
    def tiny(spec: ModelSpec, base: str) -> ModelSpec:
        weights, encoder = Source("local", str(folder / base), filename=FILE), Source("local", str(folder / "encoder"))
        return replace(spec, sources=(weights,), image_encoder=(encoder,), bytes_estimate=1_000_000)

    specs = tuple(tiny(spec, base) for spec, base in zip(CONTROL.specs, BASES, strict=True))
    return Registry(families, load, 200_000_000, controls={CONTROL.id: replace(CONTROL, specs=specs)})


@pytest.fixture
def quick(request_for: Requests) -> Requests:
    """A request of two steps, where more would tell no more."""
    return partial(request_for, num_inference_steps=2)


def pixels(registry: Registry, request: GenerationRequest) -> np.ndarray:
    return np.asarray(Generation(request).run(Listener(registry)).images[0])


def draw_stock(models_root: Path, folder: Path, request: GenerationRequest, **call: Any) -> np.ndarray:
    """The same by diffusers' own pipeline, loaded and called as its documentation says. scale: in `call`."""
    pipeline = StableDiffusionPipeline.from_pretrained(
        models_root / request.base_id,
        image_encoder=CLIPVisionModelWithProjection.from_pretrained(folder / "encoder"),
        feature_extractor=CLIPImageProcessor.from_pretrained(folder / "encoder"),
        dtype=torch.float32,
    )
    pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config, clip_sample=False)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.load_ip_adapter(str(folder / request.base_id), subfolder="", weight_name=FILE, image_encoder_folder=None)
    pipeline.set_ip_adapter_scale(call.pop("scale"))
    return np.asarray(
        pipeline(
            request.prompt,
            width=NATIVE_SIZE,
            height=NATIVE_SIZE,
            num_inference_steps=request.num_inference_steps,
            guidance_scale=request.guidance_scale,
            generator=torch.Generator().manual_seed(request.seed),
            **call,
        ).images[0]
    )


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("count", [1, 3])
def test_a_scale_of_zero_is_the_base_bit_by_bit(registry: Registry, quick: Requests, base: str, count: int):
    references = tuple(map(noise, range(count)))
    without = pixels(registry, quick(base))
    off, on = (pixels(registry, quick(base, controls=(use(base, *references, scale=scale),))) for scale in (0.0, 1.0))
    assert (off == without).all()
    assert (on != without).any()


@pytest.mark.parametrize("base", BASES)
def test_it_draws_what_stock_diffusers_draws(
    registry: Registry, quick: Requests, models_root: Path, folder: Path, base: str
):
    request = quick(base, controls=(use(base, scale=0.7),), scheduler=Scheduler.DDIM)
    expected = draw_stock(models_root, folder, request, scale=0.7, ip_adapter_image=noise(1))
    assert (pixels(registry, request) == expected).all()


def test_masks_act_as_in_stock_diffusers(registry: Registry, quick: Requests, models_root: Path, folder: Path):
    references, masks = [noise(1), noise(2)], [mask(HALF), mask(~HALF)]
    own = use("sd15", *references, *masks, scale=0.8, options={"masked": True})
    request = quick("sd15", controls=(own,), scheduler=Scheduler.DDIM)
    prepared = IPAdapterMaskProcessor().preprocess(masks, *SIZE)  # (2, 1, H, W)
    # On the grid of the latents, as ours are: there diffusers' bicubic filter changes nothing.
    given = torch.nn.functional.avg_pool2d(prepared, 8).reshape(1, 2, NATIVE_SIZE // 8, NATIVE_SIZE // 8)
    expected = draw_stock(
        models_root,
        folder,
        request,
        scale=0.8,
        ip_adapter_image=[references],
        cross_attention_kwargs={"ip_adapter_masks": [given]},
    )
    assert (pixels(registry, request) == expected).all()


def test_it_acts_between_start_and_end_alone(
    registry: Registry, request_for: Requests, models_root: Path, folder: Path
):
    own = use("sd15", start=0.25, end=0.75)
    request = request_for("sd15", controls=(own,), scheduler=Scheduler.DDIM)

    def second_and_third(pipeline: Any, index: int, t: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        pipeline.set_ip_adapter_scale(1.0 if index in (0, 1) else 0.0)  # called at a step's end: for the next one
        return tensors

    expected = draw_stock(
        models_root, folder, request, scale=0.0, ip_adapter_image=noise(1), callback_on_step_end=second_and_third
    )
    assert (pixels(registry, request) == expected).all()


@pytest.mark.parametrize("scheduler", Scheduler)
def test_every_sampler_knows_its_steps(registry: Registry, request_for: Requests, scheduler: Scheduler):
    last = request_for(controls=(use(start=0.75),), scheduler=scheduler)
    whole, without = (replace(last, controls=uses) for uses in ((use(),), ()))
    drawn = [pixels(registry, one) for one in (last, whole, without)]
    assert all((one != other).any() for one, other in pairwise([*drawn, drawn[0]]))


def test_looking_inside_does_not_disturb_it(registry: Registry, request_for: Requests):
    request = request_for(controls=(use(start=0.25, end=0.75),))
    watched = Generation(request, inside=True).run(Listener(registry))
    assert (np.asarray(watched.images[0]) == pixels(registry, request)).all()


def test_at_scale_one_the_text_still_decides(registry: Registry, quick: Requests):
    drawn = [pixels(registry, quick(prompt=prompt, controls=(use(),))) for prompt in ("a red house", "a cat")]
    assert (drawn[0] != drawn[1]).any()


def test_the_attention_is_affine_in_the_scale(registry: Registry, request_for: Requests):
    generator = torch.Generator().manual_seed(5)
    with registry.lease_for(request_for(controls=(use(),))) as lease:
        unet = lease.view(Task.TEXT_TO_IMAGE, Scheduler.DDIM).unet
        layer = unet.mid_block.attentions[0].transformer_blocks[0].attn2
        dims = unet.config.cross_attention_dim
        x = torch.randn(2, 16, layer.to_q.in_features, generator=generator)
        text, picture = torch.randn(2, 9, dims, generator=generator), torch.randn(2, 1, 4, dims, generator=generator)
        answers = {}
        for scale in (0.0, 0.3, 1.0, 2.0):
            layer.processor.scale = [scale]
            answers[scale] = layer(x, encoder_hidden_states=(text, [picture]))
        layer.processor.scale = [1.0]
    for scale in (0.3, 2.0):
        expected = answers[0.0] + scale * (answers[1.0] - answers[0.0])
        torch.testing.assert_close(answers[scale], expected, atol=1e-5, rtol=1e-5)


def test_a_call_leaves_its_clone_as_it_was(registry: Registry, request_for: Requests):
    with registry.lease_for(request_for(controls=(use(scale=0.3, start=0.5),))) as lease:
        view = lease.view(Task.TEXT_TO_IMAGE, Scheduler.DDIM)
        before = {name: list(one.scale) for name, one in ip_adapter.processors_of(view.unet).items()}
        with pytest.raises(ZeroDivisionError), lease.steered(view):
            assert {tuple(one.scale) for one in ip_adapter.processors_of(view.unet).values()} == {(0.3,)}
            assert view.unet._forward_pre_hooks
            raise ZeroDivisionError
        assert {name: one.scale for name, one in ip_adapter.processors_of(view.unet).items()} == before
        assert not view.unet._forward_pre_hooks


@pytest.mark.parametrize("weights", [(0.0, 1.0), (1.0, 0.0)])
def test_a_reference_without_weight_is_not_seen(registry: Registry, quick: Requests, weights: tuple[float, ...]):
    options = dict(zip(ip_adapter.WEIGHTS, weights, strict=False))
    both = use("little-world", noise(1), noise(2), options=options)
    alone = use("little-world", noise(1 if weights[0] else 2))
    drawn = [pixels(registry, quick(controls=(one,))).astype(int) for one in (both, alone)]
    assert abs(drawn[0] - drawn[1]).max() <= 1


def test_where_it_acts_changes_the_picture(registry: Registry, quick: Requests):
    drawn = [pixels(registry, quick(controls=(use(options={"where": where}),))) for where in ("all", "style", "layout")]
    assert all((one != other).any() for one, other in pairwise([*drawn, drawn[0]]))


SMALL = Image.new("L", (32, 32), 255)


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"images": ()}, "number_of_references"),
        ({"images": tuple(map(noise, range(5)))}, "number_of_references"),
        ({"images": (noise(1), noise(2), noise(3)), "options": {"masked": True}}, "number_of_references"),
        ({"images": (noise(1), SMALL), "options": {"masked": True}}, "picture_of_another_size"),
        ({"options": {"weight_2": 1.0}}, "unknown_option"),
        ({"options": {"weight_1": "1"}}, "bad_number"),
        ({"options": {"weight_1": float("nan")}}, "bad_number"),
        ({"options": {"weight_1": -1.0}}, "bad_number"),
        ({"options": {"weight_1": 0}}, "no_weight"),
        ({"options": {"where": "nowhere"}}, "not_a_choice"),
        ({"options": {"blocks": 3}}, "unknown_option"),
    ],
)
def test_what_cannot_be_done_is_refused_by_name(
    registry: Registry, request_for: Requests, changes: dict[str, Any], key: str
):
    request = request_for(controls=(replace(use(), **changes),))
    with pytest.raises(InvalidInput) as caught, registry.lease_for(request):
        pass
    assert caught.value.key == key


def test_two_uses_are_refused(registry: Registry, request_for: Requests):
    with pytest.raises(InvalidInput, match="once"), registry.lease_for(request_for(controls=(use(), use()))):
        pass


def test_a_file_of_something_else_is_refused_by_name(registry: Registry, request_for: Requests, folder: Path):
    strange = replace(registry.specs["sd15-ip-adapter"], id="strange")
    (folder / "strange").mkdir()
    save_file({"conv_in.weight": torch.zeros(2)}, folder / "strange" / FILE)
    registry.admit(replace(strange, sources=(Source("local", str(folder / "strange"), filename=FILE),)))
    request = request_for("sd15", controls=(replace(use("sd15"), model_id="strange"),))
    with pytest.raises(InvalidInput, match="conv_in"), registry.lease_for(request):
        pass
