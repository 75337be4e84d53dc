import numpy as np

from studio.engine.memory import PeakMeter


def test_the_peak_stays_when_the_memory_is_given_back() -> None:
    meter = PeakMeter("cpu")
    before = meter.peak_bytes
    ballast = np.ones(50_000_000, dtype=np.uint8)
    meter.sample()
    del ballast
    meter.sample()
    assert meter.peak_bytes >= before + 40_000_000
