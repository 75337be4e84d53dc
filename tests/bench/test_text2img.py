import pytest

from studio.bench.text2img import interleave, median_interval, rows


def test_both_are_timed_in_changing_order_after_a_warm_up() -> None:
    order: list[str] = []
    ours, theirs = interleave(lambda: order.append("a"), lambda: order.append("b"), pairs=3)
    assert "".join(order) in ("abbaabba", "baabbaab")
    assert (len(ours), len(theirs)) == (3, 3)


@pytest.mark.parametrize(
    ("values", "interval"),
    [([3.0], (3.0, 3.0)), ([2.0, 9.0, 1.0], (1.0, 9.0)), ([float(n) for n in range(1, 21)], (6.0, 15.0))],
)
def test_the_interval_of_a_median_is_made_of_order_statistics(
    values: list[float], interval: tuple[float, float]
) -> None:
    assert median_interval(values) == interval


def test_the_ratio_is_taken_pair_by_pair_and_has_to_hold() -> None:
    ratio, ours, theirs = rows([2.0, 1.0, 30.0], [1.0, 2.0, 20.0], "here")
    assert (ratio.value, ours.value, theirs.value) == (1.5, 2.0, 2.0)
    assert (ratio.holds, ours.holds) == (False, None)
