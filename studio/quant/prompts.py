"""What a text-to-image model draws while it is watched for a calibration: different things, places and styles."""

from __future__ import annotations

PROMPTS = (
    "a red house and a tree in the snow",
    "two yellow cats on the beach, watercolour",
    "一只蓝色的鸟在森林里",
    "a person in a green coat beside a car, neon",
    "three mushrooms under a night sky, pixel art",
    "一把紫色的雨伞和一个礼物在城市里",
    "a white mug on a table, pencil drawing",
    "an orange ball and a star in the desert",
)
