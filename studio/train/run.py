"""What every training run shares: its budget, its processes, its log and its checkpoints.

On a CPU a run is one process per core with one thread each, which average their gradients: as fast as one process
with all threads when the machine is idle, and several times faster when something else runs beside it. On CUDA it is
one process.
"""

from __future__ import annotations

import ctypes
import os
import platform
import signal
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor

from studio.train.places import MODELS as MODELS
from studio.train.places import run_folder

LOG_EVERY_SECONDS, CHECKPOINT_EVERY_SECONDS, SAMPLES_EVERY_SECONDS = 10.0, 180.0, 900.0
LONGEST_WAIT = timedelta(days=1)  # of the other processes, while the first one prepares or measures


@dataclass(frozen=True)
class Options:
    """What the command line says. minutes: overrides the preset's; out: where the artefact goes (default models/);
    kind: of map, for the one stage that has kinds. For LoRAs alone: images: a folder of pictures, and trigger: the word
    that asks for what they show; or concept: one of the world's reserved ones; file_format: of the weights.
    schedule: of the noise, for the stages that may choose one."""

    preset: str
    minutes: float | None = None
    resume: bool = False
    init_from: Path | None = None
    seed: int = 0
    out: Path | None = None
    kind: str | None = None
    images: Path | None = None
    trigger: str | None = None
    concept: str | None = None
    file_format: Literal["diffusers", "kohya"] = "diffusers"
    schedule: str | None = None


def launch(worker: Callable[..., None], options: Options) -> None:
    """Run worker(rank, processes, options) in as many processes as pay on this machine."""
    if torch.cuda.is_available() or options.preset == "smoke":
        worker(0, 1, options)
        return
    processes = max(1, min(4, os.cpu_count() or 1))
    os.environ.setdefault("MASTER_ADDR", "127.0.0.1")
    os.environ.setdefault("MASTER_PORT", str(20_000 + os.getpid() % 20_000))
    torch.multiprocessing.spawn(_in_own_process, args=(worker, processes, options), nprocs=processes)


def _in_own_process(rank: int, worker: Callable[..., None], processes: int, options: Options) -> None:
    _end_with_parent()
    _keep_freed_memory()
    torch.set_num_threads(1)
    worker(rank, processes, options)


def _end_with_parent() -> None:
    """Ask Linux to end this process when the one that started it is gone, however it went."""
    if platform.system() == "Linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


def _keep_freed_memory() -> None:
    """Let glibc keep what is freed: a training step frees and asks for the same blocks again and again."""
    if platform.system() == "Linux" and platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(-4, 0)  # M_MMAP_MAX: no mmap for large blocks
        libc.mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD: do not give memory back


class Run:
    """One run of one stage in this process. rank 0 writes; all ranks agree on the elapsed fraction."""

    def __init__(
        self, stage: str, rank: int, processes: int, options: Options, minutes: float, max_steps: int | None = None
    ) -> None:
        self.stage, self.rank, self.processes, self.options = stage, rank, processes, options
        self.budget_seconds = 60 * (options.minutes if options.minutes is not None else minutes)
        self.max_steps, self.step, self.fraction = max_steps, 0, 0.0
        self.folder = run_folder(f"{stage}-{options.kind}" if options.kind else stage, options.preset)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._spent, self._started = 0.0, time.monotonic()
        self._last_log = self._last_checkpoint = self._last_samples = self._started
        self._writer: Any = None
        self._sums: dict[str, tuple[float, int]] = {}
        if processes > 1:
            dist.init_process_group("gloo", rank=rank, world_size=processes, timeout=LONGEST_WAIT)
        torch.manual_seed(options.seed * 1_000 + rank)

    @property
    def seconds(self) -> float:
        """Training time so far, resumed stretches included."""
        return self._spent + time.monotonic() - self._started

    @property
    def finished(self) -> bool:
        return self.fraction >= 1.0

    def _spent_share(self, seconds: float) -> float:
        """The share of the budget that so many seconds, or the steps until now, have used."""
        return max(seconds / self.budget_seconds, self.step / self.max_steps if self.max_steps else 0.0)

    def autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16)

    def start_clock(self) -> None:
        """Preparation is over: what was spent until now does not count against the budget."""
        self._started = self._last_log = self._last_checkpoint = self._last_samples = time.monotonic()

    def average_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> float:
        """Average all gradients over the processes; returns the spent fraction of the budget, on which all agree."""
        self.step += 1
        self.fraction = self._spent_share(self.seconds) if self.rank == 0 else 0.0
        if self.processes == 1:
            return self.fraction
        owners = [p for p in parameters if p.grad is not None]
        flat = torch.cat([p.grad.reshape(-1) for p in owners if p.grad is not None] + [torch.tensor([self.fraction])])
        dist.all_reduce(flat)
        self.fraction, offset = float(flat[-1]), 0
        flat /= self.processes
        for p in owners:
            assert p.grad is not None
            p.grad.copy_(flat[offset : offset + p.numel()].view_as(p.grad))
            offset += p.numel()
        return self.fraction

    def barrier(self) -> None:
        if self.processes > 1:
            dist.barrier()

    def say(self, text: str) -> None:
        if self.rank == 0:
            print(f"[{self.stage}] {text}", file=sys.stderr, flush=True)

    def log(self, **scalars: float) -> bool:
        """Collect scalars of a step; every few seconds write their means. True when it wrote."""
        for name, value in scalars.items():
            total, count = self._sums.get(name, (0.0, 0))
            self._sums[name] = (total + value, count + 1)
        now = time.monotonic()
        if self.rank or (now - self._last_log < LOG_EVERY_SECONDS and not self.finished):
            return False
        means = {name: total / count for name, (total, count) in self._sums.items()}
        self._last_log, self._sums = now, {}
        self._tensorboard(means)
        left = max(0.0, self.seconds * (1 / max(self.fraction, 1e-6) - 1))
        values = " ".join(f"{name} {value:.4f}" for name, value in means.items())
        self.say(f"step {self.step} {100 * self.fraction:.1f}% {self.seconds:.0f}s, {left / 60:.1f} min left: {values}")
        return True

    def _tensorboard(self, means: dict[str, float]) -> None:
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(self.folder / "tensorboard"))
        for name, value in means.items():
            self._writer.add_scalar(name, value, self.step)

    def checkpoint_due(self) -> bool:
        return self.rank == 0 and time.monotonic() - self._last_checkpoint > CHECKPOINT_EVERY_SECONDS

    def samples_due(self) -> bool:
        """Whether it is time to draw a sample sheet; only the first process draws."""
        due = self.rank == 0 and time.monotonic() - self._last_samples > SAMPLES_EVERY_SECONDS
        if due:
            self._last_samples = time.monotonic()
        return due

    def save(self, parts: Mapping[str, Any]) -> None:
        """Write the state of the parts (models, optimizers, averages) by name, atomically."""
        if self.rank:
            return
        self._last_checkpoint = time.monotonic()
        path = self.folder / "checkpoint.pt"
        state = {name: part.state_dict() for name, part in parts.items()}
        torch.save({"step": self.step, "seconds": self.seconds, **state}, path.with_suffix(".tmp"))
        path.with_suffix(".tmp").replace(path)

    def resume(self, parts: Mapping[str, Any]) -> None:
        """Give the parts their state in the last checkpoint, if --resume was given and there is one; step, time and
        the random stream go on from it."""
        path = self.folder / "checkpoint.pt"
        if self.options.resume and path.exists():
            state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
            for name, part in parts.items():
                part.load_state_dict(state[name])
            self.step, self._spent = state["step"], state["seconds"]
            self.fraction = self._spent_share(self._spent)
            self.say(f"resumed at step {self.step}, {self._spent:.0f} s")
        torch.manual_seed(self.options.seed * 1_000 + self.rank + self.step)

    def begin(self, trained: Iterable[torch.nn.Parameter], preset: object) -> None:
        """Say what is trained, wait for the other processes and start the clock."""
        self.say(f"{sum(p.numel() for p in trained) / 1e6:.2f}M parameters, {preset}")
        self.barrier()
        self.start_clock()

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
        if self.processes > 1:
            dist.destroy_process_group()


def warmup_cosine(fraction: float, step: int, warmup_steps: int, flat_until: float) -> float:
    """Factor of the learning rate: linear warm-up by steps, flat, then a cosine to 2% by spent fraction."""
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    if fraction < flat_until:
        return 1.0
    progress = min(1.0, (fraction - flat_until) / (1 - flat_until))
    return 0.02 + 0.98 * float(0.5 * (1 + torch.cos(torch.tensor(torch.pi * progress))))


def channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)
