from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import pytest
from PIL import Image

from studio.perception.heads import Structure
from studio.perception.obedience import obedience
from studio.perception.structure import true_structure
from studio.world.render import render_image
from studio.world.scene import Scene, scene_of_seed

PEOPLE = [scene for scene in map(scene_of_seed, range(60)) if scene.person is not None][:6]


def pictures_of(scenes: Sequence[Scene]) -> list[Image.Image]:
    return [Image.fromarray(render_image(scene, 128)) for scene in scenes]


class Knowing:
    """A reader that reads the truth of given scenes; blind: it sees no joint."""

    def __init__(self, scenes: Sequence[Scene], blind: bool = False) -> None:
        self.scenes, self.blind = scenes, blind

    def read(self, pictures: Sequence[Image.Image]) -> list[Structure]:
        rows = [true_structure(scene) for scene in self.scenes]
        return [Structure(row["depth"], row["joints"], row["visible"] & (not self.blind)) for row in rows]


@pytest.mark.parametrize("kind", ["canny", "depth", "pose"])
def test_a_true_picture_obeys_wholly(kind: str):
    values = obedience(kind, pictures_of(PEOPLE), PEOPLE, Knowing(PEOPLE))  # type: ignore[arg-type]
    assert values == pytest.approx([1.0] * len(PEOPLE))


@pytest.mark.parametrize("kind", ["canny", "depth", "pose"])
def test_a_picture_of_another_scene_obeys_less(kind: str):
    others = PEOPLE[::-1]
    values = obedience(kind, pictures_of(others), PEOPLE, Knowing(others))  # type: ignore[arg-type]
    assert np.mean(values) < 0.85


def test_joints_that_are_not_seen_are_not_in_place():
    assert obedience("pose", pictures_of(PEOPLE), PEOPLE, Knowing(PEOPLE, blind=True)) == [0.0] * len(PEOPLE)


def test_edges_are_compared_at_the_pictures_own_size():
    large = [Image.fromarray(render_image(scene, 256)) for scene in PEOPLE]
    assert obedience("canny", large, PEOPLE, None) == pytest.approx([1.0] * len(PEOPLE))


def test_a_blurred_picture_loses_edges():
    blurred = [Image.fromarray(cv2.GaussianBlur(np.asarray(picture), (0, 0), 3)) for picture in pictures_of(PEOPLE)]
    assert max(obedience("canny", blurred, PEOPLE, None)) < 0.8
