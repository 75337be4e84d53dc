from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from studio.perception.network import ALL_KINDS, ALL_STYLES, SIDE, Eye, Reading
from studio.perception.truth import accuracies, labels_of
from studio.world.pose import PROTOTYPES
from studio.world.scene import Person, Scene, Thing, anything_of_seed
from studio.world.vocabulary import BACKGROUNDS, COLOURS, POSES
from tests.truth import SURE, true_reading

SOMEBODY = Person(0.5, 0.93, 0.7, PROTOTYPES["waving"], shirt="red", pants="blue", skin="tan", hair="black")
SCENE = Scene("beach", "neon", (Thing("car", "green", 0.3, 0.9, 0.4),), SOMEBODY, 0)


class Sequential(Eye):
    """An eye that reads one batch after the other from a whole reading."""

    def __init__(self, reading: Reading) -> None:
        super().__init__()
        self.reading, self.next = reading, 0

    def forward(self, pictures: torch.Tensor) -> Reading:
        rows = slice(self.next, self.next + len(pictures))
        self.next = rows.stop
        return Reading(**{name: getattr(self.reading, name)[rows] for name in Reading.__dataclass_fields__})


def blank(count: int) -> np.ndarray:
    return np.zeros((count, SIDE, SIDE, 3), np.uint8)


def test_labels_say_what_a_scene_shows():
    labels = labels_of([SCENE]).rows(np.array([0]), torch.device("cpu"))
    car, green = ALL_KINDS.index("car"), COLOURS.index("green")
    assert (labels["background"][0], labels["style"][0]) == (BACKGROUNDS.index("beach"), ALL_STYLES.index("neon"))
    assert labels["kinds"].nonzero().tolist() == [[0, car]]
    assert labels["pairs"].nonzero().tolist() == [[0, car, green]]
    assert (labels["shirt"][0], labels["pants"][0]) == (COLOURS.index("red"), COLOURS.index("blue"))
    assert (labels["person"][0], labels["pose"][0]) == (1, POSES.index("waving"))


def test_what_cannot_be_seen_has_no_label():
    drawn, nobody = replace(SCENE, style="line"), replace(SCENE, person=None)
    momo = replace(SCENE, person=replace(SOMEBODY, character="momo"))
    labels = labels_of([drawn, nobody, momo])
    assert labels.coloured.tolist() == [0, 1, 1]
    assert labels.shirt.tolist() == labels.pants.tolist() == [-1, -1, -1]
    assert labels.pose.tolist() == [POSES.index("waving"), -1, POSES.index("waving")]
    assert labels.character.tolist() == [0, 0, 1]


def test_an_eye_that_reads_the_truth_is_always_right():
    scenes = [anything_of_seed(seed) for seed in range(100)]
    found = accuracies(Sequential(true_reading(scenes)), blank(100), scenes)
    assert set(found.values()) == {1.0}
    assert {"background", "style", "kind_recall", "kind_precision", "colour", "person", "character"} <= set(found)


def test_an_eye_that_sees_half_the_kinds_recalls_half():
    scenes = [replace(SCENE, things=(*SCENE.things, Thing("cat", "red", 0.7, 0.9, 0.4)))] * 10
    reading = true_reading(scenes)
    reading.kinds[:, ALL_KINDS.index("cat")] = -SURE
    reading.kinds[:, ALL_KINDS.index("mug")] = SURE
    found = accuracies(Sequential(reading), blank(10), scenes)
    assert (found["kind_recall"], found["kind_precision"], found["colour"]) == (0.5, 0.5, 1.0)


def test_an_eye_that_sees_nothing_has_a_precision_of_zero():
    reading = true_reading([SCENE])
    reading.kinds[:] = -SURE
    found = accuracies(Sequential(reading), blank(1), [SCENE])
    assert found["kind_precision"] == found["colour"] == pytest.approx(0)
