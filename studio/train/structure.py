"""The truth for the heads of the perception network, for many scenes. Free of torch: other processes render it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from studio.perception.structure import STRUCTURE, true_structure
from studio.train.data import kept_rows
from studio.world.scene import anything_of_seed


def true_structures(first_seed: int, count: int) -> NDArray[Any]:
    """(count,) rows of STRUCTURE: what scenes of the whole world show, rendered once and kept."""
    return kept_rows("structures", _chunk, first_seed, count, (), STRUCTURE)


def _chunk(first: int, count: int) -> NDArray[Any]:
    return np.array([true_structure(anything_of_seed(seed)) for seed in range(first, first + count)], STRUCTURE)
