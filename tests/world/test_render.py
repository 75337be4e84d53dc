from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from studio.world.pose import PROTOTYPES
from studio.world.render import MAX_SIZE, MIN_SIZE, Rendered, render, render_image
from studio.world.scene import Person, Scene, Thing, anything_of_seed, scene_of_seed
from studio.world.vocabulary import BACKGROUNDS, KINDS, RESERVED_KINDS, RESERVED_STYLES, STYLES

SOMEBODY = Person(0.5, 0.93, 0.7, PROTOTYPES["standing"], shirt="red", pants="blue", skin="tan", hair="black")


@pytest.fixture(scope="module")
def rendered() -> list[tuple[Scene, Rendered]]:
    return [(scene, render(scene, 128)) for scene in map(anything_of_seed, range(60))]


def one(kind: str = "car", style: str = "flat", background: str = "meadow") -> Scene:
    return Scene(background, style, (Thing(kind, "red", 0.5, 0.88, 0.5),), None, 5)


@pytest.mark.parametrize("style", (*STYLES, *RESERVED_STYLES))
def test_the_same_scene_gives_the_same_bytes(style: str):
    scene = replace(scene_of_seed(3), style=style)
    first = render(scene, 96)
    render(scene_of_seed(4), 128)
    again = render(scene, 96)
    np.testing.assert_array_equal(first.image, again.image)
    np.testing.assert_array_equal(first.depth, again.depth)
    np.testing.assert_array_equal(first.instances, again.instances)


@pytest.mark.parametrize("style", (*STYLES, *RESERVED_STYLES))
def test_the_picture_alone_is_the_picture_with_maps(style: str):
    scene = replace(scene_of_seed(3), style=style)
    np.testing.assert_array_equal(render_image(scene, 64), render(scene, 64).image)


@pytest.mark.parametrize("size", [MIN_SIZE, 33, 64, 200, MAX_SIZE])
def test_every_map_has_the_size_that_was_asked_for(size: int):
    scene = replace(scene_of_seed(3), person=SOMEBODY)
    result = render(scene, size)
    assert (result.image.shape, result.image.dtype) == ((size, size, 3), np.uint8)
    assert (result.depth.shape, result.depth.dtype) == ((size, size), np.float32)
    assert (result.instances.shape, result.instances.dtype) == ((size, size), np.uint8)
    assert result.joints is not None and result.joints.shape == (18, 2)
    assert result.visible is not None and result.visible.shape == (18,)


@pytest.mark.parametrize("size", [-1, 0, MIN_SIZE - 1, MAX_SIZE + 1])
def test_other_sizes_are_refused(size: int):
    for draw in (render, render_image):
        with pytest.raises(ValueError, match=str(size)):
            draw(scene_of_seed(0), size)


def test_maps_of_two_sizes_are_aligned(rendered: list[tuple[Scene, Rendered]]):
    for scene, large in rendered[:30]:
        small = render(scene, 64)
        halved = cv2.resize(large.instances, (64, 64), interpolation=cv2.INTER_NEAREST)
        assert (halved == small.instances).mean() > 0.97
        if large.joints is not None and small.joints is not None:
            np.testing.assert_allclose(large.joints, 2 * small.joints, atol=1e-3)


def test_pictures_of_two_sizes_show_the_same():
    for seed in range(10):
        scene = replace(scene_of_seed(seed), style="flat")
        halved = cv2.resize(render_image(scene, 128), (64, 64), interpolation=cv2.INTER_AREA)
        assert np.abs(halved.astype(int) - render_image(scene, 64)).mean() < 4


def test_depth_is_between_0_and_1(rendered: list[tuple[Scene, Rendered]]):
    for _, result in rendered:
        assert result.depth.min() >= 0 and result.depth.max() <= 1


def test_a_nearer_foot_is_nearer(rendered: list[tuple[Scene, Rendered]]):
    for scene, result in rendered:
        seen = [number for number in range(1, len(scene.entities) + 1) if (result.instances == number).any()]
        nearness = [result.depth[result.instances == number].max() for number in seen]
        assert nearness == sorted(nearness)


def test_the_ground_comes_nearer_towards_the_lower_edge(rendered: list[tuple[Scene, Rendered]]):
    for _, result in rendered:
        background = np.where(result.instances == 0, result.depth, np.nan)
        column = background[:, 0]
        assert (np.diff(column[~np.isnan(column)]) >= 0).all()
        assert column[0] == 0


def test_instances_are_the_entities(rendered: list[tuple[Scene, Rendered]]):
    for scene, result in rendered:
        assert set(np.unique(result.instances)) <= set(range(len(scene.entities) + 1))
        for number, entity in enumerate(scene.entities, start=1):
            columns = np.nonzero(result.instances == number)[1]
            assert len(columns) > 40
            assert abs(columns.mean() / 128 - entity.x) < 0.12


def test_the_nearer_entity_hides_the_farther_one():
    behind, before = Thing("house", "red", 0.5, 0.84, 0.5), Thing("ball", "blue", 0.5, 0.92, 0.3)
    instances = render(Scene("room", "flat", (before, behind), None, 0), 128).instances
    assert instances[int(0.8 * 128), 64] == 2
    assert set(np.unique(instances)) == {0, 1, 2}


def test_visible_joints_lie_inside_the_drawn_person():
    for scene in (scene for scene in map(anything_of_seed, range(120)) if scene.person):
        result = render(scene, 128)
        assert result.joints is not None and result.visible is not None
        own = next(number for number, entity in enumerate(scene.entities, start=1) if entity is scene.person)
        for x, y in result.joints[result.visible].astype(int):
            assert result.instances[y, x] == own


def test_a_scene_without_a_person_has_no_joints():
    result = render(one(), 64)
    assert result.joints is None and result.visible is None


def test_a_joint_behind_something_nearer_is_not_visible():
    ball = Thing("ball", "blue", 0.5, 0.95, 0.4)
    result = render(Scene("room", "flat", (ball,), SOMEBODY, 0), 128)
    assert result.visible is not None
    assert result.visible[:2].all() and not result.visible[[9, 10, 12, 13]].any()


def test_a_joint_outside_the_picture_is_not_visible():
    result = render(Scene("room", "flat", (), replace(SOMEBODY, x=0.0), 0), 128)
    assert result.joints is not None and result.visible is not None
    assert not result.visible[result.joints[:, 0] < 0].any()


@pytest.mark.parametrize("kind", (*KINDS, *RESERVED_KINDS))
def test_every_kind_covers_a_good_part_of_its_box(kind: str):
    assert (render(one(kind), 128).instances == 1).sum() > 0.15 * (0.5 * 128) ** 2


def test_every_place_looks_different():
    pictures = [render_image(one(background=name), 64).astype(int) for name in BACKGROUNDS]
    for i, a in enumerate(pictures):
        assert all(np.abs(a - b).mean() > 10 for b in pictures[:i])


def test_every_style_looks_different():
    pictures = [render_image(one(style=name), 64).astype(int) for name in (*STYLES, *RESERVED_STYLES)]
    for i, a in enumerate(pictures):
        assert all(np.abs(a - b).mean() > 3 for b in pictures[:i])


def test_pixel_art_has_32_large_pixels():
    picture = render_image(one(style="pixel"), 128)
    np.testing.assert_array_equal(picture, np.repeat(np.repeat(picture[::4, ::4], 4, axis=0), 4, axis=1))
