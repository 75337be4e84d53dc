from hypothesis import given
from hypothesis import strategies as st

from studio.engine.budget import Resident, choose_evictions
from studio.types import PipelineKey


@st.composite
def residents(draw: st.DrawFn) -> list[Resident]:
    rows = draw(st.lists(st.tuples(st.integers(0, 100), st.booleans(), st.integers(0, 5)), max_size=8))
    return [Resident(PipelineKey(str(i)), size, leased, last) for i, (size, leased, last) in enumerate(rows)]


amounts = st.integers(0, 300)


@given(residents(), amounts, amounts)
def test_what_is_leased_stays(resident: list[Resident], needed: int, limit: int) -> None:
    chosen = choose_evictions(resident, needed, limit) or []
    assert not {one.key for one in resident if one.leased} & set(chosen)


@given(residents(), amounts, amounts)
def test_afterwards_it_fits(resident: list[Resident], needed: int, limit: int) -> None:
    chosen = choose_evictions(resident, needed, limit)
    if chosen is not None:
        assert sum(one.bytes for one in resident if one.key not in chosen) + needed <= limit


@given(residents(), amounts, amounts)
def test_it_gives_up_only_when_the_leased_leave_no_room(resident: list[Resident], needed: int, limit: int) -> None:
    fits_alone = sum(one.bytes for one in resident if one.leased) + needed <= limit
    assert (choose_evictions(resident, needed, limit) is not None) == fits_alone


@given(residents(), amounts, amounts)
def test_the_longest_unused_go_first(resident: list[Resident], needed: int, limit: int) -> None:
    chosen = set(choose_evictions(resident, needed, limit) or [])
    gone = [one.last_used for one in resident if one.key in chosen]
    kept = [one.last_used for one in resident if one.key not in chosen and not one.leased]
    assert not gone or not kept or max(gone) <= min(kept)


@given(residents(), amounts, amounts)
def test_the_last_eviction_was_necessary(resident: list[Resident], needed: int, limit: int) -> None:
    chosen = choose_evictions(resident, needed, limit)
    if chosen:
        spared = chosen[:-1]
        assert sum(one.bytes for one in resident if one.key not in spared) + needed > limit
