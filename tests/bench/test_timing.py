import time

import pytest

from studio.bench.timing import interleave, median_interval, ratio_row


def test_all_are_timed_in_changing_order_after_a_warm_up() -> None:
    order: list[str] = []
    spent = interleave({name: lambda name=name: order.append(name) for name in "abc"}, rounds=3)
    assert "".join(order) == "cababcbcacab"
    assert [(name, len(one.seconds), len(one.cpu_seconds)) for name, one in spent.items()] == [
        ("a", 3, 3),
        ("b", 3, 3),
        ("c", 3, 3),
    ]


def test_sleeping_takes_time_and_working_takes_the_processor() -> None:
    spent = interleave({"sleep": lambda: time.sleep(0.05), "work": lambda: sum(range(300_000))}, rounds=3)
    assert min(spent["sleep"].seconds) >= 0.05 > max(spent["sleep"].cpu_seconds)
    assert min(spent["work"].cpu_seconds) > max(spent["sleep"].cpu_seconds)


@pytest.mark.parametrize(
    ("values", "interval"),
    [([3.0], (3.0, 3.0)), ([2.0, 9.0, 1.0], (1.0, 9.0)), ([float(n) for n in range(1, 21)], (6.0, 15.0))],
)
def test_the_interval_of_a_median_is_made_of_order_statistics(
    values: list[float], interval: tuple[float, float]
) -> None:
    assert median_interval(values) == interval


@pytest.mark.parametrize(("target", "holds"), [(None, None), (1.4, False), (1.5, True)])
def test_a_ratio_is_taken_round_by_round_and_has_to_hold(target: float | None, holds: bool | None) -> None:
    row = ratio_row("x", [2.0, 1.0, 30.0], [1.0, 2.0, 20.0], "here", target)
    assert (row.value, row.low, row.high, row.holds) == (1.5, 0.5, 2.0, holds)
