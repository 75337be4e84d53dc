"""What the names and shapes in a LoRA's file tell of where it comes from: another algorithm, another family of models.

Free of torch. Sources: the names that LyCORIS, peft and the trainers of FLUX, SD 3 and SDXL write.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from studio.diffusion.lora_keys import DOWN, Shape, read_key

OTHER_ALGORITHMS = {
    "dora_scale": "DoRA",
    "lora_magnitude_vector": "DoRA",
    ".hada_": "LoHa",
    ".lokr_": "LoKr",
    ".oft_": "OFT",
    "oft_blocks": "OFT",
    "oft_diag": "OFT",
    ".boft": "BOFT",
    ".lora_mid": "LoCon (Tucker)",
    ".glora": "GLoRA",
    ".a1.weight": "GLoRA",
    ".on_input": "IA3",
    ".diff_b": "full difference",
    ".diff$": "full difference",
}
"""What stands in a key ($: at its end) -> what patches weights in another way than low rank. LyCORIS' names, DoRA's."""
MARKS_OF_FAMILIES = {
    "single_transformer_blocks": "flux",
    "double_blocks": "flux",
    "joint_blocks": "sd3",
    "transformer.transformer_blocks": "sd3",
    "lora_te2_": "sdxl",
    "text_encoder_2.": "sdxl",
    "unet_input_blocks": "sdxl",
}
FAMILY_OF_TEXT_WIDTH = {192: "little_world", 768: "sd15", 1024: "sd2", 1280: "sdxl", 2048: "sdxl"}
"""in_features of attn2.to_k, the width of the text that a UNet reads -> whose it is."""


def other_algorithm(names: Iterable[str]) -> tuple[str, str] | None:
    """The name of another kind of patch than low rank, and the first key that shows it; None if there is none."""
    for name in names:
        for sign, algorithm in OTHER_ALGORITHMS.items():
            if sign in f"{name}$":
                return algorithm, name
    return None


def text_width(shapes: Mapping[str, Shape]) -> int | None:
    """How wide the text is that the UNet of a file's pairs reads: in_features of its first attn2.to_k."""
    for name, shape in shapes.items():
        if "attn2" in name and "to_k" in name and (key := read_key(name)) is not None and key.role == DOWN:
            return shape[1] if len(shape) > 1 else None
    return None


def likely_family(shapes: Mapping[str, Shape]) -> str:
    """Whose base a file was made for, judged by its names and shapes; "" where nothing tells."""
    for mark, family in MARKS_OF_FAMILIES.items():
        if any(mark in name for name in shapes):
            return family
    return FAMILY_OF_TEXT_WIDTH.get(text_width(shapes) or 0, "")
