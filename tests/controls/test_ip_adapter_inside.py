"""What is told of reference pictures inside a generation is what the layers add up."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from studio.engine.generate import Generation
from studio.engine.inside import Inside
from studio.engine.inside_references import listen_to_references
from studio.engine.registry import Registry
from studio.types import ControlUse, GenerationRequest, Scheduler, Task
from tests.engine.conftest import Listener
from tests.tiny import NATIVE_SIZE

from .test_ip_adapter import HALF, folder, mask, noise, registry, use

__all__ = ["folder", "registry"]
Requests = Callable[..., GenerationRequest]


@pytest.fixture
def seen(registry: Registry, request_for: Requests) -> Callable[..., Inside]:
    def look(*uses: ControlUse, **changes: object) -> Inside:
        inside = Generation(request_for(controls=uses, **changes), inside=True).run(Listener(registry)).inside
        assert inside is not None
        return inside

    return look


def test_the_shares_are_those_of_the_summands_lengths(registry: Registry, request_for: Requests):
    generator = torch.Generator().manual_seed(3)
    with registry.lease_for(request_for(controls=(use(),))) as lease:
        unet = lease.view(Task.TEXT_TO_IMAGE, Scheduler.DDIM).unet
        layer = unet.mid_block.attentions[0].transformer_blocks[0].attn2
        x = torch.randn(2, 16, layer.to_q.in_features, generator=generator)
        text = torch.randn(2, 9, unet.config.cross_attention_dim, generator=generator)
        picture = torch.randn(2, 1, 4, unet.config.cross_attention_dim, generator=generator)
        told: list[torch.Tensor] = []
        out, layer.to_out = layer.to_out, torch.nn.ModuleList([torch.nn.Identity(), torch.nn.Identity()])
        hooks = listen_to_references(unet, 1, lambda: True, told.append)
        answers = []
        for scale in (0.0, 0.6):
            layer.processor.scale = [scale]
            answers.append(layer(x, encoder_hidden_states=(text, [picture]))[1])
        for hook in hooks:
            hook.remove()
        layer.to_out, layer.processor.scale = out, [1.0]
    of_text, of_picture = answers[0].norm(dim=-1), (answers[1] - answers[0]).norm(dim=-1)
    assert told[0].abs().max() == 0
    torch.testing.assert_close(told[1][0, 0], of_picture / (of_text + of_picture), atol=1e-5, rtol=1e-4)


def test_without_an_ip_adapter_there_are_none(seen: Callable[..., Inside]):
    assert all(frame.references is None for frame in seen().frames)


def test_every_step_tells_each_reference_s_share(seen: Callable[..., Inside]):
    frames = seen(use("little-world", noise(1), noise(2)), num_images=2).frames
    assert {frame.references.shape for frame in frames if frame.references is not None} == {
        (2, 2, NATIVE_SIZE // 8, NATIVE_SIZE // 8)
    }
    shares = np.stack([frame.references for frame in frames if frame.references is not None])
    assert len(shares) == 4
    assert (shares > 0).all() and (shares.sum(2) < 1).all()


def test_a_reference_has_no_share_where_its_mask_is_black_or_beyond_its_steps(seen: Callable[..., Inside]):
    masks = (mask(HALF), mask(~HALF))
    own = use("little-world", noise(1), noise(2), *masks, options={"masked": True}, end=0.5)
    early, late = seen(own).frames[0].references, seen(own).frames[-1].references
    assert early is not None and late is not None
    half = NATIVE_SIZE // 16
    assert early[0, 0, :, : half - 1].min() > 0 and early[0, 1, :, : half - 1].max() < 0.02
    assert late.shape == early.shape and late.max() == 0


def test_the_words_maps_are_still_those_of_the_text(seen: Callable[..., Inside]):
    for frame in seen(use()).frames:
        np.testing.assert_allclose(frame.maps.astype(np.float32).sum(1), 1, atol=5e-3)
