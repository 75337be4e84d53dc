"""Random LoRAs, IP-Adapters and ControlNets that fit the tiny models, in the files that people pass around."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

IMAGE_DIMS = 16
IMAGE_SIDE = 32
IMAGE_TOKENS = 4
LORA_TARGETS = ["to_q", "to_k", "to_v", "to_out.0"]
TEXT_TARGETS = ["q_proj", "v_proj"]


def make_lora(file: Path, base: Path, seed: int = 0, rank: int = 2) -> Path:
    """A LoRA for UNet and text encoder of the model in `base`, as diffusers saves it, with weights that show."""
    from diffusers import StableDiffusionPipeline
    from diffusers.utils import convert_state_dict_to_diffusers
    from peft import LoraConfig
    from peft.utils import get_peft_model_state_dict

    torch.manual_seed(seed)
    pipeline = StableDiffusionPipeline.from_pretrained(base, dtype=torch.float32)
    layers, metadata = {}, {}
    for name, targets in (("unet", LORA_TARGETS), ("text_encoder", TEXT_TARGETS)):
        module = getattr(pipeline, name)
        config = {"r": rank, "lora_alpha": rank, "target_modules": targets}
        module.add_adapter(LoraConfig(**config, init_lora_weights="gaussian"))
        state = {key: torch.randn_like(value) for key, value in get_peft_model_state_dict(module).items()}
        layers[f"{name}_lora_layers"] = convert_state_dict_to_diffusers(state)
        metadata[f"{name}_lora_adapter_metadata"] = config
    StableDiffusionPipeline.save_lora_weights(file.parent, weight_name=file.name, **layers, **metadata)
    return file


def make_ip_adapter(file: Path, base: Path, seed: int = 0) -> Path:
    """An IP-Adapter of four tokens for the UNet of the model in `base`."""
    from diffusers import UNet2DConditionModel
    from safetensors.torch import save_file

    generator = torch.Generator().manual_seed(seed)
    unet = UNet2DConditionModel.from_pretrained(base / "unet")
    text_dims = unet.config.cross_attention_dim

    def noise(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    tensors = {
        "image_proj.proj.weight": noise(IMAGE_TOKENS * text_dims, IMAGE_DIMS),
        "image_proj.proj.bias": noise(IMAGE_TOKENS * text_dims),
        "image_proj.norm.weight": torch.ones(text_dims),
        "image_proj.norm.bias": torch.zeros(text_dims),
    }
    for index, name in enumerate(unet.attn_processors):
        if "attn2" in name:
            wide = unet.get_submodule(name.removesuffix(".processor")).to_k.out_features
            tensors[f"ip_adapter.{index}.to_k_ip.weight"] = noise(wide, text_dims)
            tensors[f"ip_adapter.{index}.to_v_ip.weight"] = noise(wide, text_dims)
    file.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, file)
    return file


def make_image_encoder(seed: int = 0) -> dict[str, Any]:
    """A vision model and what prepares pictures for it, as components of a pipeline."""
    from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModelWithProjection

    torch.manual_seed(seed)
    config = CLIPVisionConfig(
        hidden_size=32,
        intermediate_size=64,
        projection_dim=IMAGE_DIMS,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=IMAGE_SIDE,
        patch_size=8,
    )
    size = {"height": IMAGE_SIDE, "width": IMAGE_SIDE}
    return {
        "image_encoder": CLIPVisionModelWithProjection(config).eval().requires_grad_(False),
        "feature_extractor": CLIPImageProcessor(size=IMAGE_SIDE, crop_size=size),
    }


def make_controlnet(base: Path, seed: int = 0, strength: float = 0.2) -> Any:
    """A ControlNet for the UNet of the model in `base`. strength 0: its outputs are zero, as before a training."""
    from diffusers import ControlNetModel, UNet2DConditionModel

    torch.manual_seed(seed)
    controlnet = ControlNetModel.from_unet(
        UNet2DConditionModel.from_pretrained(base / "unet"), conditioning_embedding_out_channels=(8, 8, 8, 8)
    )
    for layer in (*controlnet.controlnet_down_blocks, controlnet.controlnet_mid_block):
        torch.nn.init.normal_(layer.weight, std=strength)
    torch.nn.init.normal_(controlnet.controlnet_cond_embedding.conv_out.weight, std=strength)
    return controlnet.eval().requires_grad_(False)
