from __future__ import annotations

import pytest

from studio.diffusion.lora_keys import INFERENCE_GUIDANCE as GUIDANCE
from studio.diffusion.lora_keys import INFERENCE_SAMPLER as SAMPLER
from studio.diffusion.lora_keys import INFERENCE_STEPS as STEPS
from studio.engine.lora_usage import Usage, usage_of
from studio.types import MAX_STEPS, Scheduler

TOLD = {SAMPLER: "ddim", STEPS: "4", GUIDANCE: "1"}


def test_what_a_file_asks_for_is_read():
    assert usage_of(TOLD) == Usage(Scheduler.DDIM, 4, 1.0)
    assert usage_of({**TOLD, GUIDANCE: "0"}) == Usage(Scheduler.DDIM, 4, 0.0)


@pytest.mark.parametrize(
    "wrong",
    [
        {SAMPLER: "magic"},
        {STEPS: "0"},
        {STEPS: str(MAX_STEPS + 1)},
        {STEPS: "four"},
        {GUIDANCE: "nan"},
        {GUIDANCE: "-1"},
        {GUIDANCE: "1e9"},
    ],
)
def test_what_no_request_could_carry_counts_as_nothing(wrong: dict[str, str]):
    assert usage_of({**TOLD, **wrong}) is None


@pytest.mark.parametrize("name", TOLD)
def test_half_of_it_counts_as_nothing(name: str):
    assert usage_of({key: value for key, value in TOLD.items() if key != name}) is None
