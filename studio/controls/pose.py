"""Drawn by a skeleton: OpenPose's joints, limbs and colours on black."""

from __future__ import annotations

from studio.controls.controlnet import controlnet, is_dark, little_world, sd15

CONTROL = controlnet(
    "pose", (little_world("pose"), sd15("pose", "control_v11p_sd15_openpose")), "map_without_person", is_dark
)
