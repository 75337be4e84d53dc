"""`python -m studio generate`: one picture without the page, with its progress on stderr."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from studio.errors import InvalidInput, StudioError
from studio.settings import Settings
from studio.text import t
from studio.types import (
    MAX_SEED,
    Decoding,
    Done,
    Event,
    Failed,
    GenerationRequest,
    GenerationResult,
    Loading,
    ModelSpec,
    Queued,
    Row,
    Scheduler,
    Step,
    Stopped,
)


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

    def request(self, specs: Mapping[str, ModelSpec]) -> GenerationRequest:
        """The wish with every gap filled. Raises InvalidInput that names the field and its limit."""
        if self.model not in specs:
            raise InvalidInput("not_a_choice", field="model", value=self.model[:40], choices=", ".join(specs))
        defaults = specs[self.model].defaults
        return GenerationRequest(
            base_id=self.model,
            prompt=self.prompt,
            negative_prompt=self.negative,
            seed=secrets.randbelow(MAX_SEED + 1) if self.seed is None else self.seed,
            num_inference_steps=defaults.num_inference_steps if self.steps is None else self.steps,
            guidance_scale=defaults.guidance_scale if self.guidance is None else self.guidance,
            scheduler=self.sampler or defaults.scheduler,
            width=defaults.width if self.width is None else self.width,
            height=defaults.height if self.height is None else self.height,
        )


def draw(wish: Wish, out: Path, settings: Settings) -> None:
    """Draw the wish and write it as a PNG. Raises StudioError for what cannot be drawn or written."""
    if not out.absolute().parent.is_dir():
        raise InvalidInput("no_such_folder", field="out", value=out.absolute().parent)
    from studio.build import build_studio
    from studio.engine.generate import Generation

    services = build_studio(settings)
    request = wish.request(services.specs)
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
        write_atomically(out, png_bytes(result.images[0], write(result.request, result.model_sha256)))
    except OSError as error:
        raise StudioError("not_written", path=out, reason=error.strerror or type(error).__name__) from error


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
