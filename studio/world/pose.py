"""A body as angles, and the 18 joints of OpenPose that follow from them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

JOINTS = (
    "nose", "neck",
    "right_shoulder", "right_elbow", "right_wrist", "left_shoulder", "left_elbow", "left_wrist",
    "right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle",
    "right_eye", "left_eye", "right_ear", "left_ear",
)  # fmt: skip

# Lengths in body heights.
UPPER_ARM, FOREARM, THIGH, SHIN, FOOT = 0.17, 0.16, 0.235, 0.235, 0.035
TORSO, NECK, SHOULDER, HIP, HEAD = 0.27, 0.115, 0.098, 0.062, 0.108


@dataclass(frozen=True)
class Pose:
    """Directions of the limbs in degrees: 0 points down, 90 to the right of the picture, 180 up.

    arms: right upper, right fore, left upper, left fore (the person's own right, which faces us at the left);
    legs: right thigh, right shin, left thigh, left shin. lean: of the torso, from upright. lift: of the lower
    foot above the ground, in body heights.
    """

    name: str
    arms: tuple[float, float, float, float]
    legs: tuple[float, float, float, float]
    lean: float = 0.0
    lift: float = 0.0

    def mirrored(self) -> Pose:
        """The same pose, seen in a mirror."""
        (a, b, c, d), (e, f, g, h) = self.arms, self.legs
        return replace(self, arms=(-c, -d, -a, -b), legs=(-g, -h, -e, -f), lean=-self.lean)


PROTOTYPES: dict[str, Pose] = {
    "standing": Pose("standing", (-14, -8, 14, 8), (-7, -4, 7, 4)),
    "walking": Pose("walking", (34, 62, -34, -12), (-26, -42, 28, 8), lean=3),
    "jumping": Pose("jumping", (-118, -142, 118, 142), (-46, 14, 46, -14), lift=0.13),
    "waving": Pose("waving", (-16, -10, 112, 168), (-7, -4, 7, 4)),
    "arms_up": Pose("arms_up", (-152, -172, 152, 172), (-12, -8, 12, 8)),
    "sitting": Pose("sitting", (24, 66, 30, 70), (82, 4, 80, 12), lean=-4),
}


def sample_pose(name: str, rng: np.random.Generator) -> Pose:
    """A pose near the prototype of `name`, mirrored half of the time."""
    prototype = PROTOTYPES[name]
    arms = tuple(float(a + rng.uniform(-9, 9)) for a in prototype.arms)
    legs = tuple(float(a + rng.uniform(-5, 5)) for a in prototype.legs)
    lift = prototype.lift * float(rng.uniform(0.7, 1.3))
    pose = Pose(name, arms, legs, prototype.lean + float(rng.uniform(-3, 3)), lift)  # type: ignore[arg-type]
    return pose.mirrored() if rng.random() < 0.5 else pose


def _direction(degrees: float) -> NDArray[np.float64]:
    angle = np.deg2rad(degrees)
    return np.array([np.sin(angle), np.cos(angle)])


def skeleton(pose: Pose, x: float, base_y: float, height: float) -> NDArray[np.float64]:
    """The joints of a body that stands at (x, base_y): (18, 2) in units of the picture, y downwards.

    The lower foot is `lift` above base_y, whatever the legs do.
    """
    up = -_direction(pose.lean)
    side = np.array([-up[1], up[0]])  # to the right of the picture
    hip = np.zeros(2)
    neck = hip + TORSO * up
    nose = neck + NECK * up
    joints = np.zeros((18, 2))
    joints[0], joints[1] = nose, neck
    for first, sign, upper, fore in ((2, -1, *pose.arms[:2]), (5, 1, *pose.arms[2:])):
        joints[first] = neck + sign * SHOULDER * side - 0.015 * up
        joints[first + 1] = joints[first] + UPPER_ARM * _direction(upper)
        joints[first + 2] = joints[first + 1] + FOREARM * _direction(fore)
    for first, sign, thigh, shin in ((8, -1, *pose.legs[:2]), (11, 1, *pose.legs[2:])):
        joints[first] = hip + sign * HIP * side
        joints[first + 1] = joints[first] + THIGH * _direction(thigh)
        joints[first + 2] = joints[first + 1] + SHIN * _direction(shin)
    for index, dx, dy in ((14, -0.38, 0.12), (15, 0.38, 0.12), (16, -0.95, 0.0), (17, 0.95, 0.0)):
        joints[index] = nose + HEAD * (dx * side + dy * up)
    joints[:, 1] -= max(joints[10, 1], joints[13, 1]) + FOOT + pose.lift
    return np.array([x, base_y]) + height * joints
