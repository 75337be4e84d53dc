"""Drawn by how near everything is: near is white, as MiDaS has it."""

from __future__ import annotations

from studio.controls.controlnet import controlnet, is_flat, little_world, sd15

CONTROL = controlnet("depth", (little_world("depth"), sd15("depth", "control_v11f1p_sd15_depth")), "map_flat", is_flat)
