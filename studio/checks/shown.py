"""What each erratum comes to in numbers: first what the article's words or formula give, then what is right."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from studio.checks.check import subject
from studio.checks.guiding import ddim_sampled_variance
from studio.diffusion import guidance, lora
from studio.diffusion.mixture import Mixture, islands
from studio.diffusion.process import draw_t, noise_loss, q_sample
from studio.diffusion.samplers import ddim, sigma_beta_tilde, sigma_misprinted
from studio.diffusion.schedules import cosine, linear
from studio.diffusion.unet import UNet
from studio.diffusion.vae import reparameterise
from studio.diffusion.walk import last, spaced
from studio.diffusion.zero_conv import ControlledBlock, ZeroConv2d

Pair = tuple[float | None, float]
"""What was said, if it comes to a number, and what is right."""
POINTS = 1_000


def sigma() -> Pair:
    """The noise of the first step back of DDPM's schedule."""
    schedule = linear(1000)
    now, then = schedule.alpha_bar(999), schedule.alpha_bar(998)
    return sigma_misprinted(now, then), sigma_beta_tilde(now, then)


def loss_target() -> Pair:
    """The loss of a network that is never wrong: against x_t, against eps."""
    on = subject()
    return float(noise_loss(on.eps, on.xt)), float(noise_loss(on.eps, on.eps))


def time_without_attention() -> Pair:
    """How far the output of a network without attention moves when t alone changes."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        net, x = UNet(8, (1, 2)), torch.randn(1, 3, 8, 8)
        moved = net(x, torch.tensor([10])) - net(x, torch.tensor([900]))
    return 0.0, float(moved.abs().mean())


def flipping_chain() -> Pair:
    """A chain of two states that changes state every time: how far its distributions after 1000 and 1001 steps are."""
    step = torch.tensor([[0.0, 1.0], [1.0, 0.0]], dtype=torch.float64)
    start = torch.tensor([1.0, 0.0], dtype=torch.float64)
    one, other = (start @ torch.linalg.matrix_power(step, n) for n in (1000, 1001))
    return 0.0, float((one - other).abs().sum() / 2)


def vae_year() -> Pair:
    """The year: arXiv numbers begin with year and month."""
    return 2022.0, 2000.0 + int("1312.6114"[:2])


def vae_sigma() -> Pair:
    """The spread of codes whose sigma is 0.5: from exp(sigma), from sigma."""
    eps = torch.randn(20_000, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    mean, sigma = torch.zeros_like(eps), torch.full_like(eps, 0.5)
    return float((sigma.exp() * eps + mean).std()), float(reparameterise(mean, 2 * sigma.log(), eps).std())


def noise_dimensions() -> Pair:
    """In how many dimensions the final noise of a picture of 32 x 32 is Gaussian."""
    x0 = torch.zeros(1, 3, 32, 32)
    return 2.0, float(q_sample(x0, 999, torch.ones_like(x0), linear(1000))[0].numel())


def zero_convolutions() -> Pair:
    """How many zero convolutions a controlled block of five convolutions has."""
    block = nn.Sequential(*(nn.Conv2d(4, 4, 3, padding=1) for _ in range(5)))
    controlled = ControlledBlock(block, 4, 4, 4)
    return 5.0, float(sum(isinstance(module, ZeroConv2d) for module in controlled.modules()))


def lora_scaling() -> Pair:
    """What B A is multiplied with at rank 4 and alpha 8."""
    return 1.0, lora.initial(16, 16, 4, 8.0).scaling


def lora_memory() -> Pair:
    """Numbers that must be in memory to train a patch of rank 8 on one weight of 4096 x 4096."""
    trained = lora.parameters([(4096, 4096)], 8)
    return float(trained), float(4096 * 4096 + trained)


def ip_adapter_parameters() -> Pair:
    """IP-Adapter's own numbers in Stable Diffusion 1.5: K' and V' of 16 cross-attentions, and the image projection.

    2 * 768 for each channel of the attentions; a linear layer from 1024 to 4 tokens of 768, with bias, and LayerNorm.
    """
    channels = 5 * 320 + 5 * 640 + 6 * 1280
    return None, float(2 * 768 * channels + (1024 + 1) * 4 * 768 + 2 * 768)


def img2img_start() -> Pair:
    """How far the first picture of a walk is from the source: from noise alone, and entered at 30 % strength."""
    on = subject()
    entered = q_sample(on.x0, int(0.3 * on.schedule.T), on.eps, on.schedule)
    return float((on.eps - on.x0).square().mean()), float((entered - on.x0).square().mean())


def guided_points(label: int, gamma: float) -> Tensor:
    """Points that DDIM draws from the islands under guidance. (POINTS, 2)"""
    world, schedule = islands(), cosine(1000)
    denoise = guidance.guided(world.denoiser(schedule), world.given(label).denoiser(schedule), gamma)
    x = torch.randn(POINTS, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return last(ddim(denoise, x, spaced(1000, 60), schedule))


def smallest_mode() -> Pair:
    """The share of the rarer of a class's two islands: in the data, and drawn at gamma = 6."""
    given = islands().given(1)
    drawn = given.responsibilities(guided_points(1, 6.0)).argmax(1)
    return float(given.weights.min()), float(drawn.bincount(minlength=2).min()) / POINTS


def guided_field() -> Pair:
    """How far the guided field at gamma = 3 is from grad log p(x_t | y), on average over points."""
    world = islands().noised(0.5)
    x = world.sample(POINTS, torch.Generator().manual_seed(0))
    true = world.given(0).score(x)
    return 0.0, float((guidance.classifier_free(world.score(x), true, 3.0) - true).norm(dim=1).mean())


def tilted() -> Pair:
    """The variance at gamma = 3, p(x|y) = N(0, 1), p(x) = N(0, 2): of the tilted density, and drawn by DDIM."""
    return guidance.tilted_variance(3.0), ddim_sampled_variance(3.0, cosine(400))


def accuracy(world: Mixture, x: Tensor, label: int) -> float:
    """The share of points that the perfect classifier puts into a class."""
    return float((world.labels[world.responsibilities(x).argmax(1)] == label).double().mean())


def accuracy_under_guidance() -> Pair:
    """The share of points in their class: drawn at gamma = 1, drawn at gamma = 4."""
    low, high = (accuracy(islands(), guided_points(1, gamma), 1) for gamma in (1.0, 4.0))
    return low, high


def w_for_gamma() -> Pair:
    """How far from the conditional prediction w = 1 leads: read as gamma, read as 1 + w."""
    on = subject()
    read = (guidance.classifier_free(on.guess_plain, on.guess, gamma) for gamma in (1.0, guidance.gamma_from_w(1.0)))
    low, high = (float((guided - on.guess).abs().mean()) for guided in read)
    return low, high


def growing_beta() -> Pair:
    """How much more noise DDPM's last step adds than its first: beta_T / beta_1."""
    betas = linear(1000).betas
    return 1.0, float(betas[-1] / betas[0])


def times_in_a_batch() -> Pair:
    """How many different t a batch of 16 is trained on."""
    t = draw_t(16, linear(1000), torch.Generator().manual_seed(0))
    return 1.0, float(len(t.unique()))


def rescaled_beta() -> Pair:
    """The last beta of ten steps: with ends rescaled by 1000 / T, and as they are."""
    return 1000 / 10 * 0.02, float(linear(10).betas[-1])


def first_amplification() -> Pair:
    """1 / sqrt(alpha_T), by which the first step back is amplified: cosine capped at 0.9999, and at 0.999."""
    loose, tight = (float(cosine(1000, max_beta=cap).alphas[-1].rsqrt()) for cap in (0.9999, 0.999))
    return loose, tight


def zero_point() -> Pair:
    """The largest error of 8 bits on activations (SiLU): without a zero point, and with one."""
    x = F.silu(torch.linspace(-6, 6, 10_001, dtype=torch.float64))
    low, high = float(x.min()), float(x.max())
    plain, step = high / 255, (high - low) / 255
    zero = round(-low / step)
    without = (x / plain).round().clamp(0, 255) * plain
    with_zero = ((x / step).round() + zero).clamp(0, 255).sub(zero) * step
    return float((x - without).abs().max()), float((x - with_zero).abs().max())


def cosine_middle() -> Pair:
    """alpha_bar in the middle of the cosine schedule: without the square, and with it."""
    u = torch.tensor([0.0, 0.5], dtype=torch.float64)
    curve = torch.cos((u + 0.008) / 1.008 * torch.pi / 2)
    return float(curve[1] / curve[0]), cosine(1000).alpha_bar(499)
