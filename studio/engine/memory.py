"""How much memory a generation took, and whether it was too much."""

from __future__ import annotations

# torch's CPU allocator has no error class of its own; Linux and Windows word it differently.
CPU_ALLOCATOR_WORDS = ("can't allocate memory", "not enough memory")


class PeakMeter:
    """The most memory seen since it was made: the process's resident set, or torch's allocations on a CUDA device."""

    def __init__(self, device: str) -> None:
        self._cuda = device.startswith("cuda")
        self._device = device
        self.peak_bytes = 0
        if self._cuda:
            import torch

            torch.cuda.reset_peak_memory_stats(device)
        self.sample()

    def sample(self) -> None:
        """Look once; on a CPU the peak is the highest of the samples."""
        self.peak_bytes = max(self.peak_bytes, self._read())

    def _read(self) -> int:
        if self._cuda:
            import torch

            return int(torch.cuda.max_memory_allocated(self._device))
        import psutil  # type: ignore[import-untyped]

        return int(psutil.Process().memory_info().rss)


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error of Python or torch says that memory ran out, on any device."""
    import torch

    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in CPU_ALLOCATOR_WORDS)
