"""How much reference pictures bring into each cross-attention's sum, beside the prompt. For an IP-Adapter.

A layer adds up Attention(Q, K, V) of the text and scale m_i Attention(Q, K'_i, V'_i) of each reference i. At each place
the share of a summand is its length among the lengths of all; the shares of text and references sum to one.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from studio.construction import imported

if TYPE_CHECKING:
    import torch
    from torch.utils.hooks import RemovableHandle

MASKS = "ip_adapter_masks"
Tell = Callable[["torch.Tensor"], None]


@dataclass
class _Heard:
    """What one layer computed in one call. keys, values: those of the text first, then of each reference."""

    query: list[torch.Tensor] = field(default_factory=list)
    keys: list[torch.Tensor] = field(default_factory=list)
    values: list[torch.Tensor] = field(default_factory=list)

    def clear(self) -> None:
        for kept in (self.query, self.keys, self.values):
            kept.clear()


def listen_to_references(unet: Any, images: int, is_kept: Callable[[], bool], tell: Tell) -> list[RemovableHandle]:
    """Hear the cross-attentions of a UNet that read pictures. It must belong to this call alone.

    tell: called for each of them in each step that is kept, with (images, references, places): the shares of the
    references in the last rows of the batch, which read the prompt. Returns the hooks; none without an IP-Adapter.
    """
    hooks: list[RemovableHandle] = []
    for name, layer in unet.named_modules():
        if name.endswith(".attn2") and hasattr(layer.processor, "to_k_ip"):
            heard = _Heard()
            for module, kept in _sources(layer, heard):
                hooks.append(module.register_forward_hook(functools.partial(_keep, kept)))
            end = functools.partial(_end, heard, images, is_kept, tell)
            hooks.append(layer.register_forward_hook(end, with_kwargs=True))
    return hooks


def _sources(layer: Any, heard: _Heard) -> Iterator[tuple[Any, list[torch.Tensor]]]:
    """The layer's parts, and where what they compute is kept."""
    yield layer.to_q, heard.query
    for module in (layer.to_k, *layer.processor.to_k_ip):
        yield module, heard.keys
    for module in (layer.to_v, *layer.processor.to_v_ip):
        yield module, heard.values


def _keep(kept: list[torch.Tensor], module: Any, args: Any, output: torch.Tensor) -> None:
    kept.append(output)


def _end(
    heard: _Heard,
    images: int,
    is_kept: Callable[[], bool],
    tell: Tell,
    layer: Any,
    args: Any,
    kwargs: Mapping[str, Any],
    output: Any,
) -> None:
    """A layer is done: tell the shares of what it heard."""
    import torch

    if is_kept():
        masks = kwargs.get(MASKS)
        count = masks[0].shape[1] if masks else 1
        query = heard.query[0][-images:]
        summands = [
            _attended(layer, query, key[-images:], value[-images:])
            for key, value in zip(heard.keys, heard.values, strict=True)
        ]
        text, *pictures = (one.norm(dim=-1) for one in summands)  # (images, places) each
        # At scale 0 a layer does not so much as ask for their keys.
        found = torch.stack(pictures, 1) if pictures else text.new_zeros(images, count, text.shape[1])
        found = found * layer.processor.scale[0] * (_downsampled(masks[0], found.shape[-1]) if masks else 1.0)
        tell(found / (text[:, None] + found.sum(1, keepdim=True)))
    heard.clear()


def _attended(layer: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """softmax(q k^T / sqrt(d)) v of all heads, (B, places, heads * d) float32, as the layer itself adds it up.

    A reference's keys may come as (B, 1, tokens, dims): one adapter's pictures without masks.
    """
    from torch.nn.functional import scaled_dot_product_attention

    batch = len(query)
    heads = (x.float().reshape(batch, -1, layer.heads, x.shape[-1] // layer.heads) for x in (query, key, value))
    q, k, v = (x.transpose(1, 2) for x in heads)  # (B, heads, _, d)
    return scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


def _downsampled(masks: torch.Tensor, places: int) -> torch.Tensor:
    """Masks (1, n, h, w) at a layer's places, (1, n, places), as diffusers makes them."""
    import torch

    downsample = imported("diffusers.image_processor", "IPAdapterMaskProcessor").downsample
    one = [downsample(masks[:, n], 1, places, 1)[..., 0] for n in range(masks.shape[1])]
    return torch.stack(one, dim=1).to(masks.dtype)
