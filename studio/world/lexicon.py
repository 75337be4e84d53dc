"""The words of the world, in English and Chinese: for each value its names, the commonest first."""

from __future__ import annotations

Names = dict[str, tuple[str, ...]]

LANGUAGES = ("en", "zh")

KIND_NAMES: dict[str, Names] = {
    "en": {
        "umbrella": ("umbrella", "parasol"),
        "car": ("car", "automobile"),
        "ball": ("ball", "beach ball"),
        "house": ("house", "cottage"),
        "tree": ("tree",),
        "mug": ("mug", "cup"),
        "star": ("star",),
        "gift": ("gift", "present", "gift box"),
        "cat": ("cat", "kitten"),
        "mushroom": ("mushroom", "toadstool"),
        "rocket": ("rocket",),
    },
    "zh": {
        "umbrella": ("雨伞", "伞"),
        "car": ("汽车", "小汽车", "车"),
        "ball": ("球", "皮球"),
        "house": ("房子", "小屋"),
        "tree": ("树", "大树"),
        "mug": ("杯子", "马克杯"),
        "star": ("星星", "五角星"),
        "gift": ("礼物", "礼盒"),
        "cat": ("猫", "小猫"),
        "mushroom": ("蘑菇",),
        "rocket": ("火箭",),
    },
}
MEASURE_WORDS: dict[str, str] = {
    "umbrella": "一把",
    "car": "一辆",
    "ball": "一个",
    "house": "一座",
    "tree": "一棵",
    "mug": "一个",
    "star": "一颗",
    "gift": "一份",
    "cat": "一只",
    "mushroom": "一朵",
    "rocket": "一枚",
}

COLOUR_NAMES: dict[str, Names] = {
    "en": {
        "red": ("red", "scarlet"),
        "orange": ("orange",),
        "yellow": ("yellow",),
        "green": ("green",),
        "blue": ("blue",),
        "purple": ("purple", "violet"),
        "pink": ("pink",),
        "white": ("white",),
    },
    "zh": {
        "red": ("红色", "红"),
        "orange": ("橙色", "橘色", "橙"),
        "yellow": ("黄色", "黄"),
        "green": ("绿色", "绿"),
        "blue": ("蓝色", "蓝"),
        "purple": ("紫色", "紫"),
        "pink": ("粉色", "粉红色", "粉"),
        "white": ("白色", "白"),
    },
}

# English: the phrase with its preposition, for a caption; the parser looks for the noun.
BACKGROUND_PHRASES: dict[str, Names] = {
    "en": {
        "meadow": ("in a meadow", "on a green meadow", "in the field"),
        "beach": ("on the beach", "at the beach", "by the sea"),
        "snow": ("in the snow", "in the snowy mountains"),
        "desert": ("in the desert", "in a sandy desert"),
        "city": ("in the city at night", "in a night city", "on a city street at night"),
        "room": ("in a room", "indoors", "inside a room"),
        "forest": ("in the forest", "in the woods"),
    },
    "zh": {
        "meadow": ("草地上", "草原上", "田野里"),
        "beach": ("沙滩上", "海滩上", "海边"),
        "snow": ("雪地里", "雪山下", "雪地上"),
        "desert": ("沙漠里", "沙漠中"),
        "city": ("夜晚的城市里", "城市夜景中", "夜晚的街道上"),
        "room": ("房间里", "室内", "屋里"),
        "forest": ("森林里", "树林里", "森林中"),
    },
}
BACKGROUND_NAMES: dict[str, Names] = {
    "en": {
        "meadow": ("green meadow", "meadow", "field"),
        "beach": ("beach", "by the sea", "seaside"),
        "snow": ("snow", "snowy mountains", "snowy"),
        "desert": ("desert", "sandy desert"),
        "city": ("city street", "night city", "city"),
        "room": ("room", "indoors"),
        "forest": ("forest", "woods"),
    },
    "zh": {
        "meadow": ("草地", "草原", "田野"),
        "beach": ("沙滩", "海滩", "海边"),
        "snow": ("雪地", "雪山", "雪"),
        "desert": ("沙漠",),
        "city": ("城市夜景", "城市", "夜晚的街道", "街道"),
        "room": ("房间", "室内", "屋里"),
        "forest": ("森林", "树林"),
    },
}

STYLE_NAMES: dict[str, Names] = {
    "en": {
        "flat": ("flat", "flat illustration", "flat colours"),
        "watercolour": ("watercolour", "watercolor", "watercolour painting"),
        "pixel": ("pixel art", "pixel"),
        "line": ("line art", "line drawing"),
        "neon": ("neon", "neon lights", "neon sign"),
        "crayon": ("crayon", "crayon drawing"),
        "blueprint": ("blueprint",),
        "pop_art": ("pop art",),
    },
    "zh": {
        "flat": ("扁平", "扁平插画", "扁平风格"),
        "watercolour": ("水彩", "水彩画"),
        "pixel": ("像素画", "像素风", "像素"),
        "line": ("线稿", "线条画"),
        "neon": ("霓虹", "霓虹灯"),
        "crayon": ("蜡笔画", "蜡笔"),
        "blueprint": ("蓝图",),
        "pop_art": ("波普艺术",),
    },
}

PERSON_NAMES: dict[str, tuple[str, ...]] = {"en": ("person", "somebody", "someone"), "zh": ("人", "人物")}
CHARACTER_NAMES: dict[str, Names] = {"en": {"momo": ("momo",)}, "zh": {"momo": ("毛毛",)}}
SHIRT_NAMES: dict[str, tuple[str, ...]] = {"en": ("shirt", "top", "sweater"), "zh": ("上衣", "衬衫")}
PANTS_NAMES: dict[str, tuple[str, ...]] = {"en": ("trousers", "pants"), "zh": ("裤子", "长裤")}
HAIR_NAMES: dict[str, Names] = {
    "en": {"black": ("black hair",), "brown": ("brown hair",), "blond": ("blond hair",), "red": ("red hair",)},
    "zh": {"black": ("黑头发",), "brown": ("棕头发",), "blond": ("金头发",), "red": ("红头发",)},
}
POSE_NAMES: dict[str, Names] = {
    "en": {
        "standing": ("standing",),
        "walking": ("walking",),
        "jumping": ("jumping",),
        "waving": ("waving",),
        "arms_up": ("with arms up", "raising both arms"),
        "sitting": ("sitting",),
    },
    "zh": {
        "standing": ("站着",),
        "walking": ("走路",),
        "jumping": ("跳跃",),
        "waving": ("挥手",),
        "arms_up": ("举起双手", "双手高举"),
        "sitting": ("坐着",),
    },
}
