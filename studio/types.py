"""The words that the rooms of the studio share. Standard library only.

A person's wish is a `GenerationRequest`; a job runs it as `Work` and tells `Event`s; what runs it is leased from
the registry under a `PipelineKey`. Field names are diffusers' argument names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal

from studio.errors import InvalidInput

if TYPE_CHECKING:
    from PIL.Image import Image

MIN_SIDE, MAX_SIDE, SIDE_STEP = 32, 1024, 8
MAX_STEPS = 100
MAX_GUIDANCE = 30.0
MAX_IMAGES = 4
MAX_CONTROL_SCALE = 2.0
MAX_FEATHER = 64
MAX_PROMPT_CHARACTERS = 2_000
MAX_SEED = 2**32 - 1
DTYPE_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


class Task(StrEnum):
    """What a generation starts from."""

    TEXT_TO_IMAGE = "text2img"
    """From noise alone."""
    IMAGE_TO_IMAGE = "img2img"
    """From a picture, noised to `strength`."""
    INPAINT = "inpaint"
    """From a picture of which only the masked part may change."""


USUAL_STRENGTH = {Task.IMAGE_TO_IMAGE: 0.6, Task.INPAINT: 1.0}
USUAL_FEATHER = 6


class Fit(StrEnum):
    """How a picture of another shape comes to the size that is drawn."""

    CROP = "crop"
    """Scaled until it covers the size; what stands over on two sides is cut off."""
    FIT = "fit"
    """Scaled until all of it is inside; the bars beside it are the ground's colour."""
    STRETCH = "stretch"
    """Each side scaled on its own."""


class Ground(StrEnum):
    """The colour under what is transparent, and of the bars beside a picture that is fitted."""

    WHITE = "white"
    GREY = "grey"
    BLACK = "black"


class Scheduler(StrEnum):
    """The samplers that the studio offers; each is one scheduler class of diffusers."""

    DDIM = "ddim"
    EULER = "euler"
    DPMPP_2M = "dpmpp_2m"
    UNIPC = "unipc"


class Precision(StrEnum):
    """How exactly a picture is computed."""

    EXACT = "exact"
    """In float32: the picture of stock diffusers, up to rounding."""
    FAST = "fast"
    """In bfloat16 where the device computes that faster: nearly the same picture."""


@dataclass(frozen=True)
class Source:
    """A place that holds a model's files. repo: a folder inside the project, or a hub's repository id."""

    hub: Literal["local", "huggingface", "modelscope"]
    repo: str
    revision: str = "main"
    subfolder: str = ""
    filename: str = ""


@dataclass(frozen=True)
class Defaults:
    """The settings that a family's page starts with."""

    width: int = 512
    height: int = 512
    num_inference_steps: int = 25
    guidance_scale: float = 7.0
    scheduler: Scheduler = Scheduler.DPMPP_2M
    precision: Precision = Precision.FAST


@dataclass(frozen=True)
class ModelSpec:
    """One model that can be loaded: where its files are (image_encoder: that of an IP-Adapter), and what it costs."""

    id: str
    kind: Literal["base", "controlnet", "ip_adapter", "lora", "upscaler", "perception"]
    family: str
    sources: tuple[Source, ...]
    image_encoder: tuple[Source, ...] = ()
    dtype: str = "float32"
    native_size: int = 512
    bytes_estimate: int = 0
    """What its weights take in memory, in `dtype`."""
    license: str = ""
    defaults: Defaults = field(default_factory=Defaults)
    latent_rgb: tuple[tuple[float, float, float], ...] = ()
    """C + 1 rows that map the UNet's latents, and 1, to RGB in [-1, 1]; a folder's vae/latent_rgb.json goes first."""
    tasks: tuple[Task, ...] = tuple(Task)
    """What it can draw from: an inpainting checkpoint, whose UNet also reads mask and picture, does only that."""
    title: str = ""
    """Its name as people know it, the same in every language; without one, its id."""
    license_url: str = ""
    download_bytes: int = 0
    """What comes over the network, where a source is on a hub."""
    variant: str = ""
    """Which copy of the weights a download takes where a repository keeps several: "fp16", or the plain one."""

    @property
    def name(self) -> str:
        return self.title or self.id

    def bytes_in(self, dtype: str) -> int:
        """What its weights take in memory in another dtype than its own."""
        return self.bytes_estimate * DTYPE_BYTES[dtype] // DTYPE_BYTES[self.dtype]


@dataclass(frozen=True)
class Family:
    """One architecture: the models of it, and the diffusers pipeline class (by name) that draws each task.

    controlnet_classes: the class that draws a task with ControlNets.
    """

    id: str
    specs: tuple[ModelSpec, ...]
    pipeline_classes: Mapping[Task, str]
    controlnet_classes: Mapping[Task, str] = field(default_factory=dict)


@dataclass(frozen=True)
class PipelineKey:
    """One resident component set, pristine: nothing is ever attached to it."""

    base_id: str
    quant_id: str = "none"
    dtype: str = "float32"
    device: str = "cpu"


@dataclass(frozen=True)
class AdaptedKey:
    """A weight-sharing clone of a set that carries these adapters ("control:SHA-256" of each file)."""

    pipeline: PipelineKey
    adapters: frozenset[str]


@dataclass(frozen=True)
class Param:
    """One knob of a control or method; `ui/widgets.py` draws it."""

    name: str
    kind: Literal["int", "float", "bool", "choice", "text"]
    default: Any
    minimum: float | None = None
    maximum: float | None = None
    step: float | None = None
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class ControlUse:
    """One control of one request: which model steers it, with which pictures, how strongly and during which steps.

    control_id: a Control's id; model_id: the spec of its weights; images: maps or reference pictures; start, end:
    shares of the steps, 0 <= start < end <= 1; options: the control's own params, checked by the control.
    """

    control_id: str
    model_id: str
    images: tuple[Image, ...] = ()
    scale: float = 1.0
    start: float = 0.0
    end: float = 1.0
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _bounded("scale", self.scale, 0.0, MAX_CONTROL_SCALE, whole=False)
        _bounded("start", self.start, 0.0, 1.0, whole=False)
        _bounded("end", self.end, 0.0, 1.0, whole=False)
        if self.start >= self.end:
            raise InvalidInput("ends_before_start", field="end", start=self.start, end=self.end)


@dataclass(frozen=True)
class Control:
    """One way to steer a generation beyond its prompt.

    specs: the models it brings; params: its own knobs. prepare(use, request) checks a use and returns it ready to run.
    adapt(components, sets, uses) puts weights on a weight-sharing clone: components are the clone's parts by name,
    sets the leased component sets of the uses' models; None where nothing is put on. The clone is kept for every
    request with the same models, so that what adapt does depends on the models alone, each of them given once, with
    its first use; all uses come to patch. Both are given them in the order of the models' hashes, equal ones in the
    request's. patch(view, sets, uses) is a context manager of per-call state; it yields the further arguments of the
    pipeline's call, and leaving it restores everything. parts(sets, uses) are the further components of the view, such
    as {"controlnet": ...}. What several controls give under one name becomes one list, in the order of their ids.
    """

    id: str
    specs: tuple[ModelSpec, ...]
    params: tuple[Param, ...]
    prepare: Callable[[ControlUse, Any], ControlUse]
    adapt: Callable[[Mapping[str, Any], Sequence[Any], Sequence[ControlUse]], None] | None
    patch: Callable[[Any, Sequence[Any], Sequence[ControlUse]], AbstractContextManager[Mapping[str, Any]]]
    parts: Callable[[Sequence[Any], Sequence[ControlUse]], Mapping[str, Any]] | None = None


def _bounded(name: str, value: object, minimum: float, maximum: float, whole: bool) -> None:
    """Refuse what is not a finite number within the bounds, by the name of its field."""
    ok = not isinstance(value, bool) and isinstance(value, int if whole else (int, float))
    if not ok or not minimum <= value <= maximum:  # type: ignore[operator]  # NaN is within no bounds
        kind = "whole_number" if whole else "number"
        raise InvalidInput(f"bad_{kind}", field=name, minimum=minimum, maximum=maximum, value=str(value)[:40])


@dataclass(frozen=True)
class GenerationRequest:
    """Everything that determines a picture. Valid once constructed; a random seed is drawn before.

    Images of one request use the seeds seed, seed + 1, ..., up to MAX_SEED: each picture can be drawn again alone.
    init_image: RGB; mask: L, drawn anew where it is 128 or more; both width x height. feather: over so many pixels
    around the mask old and new are mixed; every pixel further out stays as it is.
    """

    base_id: str
    prompt: str
    seed: int
    task: Task = Task.TEXT_TO_IMAGE
    quant_id: str = "none"
    negative_prompt: str = ""
    width: int = 512
    height: int = 512
    num_inference_steps: int = 25
    guidance_scale: float = 7.0
    scheduler: Scheduler = Scheduler.DPMPP_2M
    precision: Precision = Precision.EXACT
    num_images: int = 1
    init_image: Image | None = None
    mask: Image | None = None
    strength: float = 0.8
    feather: int = 0
    controls: tuple[ControlUse, ...] = ()

    def __post_init__(self) -> None:
        for name in ("width", "height"):
            side = getattr(self, name)
            _bounded(name, side, MIN_SIDE, MAX_SIDE, whole=True)
            if side % SIDE_STEP:
                raise InvalidInput("not_a_multiple", field=name, step=SIDE_STEP, value=side)
        _bounded("num_inference_steps", self.num_inference_steps, 1, MAX_STEPS, whole=True)
        _bounded("guidance_scale", self.guidance_scale, 0.0, MAX_GUIDANCE, whole=False)
        _bounded("num_images", self.num_images, 1, MAX_IMAGES, whole=True)
        _bounded("seed", self.seed, 0, MAX_SEED - self.num_images + 1, whole=True)
        _bounded("strength", self.strength, 0.0, 1.0, whole=False)
        _bounded("feather", self.feather, 0, MAX_FEATHER, whole=True)
        for name in ("prompt", "negative_prompt"):
            text = getattr(self, name)
            if not isinstance(text, str) or any("\ud800" <= one <= "\udfff" for one in text):  # half a character
                raise InvalidInput("not_text", field=name)
            if len(text) > MAX_PROMPT_CHARACTERS:
                raise InvalidInput("too_long", field=name, maximum=MAX_PROMPT_CHARACTERS, value=len(text))
        for name, choices in (("scheduler", Scheduler), ("task", Task), ("precision", Precision)):
            choice = getattr(self, name)
            if choice not in tuple(choices):
                raise InvalidInput("not_a_choice", field=name, value=str(choice)[:40], choices=", ".join(choices))
            object.__setattr__(self, name, choices(choice))


@dataclass(frozen=True)
class Tab:
    """One page of the studio. build(services) draws it inside the current gr.Tab."""

    id: str
    order: int
    build: Callable[[Any], None]
