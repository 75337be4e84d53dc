"""The ways to steer a picture beyond its prompt: one file per control, and one line of it here."""

from __future__ import annotations

from studio.controls import canny, depth, ip_adapter, lora, pose
from studio.types import Control

CONTROLS: tuple[Control, ...] = (canny.CONTROL, depth.CONTROL, pose.CONTROL, ip_adapter.CONTROL, lora.CONTROL)
