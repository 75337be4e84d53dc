from __future__ import annotations

import numpy as np
import pytest
import torch

from studio.train.unet import (
    PRESETS,
    STRATA,
    build_denoiser,
    build_scheduler,
    covered_mean,
    hidden_of,
    sample_times,
    velocity_target,
)
from studio.world.scene import FIRST_HELD_OUT_SEED


def test_noising_and_velocity_are_those_of_diffusers():
    scheduler, generator = build_scheduler(), torch.Generator().manual_seed(0)
    x0, eps = torch.randn(2, 6, 4, 16, 16, generator=generator)
    t = torch.tensor([0, 1, 250, 500, 998, 999])
    xt, v = velocity_target(x0, eps, scheduler.alphas_cumprod[t])
    torch.testing.assert_close(xt, scheduler.add_noise(x0, eps, t))
    torch.testing.assert_close(v, scheduler.get_velocity(x0, eps, t))


def test_the_last_time_is_pure_noise():
    scheduler = build_scheduler()
    x0, eps = torch.randn(2, 1, 4, 16, 16, generator=torch.Generator().manual_seed(1))
    xt, v = velocity_target(x0, eps, scheduler.alphas_cumprod[[999]])
    torch.testing.assert_close(xt, eps)
    torch.testing.assert_close(v, -x0)


def test_sampling_starts_at_the_last_time():
    scheduler = build_scheduler()
    scheduler.set_timesteps(20)
    assert scheduler.timesteps[0] == 999


@pytest.mark.parametrize("batch", [1, 4, 5_000])
def test_times_are_whole_and_within_the_schedule(batch: int):
    times = sample_times(batch, np.random.default_rng(0))
    assert (times.shape, times.dtype) == ((batch,), np.int64)
    assert times.min() >= 0 and times.max() <= 999


def test_times_reach_all_parts_of_the_schedule_and_prefer_the_middle():
    counts, _ = np.histogram(sample_times(20_000, np.random.default_rng(1)), bins=10, range=(0, 1000))
    assert counts.min() > 20_000 / 10 / 3
    assert counts[4:8].mean() > 1.2 * counts[[0, 1, 8, 9]].mean()


def test_a_uniform_error_is_its_own_mean_whatever_covers():
    covers = torch.rand(3, 1, 16, 16, generator=torch.Generator().manual_seed(2))
    assert covered_mean(torch.full((3, 4, 16, 16), 0.7), covers, 2.0) == pytest.approx(0.7)


def test_a_covered_cell_counts_more():
    error, covers = torch.zeros(1, 4, 1, 2), torch.tensor([[[[1.0, 0.0]]]])
    error[..., 0] = 1
    assert covered_mean(error, covers, 2.0) == pytest.approx(3 / 4)


def test_what_muon_moves_is_a_matrix_or_kernel_between_the_ends():
    model = build_denoiser()
    hidden, names = set(hidden_of(model)), dict(model.named_parameters())
    assert all(p.ndim in (2, 4) for p in hidden)
    for name in ("unet.conv_in.weight", "unet.conv_out.weight", "text_encoder.embeddings.token_embedding.weight"):
        assert names[name] not in hidden
    assert names["unet.mid_block.resnets.0.conv1.weight"] in hidden


def test_presets_train_on_no_seed_that_measures():
    assert all(preset.scenes <= FIRST_HELD_OUT_SEED for preset in PRESETS.values())
    assert all(preset.held_out % STRATA == 0 for preset in PRESETS.values())
