"""From a scene to its picture, depth, instances and joints, all aligned."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from studio.world import backgrounds
from studio.world.canvas import Canvas
from studio.world.finish import finish
from studio.world.people import draw_person
from studio.world.pose import skeleton
from studio.world.scene import Person, Scene
from studio.world.things import draw_thing

MIN_SIZE, MAX_SIZE = 32, 512
SKY_DEPTH, FAR_DEPTH = 0.0, 0.15


@dataclass(frozen=True)
class Rendered:
    """All that is known about a picture of `size` pixels.

    image: (size, size, 3) uint8 RGB; depth: (size, size) float32 in [0, 1], near is 1; instances: (size, size) uint8,
    0 for the background, i + 1 for scene.entities[i]; joints: (18, 2) float32 in pixels, in OpenPose's order, or None
    without a person; visible: (18,) bool, False where a joint is hidden by something nearer or outside the picture.
    """

    image: NDArray[np.uint8]
    depth: NDArray[np.float32]
    instances: NDArray[np.uint8]
    joints: NDArray[np.float32] | None
    visible: NDArray[np.bool_] | None


def render_image(scene: Scene, size: int) -> NDArray[np.uint8]:
    """The picture alone, (size, size, 3) uint8 RGB: what training needs, faster than `render`."""
    return finish(_draw(scene, size, maps=False)[0].image, scene.style, scene.variant, size)


def render(scene: Scene, size: int) -> Rendered:
    """The picture with all its maps. size: 32 to 512 pixels; else ValueError."""
    canvas, horizon = _draw(scene, size, maps=True)
    assert canvas.ids is not None
    instances = cv2.resize(canvas.ids, (size, size), interpolation=cv2.INTER_NEAREST).astype(np.uint8)
    image = finish(canvas.image, scene.style, scene.variant, size)
    depth = _depth(scene, instances, horizon)
    person = next((entity for entity in scene.entities if isinstance(entity, Person)), None)
    if person is None:
        return Rendered(image, depth, instances, None, None)
    joints = (skeleton(person.pose, person.x, person.base_y, person.height) * size).astype(np.float32)
    own_id = scene.entities.index(person) + 1
    visible = np.array([_is_visible(instances, joint, own_id) for joint in joints])
    return Rendered(image, depth, instances, joints, visible)


def _draw(scene: Scene, size: int, maps: bool) -> tuple[Canvas, float]:
    if not MIN_SIZE <= size <= MAX_SIZE:
        raise ValueError(f"size must be {MIN_SIZE} to {MAX_SIZE}, not {size}")
    canvas = Canvas(max(2 * size, 128), scene.style, maps)
    horizon = backgrounds.DRAW[scene.background](canvas, np.random.default_rng(scene.variant))
    for number, entity in enumerate(scene.entities, start=1):
        canvas.entity = number
        if isinstance(entity, Person):
            draw_person(canvas, entity)
        else:
            draw_thing(canvas, entity)
    return canvas, horizon


def ground_depth(y: float, horizon: float) -> float:
    """Nearness of the ground at height y of the picture: FAR_DEPTH at the horizon, 1 at the lower edge."""
    return FAR_DEPTH + (1 - FAR_DEPTH) * max(0.0, y - horizon) / (1 - horizon)


def _depth(scene: Scene, instances: NDArray[np.uint8], horizon: float) -> NDArray[np.float32]:
    """Sky 0, the ground's ramp, and each entity at the depth of its foot with a gently rounded relief."""
    size = len(instances)
    rows = np.array([SKY_DEPTH if y < horizon else ground_depth(y, horizon) for y in (np.arange(size) + 0.5) / size])
    depth = np.repeat(rows.astype(np.float32)[:, None], size, axis=1)
    for number, entity in enumerate(scene.entities, start=1):
        mask = (instances == number).astype(np.uint8)
        if mask.any():
            inner = cv2.distanceTransform(mask, cv2.DIST_L2, 3)
            relief = 0.06 * np.sqrt(inner / max(float(inner.max()), 1e-6))
            depth = np.where(mask > 0, ground_depth(entity.base_y, horizon) - 0.06 + relief, depth)
    return np.clip(depth, 0, 1).astype(np.float32)


def _is_visible(instances: NDArray[np.uint8], joint: NDArray[np.float32], own_id: int) -> bool:
    """Inside the picture, and nothing nearer than the person drawn there."""
    x, y = int(joint[0]), int(joint[1])
    inside = 0 <= x < instances.shape[1] and 0 <= y < instances.shape[0]
    return inside and int(instances[y, x]) <= own_id
