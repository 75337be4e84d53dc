"""How IP-Adapter lets a picture speak beside the text: an attention of its own, added to the text's.

Q: (B, heads, places, d); K, V: (B, heads, tokens, d) of the text; K', V': the same of the picture's tokens.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def decoupled_attention(
    query: Tensor, text: tuple[Tensor, Tensor], picture: tuple[Tensor, Tensor], scale: float
) -> Tensor:
    """Z = Attention(Q, K, V) + lambda Attention(Q, K', V')                              Ye et al. (2308.06721), eq. 5

    text: K, V; picture: K', V'; scale: lambda, at 0 the text's very answer. Returns (B, heads, places, d).
    """
    of_text = F.scaled_dot_product_attention(query, *text)
    return of_text if scale == 0 else of_text + scale * F.scaled_dot_product_attention(query, *picture)
