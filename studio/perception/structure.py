"""What heads beside the eye shall read of a scene: depth and joints. Free of torch, like the renderer."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from studio.world.pose import JOINTS
from studio.world.render import Rendered, render
from studio.world.scene import Scene

CELLS = 64  # along a side
RENDERED_SIDE = 128  # pixels that the cells are averaged from

# depth: near is 1; inside: cells that entities cover wholly; joints: x and y as shares of the picture, NaN without a
# person; visible: of each joint; height: of the person, in pictures, NaN without one.
STRUCTURE = np.dtype(
    [
        ("depth", np.float16, (CELLS, CELLS)),
        ("inside", np.bool_, (CELLS, CELLS)),
        ("joints", np.float32, (len(JOINTS), 2)),
        ("visible", np.bool_, (len(JOINTS),)),
        ("height", np.float32),
    ]
)


def true_structure(scene: Scene, rendered: Rendered | None = None) -> Any:
    """One row of STRUCTURE. rendered: of this scene, if it is at hand."""
    rendered = render(scene, RENDERED_SIDE) if rendered is None else rendered
    size, row = len(rendered.depth), np.zeros((), STRUCTURE)
    covered = (rendered.instances > 0).astype(np.float32)
    row["depth"] = cv2.resize(rendered.depth, (CELLS, CELLS), interpolation=cv2.INTER_AREA)
    row["inside"] = cv2.resize(covered, (CELLS, CELLS), interpolation=cv2.INTER_AREA) == 1
    row["joints"], row["height"] = np.nan, np.nan
    if scene.person is not None:
        row["joints"], row["visible"], row["height"] = rendered.joints, rendered.visible, scene.person.height
        row["joints"] /= size
    return row
