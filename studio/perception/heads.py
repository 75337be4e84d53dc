"""Depth and joints of little-world pictures, read by a small network beside the eye, which stays as it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn

from studio.errors import ModelUnavailable
from studio.lineage import read_facts, require_base
from studio.perception.measure import WEIGHTS as EYE_WEIGHTS
from studio.perception.measure import as_batch
from studio.perception.network import FEATURES, Eye
from studio.world.maps import depth_map, draw_pose
from studio.world.pose import JOINTS

FOLDER, WEIGHTS = "perception-heads", "heads.safetensors"
WIDTHS = (96, 80, 56, 40)  # of the levels of 8, 16, 32 and 64 cells
EYE_WIDTHS = (FEATURES, 128, 64, 32)
PEAK_CELLS = 2  # how far around a peak its centre is looked for


@dataclass(frozen=True)
class Structure:
    """What a picture shows. depth: (64, 64) in [0, 1], near is 1; joints: (18, 2) x and y as shares of the picture;
    seen: (18,), whether a joint is there to be seen."""

    depth: NDArray[np.float32]
    joints: NDArray[np.float32]
    seen: NDArray[np.bool_]

    def depth_map(self, side: int) -> NDArray[np.uint8]:
        """What was read as the map of a ControlNet, (side, side, 3) uint8, near is white."""
        return depth_map(np.asarray(cv2.resize(self.depth, (side, side), interpolation=cv2.INTER_LINEAR), np.float32))

    def pose_map(self, side: int) -> NDArray[np.uint8]:
        """The skeleton of the joints that are seen, (side, side, 3) uint8; black without one."""
        return draw_pose(self.joints * side, self.seen, side, side)


@dataclass(frozen=True)
class StructureLogits:
    """depth: (B, 64, 64) in [0, 1]; places: (B, 18, 64, 64), a joint's place; seen: (B, 18), whether it can be seen."""

    depth: Tensor
    places: Tensor
    seen: Tensor


class Level(nn.Module):
    """One level on the way up: what came from below, what the eye sees here, and two convolutions over both."""

    def __init__(self, below: int, eye: int, width: int) -> None:
        super().__init__()
        self.below = nn.Conv2d(below, width, 1) if below else None
        self.eye = nn.Conv2d(eye, width, 1)
        self.first, self.second = (nn.Conv2d(width, width, 3, 1, 1) for _ in range(2))
        self.norm, self.norm2 = (nn.GroupNorm(8, width) for _ in range(2))

    def forward(self, x: Tensor | None, view: Tensor, further: Tensor | None = None) -> Tensor:
        """x: (B, below, h / 2, w / 2) or None; view: (B, eye, h, w); returns (B, width, h, w)."""
        y = self.eye(view)
        if x is not None and self.below is not None:
            y = y + F.interpolate(self.below(x), scale_factor=2, mode="bilinear")
        if further is not None:
            y = y + further
        y = y + F.silu(self.norm(self.first(F.silu(y))))
        return F.silu(y + self.norm2(self.second(y)))


class Heads(nn.Module):
    """(B, 3, 128, 128) in [-1, 1] and the eye's views of it to StructureLogits."""

    def __init__(self) -> None:
        super().__init__()
        below = (0, *WIDTHS[:-1])
        self.levels = nn.ModuleList(Level(b, e, w) for b, e, w in zip(below, EYE_WIDTHS, WIDTHS, strict=True))
        self.detail = nn.Conv2d(3, WIDTHS[-1], 5, 2, 2)
        self.answers = nn.Conv2d(WIDTHS[-1] + 2, 1 + 2 * len(JOINTS), 1)

    def forward(self, pictures: Tensor, views: Sequence[Tensor]) -> StructureLogits:
        """views: of `eye_views`, fine to coarse."""
        x: Tensor | None = None
        for level, view in zip(self.levels, reversed(views), strict=True):
            x = level(x, view, self.detail(pictures) if level is self.levels[-1] else None)
        assert x is not None
        answers = self.answers(torch.cat([x, _where(x)], 1)).float()
        depth, places, visible = answers.split([1, len(JOINTS), len(JOINTS)], 1)
        at_the_place = places.flatten(2).softmax(-1)
        return StructureLogits(depth[:, 0].sigmoid(), places, (at_the_place * visible.flatten(2)).sum(-1))


def _where(x: Tensor) -> Tensor:
    """(B, 2, h, w): x and y of every cell in [-1, 1]."""
    rows, columns = (torch.linspace(-1, 1, n, device=x.device, dtype=x.dtype) for n in x.shape[2:])
    grid = torch.stack(torch.meshgrid(columns, rows, indexing="xy"))
    return grid.expand(len(x), -1, -1, -1)


@torch.no_grad()
def eye_views(eye: Eye, pictures: Tensor) -> list[Tensor]:
    """What the eye sees on its way, without a gradient: (B, 32, 64, 64), (B, 64, 32, 32), (B, 128, 16, 16),
    (B, 192, 8, 8)."""
    views = [F.silu(eye.stem(pictures))]
    for block in eye.blocks:
        views.append(block(views[-1]))
    return views


def peaks_of(places: Tensor) -> Tensor:
    """The centre of the highest peak of each map, (B, J, 64, 64) logits to (B, J, 2) x and y as shares of the picture.

    The mean place under the softmax of the cells around the largest one.
    """
    b, j, h, w = places.shape
    flat = places.reshape(b, j, h * w)
    best = flat.argmax(-1, keepdim=True)
    rows, columns = torch.arange(h * w, device=places.device) // w, torch.arange(h * w, device=places.device) % w
    far = ((rows - best // w).abs() > PEAK_CELLS) | ((columns - best % w).abs() > PEAK_CELLS)
    weights = flat.masked_fill(far, -torch.inf).softmax(-1)
    x, y = ((weights * (axis + 0.5)).sum(-1) for axis in (columns, rows))
    return torch.stack([x / w, y / h], -1)


class StructureReader:
    """The heads with the eye whose views they read. ceilings: how well they read true pictures."""

    def __init__(self, eye: Eye, heads: Heads, ceilings: dict[str, float], sha256: str) -> None:
        self.eye, self.heads, self.ceilings, self.sha256 = eye.eval(), heads.eval(), ceilings, sha256

    @classmethod
    def load(cls, models: Path) -> StructureReader:
        """Read models/perception and models/perception-heads.

        Raises ModelUnavailable if one is missing, or the heads were trained beside another eye.
        """
        facts = read_facts(models / FOLDER, "no_heads")
        require_base(models / FOLDER, "eye", models / "perception")
        eye, heads = load_eye(models / "perception"), Heads()
        heads.load_state_dict({k: v.float() for k, v in load_file(models / FOLDER / WEIGHTS).items()})
        return cls(eye, heads, facts["metrics"], facts["sha256"])

    @torch.inference_mode()
    def read(self, pictures: Sequence[Image.Image]) -> list[Structure]:
        """Depth and joints of pictures of any size."""
        return structures_of(self.eye, self.heads, as_batch(pictures))


def load_eye(folder: Path) -> Eye:
    """The eye with its weights. Raises ModelUnavailable where it is not."""
    path = folder / EYE_WEIGHTS
    if not path.is_file():
        raise ModelUnavailable("no_eye")
    eye = Eye()
    eye.load_state_dict({name: tensor.float() for name, tensor in load_file(path).items()})
    return eye.eval().requires_grad_(False)


@torch.no_grad()
def structures_of(eye: Eye, heads: Heads, pictures: Tensor) -> list[Structure]:
    """pictures: (B, 3, 128, 128) in [-1, 1]."""
    logits = heads(pictures, eye_views(eye, pictures))
    joints = peaks_of(logits.places)
    parts = (logits.depth.cpu().numpy(), joints.cpu().numpy(), (logits.seen > 0).cpu().numpy())
    return [Structure(*one) for one in zip(*parts, strict=True)]
