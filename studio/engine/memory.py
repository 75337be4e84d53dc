"""Memory as it is: what a generation took, what tensors hold, how models move, and whether it was too much."""

from __future__ import annotations

import gc
import threading
from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol, Self

if TYPE_CHECKING:
    import torch

# torch's CPU allocator has no error class of its own; Linux and Windows word it differently.
CPU_ALLOCATOR_WORDS = ("can't allocate memory", "not enough memory")
SAMPLE_SECONDS = 0.05


class Meter(Protocol):
    """Watches memory while it is entered."""

    base_bytes: int
    peak_bytes: int

    def sample(self) -> None:
        """Look once."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *error: object) -> None: ...


class PeakMeter:
    """The most memory seen since it was made: the process's resident set, or torch's allocations on a CUDA device.

    base_bytes: what was taken when it was made. While it is entered, a CPU's memory is looked at all the time; CUDA
    keeps the peak itself.
    """

    def __init__(self, device: str) -> None:
        self._cuda = device.startswith("cuda")
        self._device = device
        self._ended = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="peak-meter", daemon=True)
        self.peak_bytes = 0
        if self._cuda:
            import torch

            torch.cuda.reset_peak_memory_stats(device)
        else:
            import psutil  # type: ignore[import-untyped]

            self._process = psutil.Process()
        self.sample()
        self.base_bytes = self.peak_bytes

    def __enter__(self) -> Self:
        if not self._cuda:
            self._watcher.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        if self._watcher.is_alive():
            self._watcher.join()
        self.sample()

    def sample(self) -> None:
        """Look once; on a CPU the peak is the highest of the samples."""
        self.peak_bytes = max(self.peak_bytes, self._read())

    def _watch(self) -> None:
        while not self._ended.wait(SAMPLE_SECONDS):
            self.sample()

    def _read(self) -> int:
        if self._cuda:
            import torch

            return int(torch.cuda.max_memory_allocated(self._device))
        return int(self._process.memory_info().rss)


class Mover(Protocol):
    """Moves parts of models between a device and the machine's memory."""

    def park(self, modules: Collection[Any]) -> None:
        """From the device into the machine's memory."""

    def fetch(self, modules: Collection[Any]) -> None:
        """Back onto the device."""

    def release(self) -> None:
        """Give what nobody holds any more back to the system."""


class TorchMover:
    """Moves torch's modules. A device that is the machine's own memory has nothing to move."""

    def __init__(self, device: str, parking: str = "cpu") -> None:
        self._device, self._parking = device, parking

    def park(self, modules: Collection[torch.nn.Module]) -> None:
        for module in modules:
            module.to(self._parking)

    def fetch(self, modules: Collection[torch.nn.Module]) -> None:
        for module in modules:
            module.to(self._device)

    def release(self) -> None:
        import torch

        gc.collect()
        if self._device.startswith("cuda"):
            torch.cuda.empty_cache()


def modules_of(parts: Mapping[str, Any]) -> list[torch.nn.Module]:
    """Those parts of a model that hold weights as modules do."""
    import torch

    return [part for part in parts.values() if isinstance(part, torch.nn.Module)]


def storages(parts: Iterable[Any]) -> dict[Hashable, int]:
    """The bytes of modules, tensors and mappings of tensors by their storage: what is shared appears once."""
    found: dict[Hashable, int] = {}
    for part in parts:
        for tensor in _tensors(part):
            for plain in _plain(tensor):
                storage = plain.untyped_storage()
                # On "meta" every address is 0; the object behind the storage still tells it from others.
                address = storage.data_ptr() or storage._cdata
                found[str(plain.device), address] = storage.nbytes()
    return found


def storage_bytes(parts: Iterable[Any]) -> int:
    """The bytes of all parts, storage that is shared counted once."""
    return sum(storages(parts).values())


def _tensors(part: Any) -> Iterator[torch.Tensor]:
    """Every tensor of a part."""
    import torch

    if isinstance(part, torch.nn.Module):
        yield from part.parameters()
        yield from part.buffers()
    elif isinstance(part, torch.Tensor):
        yield part
    elif isinstance(part, Mapping):
        for one in part.values():
            yield from _tensors(one)


def _plain(tensor: Any) -> Iterator[torch.Tensor]:
    """The tensors inside one that wraps others, as a quantized one does; else itself."""
    if not hasattr(tensor, "__tensor_flatten__"):
        yield tensor
        return
    for name in tensor.__tensor_flatten__()[0]:
        yield from _plain(getattr(tensor, name))


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of Python or torch says that memory ran out, on any device."""
    import torch

    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in CPU_ALLOCATOR_WORDS)
