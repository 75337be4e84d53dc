import pytest

from studio.catalog import FAMILIES, specs
from studio.types import Family, GenerationRequest, ModelSpec, Task


def test_ids_are_unique() -> None:
    assert len(specs()) == sum(len(family.specs) for family in FAMILIES)


@pytest.mark.parametrize("spec", specs().values(), ids=lambda spec: spec.id)
def test_the_defaults_of_a_model_make_a_valid_request(spec: ModelSpec) -> None:
    defaults = spec.defaults
    request = GenerationRequest(
        spec.id,
        "a house",
        0,
        width=defaults.width,
        height=defaults.height,
        num_inference_steps=defaults.num_inference_steps,
        guidance_scale=defaults.guidance_scale,
        scheduler=defaults.scheduler,
    )
    assert request.width == spec.native_size


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.id)
def test_a_family_draws_every_task_and_knows_its_models(family: Family) -> None:
    assert set(family.pipeline_classes) == set(Task)
    assert {spec.family for spec in family.specs} == {family.id}


@pytest.mark.parametrize("spec", specs().values(), ids=lambda spec: spec.id)
def test_a_model_states_its_licence_size_and_source(spec: ModelSpec) -> None:
    assert spec.license
    assert spec.bytes_estimate
    assert spec.sources
