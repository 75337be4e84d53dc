"""Parts of a diffusers model as functions of tensors alone, which is what a tracer can follow. Imports torch."""

from __future__ import annotations

from typing import Any

import torch

from studio.engine.clone import clone_shared


class TracedUNet(torch.nn.Module):
    """A UNet with ControlNet's residuals as inputs of their own.

    time_text: whether it also reads SDXL's pooled text (B, D) and picture sizes (B, 6), as its fourth and fifth input.
    """

    def __init__(self, unet: Any, time_text: bool) -> None:
        super().__init__()
        self.unet = unet
        self.time_text = time_text

    def forward(
        self,
        sample: torch.Tensor,
        timestep: torch.Tensor,
        encoder_hidden_states: torch.Tensor,
        *others: torch.Tensor,
    ) -> torch.Tensor:
        """sample (B, C, h, w), timestep (), encoder_hidden_states (B, tokens, D), ..., mid, down_0, down_1, ...

        The residuals are added to what the blocks hand on; returns (B, C, h, w).
        """
        added, residuals = (others[:2], others[2:]) if self.time_text else ((), others)
        output: torch.Tensor = self.unet(
            sample,
            timestep,
            encoder_hidden_states,
            added_cond_kwargs={"text_embeds": added[0], "time_ids": added[1]} if added else None,
            mid_block_additional_residual=residuals[0],
            down_block_additional_residuals=residuals[1:],
            return_dict=False,
        )[0]
        return output


class TracedControlNet(torch.nn.Module):
    """A ControlNet that is given its map embedded already: that is the same at every step."""

    def __init__(self, controlnet: Any) -> None:
        super().__init__()
        self.controlnet = clone_shared(controlnet)
        self.controlnet.controlnet_cond_embedding = torch.nn.Identity()

    def forward(
        self, sample: torch.Tensor, timestep: torch.Tensor, encoder_hidden_states: torch.Tensor, hint: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        """sample (B, C, h, w), timestep (), encoder_hidden_states (B, tokens, D), hint (B, C_0, h, w)."""
        down, mid = self.controlnet(sample, timestep, encoder_hidden_states, hint, return_dict=False)
        return (*down, mid)


class TracedDecoder(torch.nn.Module):
    """The decoder of an autoencoder."""

    def __init__(self, vae: Any) -> None:
        super().__init__()
        self.vae = vae

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        """latents (B, C, h, w), divided by the scaling factor; returns pixels (B, 3, H, W) in [-1, 1]."""
        pixels: torch.Tensor = self.vae.decode(latents, return_dict=False)[0]
        return pixels


def residual_count(unet: Any) -> int:
    """How many residuals a ControlNet has for this UNet's way down: one of its first layer, one of each other."""
    return 1 + sum(len(block.resnets) + (block.downsamplers is not None) for block in unet.down_blocks)


def unet_examples(unet: Any) -> tuple[torch.Tensor, ...]:
    """Inputs to trace a UNet with.

    The latents' sides are odd at every level of the UNet: it then sizes what it enlarges by the layer that it is
    added to, which is right for every size. Residuals of one number each are added everywhere.
    """
    config = unet.config
    side = 2 ** len(config.down_block_types) + 1
    context_dims = config.cross_attention_dim
    examples = [torch.zeros(2, config.in_channels, side, side), torch.tensor(500.0), torch.zeros(2, 8, context_dims)]
    if config.addition_embed_type == "text_time":
        ids = 6 * config.addition_time_embed_dim
        examples += [torch.zeros(2, config.projection_class_embeddings_input_dim - ids), torch.zeros(2, 6)]
    return (*examples, *(torch.zeros(1, 1, 1, 1) for _ in range(1 + residual_count(unet))))


def controlnet_examples(controlnet: Any) -> tuple[torch.Tensor, ...]:
    """Inputs to trace a ControlNet with."""
    config = controlnet.config
    side = 2 ** len(config.down_block_types)
    return (
        torch.zeros(2, config.in_channels, side, side),
        torch.tensor(500.0),
        torch.zeros(2, 8, config.cross_attention_dim),
        torch.zeros(2, config.block_out_channels[0], side, side),
    )


def decoder_example(vae: Any) -> tuple[torch.Tensor]:
    return (torch.zeros(1, vae.config.latent_channels, 8, 8),)


def trace(module: torch.nn.Module, examples: tuple[torch.Tensor, ...]) -> Any:
    """The operations that a module does with inputs like these, as TorchScript. Its weights need no gradients.

    Traced as a function, its weights are constants: a module would first be made into TorchScript part by part, which
    takes longer than all the rest.
    """
    module.eval()
    with torch.no_grad():
        return torch.jit.trace(  # type: ignore[no-untyped-call]
            lambda *inputs: module(*inputs), examples, strict=False, check_trace=False
        )
