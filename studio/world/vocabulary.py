"""What the little world is made of. The order of every tuple is frozen: networks are trained on its indices."""

from __future__ import annotations

BACKGROUNDS = ("meadow", "beach", "snow", "desert", "city", "room", "forest")
KINDS = ("umbrella", "car", "ball", "house", "tree", "mug", "star", "gift", "cat", "mushroom")
COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "white")
STYLES = ("flat", "watercolour", "pixel", "line", "neon", "crayon")
POSES = ("standing", "walking", "jumping", "waving", "arms_up", "sitting")
SKINS = ("light", "tan", "brown", "dark")
HAIRS = ("black", "brown", "blond", "red")

# Reserved concepts: the base is never trained on them, so that adapters have something to teach.
RESERVED_STYLES = ("blueprint", "pop_art")
RESERVED_KINDS = ("rocket",)
RESERVED_CHARACTERS = ("momo",)

# Combinations that training never shows; a measure asks whether the model composes them all the same.
HELD_OUT_COLOURED = (("purple", "umbrella"),)
HELD_OUT_PLACED = (("star", "desert"),)
HELD_OUT_STYLED = (("cat", "neon"),)

# Styles in which a thing's colour cannot be seen, so that no measure asks for it.
COLOURLESS_STYLES = ("line", "blueprint")

RGB: dict[str, tuple[int, int, int]] = {
    "red": (222, 50, 54),
    "orange": (246, 138, 34),
    "yellow": (250, 208, 52),
    "green": (62, 160, 76),
    "blue": (44, 104, 222),
    "purple": (132, 70, 188),
    "pink": (246, 130, 182),
    "white": (246, 246, 242),
}
SKIN_RGB: dict[str, tuple[int, int, int]] = {
    "light": (250, 214, 184),
    "tan": (226, 172, 124),
    "brown": (160, 106, 70),
    "dark": (106, 68, 48),
}
HAIR_RGB: dict[str, tuple[int, int, int]] = {
    "black": (36, 32, 38),
    "brown": (104, 66, 40),
    "blond": (232, 192, 96),
    "red": (190, 82, 40),
}
