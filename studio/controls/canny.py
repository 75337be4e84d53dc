"""Drawn by its edges: white lines on black, as controlnet_aux's CannyDetector finds them."""

from __future__ import annotations

from studio.controls.controlnet import controlnet, is_dark, little_world, sd15

CONTROL = controlnet(
    "canny", (little_world("canny"), sd15("canny", "control_v11p_sd15_canny")), "map_without_edges", is_dark
)
