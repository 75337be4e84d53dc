"""How well pictures and prompts agree in the eyes of the world's own CLIP."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from PIL.Image import Image
from torch import Tensor
from transformers import CLIPImageProcessor, CLIPModel, PreTrainedTokenizerFast


class ClipScore:
    """Cosine of picture and prompt, as in CLIPScore (Hessel et al., 2104.08718, eq. 1) without its factor and floor."""

    def __init__(self, folder: Path) -> None:
        self._clip = CLIPModel.from_pretrained(folder, dtype=torch.float32).eval()
        self._processor = CLIPImageProcessor.from_pretrained(folder)
        self._tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)

    @torch.inference_mode()
    def cosines(self, prompts: Sequence[str], pictures: Sequence[Image]) -> Tensor:
        """(B,) cosines of picture i with prompt i."""
        tokens = self._tokenizer(list(prompts), padding="max_length", truncation=True, return_tensors="pt")
        pixels = self._processor(images=list(pictures), return_tensors="pt")["pixel_values"]
        output = self._clip(input_ids=tokens["input_ids"], pixel_values=pixels)
        return (output.image_embeds * output.text_embeds).sum(1)
