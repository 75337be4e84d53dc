"""A detector finds the map of its kind, or says what it needs; none takes another's place."""

from __future__ import annotations

from collections import namedtuple
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from studio.detectors import DETECTORS, Detectors
from studio.detectors.photographs import DEPTH_ANYTHING, AuxDepth, skeleton_of
from studio.errors import InvalidInput, ModelUnavailable
from studio.perception.agreement import rank_correlation
from studio.perception.structure import true_structure
from studio.settings import ROOT
from studio.text import LANGUAGES, t
from studio.world.pose import JOINTS
from studio.world.render import render
from studio.world.scene import Scene, scene_of_seed
from studio.world.skeleton import draw_skeletons

SEEDS = range(200)
WITH = next(seed for seed in SEEDS if scene_of_seed(seed).person is not None)
WITHOUT = next(seed for seed in SEEDS if scene_of_seed(seed).person is None)


def picture_of(scene: Scene, size: int = 128) -> Image.Image:
    return Image.fromarray(render(scene, size).image)


@pytest.fixture(scope="module")
def detectors() -> Detectors:
    return Detectors(ROOT / "models")


@pytest.fixture
def bare(tmp_path: Path) -> Detectors:
    """Without any weights."""
    return Detectors(tmp_path, tmp_path / "hub")


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_detector_and_every_knob_has_a_name(language: str) -> None:
    for one in DETECTORS:
        assert t(f"detector.{one.id}", language)
        assert all(t(f"detector.param.{param.name}", language) for param in one.params)


def test_the_little_world_comes_first(detectors: Detectors) -> None:
    assert [detectors.of(kind)[0].id for kind in ("canny", "depth", "pose")] == ["canny", "world_depth", "world_pose"]


@pytest.mark.filterwarnings("ignore")  # controlnet_aux imports timm by its old names
@pytest.mark.parametrize("thresholds", [(100, 200), (20, 60)])
def test_edges_are_those_of_controlnet_aux(detectors: Detectors, thresholds: tuple[int, int]) -> None:
    from controlnet_aux.canny import CannyDetector

    picture, (low, high) = picture_of(scene_of_seed(1), 512), thresholds
    stock = np.asarray(CannyDetector()(picture, low, high))
    own = np.asarray(detectors.detect("canny", picture, low=low, high=high))
    assert (own == stock).all()
    assert own.any()


def test_depth_of_a_little_world_picture_is_in_order(detectors: Detectors) -> None:
    true = true_structure(scene_of_seed(WITH))
    found = np.asarray(detectors.detect("world_depth", picture_of(scene_of_seed(WITH))))
    assert found.shape == (128, 128, 3)
    grey = cv2.resize(found[..., 0], (64, 64), interpolation=cv2.INTER_AREA).astype(np.float32)
    assert rank_correlation(grey, true["depth"], true["inside"]) > 0.7


def test_a_map_has_the_size_of_its_picture(detectors: Detectors) -> None:
    wide = picture_of(scene_of_seed(WITH)).resize((160, 96))
    assert {detectors.detect(one, wide).size for one in ("canny", "world_depth", "world_pose")} == {(160, 96)}


def test_a_pose_is_found_and_drawn(detectors: Detectors) -> None:
    picture, true = picture_of(scene_of_seed(WITH)), true_structure(scene_of_seed(WITH))
    (found,) = detectors.skeletons("world_pose", picture)
    shown = [index for index in range(len(JOINTS)) if true["visible"][index] and found.joints[index] is not None]
    away = [np.hypot(*(np.array(found.joints[index]) - true["joints"][index])) for index in shown]
    assert np.median(away) < 0.1 * float(true["height"])
    assert detectors.detect("world_pose", picture) == draw_skeletons([found], 128, 128)


def test_a_picture_without_a_person_has_no_pose(detectors: Detectors) -> None:
    empty = Image.new("RGB", (128, 128), "white")
    assert detectors.skeletons("world_pose", empty) == ()
    with pytest.raises(InvalidInput) as caught:
        detectors.detect("world_pose", empty)
    assert caught.value.key == "nobody_found"


@pytest.mark.parametrize("detector", [one for one in DETECTORS if one.id != "canny"], ids=lambda one: one.id)
def test_without_weights_a_detector_says_what_it_needs(bare: Detectors, detector: Any) -> None:
    problem = bare.problem(detector.id)
    assert problem is not None
    with pytest.raises(ModelUnavailable) as caught:
        bare.detect(detector.id, Image.new("RGB", (64, 64)))
    assert caught.value.key == problem.key
    if problem.key == "detector_needs":
        assert {"file", "repo", "folder"} <= problem.values.keys()


@pytest.mark.filterwarnings("ignore")  # as above
def test_weights_that_are_none_are_told(tmp_path: Path) -> None:
    (tmp_path / "annotators").mkdir()
    (tmp_path / "annotators" / "body_pose_model.pth").write_bytes(b"nothing")
    detectors = Detectors(tmp_path, tmp_path / "hub")
    assert detectors.problem("openpose") is None
    with pytest.raises(ModelUnavailable) as caught:
        detectors.detect("openpose", Image.new("RGB", (64, 64)))
    assert caught.value.key == "load_failed"


@pytest.mark.parametrize(
    ("detector", "options", "named"),
    [
        ("canny", {"low": 300}, "low"),
        ("canny", {"low": float("nan")}, "low"),
        ("canny", {"middle": 3}, "detector"),
        ("world_depth", {"low": 3}, "detector"),
        ("nobody", {}, "detector"),
    ],
)
def test_what_is_not_known_or_out_of_bounds_is_refused(
    detectors: Detectors, detector: str, options: dict[str, Any], named: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        detectors.detect(detector, Image.new("RGB", (64, 64)), **options)
    assert caught.value.values["field"] == named


def test_only_poses_have_skeletons(detectors: Detectors) -> None:
    with pytest.raises(InvalidInput):
        detectors.skeletons("canny", Image.new("RGB", (64, 64)))


def test_a_map_of_controlnet_aux_comes_to_the_size_of_the_picture() -> None:
    ramp = np.repeat(np.linspace(0, 255, 512).astype(np.uint8)[None, :, None], 512, 0).repeat(3, 2)
    found = AuxDepth(lambda picture, output_type: ramp).map_of(Image.new("RGB", (96, 64)), {})
    assert found.size == (96, 64)
    assert (np.diff(np.asarray(found)[0, :, 0].astype(int)) >= 0).all()


def test_keypoints_of_controlnet_aux_are_a_skeleton() -> None:
    Keypoint = namedtuple("Keypoint", "x y")
    found = skeleton_of([Keypoint(0.5, 0.25), None, *[Keypoint(0.1, 0.2)] * 16])
    assert (found.joints[0], found.joints[1]) == ((0.5, 0.25), None)


def test_depth_anything_is_read_from_a_folder(tmp_path: Path) -> None:
    from transformers import DepthAnythingConfig, DepthAnythingForDepthEstimation, Dinov2Config, DPTImageProcessor

    backbone = Dinov2Config(
        hidden_size=24, num_hidden_layers=4, num_attention_heads=2, patch_size=14, image_size=56,
        out_features=["stage1", "stage2", "stage3", "stage4"], reshape_hidden_states=False,
    )  # fmt: skip
    config = DepthAnythingConfig(
        backbone_config=backbone, reassemble_hidden_size=24, neck_hidden_sizes=[8, 8, 8, 8], fusion_hidden_size=8,
        head_hidden_size=8, patch_size=14, reassemble_factors=[4, 2, 1, 0.5],
    )  # fmt: skip
    folder = tmp_path / "annotators" / DEPTH_ANYTHING.partition("/")[2]
    DepthAnythingForDepthEstimation(config).save_pretrained(folder)
    size = {"height": 56, "width": 56}
    DPTImageProcessor(size=size, keep_aspect_ratio=True, ensure_multiple_of=14).save_pretrained(folder)
    found = Detectors(tmp_path, tmp_path / "hub").detect("depth_anything", picture_of(scene_of_seed(2)))
    pixels = np.asarray(found)
    assert pixels.shape == (128, 128, 3)
    assert pixels.max() > 200
