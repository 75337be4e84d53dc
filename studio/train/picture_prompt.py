"""The weights of an IP-Adapter, how they hang on a UNet, and their official layout on disk (Ye et al., 2308.06721).

A picture's embedding becomes a few tokens; every cross-attention gets keys K' and values V' of its own for them:

    Attention(Q, K, V) + scale * Attention(Q, K', V')
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor, IPAdapterAttnProcessor
from diffusers.models.embeddings import ImageProjection, MultiIPAdapterImageProjection
from safetensors.torch import load_file, save_file
from torch import Tensor

from studio.train.unet import Denoiser

TOKENS = 4
FILE = "ip_adapter.safetensors"
CROSS = "attn2.processor"
PROJECTION = {"proj.weight": "image_embeds.weight", "proj.bias": "image_embeds.bias"}
PROJECTION |= {"norm.weight": "norm.weight", "norm.bias": "norm.bias"}


class PicturePrompt(torch.nn.Module):
    """The projection of an embedding to TOKENS tokens, and K', V' of every cross-attention of a UNet, in its order.

    K' and V' start as copies of K and V. The attention is the plain one, whose backward pass is faster on a CPU.
    """

    def __init__(self, unet: UNet2DConditionModel, dims: int) -> None:
        """dims: of a picture's embedding."""
        super().__init__()
        width = unet.config.cross_attention_dim
        self.projection = ImageProjection(dims, width, TOKENS)
        self.names = [name for name in unet.attn_processors if name.endswith(CROSS)]
        self.attentions = torch.nn.ModuleList(_processor(unet, name, width) for name in self.names)

    @contextmanager
    def on(self, unet: UNet2DConditionModel) -> Iterator[None]:
        """Hang it on the UNet, and take it off again whatever happens."""
        before = dict(unet.attn_processors)
        own = dict(zip(self.names, self.attentions, strict=True))
        unet.set_attn_processor({name: own.get(name) or AttnProcessor() for name in before})
        unet.encoder_hid_proj = MultiIPAdapterImageProjection([self.projection])
        unet.register_to_config(encoder_hid_dim_type="ip_image_proj")
        try:
            yield
        finally:
            unet.set_attn_processor(before)
            unet.encoder_hid_proj = None
            unet.register_to_config(encoder_hid_dim_type=None)

    def save(self, path: Path) -> None:
        """Write the official layout in half precision."""
        path.parent.mkdir(parents=True, exist_ok=True)
        halves = {name: tensor.detach().to("cpu", torch.float16).contiguous() for name, tensor in self._named().items()}
        save_file(halves, path, {"format": "pt"})

    def load(self, path: Path) -> None:
        """Read what `save` wrote. Raises KeyError if a weight is missing, RuntimeError if one has another shape."""
        found = load_file(path)
        with torch.no_grad():
            for name, tensor in self._named().items():
                tensor.copy_(found[name])

    def _named(self) -> dict[str, Tensor]:
        """The weights by their official names: a cross-attention is told by its place among all attention layers."""
        own = self.projection.state_dict(keep_vars=True)
        named = {f"image_proj.{official}": own[name] for official, name in PROJECTION.items()}
        for number, attention in enumerate(self.attentions):
            for name in ("to_k_ip", "to_v_ip"):
                named[f"ip_adapter.{2 * number + 1}.{name}.weight"] = attention.get_parameter(f"{name}.0.weight")
        return named


def _processor(unet: UNet2DConditionModel, name: str, width: int) -> IPAdapterAttnProcessor:
    attention = unet.get_submodule(name.removesuffix(".processor"))
    made = IPAdapterAttnProcessor(attention.to_k.out_features, width, (TOKENS,))
    made.to_k_ip[0].load_state_dict(attention.to_k.state_dict())
    made.to_v_ip[0].load_state_dict(attention.to_v.state_dict())
    return made


def prompted(base: Denoiser, x: Tensor, t: Tensor, tokens: Tensor, embeddings: Tensor) -> Tensor:
    """The base's v where a PicturePrompt hangs on its UNet.

    x: (B, 4, h, w); t: (B,); tokens: (B, 64); embeddings: (B, D), zeros for no picture; returns (B, 4, h, w).
    """
    context = base.text_encoder(tokens).last_hidden_state
    told = {"image_embeds": [embeddings[:, None]]}
    return base.unet(x, t, context, added_cond_kwargs=told, return_dict=False)[0]
