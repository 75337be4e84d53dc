"""Drawing anew a part of a picture, so that every pixel outside of it stays exactly as it was.

The model works on latents, each of which stands for a block of pixels, and its autoencoder changes every pixel a
little. So it draws every block that the soft mask touches, and only the soft mask's share of that is put back:

    alpha = 1 - d / (feather + 1) where d <= feather, else 0      d: distance in pixels to the mask, 0 inside
    picture = (1 - alpha) source + alpha drawn
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from studio.errors import InvalidInput

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

THRESHOLD = 128
"""A mask's grey level from which on a pixel is drawn anew."""


def binary(mask: Picture, invert: bool = False) -> Picture:
    """A mask, L, of nothing but 0 and 255. Raises InvalidInput where nothing would be drawn."""
    chosen = (np.asarray(mask.convert("L")) >= THRESHOLD) != invert
    if not chosen.any():
        raise InvalidInput("empty_mask", field="mask")
    return Image.fromarray(np.where(chosen, np.uint8(255), np.uint8(0)))


def soft_alpha(mask: Picture, feather: int) -> NDArray[np.float32]:
    """The share of the new picture at each pixel, (height, width) in [0, 1]; feather in pixels."""
    import cv2

    outside = (np.asarray(mask) < THRESHOLD).astype(np.uint8)
    distance = cv2.distanceTransform(outside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    alpha: NDArray[np.float32] = np.where(distance <= feather, 1.0 - distance / (feather + 1), 0.0).astype(np.float32)
    return alpha


def latent_region(alpha: NDArray[np.float32], block: int) -> Picture:
    """What the model may draw, L, 0 or 255: every block of block x block pixels that alpha touches.

    diffusers takes one pixel of each block: a thin stroke would fall through.
    """
    height, width = alpha.shape
    touched = alpha.reshape(height // block, block, width // block, block).max(axis=(1, 3)) > 0
    return Image.fromarray(np.kron(touched, np.full((block, block), 255)).astype(np.uint8))


def blend(source: Picture, drawn: Picture, alpha: NDArray[np.float32]) -> Picture:
    """Both mixed by alpha; where that is 0, the source's own bytes."""
    share = alpha[..., None]  # (H, W, 1)
    old, new = (np.asarray(picture, dtype=np.float32) for picture in (source, drawn))  # (H, W, 3)
    return Image.fromarray(np.rint(old + share * (new - old)).astype(np.uint8))
