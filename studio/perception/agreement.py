"""Does a picture follow its map? Edges, order of depths and joints, each against what was wished."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from studio.world.pose import FOREARM, HEAD, HIP, NECK, SHIN, SHOULDER, THIGH, TORSO, UPPER_ARM

EDGE_TOLERANCE = 2.0  # pixels
JOINT_TOLERANCE = 0.1  # of the person's height

# Pairs of joints whose distance is fixed in body heights, whatever the pose.
BONES: tuple[tuple[int, int, float], ...] = (
    (2, 3, UPPER_ARM), (5, 6, UPPER_ARM), (3, 4, FOREARM), (6, 7, FOREARM),
    (8, 9, THIGH), (11, 12, THIGH), (9, 10, SHIN), (12, 13, SHIN),
    (0, 1, NECK), (2, 5, 2 * SHOULDER), (8, 11, 2 * HIP), (16, 17, 1.9 * HEAD),
    (1, 8, float(np.hypot(TORSO, HIP))), (1, 11, float(np.hypot(TORSO, HIP))),
)  # fmt: skip


def edge_f1(found: NDArray[np.uint8], wished: NDArray[np.uint8], tolerance: float = EDGE_TOLERANCE) -> float:
    """How well two maps of edges agree, 0 to 1: harmonic mean of precision and recall.

    Precision is the share of found edges with a wished one within `tolerance` pixels, recall the share of wished ones
    with a found one. (H, W) each, an edge where it is not 0. Two empty maps agree; an empty and another one do not.
    """
    found, wished = (found > 0).astype(np.uint8), (wished > 0).astype(np.uint8)
    if not found.any() or not wished.any():
        return float(found.any() == wished.any())
    precision = float((_distance_to(wished)[found > 0] <= tolerance).mean())
    recall = float((_distance_to(found)[wished > 0] <= tolerance).mean())
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _distance_to(edges: NDArray[np.uint8]) -> NDArray[np.float32]:
    """How far each pixel is from the next edge, in pixels."""
    return np.asarray(cv2.distanceTransform(1 - edges, cv2.DIST_L2, cv2.DIST_MASK_PRECISE), np.float32)


def rank_correlation(read: NDArray[np.floating], true: NDArray[np.floating], inside: NDArray[np.bool_]) -> float:
    """Spearman's rank correlation of two depths (H, W) over the pixels inside, -1 to 1; ties share their mean rank.

    0 where one of them does not vary or nothing is inside.
    """
    a, b = _ranks(read[inside]), _ranks(true[inside])
    a, b = a - a.mean() if a.size else a, b - b.mean() if b.size else b
    norm = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / norm if norm > 0 else 0.0


def _ranks(values: NDArray[np.floating]) -> NDArray[np.float64]:
    """The rank of each value, 1 for the smallest; equal ones share the mean of their ranks."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[inverse]


def joints_in_place(
    read: NDArray[np.floating],
    seen: NDArray[np.bool_],
    wished: NDArray[np.floating],
    shown: NDArray[np.bool_],
    height: float,
) -> NDArray[np.bool_]:
    """For each wished joint that is shown, whether it is seen within 0.1 of the person's height of its place.

    read, wished: (18, 2) and height in the same unit; seen, shown: (18,); returns as many as are shown.
    """
    near = np.linalg.norm(read - wished, axis=1) <= JOINT_TOLERANCE * height
    found: NDArray[np.bool_] = (near & seen)[shown]
    return found


def body_height(joints: NDArray[np.floating], shown: NDArray[np.bool_]) -> float | None:
    """The height that a skeleton's bones speak for, in the unit of its joints (18, 2): their median.

    None if no two joints are shown that a bone of known length joins.
    """
    heights = [float(np.linalg.norm(joints[a] - joints[b])) / share for a, b, share in BONES if shown[a] and shown[b]]
    return float(np.median(heights)) if heights else None
