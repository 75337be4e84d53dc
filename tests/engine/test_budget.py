from hypothesis import given
from hypothesis import strategies as st

from studio.engine.budget import Resident, clear, held_bytes, make_room, parked_bytes
from studio.types import AdaptedKey, PipelineKey

BLOCKS = dict(enumerate((1, 7, 10, 40)))
"""Storages of a toy memory; models hold some of them, and may hold the same."""


@st.composite
def residents(draw: st.DrawFn, parkable: bool = False) -> list[Resident]:
    rows = st.tuples(st.sets(st.sampled_from(sorted(BLOCKS)), min_size=1), st.booleans(), st.integers(0, 5))
    return [
        Resident(
            PipelineKey(str(index)),
            {block: BLOCKS[block] for block in blocks},
            leased,
            last_used,
            parked=parkable and not leased and draw(st.booleans()),
            parkable=parkable,
        )
        for index, (blocks, leased, last_used) in enumerate(draw(st.lists(rows, max_size=7)))
    ]


amounts = st.integers(0, 70)


def taken(resident: list[Resident]) -> int:
    """What the toy memory has in use."""
    return sum(size for block, size in BLOCKS.items() if any(block in one.storages for one in resident))


def left(resident: list[Resident], gone: tuple[object, ...]) -> list[Resident]:
    return [one for one in resident if one.key not in gone]


@given(residents())
def test_what_several_hold_counts_once(resident: list[Resident]) -> None:
    assert held_bytes(resident) == taken(resident)


@given(residents(), amounts, amounts)
def test_what_is_leased_stays(resident: list[Resident], needed: int, limit: int) -> None:
    plan = make_room(resident, needed, limit)
    assert plan is None or not {one.key for one in resident if one.leased} & {*plan.drop, *plan.park}


@given(residents(), amounts, amounts)
def test_afterwards_it_fits(resident: list[Resident], needed: int, limit: int) -> None:
    plan = make_room(resident, needed, limit)
    assert plan is None or taken(left(resident, plan.drop)) + needed <= limit


@given(residents(), amounts, amounts)
def test_it_gives_up_only_when_the_leased_leave_no_room(resident: list[Resident], needed: int, limit: int) -> None:
    fits_alone = taken([one for one in resident if one.leased]) + needed <= limit
    assert (make_room(resident, needed, limit) is not None) == fits_alone


@given(residents(), amounts, amounts)
def test_of_those_that_would_free_something_the_longest_unused_go(
    resident: list[Resident], needed: int, limit: int
) -> None:
    plan = make_room(resident, needed, limit)
    kept = left(resident, plan.drop if plan else ())
    gone = [one.last_used for one in resident if one not in kept]
    older = [one for one in kept if not one.leased and gone and one.last_used < max(gone)]
    assert all(taken([other for other in kept if other is not one]) == taken(kept) for one in older)


@given(residents(), amounts, amounts)
def test_the_youngest_that_goes_had_to(resident: list[Resident], needed: int, limit: int) -> None:
    plan = make_room(resident, needed, limit)
    if plan and plan.drop:
        youngest = max((one for one in resident if one.key in plan.drop), key=lambda one: one.last_used)
        same_age = [one for one in resident if one.key in plan.drop and one.last_used == youngest.last_used]
        assert taken([*left(resident, plan.drop), *same_age]) + needed > limit


@given(residents(), amounts, amounts)
def test_nobody_goes_whose_going_frees_nothing(resident: list[Resident], needed: int, limit: int) -> None:
    plan = make_room(resident, needed, limit)
    for key in plan.drop if plan else ():
        without = left(resident, tuple(one for one in plan.drop if one != key))
        assert taken(without) > taken(left(resident, plan.drop))


@given(residents(parkable=True), amounts, amounts, amounts)
def test_what_leaves_the_device_is_parked_as_far_as_memory_reaches(
    resident: list[Resident], needed: int, limit: int, ram: int
) -> None:
    plan = make_room(resident, needed, limit, ram)
    if plan is not None:
        on_device = [one for one in resident if not one.parked and one.key not in {*plan.park, *plan.drop}]
        parked = [one for one in resident if one not in on_device and one.key not in plan.drop]
        in_ram = sum(
            size
            for block, size in BLOCKS.items()
            if any(block in one.storages for one in parked) and not any(block in one.storages for one in on_device)
        )
        assert taken(on_device) + needed <= limit
        assert in_ram <= ram
        assert not set(plan.park) & set(plan.drop)


@given(residents(parkable=True), amounts, amounts)
def test_with_memory_enough_nothing_is_dropped(resident: list[Resident], needed: int, limit: int) -> None:
    plan = make_room(resident, needed, limit, ram_limit_bytes=sum(BLOCKS.values()))
    assert plan is None or plan.drop == ()


@given(residents(parkable=True), amounts)
def test_clearing_takes_all_that_nobody_leases_off_the_device(resident: list[Resident], ram: int) -> None:
    plan = clear(resident, ram)
    still = [one for one in resident if not one.parked and one.key not in {*plan.park, *plan.drop}]
    assert still == [one for one in resident if not one.parked and one.leased]


def test_a_clone_goes_before_the_model_that_it_was_made_of() -> None:
    base = Resident(PipelineKey("a"), {"w": 100}, leased=False, last_used=1.0)
    clone = Resident(AdaptedKey(PipelineKey("a"), frozenset("x")), {"w": 100, "lora": 5}, leased=False, last_used=1.0)
    plan = make_room([base, clone], 0, 100)
    assert plan is not None and plan.drop == (clone.key,)


def test_parked_bytes_leave_out_what_the_device_shares() -> None:
    there = Resident(PipelineKey("a"), {"vae": 3, "unet a": 10}, leased=False, last_used=0)
    parked = Resident(PipelineKey("b"), {"vae": 3, "unet b": 20}, leased=False, last_used=0, parked=True)
    assert parked_bytes([there, parked]) == 20
