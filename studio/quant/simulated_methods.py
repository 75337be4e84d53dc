"""The simulated methods, after the papers; one table of what tells them apart.

| id | activations: which step | learned from | after |
| --- | --- | --- | --- |
| minmax | one, that cuts nothing off | every call | Krishnamoorthi (1806.08342) |
| mse | one, of the smallest squared error | every call | as BRECQ (2102.05426) begins |
| ptq4dm | one, of the smallest squared error | t ~ N(0.4 T, 0.4 T) | Shang et al. (2211.15736) |
| q_diffusion | one, and for a skip its own | t evenly over all of it | Li et al. (2302.04304) |
| per_interval | one and a zero level for each of 20 intervals | every call | TFMQ-DM (2311.16503) |
| input_dynamic | that of each sample, when it comes | nothing | So et al. (2306.02316), table 4 |
| tdq_ptq | a function of t, learned, served from a table | every call | So et al. (2306.02316) |

None reconstructs blocks, as the papers do after this: what is compared is how the steps are found. Weights have the
steps of the smallest squared error, but for minmax, whose cut nothing off.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from studio.diffusion.clock import Clock
from studio.diffusion.observe import plan
from studio.diffusion.quantize import Grid, lsq, min_max, mse_search
from studio.diffusion.quantizers import DynamicQuantizer, TableQuantizer
from studio.diffusion.seen import Seen
from studio.diffusion.tdq import StepNetwork, fourier_codes, table
from studio.quant.method import MAX_BITS, MIN_BITS, QuantMethod, Recipe
from studio.quant.simulated import TIMES, Wrapping, simulate

BITS = (MAX_BITS, *range(MIN_BITS, MAX_BITS))
"""The default first."""
INTERVALS = 20
PTQ4DM_CENTRE, PTQ4DM_SPREAD = 0.4, 0.4
FIT_STEPS, FIT_RATE = 200, 3e-3


def every_call(t: Tensor) -> Tensor:
    return torch.arange(len(t))


def normal_calls(t: Tensor) -> Tensor:
    """As many draws of t ~ N(0.4 T, 0.4 T), moved inside, as there are calls; for each the nearest call. 2211.15736"""
    drawn = torch.randn(len(t), generator=torch.Generator().manual_seed(0)) * PTQ4DM_SPREAD + PTQ4DM_CENTRE
    return nearest(t, drawn.clamp(0, 1) * (TIMES - 1))


def even_calls(t: Tensor) -> Tensor:
    """For each time of an even grid from 0 to T - 1 the nearest call, as many as there are. 2302.04304"""
    return nearest(t, torch.linspace(0, TIMES - 1, len(t)))


def nearest(t: Tensor, wanted: Tensor) -> Tensor:
    """For each wanted time the number of the nearest call. t: (calls,); wanted: (n,); (n,) int64"""
    return (t[None].float() - wanted[:, None]).abs().argmin(1)


def one_step(s: Tensor, z: Tensor, grid: Grid, clock: Clock) -> TableQuantizer:
    """The same step and zero level at all times. s, z: (1,)"""
    return TableQuantizer(s.expand(clock.T).clone(), z.expand(clock.T).clone(), grid, clock)


def whole_range(seen: Sequence[Seen], grid: Grid, clock: Clock) -> list[nn.Module]:
    found = [min_max(part.low.amin()[None], part.high.amax()[None], grid) for part in seen]
    return [one_step(s, z, grid, clock) for s, z in found]


def smallest_error(seen: Sequence[Seen], grid: Grid, clock: Clock) -> list[nn.Module]:
    return [one_step(*searched(part, grid), grid, clock) for part in seen]


def searched(seen: Seen, grid: Grid) -> tuple[Tensor, Tensor]:
    """The step and the zero level of the smallest squared error over all calls. (1,), (1,)"""
    values, shares, low, high = seen.pooled()
    return mse_search(values, grid, low, high, weights=shares)


def of_each_interval(seen: Sequence[Seen], grid: Grid, clock: Clock) -> list[nn.Module]:
    return [_of_intervals(part, grid, clock) for part in seen]


def _of_intervals(seen: Seen, grid: Grid, clock: Clock) -> TableQuantizer:
    """A search in each of INTERVALS equal intervals; one in which no call lies takes those of the nearest that has."""
    interval = seen.t * INTERVALS // clock.T
    filled = sorted(set(interval.tolist()))
    parts = [seen.of((interval == i).nonzero().flatten()) for i in filled]
    values, shares, low, high = (torch.cat(column) for column in zip(*(part.pooled() for part in parts), strict=True))
    s, z = mse_search(values, grid, low, high, weights=shares)
    middles = (torch.tensor(filled) + 0.5) * clock.T / INTERVALS
    rows = nearest(middles, (torch.arange(INTERVALS) + 0.5) * clock.T / INTERVALS)
    of_time = rows[torch.arange(clock.T) * INTERVALS // clock.T]
    return TableQuantizer(s[of_time], z[of_time], grid, clock)


def of_each_sample(seen: Sequence[Seen], grid: Grid, clock: Clock) -> list[nn.Module]:
    return [DynamicQuantizer(grid) for _ in seen]


def function_of_time(seen: Sequence[Seen], grid: Grid, clock: Clock) -> list[nn.Module]:
    """s(t) = softplus(MLP(enc(t))), taught on the rounding error of each tensor, at each t as a share of its power,
    from the one step of the smallest error on; the zero level stays. 2306.02316"""
    starts = [searched(part, grid) for part in seen]
    s0, z = (torch.cat(column) for column in zip(*starts, strict=True))
    steps = table(fitted(seen, s0, z, grid, clock.T))  # (tensors, T)
    zeros = z[:, None].expand_as(steps)
    return [TableQuantizer(s.clone(), zero.clone(), grid, clock) for s, zero in zip(steps, zeros, strict=True)]


@torch.enable_grad()
def fitted(seen: Sequence[Seen], s0: Tensor, z: Tensor, grid: Grid, T: int) -> list[StepNetwork]:
    """Adam on the mean over calls of |x - x_hat|^2 / |x|^2, with LSQ's gradient of the step, all networks at once."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        networks = [StepNetwork(fourier_codes(T), float(one)).train() for one in s0]
    stacked = {
        name: torch.stack([dict(net.named_parameters())[name].detach() for net in networks]).requires_grad_()
        for name, _ in networks[0].named_parameters()
    }
    x, shares = (torch.stack(column) for column in zip(*((part.centres, part.shares) for part in seen), strict=True))
    t = seen[0].t  # (calls,); x, shares: (tensors, calls, BINS)
    power = (x.square() * shares).sum(2).clamp(min=1e-12)
    steps = torch.func.vmap(lambda state: torch.func.functional_call(networks[0], state, (t,)))
    optimizer = torch.optim.Adam(stacked.values(), FIT_RATE)
    for _ in range(FIT_STEPS):
        rounded = lsq(x, steps(stacked)[:, :, None], z[:, None, None], grid)
        loss = (((rounded - x).square() * shares).sum(2) / power).mean(1).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    for number, network in enumerate(networks):
        network.load_state_dict({name: value[number].detach() for name, value in stacked.items()})
    return networks


def timed_where(net: nn.Module, recipe: Recipe, names: Collection[str]) -> nn.Module:
    """Like tdq_ptq in the layers of these names, like mse in all others."""

    def mixed(seen: Sequence[Seen], grid: Grid, clock: Clock) -> list[nn.Module]:
        inside = [name in names for name in order]
        timed = iter(function_of_time([part for part, one in zip(seen, inside, strict=True) if one], grid, clock))
        return [
            next(timed) if one else smallest_error([part], grid, clock)[0]
            for part, one in zip(seen, inside, strict=True)
        ]

    order = [site.name for site in plan(net, recipe.calibration[0]).sites]
    return simulate(net, Wrapping(mixed if names else smallest_error, mse_search, every_call), recipe)


def _row_range(rows: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
    return min_max(rows.amin(1), rows.amax(1), grid)


WRAPPINGS: dict[str, Wrapping] = {
    "minmax": Wrapping(whole_range, _row_range, every_call),
    "mse": Wrapping(smallest_error, mse_search, every_call),
    "ptq4dm": Wrapping(smallest_error, mse_search, normal_calls),
    "q_diffusion": Wrapping(smallest_error, mse_search, even_calls, splits=True),
    "per_interval": Wrapping(of_each_interval, mse_search, every_call),
    "input_dynamic": Wrapping(of_each_sample, mse_search, every_call),
    "tdq_ptq": Wrapping(function_of_time, mse_search, every_call),
}


def _applied(net: nn.Module, recipe: Recipe, wrapping: Wrapping) -> nn.Module:
    return simulate(net, wrapping, recipe)


SIMULATED: tuple[QuantMethod, ...] = tuple(
    QuantMethod(name, True, BITS, BITS, partial(_applied, wrapping=wrapping)) for name, wrapping in WRAPPINGS.items()
)
