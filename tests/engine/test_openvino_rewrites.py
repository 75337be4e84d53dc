"""A rewritten model computes what the UNet of diffusers computes, with less work."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from studio.engine.openvino import Graph, GuidedCall, GuidedGraph, Runtime, convert_unet
from studio.engine.openvino_rewrites import split_guidance, with_shapes
from studio.types import Precision

pytest.importorskip("openvino", reason="pip install -r requirements.txt brings it")
SHAPES = ((4, 4, 8, 8), (), (4, 7, 24))
SDXL_SHAPES = (*SHAPES, (4, 20), (4, 6))


def make_unet(**options: Any) -> Any:
    """A UNet of two levels with one gated layer each."""
    from diffusers import UNet2DConditionModel

    torch.manual_seed(0)
    return UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(16, 32),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        layers_per_block=1,
        cross_attention_dim=24,
        attention_head_dim=8,
        norm_num_groups=8,
        **options,
    ).requires_grad_(False)


@pytest.fixture(scope="module")
def unet() -> Any:
    return make_unet()


@pytest.fixture(scope="module")
def plain(unet: Any) -> Any:
    return convert_unet(unet)[0]


@pytest.fixture(scope="module")
def call(plain: Any) -> GuidedCall:
    made = GuidedGraph(Runtime(threads=1), plain, 0).call(SHAPES, Precision.EXACT, lambda change: None)
    assert isinstance(made, GuidedCall)
    return made


def doubled(batch: int = 2) -> torch.Tensor:
    return torch.cat([torch.randn(batch, 4, 8, 8)] * 2)


def layers(model: Any, *kinds: str) -> int:
    """How many layers of these kinds are left where shapes are known numbers."""
    from openvino.passes import ConstantFolding, Manager

    passes = Manager()
    passes.register_pass(ConstantFolding())
    passes.run_passes(model)
    return sum(op.get_type_name() in kinds for op in model.get_ordered_ops())


def test_guidance_is_predicted_as_by_the_unet_at_every_step_and_for_every_prompt(unet: Any, call: GuidedCall) -> None:
    for prompt in (torch.randn(4, 7, 24), torch.randn(4, 7, 24)):
        for timestep in (torch.tensor(981.0), torch.tensor(21.0)):
            sample = doubled()
            expected = unet(sample, timestep, prompt).sample
            torch.testing.assert_close(call(sample, timestep, prompt), expected, atol=1e-5, rtol=1e-5)


def test_what_is_of_the_prompt_alone_is_computed_once(call: GuidedCall) -> None:
    prompt = torch.randn(4, 7, 24)
    call(doubled(), torch.tensor(7.0), prompt)
    first = call._of_prompt
    call(doubled(), torch.tensor(3.0), prompt)
    assert call._of_prompt is first
    call(doubled(), torch.tensor(3.0), prompt.clone())
    assert call._of_prompt is not first


def test_a_step_reads_neither_the_prompt_nor_the_second_half(plain: Any) -> None:
    of_prompt, step = split_guidance(plain, SHAPES)
    assert [list(one.shape) for one in of_prompt.inputs] == [[4, 7, 24]]
    assert [list(one.shape) for one in step.inputs[:2]] == [[2, 4, 8, 8], []]
    assert [one.shape for one in of_prompt.outputs] == [one.shape for one in step.inputs[2:]]
    assert layers(of_prompt, "MatMul") == 8  # keys and values of four cross-attentions
    assert layers(step, "MatMul") == layers(with_shapes(plain, SHAPES), "MatMul") - 8


def test_the_unet_of_sdxl_is_split_too() -> None:
    unet = make_unet(
        addition_embed_type="text_time", addition_time_embed_dim=8, projection_class_embeddings_input_dim=6 * 8 + 20
    )
    graph = GuidedGraph(Runtime(threads=1), convert_unet(unet)[0], 0)
    sample, timestep, prompt, text, ids = (torch.randn(shape) for shape in SDXL_SHAPES)
    sample = doubled()
    expected = unet(sample, timestep, prompt, added_cond_kwargs={"text_embeds": text, "time_ids": ids}).sample
    ours = graph.call(SDXL_SHAPES, Precision.EXACT, lambda change: None)(sample, timestep, prompt, text, ids)
    torch.testing.assert_close(ours, expected, atol=1e-4, rtol=1e-4)


def test_gated_layers_are_computed_in_halves(unet: Any, plain: Any) -> None:
    gates = sum(type(module).__name__ == "GEGLU" for module in unet.modules())
    assert gates > 0 and layers(plain.clone(), "Split", "VariadicSplit") == 0
    sample, prompt = torch.randn(4, 4, 8, 8), torch.randn(4, 7, 24)
    call = Graph(Runtime(threads=1), plain, 0).call(SHAPES, Precision.EXACT, lambda change: None)
    expected = unet(sample, torch.tensor(7.0), prompt).sample
    torch.testing.assert_close(call(sample, torch.tensor(7.0), prompt), expected, atol=1e-5, rtol=1e-5)
