"""Two small networks that are told a time, the studio's own and diffusers', each with calls from T - 1 down to 0."""

from __future__ import annotations

import torch
from torch import nn

from studio.diffusion.observe import Call
from studio.diffusion.unet import UNet


def own_network() -> tuple[nn.Module, list[Call]]:
    torch.manual_seed(0)
    net = UNet(8, (1, 2), classes=3).eval().requires_grad_(False)
    labels = torch.tensor([0, 2])
    return net, [((torch.randn(2, 3, 16, 16), torch.full((2,), t), labels), {}) for t in range(999, -1, -111)]


def diffusers_network() -> tuple[nn.Module, list[Call]]:
    from diffusers import UNet2DConditionModel

    torch.manual_seed(0)
    net = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(16, 32),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        layers_per_block=1,
        attention_head_dim=8,
        norm_num_groups=8,
        cross_attention_dim=32,
    )
    words = torch.randn(2, 5, 32)
    told: list[Call] = []
    for number, t in enumerate(range(999, -1, -111)):
        x = torch.randn(2, 4, 8, 8)
        plain: Call = ((x, torch.tensor(t)), {"encoder_hidden_states": words, "return_dict": False})
        named: Call = ((x,), {"timestep": float(t), "encoder_hidden_states": words, "return_dict": False})
        told.append(plain if number % 2 else named)
    return net.eval().requires_grad_(False), told


@torch.no_grad()
def asked(net: nn.Module, call: Call) -> torch.Tensor:
    answer = net(*call[0], **call[1])
    return answer if isinstance(answer, torch.Tensor) else answer[0]
