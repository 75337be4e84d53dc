"""The maps that steer a ControlNet, exact for a scene: edges, nearness, skeleton; drawn as the field draws them.

Edges are white on black, as controlnet_aux's CannyDetector makes them; near is white, as MiDaS has it; a skeleton has
OpenPose's joints, limbs and colours, as controlnet_aux draws them.
"""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from studio.world.render import Rendered

MapKind = Literal["canny", "depth", "pose"]
MAP_KINDS: tuple[MapKind, ...] = ("canny", "depth", "pose")
CANNY_LOW, CANNY_HIGH = 100, 200  # CannyDetector's own thresholds
CONVENTIONAL_SIDE, CONVENTIONAL_STICK = 512, 4  # controlnet_aux: limbs of half width 4 in pictures of 512 pixels
THINNEST_STICK = 2

Colour = tuple[int, int, int]

# Pairs of joints (indices into studio.world.pose.JOINTS), in the order in which they are drawn and coloured.
LIMBS: tuple[tuple[int, int], ...] = (
    (1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10), (1, 11), (11, 12), (12, 13),
    (1, 0), (0, 14), (14, 16), (0, 15), (15, 17),
)  # fmt: skip
JOINT_COLOURS: tuple[Colour, ...] = (
    (255, 0, 0), (255, 85, 0), (255, 170, 0), (255, 255, 0), (170, 255, 0), (85, 255, 0), (0, 255, 0),
    (0, 255, 85), (0, 255, 170), (0, 255, 255), (0, 170, 255), (0, 85, 255), (0, 0, 255), (85, 0, 255),
    (170, 0, 255), (255, 0, 255), (255, 0, 170), (255, 0, 85),
)  # fmt: skip
LIMB_SHADE = 0.6  # a limb has the colour of the joint with its number, this much as bright


def canny_map(picture: NDArray[np.uint8], low: float = CANNY_LOW, high: float = CANNY_HIGH) -> NDArray[np.uint8]:
    """Edges of an RGB picture (H, W, 3) at its own resolution: (H, W, 3) uint8, 255 on an edge and 0 elsewhere."""
    return as_rgb(np.asarray(cv2.Canny(np.ascontiguousarray(picture), low, high), np.uint8))


def depth_map(nearness: NDArray[np.float32]) -> NDArray[np.uint8]:
    """(H, W) in [0, 1], near is 1, to (H, W, 3) uint8, near is white."""
    return as_rgb(np.round(np.clip(nearness, 0, 1) * 255).astype(np.uint8))


def as_rgb(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(H, W) to three equal channels (H, W, 3)."""
    return np.repeat(grey[..., None], 3, axis=-1)


def conventional_stick(side: int) -> int:
    """Half the width of a limb in pixels: controlnet_aux's at 512 pixels, in proportion, and never too thin to see."""
    return max(THINNEST_STICK, round(CONVENTIONAL_STICK * side / CONVENTIONAL_SIDE))


def draw_pose(
    joints: NDArray[np.float32], shown: NDArray[np.bool_], height: int, width: int, stick: int | None = None
) -> NDArray[np.uint8]:
    """The skeleton on black, (height, width, 3) uint8 RGB.

    joints: (18, 2) in pixels; shown: (18,), False for a joint that is not drawn, nor a limb that ends in it; stick:
    half the width of a limb and the radius of a joint in pixels.
    """
    stick = conventional_stick(min(height, width)) if stick is None else stick
    canvas = np.zeros((height, width, 3), np.uint8)
    for (first, second), colour in zip(LIMBS, JOINT_COLOURS, strict=False):
        if shown[first] and shown[second]:
            shaded = [int(channel * LIMB_SHADE) for channel in colour]
            cv2.fillConvexPoly(canvas, _limb(joints[first], joints[second], stick), shaded)
    for joint, visible, colour in zip(joints, shown, JOINT_COLOURS, strict=True):
        if visible:
            cv2.circle(canvas, (int(joint[0]), int(joint[1])), stick, colour, thickness=-1)
    return canvas


def _limb(a: NDArray[np.float32], b: NDArray[np.float32], stick: int) -> NDArray[np.int32]:
    """An ellipse between two joints, (N, 2) pixels: its axes are half their distance and `stick`."""
    along = np.asarray(a, np.float64) - np.asarray(b, np.float64)
    middle = (np.asarray(a, np.float64) + np.asarray(b, np.float64)) / 2
    axes = int(np.hypot(*along) / 2), stick
    angle = int(np.degrees(np.arctan2(along[1], along[0])))
    return np.asarray(cv2.ellipse2Poly((int(middle[0]), int(middle[1])), axes, angle, 0, 360, 1), np.int32)


def true_map(kind: MapKind, rendered: Rendered) -> NDArray[np.uint8]:
    """The exact map of a scene, (size, size, 3) uint8; a pose shows the visible joints, nobody is black."""
    size = len(rendered.image)
    match kind:
        case "canny":
            return canny_map(rendered.image)
        case "depth":
            return depth_map(rendered.depth)
        case "pose":
            if rendered.joints is None or rendered.visible is None:
                return np.zeros((size, size, 3), np.uint8)
            return draw_pose(rendered.joints, rendered.visible, size, size)
