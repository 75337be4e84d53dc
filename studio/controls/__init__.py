"""The ways to steer a picture beyond its prompt: one file per control, and one line of it here."""

from __future__ import annotations

from studio.types import Control

CONTROLS: tuple[Control, ...] = ()
