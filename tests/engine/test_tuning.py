from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from studio.engine.tuning import Tuning, tune


@pytest.fixture
def components(models_root: Path) -> dict[str, Any]:
    from diffusers import StableDiffusionPipeline

    return StableDiffusionPipeline.from_pretrained(models_root / "sd15").components


def predict(unet: Any) -> torch.Tensor:
    torch.manual_seed(0)
    with torch.inference_mode():
        return unet(torch.randn(2, 4, 8, 8), 7, torch.randn(2, 64, unet.config.cross_attention_dim)).sample


def test_untuned_components_stay_as_they_are(components: dict[str, Any]) -> None:
    before = predict(components["unet"])
    tune(components, Tuning())
    assert predict(components["unet"]).equal(before)


def test_channels_last_moves_the_weights_and_keeps_the_prediction(components: dict[str, Any]) -> None:
    before = predict(components["unet"])
    tune(components, Tuning(channels_last=True))
    weights = [components["unet"].conv_out.weight, components["vae"].decoder.conv_out.weight]
    assert all(weight.is_contiguous(memory_format=torch.channels_last) for weight in weights)
    torch.testing.assert_close(predict(components["unet"]), before, atol=1e-5, rtol=1e-5)


def test_the_repeated_blocks_of_the_unet_are_compiled_and_the_others_are_not(
    components: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled: list[torch.nn.Module] = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self, **options: compiled.append(self))
    tune(components, Tuning(compiled=True))
    expected = [part for part in components["unet"].modules() if type(part).__name__ == "BasicTransformerBlock"]
    assert compiled == expected != []
