"""Full precision beside its quantized variants: the same picture from the same noise, and what each of them costs.

Times and memory are told of real variants alone: a simulated one computes in full precision, and rounds on top.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from studio.engine.calibration import Call
from studio.engine.comparison_distances import NOT_MEASURED, Distances
from studio.engine.comparison_inside import Inside, LayerErrors, errors_of, inside_of
from studio.engine.comparison_subjects import FULL, Subject, Variant, require_for
from studio.engine.memory import PeakMeter, storage_bytes
from studio.engine.quantized import held_bytes
from studio.errors import InvalidInput
from studio.events import Context, Row, Step

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

FEWEST_ROWS, MOST_ROWS = 2, 6
TIMED_PICTURES = 3


@dataclass(frozen=True)
class Spent:
    """What a real variant costs. seconds: of each picture, after one to warm up; disk_bytes: as a file, really written;
    peak_bytes: its weights, and what drawing took beside what was there before."""

    seconds: tuple[float, ...]
    disk_bytes: int
    peak_bytes: int

    @property
    def median_seconds(self) -> float:
        return statistics.median(self.seconds)


@dataclass(frozen=True)
class Measured:
    """One row. spent: None for a simulated method. weights, arithmetic: the shares that are in fewer bits.

    error: the mean square by which the network's answers differ, on the calls of the full-precision walk; by_time:
    the same for each t, noisiest first; psnr, ssim: of the picture to that of full precision; layers: where in the
    network the error arises, where its layers can be listened to; fd_world: of many pictures, as it was last measured
    of these weights, None where it was not.
    """

    quant_id: str
    method: str
    simulated: bool
    weight_bits: int
    activation_bits: int
    weights: float
    arithmetic: float
    picture: Image = field(repr=False)
    error: float
    by_time: tuple[tuple[int, float], ...] = field(repr=False)
    psnr: float
    ssim: float
    spent: Spent | None
    layers: LayerErrors | None = field(default=None, repr=False)
    fd_world: float | None = None


@dataclass(frozen=True)
class Compared:
    """reference: the picture in full precision; rows: in the order in which they were asked for."""

    reference: Image = field(repr=False)
    rows: tuple[Measured, ...]
    inside: Inside = field(repr=False)


@dataclass(frozen=True)
class Reference:
    """A full-precision walk: the network, its picture, what it was asked and what it answered. distances: FD-world of
    variants of its weights, by their ids."""

    net: Any
    picture: Image
    calls: Sequence[Call]
    answers: Sequence[torch.Tensor]
    distances: Mapping[str, float]


@dataclass(frozen=True)
class Comparison:
    """The work of drawing one subject by several variants; `Done` carries a Compared.

    Emits Loading for what is not at hand; after each row a Row with all rows so far as `rows`, the reference's picture
    and what was seen inside of it, so that they are there however the work ends, and a Step with the row's picture.
    """

    long: ClassVar[bool] = True
    subject: Subject
    quant_ids: tuple[str, ...]
    timed_pictures: int = TIMED_PICTURES
    distances: Distances = NOT_MEASURED

    def __post_init__(self) -> None:
        count = len(self.quant_ids)
        if not FEWEST_ROWS <= count <= MOST_ROWS:
            raise InvalidInput("quant_rows", field="rows", minimum=FEWEST_ROWS, maximum=MOST_ROWS, value=count)
        if len(set(self.quant_ids)) < count:
            raise InvalidInput("quant_twice", field="rows")

    def run(self, context: Context) -> Compared:
        """Raises Cancelled, InvalidInput or ModelUnavailable for a variant that cannot be had, GenerationFailed."""
        for quant_id in self.quant_ids:
            require_for(self.subject, quant_id, context)
        with context.registry.lane, self.subject.open(FULL, context) as full:
            reference = referred(full, self.distances)
            inside = inside_of(reference.net, reference.calls)
        rows: list[Measured] = []
        for index, quant_id in enumerate(self.quant_ids, start=1):
            context.yield_device()
            with context.registry.lane, self.subject.open(quant_id, context) as variant:
                rows.append(self._measured(quant_id, variant, reference, context))
            shown = {"rows": tuple(rows), "reference": reference.picture, "inside": inside}
            context.emit(Row(shown))
            context.emit(Step(index, len(self.quant_ids), (rows[-1].picture,)))
        return Compared(reference.picture, tuple(rows), inside)

    def _measured(self, quant_id: str, variant: Variant, reference: Reference, context: Context) -> Measured:
        """One row of an open variant."""
        use = context.registry.quantizers.use(quant_id, "rows")
        picture, spent = costs(variant, context, 0 if use.method.simulated else self.timed_pictures)
        by_time = tuple(errors_by_time(variant.net, reference, context))
        psnr, ssim = likeness(picture, reference.picture)
        covered = context.registry.quantizers.coverage(quant_id, reference.net, variant.net, reference.calls[0])
        return Measured(
            quant_id=use.id,
            method=use.method.id,
            simulated=use.method.simulated,
            weight_bits=use.weight_bits,
            activation_bits=use.activation_bits,
            weights=covered.weights,
            arithmetic=covered.arithmetic,
            picture=picture,
            error=statistics.fmean(error for _, error in by_time),
            by_time=by_time,
            psnr=psnr,
            ssim=ssim,
            spent=spent,
            layers=errors_of(reference.net, variant.net, reference.calls),
            fd_world=reference.distances.get(use.id),
        )


def referred(full: Variant, distances: Distances) -> Reference:
    """Draw once in full precision, and ask again what the network was asked."""
    import torch

    calls = list[Call]()
    picture = full.draw(calls)
    with torch.inference_mode():
        answers = [answer(full.net, call) for call in calls]
    return Reference(full.net, picture, calls, answers, distances.of_weights(full.sha256))


def answer(net: Any, call: Call) -> torch.Tensor:
    """What a network says to a call: a tensor, as it is or as the first of diffusers' tuple."""
    args, kwargs = call
    said = net(*args, **kwargs)
    first: torch.Tensor = said[0] if isinstance(said, tuple) else getattr(said, "sample", said)
    return first


def costs(variant: Variant, context: Context, timed: int) -> tuple[Image, Spent | None]:
    """The picture, and what it cost, of `timed` pictures after the first; with 0 nothing is timed."""
    if not timed:
        return variant.draw(None), None
    if hasattr(variant.net, "forget"):
        variant.net.forget()  # what was compiled for an earlier picture: it is to be counted
    own_bytes = storage_bytes([variant.net]) + held_bytes(variant.net)
    seconds = []
    with PeakMeter(context.registry.device) as meter:
        picture = variant.draw(None)
        for _ in range(timed):
            started = time.perf_counter()
            variant.draw(None)
            seconds.append(time.perf_counter() - started)
    return picture, Spent(tuple(seconds), disk_bytes(variant.net), own_bytes + meter.peak_bytes - meter.base_bytes)


def disk_bytes(net: Any) -> int:
    """What a network's weights take as a file, which is written and thrown away."""
    if hasattr(net, "disk_bytes"):
        return int(net.disk_bytes())
    import torch

    with tempfile.TemporaryFile() as file:
        torch.save(net.state_dict(), file)
        return file.tell()


def errors_by_time(net: Any, reference: Reference, context: Context) -> Iterator[tuple[int, float]]:
    """For each t of the reference's calls the mean square by which a network's answers differ."""
    import torch

    found: dict[int, list[float]] = {}
    with torch.inference_mode():
        for call, expected in zip(reference.calls, reference.answers, strict=True):
            context.check_cancelled()
            error = float((answer(net, call) - expected).square().mean())
            found.setdefault(time_of(call), []).append(error)
    for t, errors in found.items():
        yield t, statistics.fmean(errors)


def time_of(call: Call) -> int:
    """The t that a call is about; that of its first sample."""
    import torch

    return int(torch.as_tensor(call[0][1]).reshape(-1)[0])


def likeness(picture: Image, expected: Image) -> tuple[float, float]:
    """PSNR in dB and SSIM of two pictures."""
    import numpy as np
    import torch

    from studio.diffusion.similarity import psnr, ssim

    x, y = (
        torch.from_numpy(np.array(one.convert("RGB"))).permute(2, 0, 1)[None].float() / 127.5 - 1
        for one in (picture, expected)
    )
    return float(psnr(x, y)), float(ssim(x, y))
