from __future__ import annotations

from dataclasses import replace

import pytest

from studio.engine.working import MAX_SHAPES, MEASURES, RequestShape, WorkingMemory
from studio.types import ControlUse, GenerationRequest, PipelineKey, Task

SHAPE = RequestShape(PipelineKey("a"), Task.TEXT_TO_IMAGE, 512, 512, 1, guided=True)


@pytest.fixture
def memory() -> WorkingMemory:
    memory = WorkingMemory()
    memory.learn(SHAPE, 1_000)
    return memory


def test_nothing_is_predicted_for_a_model_that_never_ran(memory: WorkingMemory) -> None:
    assert memory.predict(replace(SHAPE, model=PipelineKey("b"))) is None
    assert memory.predict(replace(SHAPE, model=PipelineKey("a", dtype="bfloat16"))) is None


def test_the_same_shape_is_predicted_as_measured(memory: WorkingMemory) -> None:
    assert memory.predict(SHAPE) == 1_000


def test_the_most_of_the_last_measures_counts(memory: WorkingMemory) -> None:
    for _ in range(MEASURES - 1):
        memory.learn(SHAPE, 600)
    assert memory.predict(SHAPE) == 1_000
    memory.learn(SHAPE, 600)
    assert memory.predict(SHAPE) == 600


@pytest.mark.parametrize(
    ("changes", "predicted"),
    [
        ({"width": 1024}, 2_000),
        ({"num_images": 4}, 4_000),
        ({"width": 256}, 1_000),
        ({"guided": False}, 1_000),
    ],
)
def test_a_larger_shape_is_predicted_in_proportion(
    memory: WorkingMemory, changes: dict[str, int], predicted: int
) -> None:
    assert memory.predict(replace(SHAPE, **changes)) == predicted


def test_a_request_of_the_same_kind_is_nearer_than_one_of_the_same_size(memory: WorkingMemory) -> None:
    memory.learn(replace(SHAPE, task=Task.INPAINT, width=256), 9_000)
    assert memory.predict(replace(SHAPE, task=Task.INPAINT)) == 18_000


def test_the_shapes_used_last_are_remembered(memory: WorkingMemory) -> None:
    for width in range(MAX_SHAPES):
        memory.learn(replace(SHAPE, width=8 * width + 2048), 1)
    assert memory.predict(SHAPE) == 1


def test_a_requests_shape_is_what_its_memory_depends_on() -> None:
    request = GenerationRequest("a", "x", 1, controls=(ControlUse("pose", "p"), ControlUse("edges", "e")))
    shape = RequestShape.of(request, PipelineKey("a"))
    assert shape == RequestShape.of(replace(request, prompt="another", seed=9), PipelineKey("a"))
    assert (shape.controls, shape.pixels) == (("edges", "pose"), 512 * 512 * 2)
