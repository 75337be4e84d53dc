from __future__ import annotations

import numpy as np
import pytest

from studio.perception.agreement import body_height, edge_f1, joints_in_place, rank_correlation
from studio.world.pose import JOINTS, PROTOTYPES, skeleton

EVERY_JOINT = np.ones(len(JOINTS), bool)


def column(x: int, side: int = 32) -> np.ndarray:
    edges = np.zeros((side, side), np.uint8)
    edges[:, x] = 255
    return edges


def slow_f1(found: np.ndarray, wished: np.ndarray, tolerance: float) -> float:
    """The definition, point by point."""
    a, b = (np.argwhere(edges) for edges in (found, wished))
    distances = np.linalg.norm(a[:, None] - b[None], axis=2)
    precision, recall = ((distances.min(axis) <= tolerance).mean() for axis in (1, 0))
    return float(2 * precision * recall / (precision + recall))


@pytest.mark.parametrize(("shift", "expected"), [(0, 1.0), (2, 1.0), (3, 0.0)])
def test_edges_agree_within_two_pixels(shift: int, expected: float):
    assert edge_f1(column(10), column(10 + shift)) == expected


@pytest.mark.parametrize("seed", range(4))
def test_the_f1_of_edges_is_that_of_its_definition(seed: int):
    rng = np.random.default_rng(seed)
    found, wished = ((rng.random((24, 24)) < share).astype(np.uint8) * 255 for share in (0.03, 0.05))
    assert edge_f1(found, wished) == pytest.approx(slow_f1(found, wished, 2.0))


def test_empty_edges_agree_with_empty_ones_alone():
    empty = np.zeros((8, 8), np.uint8)
    assert (edge_f1(empty, empty), edge_f1(empty, column(3, 8)), edge_f1(column(3, 8), empty)) == (1.0, 0.0, 0.0)


def test_what_has_no_edge_near_costs_precision_or_recall():
    both = column(5) | column(25)
    assert edge_f1(both, column(5)) == edge_f1(column(5), both) == pytest.approx(2 / 3)


def test_distinct_ranks_correlate_by_the_textbook():
    rng = np.random.default_rng(0)
    a, b = rng.permutation(50).reshape(5, 10).astype(float), rng.permutation(50).reshape(5, 10).astype(float)
    n, d = 50, a - b
    expected = 1 - 6 * (d**2).sum() / (n * (n**2 - 1))
    assert rank_correlation(a**3, np.exp(b / 20), np.ones((5, 10), bool)) == pytest.approx(expected)


def test_ties_share_their_rank():
    a, b = np.array([[1.0, 2.0, 2.0, 3.0]]), np.array([[1.0, 2.0, 3.0, 4.0]])
    expected = float(np.corrcoef([1, 2.5, 2.5, 4], [1, 2, 3, 4])[0, 1])
    assert rank_correlation(a, b, np.ones((1, 4), bool)) == pytest.approx(expected)


def test_only_what_is_inside_counts():
    a = np.arange(12.0).reshape(3, 4)
    b, inside = a.copy(), np.zeros((3, 4), bool)
    b[2] = -b[2]
    inside[:2] = True
    assert rank_correlation(a, b, inside) == pytest.approx(1)
    assert rank_correlation(a, -a, inside) == pytest.approx(-1)
    assert rank_correlation(a, b, ~inside) == pytest.approx(-1)


@pytest.mark.parametrize("inside", [np.zeros((3, 4), bool), np.ones((3, 4), bool)])
def test_a_depth_that_does_not_vary_says_nothing(inside: np.ndarray):
    assert rank_correlation(np.full((3, 4), 0.5), np.arange(12.0).reshape(3, 4), inside) == 0.0


def test_a_joint_is_in_place_within_a_tenth_of_the_height_if_it_is_seen():
    wished, seen, shown = np.zeros((18, 2)), EVERY_JOINT.copy(), EVERY_JOINT.copy()
    read = np.zeros((18, 2))
    read[:4, 0] = (0.0, 9.9, 10.1, 0.0)
    seen[3], shown[5:] = False, False
    assert joints_in_place(read, seen, wished, shown, height=100.0).tolist() == [True, True, False, False, True]


@pytest.mark.parametrize("name", PROTOTYPES)
def test_bones_tell_the_height_of_a_person_in_any_pose(name: str):
    joints = skeleton(PROTOTYPES[name], 0.4, 0.9, 0.7)
    assert body_height(joints, EVERY_JOINT) == pytest.approx(0.7, rel=1e-9)


def test_a_single_joint_tells_no_height():
    shown = np.zeros(len(JOINTS), bool)
    shown[4] = True
    assert body_height(np.zeros((18, 2)), shown) is None
