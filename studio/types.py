"""The words that the rooms of the studio share. Standard library only.

A person's wish is a `GenerationRequest`; a job runs it as `Work` and tells `Event`s; what runs it is leased from
the registry under a `PipelineKey`. Field names are diffusers' argument names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal, Protocol

from studio.errors import InvalidInput

if TYPE_CHECKING:
    from PIL.Image import Image

MIN_SIDE, MAX_SIDE, SIDE_STEP = 32, 1024, 8
MAX_STEPS = 100
MAX_GUIDANCE = 30.0
MAX_IMAGES = 4
MAX_PROMPT_CHARACTERS = 2_000
MAX_SEED = 2**32 - 1


class Task(StrEnum):
    """What a generation starts from."""

    TEXT_TO_IMAGE = "text2img"
    """From noise alone."""
    IMAGE_TO_IMAGE = "img2img"
    """From a picture, noised to `strength`."""
    INPAINT = "inpaint"
    """From a picture of which only the masked part may change."""


class Scheduler(StrEnum):
    """The samplers that the studio offers; each is one scheduler class of diffusers."""

    DDIM = "ddim"
    EULER = "euler"
    DPMPP_2M = "dpmpp_2m"
    UNIPC = "unipc"


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


@dataclass(frozen=True)
class ModelSpec:
    """One model that can be loaded: where its files are, and what it costs."""

    id: str
    kind: Literal["base", "controlnet", "ip_adapter", "lora", "upscaler", "perception"]
    family: str
    sources: tuple[Source, ...]
    dtype: str = "float32"
    native_size: int = 512
    bytes_estimate: int = 0
    license: str = ""
    defaults: Defaults = field(default_factory=Defaults)
    latent_rgb: tuple[tuple[float, float, float], ...] = ()
    """C + 1 rows that map the UNet's latents, and 1, to RGB in [-1, 1]; a folder's vae/latent_rgb.json goes first."""


@dataclass(frozen=True)
class Family:
    """One architecture: the models of it, and the diffusers pipeline class (by name) that draws each task."""

    id: str
    specs: tuple[ModelSpec, ...]
    pipeline_classes: Mapping[Task, str]


@dataclass(frozen=True)
class PipelineKey:
    """One resident component set, pristine: nothing is ever attached to it."""

    base_id: str
    quant_id: str = "none"
    dtype: str = "float32"
    device: str = "cpu"


@dataclass(frozen=True)
class AdaptedKey:
    """A weight-sharing clone of a set that carries these adapters (SHA-256 of each file)."""

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
    num_images: int = 1
    init_image: Image | None = None
    mask: Image | None = None
    strength: float = 0.8
    controls: tuple[Any, ...] = ()

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
        for name in ("prompt", "negative_prompt"):
            text = getattr(self, name)
            if not isinstance(text, str):
                raise InvalidInput("not_text", field=name)
            if len(text) > MAX_PROMPT_CHARACTERS:
                raise InvalidInput("too_long", field=name, maximum=MAX_PROMPT_CHARACTERS, value=len(text))
        for name, choices in (("scheduler", Scheduler), ("task", Task)):
            choice = getattr(self, name)
            if choice not in tuple(choices):
                raise InvalidInput("not_a_choice", field=name, value=str(choice)[:40], choices=", ".join(choices))
            object.__setattr__(self, name, choices(choice))


@dataclass(frozen=True)
class Timings:
    """Seconds that each phase of a generation took."""

    load_seconds: float = 0.0
    encode_seconds: float = 0.0
    denoise_seconds: float = 0.0
    decode_seconds: float = 0.0


@dataclass(frozen=True)
class GenerationResult:
    """The pictures of a request, and what they cost. `request` reproduces them."""

    images: tuple[Image, ...]
    request: GenerationRequest
    timings: Timings
    peak_bytes: int
    model_sha256: str = ""
    notes: tuple[str, ...] = ()
    """Keys into assets/i18n, under `note.`, of what a person should know about these pictures."""
    record_id: str = ""
    """Under which the history keeps these pictures; empty where it does not."""


@dataclass(frozen=True)
class Queued:
    """Waiting: `position` jobs are before this one."""

    position: int
    estimate_seconds: float | None = None


@dataclass(frozen=True)
class Loading:
    """A model is being read from disk."""

    model_id: str


@dataclass(frozen=True)
class Step:
    """A denoising step is done. index: 1-based; previews: one small RGB picture per image, or empty."""

    index: int
    total: int
    previews: tuple[Image, ...] = ()


@dataclass(frozen=True)
class Decoding:
    """The latents are finished and become pixels."""


@dataclass(frozen=True)
class Row:
    """One line of a table that a longer work (a sweep, an evaluation, a training) fills."""

    values: Mapping[str, Any]


@dataclass(frozen=True)
class Done:
    """The end of a work that came to its end. result: a GenerationResult for a generation."""

    result: Any


@dataclass(frozen=True)
class Failed:
    """The end of a work that could not be finished."""

    error: Exception


@dataclass(frozen=True)
class Stopped:
    """The end of a work that its owner cancelled."""


Event = Queued | Loading | Step | Decoding | Row | Done | Failed | Stopped
FINAL_EVENTS = (Done, Failed, Stopped)


class Context(Protocol):
    """What a running work may touch."""

    @property
    def registry(self) -> Any: ...

    def emit(self, event: Event) -> None:
        """Tell those who tail the job. Not for the final events: the queue tells them when the work ends."""

    def check_cancelled(self) -> None:
        """Raise `Cancelled` when the job's owner has asked to stop."""


class Work(Protocol):
    """What a job runs: emits its events through the context, and returns what `Done` then carries."""

    def run(self, context: Context) -> Any: ...


@dataclass(frozen=True)
class Tab:
    """One page of the studio. build(services) draws it inside the current gr.Tab."""

    id: str
    order: int
    build: Callable[[Any], None]
