import inspect

import numpy as np
import pytest
import torch

from studio.engine.preview import Previews, watch_denoised
from studio.engine.views import build_scheduler
from studio.types import Scheduler

CONFIG = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "prediction_type": "v_prediction",
    "rescale_betas_zero_snr": True,
    "timestep_spacing": "trailing",
}


def test_a_preview_is_the_linear_map_of_its_latents() -> None:
    latents = torch.zeros(1, 2, 1, 1)
    latents[0, :, 0, 0] = torch.tensor([0.5, -1.0])
    latent_rgb = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 5.0]])
    (picture,) = Previews(latents, latent_rgb, (4, 2))
    assert picture.size == (4, 2)
    np.testing.assert_array_equal(np.asarray(picture)[0, 0], [191, 0, 255])


def test_a_preview_is_of_the_latents_as_they_were_told() -> None:
    latents, latent_rgb = torch.zeros(2, 2, 1, 1), torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
    pictures = Previews(latents, latent_rgb, (1, 1))
    latents += 1
    assert [picture.getpixel((0, 0)) for picture in pictures] == [(128, 128, 128)] * 2
    assert pictures and len(pictures) == 2 and pictures[0] is pictures[0]


@pytest.mark.parametrize("scheduler", Scheduler)
def test_schedulers_of_one_configuration_share_nothing(scheduler: Scheduler) -> None:
    first, second = build_scheduler(scheduler, CONFIG), build_scheduler(scheduler, CONFIG)
    first.set_timesteps(3)
    first.betas += 1
    assert first.betas.min() > 1 >= second.betas.max() and second.num_inference_steps is None
    assert second.config == build_scheduler(scheduler, {**CONFIG}).config


@pytest.mark.parametrize("scheduler", Scheduler)
def test_a_watched_scheduler_tells_the_x0_that_a_v_prediction_means(scheduler: Scheduler) -> None:
    """x0 = sqrt(alpha_bar) x_t - sqrt(1 - alpha_bar) v, where Euler's samples are x_t / sqrt(alpha_bar)."""
    watched = build_scheduler(scheduler, CONFIG)
    watched.set_timesteps(5)
    denoised = watch_denoised(watched)
    generator = torch.Generator().manual_seed(0)
    sample = torch.randn(1, 4, 8, 8, generator=generator) * watched.init_noise_sigma
    for timestep in watched.timesteps:
        alpha_bar = watched.alphas_cumprod[int(timestep)]
        x_t = sample * alpha_bar.sqrt() if scheduler is Scheduler.EULER else sample
        v = torch.randn(1, 4, 8, 8, generator=generator)
        watched.scale_model_input(sample, timestep)
        sample = watched.step(v, timestep, sample, return_dict=False)[0]
        torch.testing.assert_close(
            denoised(), alpha_bar.sqrt() * x_t - (1 - alpha_bar).sqrt() * v, atol=1e-3, rtol=1e-3
        )


@pytest.mark.parametrize("scheduler", Scheduler)
def test_a_watched_scheduler_takes_the_arguments_that_it_took(scheduler: Scheduler) -> None:
    plain, watched = build_scheduler(scheduler, CONFIG), build_scheduler(scheduler, CONFIG)
    watch_denoised(watched)
    assert inspect.signature(watched.step) == inspect.signature(plain.step)
