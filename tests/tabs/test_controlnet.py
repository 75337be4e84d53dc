"""The raw values of the units become uses of controls, or a sentence that names what is wrong."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import numpy as np
import pytest
from PIL import Image

from studio.catalog import FAMILIES, specs
from studio.controls import CONTROLS
from studio.detectors import Detectors
from studio.engine.infotext import Restored
from studio.engine.places import Place
from studio.errors import InvalidInput, ModelUnavailable
from studio.perception.following import Following
from studio.settings import ROOT
from studio.tabs import controlnet
from studio.types import ControlUse
from studio.ui.brush import drawn_on
from studio.ui.found import OWN
from studio.ui.services import Services
from studio.ui.unit import draw_unit
from studio.ui.uses import missing_model, model_of, place_of
from studio.world.maps import MAP_KINDS
from studio.world.skeleton import Skeleton, draw_skeletons, write_skeletons
from tests.tabs.test_img2img import GOOD as FROM_A_PICTURE
from tests.ui.test_source import upload

GOOD = {name: value for name, value in FROM_A_PICTURE.items() if name not in ("strength", "fit", "ground")}
STANDING = write_skeletons([Skeleton.standing()], 128, 128)
EDGES = Image.fromarray(np.eye(64, dtype=np.uint8) * 255).convert("RGB")


@pytest.fixture
def studio() -> Any:
    """All that is known, and no weights but those of the pose for the little world."""
    here = ("little-world-controlnet-pose",)
    known = [spec for control in CONTROLS for spec in control.specs]
    places = {
        spec.id: Place(
            spec, None if spec.id in here else ModelUnavailable("model_missing", model=spec.name, folder="models")
        )
        for spec in known
    }
    return SimpleNamespace(
        specs=specs(),
        specs_for=lambda task: specs(),
        catalog=FAMILIES,
        controls=CONTROLS,
        detectors=Detectors(ROOT / "no-models"),
        places=SimpleNamespace(look=lambda: places, present=lambda: here),
        settings=SimpleNamespace(models_dir=ROOT / "models"),
    )


def unit(number: int, **changes: Any) -> dict[str, Any]:
    values: dict[str, Any] = {"on": True, "kind": "pose", "way": "world_pose", "edges": "", "skeleton": STANDING}
    values |= {"plain": None, "scale": 1, "start": 0, "end": 1, **changes}
    return {f"unit{number}_{name}": value for name, value in values.items()}


def request_of(studio: Any, **changes: dict[str, Any]) -> Any:
    units = unit(1, on=False) | unit(2, on=False) | unit(3, on=False)
    for name, values in changes.items():
        units |= unit(int(name[-1]), **values)
    return controlnet.request_from(studio, **GOOD, **units)


def test_a_skeleton_is_drawn_at_the_size_of_the_picture(studio: Any):
    (use,) = request_of(studio, unit1={"scale": 0.5, "start": 0.1, "end": 0.8}).controls
    assert (use.control_id, use.model_id) == ("pose", "little-world-controlnet-pose")
    assert use.images[0].tobytes() == draw_skeletons([Skeleton.standing()], 64, 64).tobytes()
    assert (use.scale, use.start, use.end) == (0.5, 0.1, 0.8)


def test_units_that_are_on_come_in_their_order(studio: Any, tmp_path: Path):
    depth = Image.linear_gradient("L").resize((64, 64)).convert("RGB")
    uses = request_of(
        studio,
        unit1={"kind": "canny", "way": "canny", "edges": drawn_on(EDGES)},
        unit3={"kind": "depth", "way": OWN, "plain": upload(tmp_path, depth)},
    ).controls
    assert [use.control_id for use in uses] == ["canny", "depth"]
    assert [use.images[0].tobytes() for use in uses] == [EDGES.tobytes(), depth.tobytes()]


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({}, "no_unit_on"),
        ({"unit1": {"kind": "scribble"}}, "not_a_choice"),
        ({"unit1": {"scale": 2.1}}, "bad_number"),
        ({"unit1": {"scale": None}}, "bad_number"),
        ({"unit1": {"start": 0.6, "end": 0.4}}, "ends_before_start"),
        ({"unit2": {"skeleton": "{}"}}, "bad_skeleton"),
        ({"unit2": {"kind": "canny", "way": "canny"}}, "needs_image"),
        ({"unit3": {"kind": "depth", "way": "world_depth"}}, "needs_image"),
    ],
)
def test_what_is_wrong_is_named(studio: Any, changes: dict[str, Any], key: str):
    with pytest.raises(InvalidInput) as refused:
        request_of(studio, **changes)
    assert refused.value.key == key


def test_a_base_is_given_the_controlnet_of_its_family(studio: Any):
    assert model_of(studio, "depth", "sd15") == "sd15-controlnet-depth"
    with pytest.raises(InvalidInput) as refused:
        model_of(studio, "depth", "sdxl")
    assert refused.value.key == "no_control_for_family"


def test_what_is_missing_is_said_and_what_is_there_comes_first(studio: Any):
    assert missing_model(studio, "pose", "little-world") is None
    missing = missing_model(studio, "canny", "little-world")
    assert missing is not None and missing.key == "model_missing"
    assert controlnet.ranked_kinds(studio)[0] == "pose"


@pytest.mark.parametrize(("kind", "way", "place"), [
    ("canny", "canny", "edges"), ("canny", OWN, "edges"), ("pose", "openpose", "skeleton"), ("pose", OWN, "plain"),
    ("depth", "midas", "plain"),
])  # fmt: skip
def test_edges_and_skeletons_can_be_changed_by_hand(kind: Any, way: str, place: str):
    assert place_of(kind, way) == place


def test_a_missing_detector_says_what_it_needs(studio: Any, page: gr.Blocks, tmp_path: Path):
    drawn = draw_unit(1, "pose", studio, (64, 64), "test")
    source = upload(tmp_path, EDGES)
    seen = drawn.look(studio, "en", source, "pose", "openpose", None, 100, 200, 64, 64, "little-world", STANDING)
    assert seen[drawn.alert]["visible"] and "body_pose_model.pth" in seen[drawn.alert]["message"]
    assert seen[drawn.posed]["visible"]


def test_without_a_picture_a_skeleton_stays_on_the_new_canvas(studio: Any, page: gr.Blocks):
    drawn = draw_unit(1, "pose", studio, (64, 64), "test")
    seen = drawn.look(studio, "en", None, "pose", "world_pose", None, 100, 200, 256, 128, "little-world", STANDING)
    assert not seen[drawn.alert]["visible"]
    assert '"canvas_width": 256' in seen[drawn.skeleton]


def test_a_picture_is_measured_against_its_map_and_its_prompt(studio: Any):
    mark = SimpleNamespace(holds=True)
    studio.eye = SimpleNamespace(obedience=lambda prompt, pictures: [(mark, SimpleNamespace(holds=False))])
    follower: Any = SimpleNamespace(follow=lambda kind, wished, picture: Following(0.75, None, 0.9))
    request = request_of(studio, unit1={})
    assert controlnet.measured(studio, follower, request, EDGES) == {"obedience": 0.75, "prompt": 0.5}


def test_the_page_has_three_units_that_begin_with_every_kind(studio: Any, page: gr.Blocks):
    with gr.Tabs() as tabs, gr.Tab(controlnet.NAME) as own:
        controlnet.build(Services(studio, page, gr.BrowserState(), tabs, own, gr.State()))
    kinds = [block.value for block in page.blocks.values() if str(getattr(block, "elem_id", "")).endswith("-kind")]
    assert sorted(kinds) == sorted(MAP_KINDS)
    assert {event.api_name for event in page.fns.values() if event.api_visibility == "public"} == {"controlnet"}


def test_a_picture_fills_the_units_that_it_tells_of(studio: Any, page: gr.Blocks):
    units = [draw_unit(number, "pose", studio, (64, 64), "test") for number in (1, 2)]
    use = ControlUse("depth", "little-world-controlnet-depth", scale=0.5, end=0.8)
    updates = controlnet.refilled(units, Restored({"controls": (use,)}))
    first, second = units
    assert (updates[first.on], updates[first.kind], updates[first.doses["scale"]]) == (True, "depth", 0.5)
    assert updates[second.on] is False
    assert controlnet.refilled(units, Restored({})) == {}
