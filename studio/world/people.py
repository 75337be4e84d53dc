"""People: a body drawn around its skeleton."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from studio.world.canvas import Canvas, Colour, darker, lighter
from studio.world.pose import FOOT, HEAD, skeleton
from studio.world.scene import Person
from studio.world.vocabulary import HAIR_RGB, RGB, SKIN_RGB

SHOE: Colour = (62, 52, 60)
MOMO_SUIT: Colour = (64, 190, 180)
MOMO_FACE: Colour = (255, 240, 214)

Joints = NDArray[np.float64]


def draw_person(canvas: Canvas, person: Person) -> None:
    """Shadow, stool if sitting, limbs, torso, head: from far to near."""
    joints, h = skeleton(person.pose, person.x, person.base_y, person.height), person.height
    shirt, pants, skin = RGB[person.shirt], RGB[person.pants], SKIN_RGB[person.skin]
    if person.character == "momo":
        shirt = pants = MOMO_SUIT
        skin = MOMO_FACE
    canvas.shadow((person.x, person.base_y), (0.2 * h, 0.035 * h))
    if person.pose.name == "sitting":
        _stool(canvas, joints, h, person.base_y)
    for hip in (8, 11):
        _leg(canvas, joints[hip : hip + 3], h, pants)
    _torso(canvas, joints, h, shirt)
    for shoulder in (2, 5):
        _arm(canvas, joints[shoulder : shoulder + 3], h, shirt, skin)
    canvas.line([joints[1], joints[1] + 0.35 * (joints[0] - joints[1])], skin, 0.06 * h)
    if person.character == "momo":
        _momo_head(canvas, joints, h)
    else:
        _head(canvas, joints, h, skin, HAIR_RGB[person.hair])


def _stool(canvas: Canvas, joints: Joints, h: float, base_y: float) -> None:
    x, top = float(joints[[8, 11], 0].mean()), float(joints[[8, 11], 1].mean()) + 0.055 * h
    for side in (-0.07, 0.07):
        canvas.line([(x + side * h, top), (x + side * 1.4 * h, base_y)], (132, 92, 62), 0.026 * h)
    canvas.ellipse((x, top), (0.12 * h, 0.028 * h), (164, 116, 76))


def _leg(canvas: Canvas, joints: Joints, h: float, pants: Colour) -> None:
    hip, knee, ankle = joints
    along = (ankle - knee) / np.linalg.norm(ankle - knee)
    sole = ankle + FOOT * 0.6 * h * along
    side = 1.0 if sole[0] >= hip[0] else -1.0
    canvas.ellipse((float(sole[0] + 0.018 * h * side), float(sole[1])), (0.05 * h, 0.026 * h), SHOE)
    canvas.line([hip, knee, ankle], pants, 0.088 * h)


def _torso(canvas: Canvas, joints: Joints, h: float, shirt: Colour) -> None:
    right, left, right_hip, left_hip = joints[2], joints[5], joints[8], joints[11]
    across = (left - right) / np.linalg.norm(left - right)
    down = np.array([-across[1], across[0]])
    wider, higher = 0.02 * h * across, 0.025 * h * down
    a, b = right - wider - higher, left + wider - higher
    wider, lower = 0.038 * h * across, 0.03 * h * down
    c, d = left_hip + wider + lower, right_hip - wider + lower
    canvas.polygon(np.array([a, b, c, d]), shirt)
    upper_middle, lower_middle = (a + b) / 2, (c + d) / 2
    shaded = np.array([upper_middle * 0.4 + b * 0.6, b, c, lower_middle * 0.4 + c * 0.6])
    canvas.shade(shaded, darker(shirt, 0.14))


def _arm(canvas: Canvas, joints: Joints, h: float, shirt: Colour, skin: Colour) -> None:
    shoulder, elbow, wrist = joints
    canvas.line([elbow, wrist], skin, 0.052 * h)
    canvas.ellipse((float(wrist[0]), float(wrist[1])), (0.034 * h, 0.034 * h), skin)
    canvas.line([shoulder, elbow + 0.2 * (wrist - elbow)], shirt, 0.07 * h)


def _head(canvas: Canvas, joints: Joints, h: float, skin: Colour, hair: Colour) -> None:
    x, y = (float(v) for v in joints[0])
    r = HEAD * h
    canvas.ellipse((x, y - 0.1 * r), (1.04 * r, 1.02 * r), hair)
    canvas.ellipse((x, y + 0.08 * r), (0.9 * r, 0.92 * r), skin)
    canvas.ellipse((x, y - 0.2 * r), (0.95 * r, 0.75 * r), hair, 188, 352, outline=False)
    _face(canvas, x, y, r)


def _face(canvas: Canvas, x: float, y: float, r: float) -> None:
    for side in (-0.36, 0.36):
        canvas.dot((x + side * r, y + 0.12 * r), (0.12 * r, 0.15 * r), (34, 28, 36))
    angles = np.deg2rad(np.linspace(25, 155, 7))
    smile = np.stack([x + 0.36 * r * np.cos(angles), y + 0.28 * r + 0.26 * r * np.sin(angles)], axis=1)
    canvas.line(smile, (150, 60, 60), 0.012)


def _momo_head(canvas: Canvas, joints: Joints, h: float) -> None:
    """The reserved character: a round hood with two ears and a cream face."""
    x, y = (float(v) for v in joints[0])
    r = HEAD * h
    for side in (-0.7, 0.7):
        canvas.ellipse((x + side * r, y - 1.0 * r), (0.42 * r, 0.5 * r), MOMO_SUIT)
        canvas.ellipse((x + side * r, y - 1.0 * r), (0.2 * r, 0.26 * r), lighter((246, 130, 182), 0.2), outline=False)
    canvas.ellipse((x, y), (1.25 * r, 1.15 * r), MOMO_SUIT)
    canvas.ellipse((x, y + 0.14 * r), (0.9 * r, 0.8 * r), MOMO_FACE)
    _face(canvas, x, y, r)
