"""Each erratum's test: what the article gives, what is right, and that they are not the same."""

from __future__ import annotations

import ast
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import nn

from studio.checks import ERRATA, Erratum, subject
from studio.checks import shown as show
from studio.diffusion import guidance, lora, process
from studio.diffusion.mixture import islands
from studio.diffusion.schedules import linear, sigmoid
from studio.diffusion.unet import UNet
from studio.text import LANGUAGES, table
from tests import tiny

ALPHA_BARS = np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))
"""DDPM's schedule, by numpy."""


def test_every_erratum_names_a_test_that_is_here():
    tests = {
        node.name for node in ast.parse(Path(__file__).read_text("utf-8")).body if isinstance(node, ast.FunctionDef)
    }
    assert {erratum.test for erratum in ERRATA} <= tests
    assert len({erratum.test for erratum in ERRATA}) == len({erratum.id for erratum in ERRATA}) == len(ERRATA)


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_erratum_is_told_and_no_text_is_left_over(language: str):
    wanted = {erratum.text(part) for erratum in ERRATA for part in ("said", "right", "shown")}
    wanted |= {f"errata.article.{article}" for erratum in ERRATA for article in erratum.articles}
    assert {key for key in table(language) if key.startswith("errata.")} == wanted


@pytest.mark.parametrize("erratum", ERRATA, ids=lambda erratum: erratum.id)
def test_every_erratum_shows_two_numbers_that_differ(erratum: Erratum):
    said, right = erratum.show()
    assert math.isfinite(right) and (said is None or (math.isfinite(said) and said != right))


def test_sigma_is_a_variance_s_root():
    beta = 0.02
    printed = beta * (1 - ALPHA_BARS[998]) / ALPHA_BARS[999]
    right = math.sqrt(beta * (1 - ALPHA_BARS[998]) / (1 - ALPHA_BARS[999]))
    assert show.sigma() == pytest.approx((printed, right), rel=1e-9)
    assert show.sigma() == pytest.approx((495.5, 0.1414), rel=1e-3)


def test_a_perfect_network_has_no_loss_only_against_eps():
    said, right = show.loss_target()
    on = subject()
    assert right == 0 and said == pytest.approx(F.mse_loss(on.xt, on.eps).item()) and said > 0.01
    l1, l2 = (process.noise_loss(on.eps, on.guess, kind) for kind in ("l1", "l2"))
    assert float(l1) != pytest.approx(float(l2), rel=0.1)


def test_a_network_without_attention_hears_the_time():
    said, right = show.time_without_attention()
    assert said == 0 and right > 0.01
    assert not any("attention" in type(module).__name__.lower() for module in UNet(8, (1, 2)).modules())


def test_a_markov_chain_need_not_settle():
    assert show.flipping_chain() == (0, 1)
    variance_with, variance_without = 0.3, 0.3
    for beta in np.linspace(1e-4, 0.02, 1000):
        variance_with, variance_without = (1 - beta) * variance_with + beta, variance_without + beta
    assert variance_with == pytest.approx(1, abs=1e-4) and variance_without > 10


def test_the_vae_is_of_2013():
    assert show.vae_year() == (2022, 2013)


def test_the_spread_of_a_code_is_sigma():
    assert show.vae_sigma() == pytest.approx((math.exp(0.5), 0.5), rel=0.03)


def test_the_last_noise_has_as_many_dimensions_as_the_picture():
    assert show.noise_dimensions() == (2, 3 * 32 * 32)


def test_zero_convolutions_stand_at_the_ends_of_a_block(tmp_path: Path):
    from diffusers import ControlNetModel, UNet2DConditionModel

    assert show.zero_convolutions() == (5, 2)
    unet = UNet2DConditionModel.from_pretrained(tiny.make_sd15(tmp_path), subfolder="unet")
    control = ControlNetModel.from_unet(unet)
    convolutions = {name: m for name, m in control.named_modules() if isinstance(m, nn.Conv2d)}
    zero = {name for name, m in convolutions.items() if m.weight.abs().max() == 0}
    outputs = {name for name in convolutions if name.startswith(("controlnet_down_blocks", "controlnet_mid_block"))}
    assert zero == outputs | {"controlnet_cond_embedding.conv_out"}
    assert len(zero) < len(convolutions) / 2


def test_lora_is_linear_and_scaled():
    assert show.lora_scaling() == (1, 2)
    patch = lora.LowRank(torch.randn(2, 5), torch.randn(4, 2), 8.0)
    x = torch.randn(3, 5)
    assert patch.delta().shape == (4, 5)
    assert torch.allclose(patch(2 * x), 2 * patch(x), atol=1e-5)
    assert torch.allclose(patch.delta(), 4 * patch.up @ patch.down)


def test_training_a_patch_needs_the_whole_weight():
    said, right = show.lora_memory()
    assert said == 8 * (4096 + 4096) and right == said + 4096**2
    base = nn.Linear(16, 16).requires_grad_(False)
    patch = [torch.zeros(2, 16, requires_grad=True), torch.ones(16, 2, requires_grad=True)]
    (base(torch.ones(1, 16)) + torch.ones(1, 16) @ patch[0].T @ patch[1].T).sum().backward()
    assert base.weight.grad is None and all(p.grad is not None for p in patch)
    assert base.weight.untyped_storage().nbytes() == 16 * 16 * 4


def test_ip_adapter_adds_keys_and_values_beside_the_text():
    assert show.ip_adapter_parameters()[1] == pytest.approx(22e6, rel=0.02)
    torch.manual_seed(0)
    q, keys, values, image_keys, image_values = (torch.randn(1, 1, n, 8) for n in (6, 5, 5, 4, 4))

    def z(k: torch.Tensor, scale: float) -> torch.Tensor:
        text = F.scaled_dot_product_attention(q, k, values)
        return text + scale * F.scaled_dot_product_attention(q, image_keys, image_values)

    assert torch.equal(z(keys, 0.0), F.scaled_dot_product_attention(q, keys, values))
    assert not torch.allclose(z(keys, 1.0), z(keys + 1.5 * torch.randn_like(keys), 1.0))


def test_img2img_starts_from_the_noised_picture():
    noise_alone, entered = show.img2img_start()
    assert entered < 0.6 * noise_alone
    on = subject()
    distances = [
        float((process.q_sample(on.x0, t, on.eps, on.schedule) - on.x0).square().mean()) for t in (0, 100, 400, 999)
    ]
    assert distances == sorted(distances) and distances[0] < 1e-3


def test_strong_guidance_loses_a_mode():
    in_the_data, drawn = show.smallest_mode()
    assert in_the_data == pytest.approx(1 / 3) and drawn < 0.05
    with pytest.warns(UserWarning, match="deprecated"):
        torchvision.models.resnet18(pretrained=False)


def test_the_guided_field_is_not_the_conditional_score():
    said, right = show.guided_field()
    assert said == 0 and right > 0.1
    world, x = islands().noised(0.5), torch.zeros(1, 2, dtype=torch.float64)
    true = world.given(0).score(x)
    assert torch.equal(guidance.classifier_free(world.score(x), true, 1.0), true)


def test_guidance_does_not_sample_the_tilted_density():
    tilted, drawn = show.tilted()
    assert tilted == 0.5 and drawn == pytest.approx(0.25, abs=0.005)


def test_guidance_pays_for_accuracy_with_diversity():
    low, high = show.accuracy_under_guidance()
    assert high > low
    spread = [float(show.guided_points(1, gamma).var(0).sum()) for gamma in (1.0, 4.0)]
    assert spread[1] < 0.7 * spread[0]


def test_gamma_is_one_more_than_w(tmp_path: Path):
    from diffusers import StableDiffusionPipeline

    as_gamma, as_w = show.w_for_gamma()
    on = subject()
    assert as_gamma == 0 and as_w == pytest.approx(float((on.guess - on.guess_plain).abs().mean()))
    pipeline = StableDiffusionPipeline.from_pretrained(tiny.make_sd15(tmp_path), safety_checker=None)
    pipeline.set_progress_bar_config(disable=True)

    def draw(scale: float) -> np.ndarray:
        generator = torch.Generator().manual_seed(0)
        options = {"num_inference_steps": 2, "height": 64, "width": 64, "output_type": "np", "generator": generator}
        return pipeline("a cat", guidance_scale=scale, **options).images

    none, one, more = draw(0.0), draw(1.0), draw(3.0)
    assert np.array_equal(none, one) and not np.array_equal(one, more)


def test_beta_grows_and_the_kl_is_exact():
    assert show.growing_beta() == pytest.approx((1, 200))
    on = subject()
    kl = process.step_kl(on.x0, on.xt, on.t, on.guess, on.schedule)
    weight = process.dropped_weight(on.t, on.schedule.posterior_variances, on.x0, on.schedule)
    assert torch.allclose(kl, weight * (on.eps - on.guess).square(), rtol=1e-6, atol=1e-15)


def test_each_picture_of_a_batch_has_its_own_time():
    said, right = show.times_in_a_batch()
    assert said == 1 and right > 10


def test_a_flat_sigmoid_is_nan_and_a_rescaled_beta_leaves_its_bounds():
    u = torch.linspace(0, 1, 11)
    start = end = 3.0
    flat = (torch.sigmoid(torch.tensor(end)) - torch.sigmoid(start + u * (end - start))) / 0.0
    assert flat.isnan().all()
    with pytest.raises(ValueError, match="start must be below end"):
        sigmoid(10, 3, 3)
    assert show.rescaled_beta() == pytest.approx((2.0, 0.02))
    with pytest.raises(ValueError, match="beta must be in"):
        linear(10, rescaled=True)


def test_the_cap_of_the_cosine_decides_the_first_step():
    assert show.first_amplification() == pytest.approx((100, math.sqrt(1000)), rel=1e-6)


def test_activations_below_zero_need_a_zero_point():
    without, with_zero = show.zero_point()
    lowest = float(F.silu(torch.linspace(-6, 6, 10_001)).min())
    assert without == pytest.approx(-lowest, rel=1e-3)
    assert with_zero <= 6.3 / 255 / 2 * 1.01


def test_the_cosine_is_squared():
    plain, squared = show.cosine_middle()
    assert squared == pytest.approx(plain**2, abs=1e-9) and (plain, squared) == pytest.approx((0.703, 0.494), abs=1e-3)
