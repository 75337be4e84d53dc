"""`python -m studio generate`: one picture without the page, with its progress on stderr."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from studio.errors import InvalidInput, StudioError
from studio.events import Decoding, Done, Event, Failed, GenerationResult, Loading, Queued, Row, Step, Stopped
from studio.settings import Settings
from studio.steer import Steer, Steered, file_bytes
from studio.text import t
from studio.types import (
    MAX_SEED,
    USUAL_FEATHER,
    USUAL_STRENGTH,
    Fit,
    GenerationRequest,
    Ground,
    ModelSpec,
    Precision,
    Scheduler,
    Task,
)


@dataclass(frozen=True)
class Origin:
    """What a picture is drawn from: the files of a task, and how they are taken. strength: None for the usual one."""

    task: Task = Task.TEXT_TO_IMAGE
    image: Path | None = None
    mask: Path | None = None
    strength: float | None = None
    feather: int = USUAL_FEATHER
    invert: bool = False
    fit: Fit = Fit.CROP
    ground: Ground = Ground.WHITE

    def drawn_from(self, request: GenerationRequest) -> tuple[GenerationRequest, tuple[str, ...]]:
        """The request with its pictures, and notes of what was done to them. Raises InvalidInput."""
        if self.task is Task.TEXT_TO_IMAGE:
            return request, ()
        from studio.engine.inpaint import binary
        from studio.engine.pictures import source_mask, source_picture

        size = (request.width, request.height)
        strength = USUAL_STRENGTH[self.task] if self.strength is None else self.strength
        request = replace(request, task=self.task, strength=strength, feather=self.feather)
        picture, opened = source_picture(file_bytes("image", self.image), size, self.fit, self.ground)
        request = replace(request, init_image=picture)
        if self.task is Task.INPAINT:
            mask = source_mask(file_bytes("mask", self.mask), opened, size, self.fit)
            request = replace(request, mask=binary(mask, self.invert))
        return request, opened.notes


@dataclass(frozen=True)
class Wish:
    """What the command line says. None: the model's own default, or a drawn seed."""

    model: str
    prompt: str
    negative: str = ""
    seed: int | None = None
    steps: int | None = None
    guidance: float | None = None
    sampler: Scheduler | None = None
    width: int | None = None
    height: int | None = None
    precision: Precision | None = None
    origin: Origin = field(default_factory=Origin)
    steering: tuple[Steer, ...] = ()
    loras: tuple[str, ...] = ()
    """NAME:WEIGHT of each, as in `<lora:NAME:WEIGHT>`."""
    quant: str = "none"
    """How the model is quantized, such as openvino_int8."""

    def request(self, specs: Mapping[str, ModelSpec]) -> GenerationRequest:
        """The wish with every gap filled. Raises InvalidInput that names the field and its limit."""
        if self.model not in specs:
            raise InvalidInput("not_a_choice", field="model", value=self.model[:40], choices=", ".join(specs))
        from studio.engine.lora_tags import read_tag

        defaults = specs[self.model].defaults
        return GenerationRequest(
            base_id=self.model,
            prompt=" ".join([self.prompt, *(str(read_tag(one)) for one in self.loras)]),
            negative_prompt=self.negative,
            seed=secrets.randbelow(MAX_SEED + 1) if self.seed is None else self.seed,
            num_inference_steps=defaults.num_inference_steps if self.steps is None else self.steps,
            guidance_scale=defaults.guidance_scale if self.guidance is None else self.guidance,
            scheduler=self.sampler or defaults.scheduler,
            precision=self.precision or defaults.precision,
            width=defaults.width if self.width is None else self.width,
            height=defaults.height if self.height is None else self.height,
            quant_id=self.quant,
        )


def draw(wish: Wish, out: Path, settings: Settings) -> None:
    """Draw the wish and write it as a PNG. Raises StudioError for what cannot be drawn or written."""
    if not out.absolute().parent.is_dir():
        raise InvalidInput("no_such_folder", field="out", value=out.absolute().parent)
    from studio.build import build_studio
    from studio.engine.generate import Generation

    services = build_studio(settings)
    specs = services.specs_for(wish.origin.task)
    request, notes = wish.origin.drawn_from(wish.request(specs))
    if wish.steering:
        size = (request.width, request.height)
        steered = Steered(specs[wish.model].family, services.controls, size, services.detectors)
        request = replace(request, controls=tuple(one.use(steered) for one in wish.steering))
    for note in notes:
        _tell(t("cli.note_picture", settings.language, note=t(f"note.{note}", settings.language)))
    jobs = services.jobs
    try:
        result = follow(jobs.submit(Generation(request), owner="cli").tail(), settings.language)
    finally:
        jobs.close()
    for note in result.notes:
        _tell(t(f"note.{note}", settings.language))
    write_png(result, out)
    _tell(t("cli.written", settings.language, path=out, seed=request.seed))


def follow(events: Iterable[Event], language: str) -> GenerationResult:
    """Tell the events on stderr until the picture is there. Raises what the job failed with."""
    for event in events:
        match event:
            case Queued(position=position):
                _tell(t("cli.queued", language, position=position))
            case Loading(model_id=model_id):
                _tell(t("cli.loading", language, model=model_id))
            case Step(index=index, total=total):
                _tell(t("cli.step", language, index=index, total=total))
            case Decoding():
                _tell(t("cli.decoding", language))
            case Done(result=GenerationResult() as result):
                return result
            case Failed(error=error):
                raise error
            case Stopped() | Row() | Done():
                break
    raise StudioError("stopped")


def write_png(result: GenerationResult, out: Path) -> None:
    """Write the first picture, with its own text, whole or not at all; equal results give equal bytes."""
    from studio.engine.files import write_atomically
    from studio.engine.images import png_bytes
    from studio.engine.infotext import write

    try:
        chunks = write(result.request, result.model_sha256, backend=result.backend)
        write_atomically(out, png_bytes(result.images[0], chunks))
    except OSError as error:
        raise StudioError("not_written", path=out, reason=error.strerror or type(error).__name__) from error


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
