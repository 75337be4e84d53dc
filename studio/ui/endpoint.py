"""A generation for a program: through the same queue as the page's, answered as a stream."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import gradio as gr

from studio.engine.generate import Generation
from studio.engine.infotext import labelled, source_hashes
from studio.engine.pictures import Opened
from studio.errors import StudioError
from studio.events import Done, Event, Failed, GenerationResult, Step, Stopped
from studio.text import t
from studio.types import GenerationRequest, Task
from studio.ui.run import describe_failure, follow
from studio.ui.text import language_of

if TYPE_CHECKING:
    from studio.build import Studio

Answer = tuple[Any, dict[str, Any]]


def stream(studio: Studio, wish: Callable[[], GenerationRequest], request: gr.Request) -> Iterator[Answer]:
    """Queue a wish and tell how far it is, at the end with its picture.

    A caller who leaves stops the job. What is refused or fails is raised as gr.Error, in the caller's language.
    """
    language = language_of(request)
    owner = f"api:{request.client.host}"
    try:
        job = studio.jobs.submit(Generation(wish()), owner)
    except StudioError as error:
        raise gr.Error(error.message(language), print_exception=False) from error
    try:
        for event in follow(job):
            yield _answer(studio, event, language)
    finally:
        if not job.finished:
            studio.jobs.cancel(job.id, owner)


def offer(function: Callable[..., Iterator[Answer]], inputs: list[Any]) -> None:
    """Publish a streaming function under its own name. inputs: widgets that say what each argument is; their raw values
    come, so that what a widget would refuse without a word is refused with one."""
    outputs = [gr.Image(format="png", visible=False, label="picture"), gr.JSON(visible=False, label="result")]
    gr.Button(visible=False).click(
        function, inputs, outputs, api_name=function.__name__, preprocess=False, concurrency_limit=None
    )


def stream_from(
    studio: Studio, wish: Callable[[], tuple[GenerationRequest, Opened]], request: gr.Request
) -> Iterator[Answer]:
    """The same for a wish that begins with a picture, as it was opened; the end tells what was done to that one."""
    opened: list[Opened] = []

    def noted() -> GenerationRequest:
        made, source = wish()
        opened.append(source)
        return made

    for picture, answer in stream(studio, noted, request):
        done = answer["phase"] == "done"
        yield picture, {**answer, "source_notes": list(opened[0].notes)} if done else answer


def _answer(studio: Studio, event: Event, language: str) -> Answer:
    """What is told of an event. Raises gr.Error for a job that came to no picture."""
    match event:
        case Done(result=result):
            return labelled(result)[0], description(studio, result)
        case Failed():
            raise gr.Error(describe_failure(event, language), print_exception=False)
        case Stopped():
            raise gr.Error(t("phase.stopped", language), print_exception=False)
        case Step(index=index, total=total):
            return None, {"phase": "step", "index": index, "total": total}
        case _:
            return None, {"phase": type(event).__name__.lower()}


def description(studio: Studio, result: GenerationResult) -> dict[str, Any]:
    """A result as JSON: what it takes to draw it again, what it cost, and what the eye found."""
    request = result.request
    answer = {
        "phase": "done",
        "prompt": request.prompt,
        "negative_prompt": request.negative_prompt,
        "seed": request.seed,
        "width": request.width,
        "height": request.height,
        "steps": request.num_inference_steps,
        "guidance": request.guidance_scale,
        "sampler": request.scheduler.value,
        "precision": request.precision.value,
        "backend": result.backend,
        "model": request.base_id,
        "model_sha256": result.model_sha256,
        "timings": asdict(result.timings),
        "peak_bytes": result.peak_bytes,
        "notes": list(result.notes),
    }
    if request.task is not Task.TEXT_TO_IMAGE:
        answer |= {"task": request.task.value, "strength": request.strength, **source_hashes(request)}
    if request.task is Task.INPAINT:
        answer["feather"] = request.feather
    if studio.eye is not None:
        marks = studio.eye.obedience(request.prompt, result.images[:1])[0]
        answer["obedience"] = [
            {"wish": mark.labels["en"], "holds": mark.holds, "confidence": mark.confidence, "ceiling": mark.ceiling}
            for mark in marks
        ]
    return answer
