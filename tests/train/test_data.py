from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from studio.train import data, places
from studio.train.data import rendered_anything, rendered_pictures, stream_told
from studio.world.render import render, render_image
from studio.world.scene import anything_of_seed, scene_of_seed
from studio.world.wish import parse


@pytest.fixture(autouse=True)
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "RUNS", tmp_path / "runs")


@pytest.mark.parametrize(
    ("rendered", "scene_of"), [(rendered_pictures, scene_of_seed), (rendered_anything, anything_of_seed)]
)
def test_pictures_are_those_of_their_seeds(rendered, scene_of):
    pictures = rendered(7, 3, 32)
    for i in range(3):
        np.testing.assert_array_equal(pictures[i], render_image(scene_of(7 + i), 32))


def test_pictures_are_rendered_once(monkeypatch: pytest.MonkeyPatch):
    first = np.array(rendered_pictures(0, 4, 32))
    monkeypatch.delattr(data, "render_image")
    np.testing.assert_array_equal(rendered_pictures(0, 4, 32), first)


def test_pictures_of_several_processes_are_in_order():
    count = data.CHUNK + 3
    pictures = rendered_pictures(0, count, 32)
    for seed in (0, data.CHUNK - 1, data.CHUNK, count - 1):
        np.testing.assert_array_equal(pictures[seed], render_image(scene_of_seed(seed), 32))


def test_what_is_told_belongs_to_its_picture():
    (told,) = stream_told(40, 5, 64, 8)
    assert told.offset == 0
    for i in range(5):
        scene = scene_of_seed(40 + i)
        rendered = render(scene, 64)
        np.testing.assert_array_equal(told.pictures[i], rendered.image)
        assert told.entities[i] == len(scene.entities)
        english, chinese, *_ = (parse(caption) for caption in told.captions[i])
        assert len(told.captions[i]) == 4
        assert english.background == chinese.background == scene.background
        covered = (rendered.instances > 0).reshape(8, 8, 8, 8).mean((1, 3))
        np.testing.assert_allclose(told.covers[i] / 255, covered, atol=0.01)
