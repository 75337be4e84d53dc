"""A model that cannot be loaded is named, and everybody else goes on drawing."""

from __future__ import annotations

import shutil
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from studio.engine import generate as generating
from studio.engine.generate import Generation
from studio.engine.jobs import JobQueue
from studio.engine.loaders import ComponentSet, FolderLoader
from studio.engine.memory import TorchMover
from studio.engine.registry import Registry
from studio.errors import StudioError
from studio.events import Done, Event, Failed
from studio.types import Family, GenerationRequest, ModelSpec, PipelineKey

from .conftest import LIMIT_BYTES

Requests = Callable[..., GenerationRequest]


@dataclass
class LoadsThatFail:
    """Raises these errors at its first calls for sd15, then loads."""

    load: FolderLoader
    errors: list[BaseException]

    def __call__(self, spec: ModelSpec, key: PipelineKey) -> ComponentSet:
        if spec.id == "sd15" and self.errors:
            raise self.errors.pop(0)
        return self.load(spec, key)


@pytest.fixture
def damaged(models_root: Path, tmp_path: Path) -> Path:
    """A folder with the tiny models, of which sd15's UNet is cut off."""
    for name in ("sd15", "little-world"):
        shutil.copytree(models_root / name, tmp_path / name)
    (weights,) = (tmp_path / "sd15" / "unet").glob("*.safetensors")
    weights.write_bytes(weights.read_bytes()[:-100])
    return tmp_path


@pytest.fixture
def queue_of() -> Iterator[Callable[[Registry], JobQueue]]:
    queues: list[JobQueue] = []

    def make(registry: Registry) -> JobQueue:
        queues.append(JobQueue(registry))
        return queues[-1]

    yield make
    for queue in queues:
        queue.close()


def ends(queue: JobQueue, *requests: GenerationRequest) -> list[Event]:
    jobs = [queue.submit(Generation(request), str(index)) for index, request in enumerate(requests)]
    return [list(job.tail(60))[-1] for job in jobs]


def error_of(event: Event) -> StudioError:
    assert isinstance(event, Failed)
    assert isinstance(event.error, StudioError)
    return event.error


def test_a_damaged_file_is_named_and_the_others_are_drawn(
    damaged: Path, families: tuple[Family, ...], request_for: Requests, queue_of: Callable[[Registry], JobQueue]
) -> None:
    queue = queue_of(Registry(families, FolderLoader(damaged), LIMIT_BYTES))
    quick = {"num_inference_steps": 1}
    before, broken, after = ends(queue, request_for(**quick), request_for("sd15"), request_for(seed=8, **quick))
    assert isinstance(before, Done) and isinstance(after, Done)
    error = error_of(broken)
    assert (error.key, error.values["file"]) == ("model_damaged", "unet/diffusion_pytorch_model.safetensors")


def test_once_the_file_is_whole_again_the_model_is_drawn_without_a_restart(
    damaged: Path,
    models_root: Path,
    families: tuple[Family, ...],
    request_for: Requests,
    queue_of: Callable[[Registry], JobQueue],
) -> None:
    queue = queue_of(Registry(families, FolderLoader(damaged), LIMIT_BYTES))
    request = request_for("sd15", num_inference_steps=1)
    assert isinstance(ends(queue, request)[0], Failed)
    shutil.copytree(models_root / "sd15", damaged / "sd15", dirs_exist_ok=True)
    assert isinstance(ends(queue, request)[0], Done)


@pytest.mark.parametrize(
    ("error", "key"),
    [
        (OSError("disk"), "load_failed"),
        (torch.OutOfMemoryError("CUDA out of memory"), "no_memory_to_load"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), "no_memory_to_load"),
    ],
)
def test_a_load_that_fails_once_is_told_and_the_next_request_is_drawn(
    load: FolderLoader,
    families: tuple[Family, ...],
    request_for: Requests,
    queue_of: Callable[[Registry], JobQueue],
    error: Exception,
    key: str,
) -> None:
    queue = queue_of(Registry(families, LoadsThatFail(load, [error]), LIMIT_BYTES))
    request = request_for("sd15", num_inference_steps=1)
    first, second = ends(queue, request, request)
    assert error_of(first).key == key
    assert "disk" not in str(error_of(first))
    assert isinstance(second, Done)


def test_memory_that_runs_out_while_drawing_is_told_with_need_budget_and_holders(
    load: FolderLoader,
    families: tuple[Family, ...],
    request_for: Requests,
    queue_of: Callable[[Registry], JobQueue],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    registry = Registry(families, load, LIMIT_BYTES)
    queue = queue_of(registry)
    quick = {"num_inference_steps": 1}
    assert isinstance(ends(queue, request_for("sd15", **quick))[0], Done)
    errors = [torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.00 GiB")]
    decode, release = generating.decode, TorchMover.release
    of_the_call: list[weakref.ref[torch.Tensor]] = []
    left_when_released: list[object] = []

    def fail_once(view: object, latents: torch.Tensor) -> object:
        if errors:
            ballast = latents * 2
            of_the_call.extend((weakref.ref(ballast), weakref.ref(latents)))
            raise errors.pop()
        return decode(view, latents)

    def look_first(mover: TorchMover) -> None:
        left_when_released.extend(ref() for ref in of_the_call)
        release(mover)

    monkeypatch.setattr(TorchMover, "release", look_first)

    monkeypatch.setattr(generating, "decode", fail_once)
    failed, after = ends(queue, request_for(**quick), request_for(**quick))
    error = error_of(failed)
    assert error.key == "out_of_memory"
    assert error.values["limit_mb"] == LIMIT_BYTES // 10**6
    assert "sd15" in str(error.values["holders"]) and "little-world" in str(error.values["holders"])
    assert (error.__traceback__, error.__context__, error.__cause__) == (None, None, None)
    assert left_when_released == [None, None]
    assert isinstance(after, Done)
    assert {one.base_id for one in registry.snapshot().resident} == {"little-world"}
