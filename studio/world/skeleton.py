"""Skeletons as people draw and pass them around: 18 joints, in OpenPose's colours and in its JSON.

    {"canvas_width": W, "canvas_height": H, "people": [{"pose_keypoints_2d": [x, y, c, ...]}]}

54 numbers for each person: x and y in pixels of the canvas, c = 0 for a joint that is not shown. Editors and
preprocessors for ControlNet write it so, some of them in a list with one entry for each picture.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from studio.errors import InvalidInput
from studio.world.maps import JOINT_COLOURS, draw_pose
from studio.world.pose import JOINTS, PROTOTYPES, skeleton

MAX_PEOPLE = 8
MAX_TEXT = 100_000
VALUES = 3 * len(JOINTS)
FIELD = "json"
COLOUR_TOLERANCE = 20
"""In levels: joints next to each other differ by 85, and a joint's limb by more."""
MIRRORED = tuple(
    JOINTS.index(name.replace("right_", "left_") if "right_" in name else name.replace("left_", "right_"))
    for name in JOINTS
)
"""For each joint the one that takes its place in a mirror."""

Joint = tuple[float, float] | None


@dataclass(frozen=True)
class Skeleton:
    """joints: in the order of JOINTS, x and y as shares of the picture, also outside of it; None: not shown."""

    joints: tuple[Joint, ...]

    def __post_init__(self) -> None:
        if len(self.joints) != len(JOINTS):
            raise InvalidInput("bad_skeleton", field=FIELD, reason=f"{len(self.joints)} joints")

    @classmethod
    def of(cls, joints: NDArray[np.floating], shown: NDArray[np.bool_]) -> Skeleton:
        """joints: (18, 2) as shares of the picture; shown: (18,)."""
        return cls(tuple((float(x), float(y)) if seen else None for (x, y), seen in zip(joints, shown, strict=True)))

    @classmethod
    def standing(cls) -> Skeleton:
        """Somebody to begin with, in the middle of the picture."""
        return cls.of(skeleton(PROTOTYPES["standing"], 0.5, 0.92, 0.8), np.ones(len(JOINTS), np.bool_))

    @property
    def is_empty(self) -> bool:
        return not any(self.joints)

    def mirrored(self) -> Skeleton:
        """The same body in a mirror: what was its left is its right."""
        swapped = (self.joints[index] for index in MIRRORED)
        return Skeleton(tuple((1.0 - joint[0], joint[1]) if joint is not None else None for joint in swapped))


def draw_skeletons(skeletons: Sequence[Skeleton], width: int, height: int) -> Image.Image:
    """The map of poses that a ControlNet reads, RGB; a later skeleton is in front."""
    canvas = np.zeros((height, width, 3), np.uint8)
    for one in skeletons:
        shown = np.array([joint is not None for joint in one.joints])
        joints = np.array([joint or (0.0, 0.0) for joint in one.joints], np.float32) * (width, height)
        drawn = draw_pose(joints.astype(np.float32), shown, height, width)
        canvas = np.where(drawn.any(-1, keepdims=True), drawn, canvas)
    return Image.fromarray(canvas)


def skeleton_in(picture: Image.Image) -> Skeleton:
    """The one skeleton that a map shows: each joint in the middle of what has its colour. Limbs are darker."""
    pixels = np.asarray(picture.convert("RGB"), np.int16)
    found: list[Joint] = []
    for colour in JOINT_COLOURS:
        rows, columns = np.nonzero((np.abs(pixels - colour) <= COLOUR_TOLERANCE).all(-1))
        if not rows.size:
            found.append(None)
            continue
        found.append((float(np.median(columns)) / picture.width, float(np.median(rows)) / picture.height))
    return Skeleton(tuple(found))


def write_skeletons(skeletons: Sequence[Skeleton], width: int, height: int) -> str:
    """The JSON of skeletons on a canvas of this size in pixels."""
    people = [{"pose_keypoints_2d": _values(one, width, height)} for one in skeletons]
    return json.dumps({"canvas_width": width, "canvas_height": height, "people": people})


def _values(one: Skeleton, width: int, height: int) -> list[float]:
    found: list[float] = []
    for joint in one.joints:
        found += [round(joint[0] * width, 3), round(joint[1] * height, 3), 1.0] if joint is not None else [0.0] * 3
    return found


def read_skeletons(text: str) -> tuple[Skeleton, ...]:
    """The skeletons of such a JSON, those without a joint left out. Raises InvalidInput that says what is wrong."""
    if len(text) > MAX_TEXT:
        raise InvalidInput("too_long", field=FIELD, maximum=MAX_TEXT, value=len(text))
    try:
        read = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _bad("no JSON") from error
    if isinstance(read, list) and len(read) == 1:
        (read,) = read
    if not isinstance(read, dict):
        raise _bad("no object")
    width, height = (_side(read, name) for name in ("canvas_width", "canvas_height"))
    people = read.get("people")
    if not isinstance(people, list) or not 1 <= len(people) <= MAX_PEOPLE:
        raise _bad(f"people: 1 - {MAX_PEOPLE}")
    found = tuple(_skeleton(person, width, height, number) for number, person in enumerate(people))
    return tuple(one for one in found if not one.is_empty)


def _side(read: dict[str, Any], name: str) -> float:
    side: Any = read.get(name)
    if not _is_number(side) or side <= 0:
        raise _bad(name)
    return float(side)


def _skeleton(person: Any, width: float, height: float, number: int) -> Skeleton:
    name = f"people[{number}].pose_keypoints_2d"
    values = person.get("pose_keypoints_2d") if isinstance(person, dict) else None
    if not isinstance(values, list) or len(values) != VALUES:
        raise _bad(f"{name}: {VALUES}")
    if not all(map(_is_number, values)):
        raise _bad(name)
    triples = zip(values[::3], values[1::3], values[2::3], strict=True)
    return Skeleton(tuple((x / width, y / height) if c > 0 else None for x, y, c in triples))


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and abs(value) < 1e6


def _bad(reason: str) -> InvalidInput:
    return InvalidInput("bad_skeleton", field=FIELD, reason=reason)
