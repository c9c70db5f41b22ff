"""Streams take turns for the writer: a full one stands before nobody."""

from __future__ import annotations

import asyncio
from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from status_service.recording.frame_queue import FrameQueue
from status_service.recording.pace import Pace
from status_service.recording.turns import RESULTS_A_PLACE, Turns

_BATCH = 100
_frames = st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 120)), max_size=40)


@given(steps=st.lists(st.one_of(_frames, st.none()), max_size=10))
def test_s8_each_stream_keeps_its_order_and_nothing_is_lost(
    steps: list[list[tuple[str, int]] | None],
) -> None:
    """Whatever is put and taken when, each frame comes once, behind those before it."""
    turns: Turns[tuple[str, int, int]] = Turns(batch_results=_BATCH)
    put: dict[str, list[int]] = defaultdict(list)
    taken: dict[str, list[int]] = defaultdict(list)

    def take() -> int:
        batch = turns.take()
        for stream, number, _ in batch:
            taken[stream].append(number)
        # The last one may be larger than what was left of the room.
        assert sum(size for _, _, size in batch[:-1]) < _BATCH
        return len(batch)

    for step in steps:
        if step is None:
            take()
            continue
        for stream, size in step:
            number = len(put[stream])
            put[stream].append(number)
            turns.put(stream, (stream, number, size), size)
    while turns.places:
        assert take()
    assert not turns.take()
    assert {stream: numbers for stream, numbers in taken.items() if numbers} == put


def _filled(**frames: tuple[int, int]) -> Turns[str]:
    """Return turns in which each stream has so many frames of so many results."""
    turns: Turns[str] = Turns(batch_results=_BATCH)
    for stream, (number, size) in frames.items():
        for _ in range(number):
            turns.put(stream, stream, size)
    return turns


def test_l5_what_reports_little_goes_before_a_full_stream() -> None:
    """It waits for no full transaction; the next transaction is the full stream's."""
    turns = _filled(full=(1_000, 10), little=(1, 1))
    assert turns.take() == ["little"]
    assert turns.take() == ["full"] * 10
    turns.put("little", "little", 1)
    turns.put("more", "more", 1)
    assert sorted(turns.take()) == ["little", "more"]
    turns.put("little", "little", 1)
    # Half as many: that one comes again and again.
    assert sorted(turns.take()) == [*["full"] * 5, "little"]
    for _ in range(5):
        turns.take()
    assert turns.take() == ["full"] * 10


@pytest.mark.parametrize(("waiting", "together"), [(24, True), (25, False)])
def test_what_reports_little_goes_alone_before_a_quarter_of_a_transaction(
    waiting: int, *, together: bool
) -> None:
    """Where the others have less than that, one transaction takes the frames of all."""
    turns = _filled(full=(1, waiting), little=(1, 1))
    assert sorted(turns.take()) == (["full", "little"] if together else ["little"])


@pytest.mark.parametrize(("waiting", "alone"), [(10, True), (11, False)])
def test_who_has_an_eighth_of_what_the_busiest_stream_has_reports_little(
    waiting: int, *, alone: bool
) -> None:
    """Exactly so much still goes first, in a transaction of its own; one result more does not."""
    turns = _filled(full=(8, 10), other=(1, waiting))
    assert (turns.take() == ["other"]) is alone


@pytest.mark.parametrize(
    ("others", "waiting", "alone"), [(0, 12, True), (0, 13, False), (1, 8, True), (1, 9, False)]
)
def test_what_was_stored_before_counts_half_with_each_transaction_since(
    others: int, waiting: int, *, alone: bool
) -> None:
    """80 results of the last one and 25 that wait are a full transaction; after another, 65."""
    turns = _filled(full=(8, 10))
    turns.take()
    for _ in range(others):
        turns.put("call", "call", 1)
        assert turns.take() == ["call"]
    turns.put("full", "full", 25)
    turns.put("other", "other", waiting)
    assert (turns.take() == ["other"]) is alone


def test_a_transaction_beside_streams_that_report_little_lasts_as_long_as_it_may() -> None:
    """The writer says how many results that are, and it is never more than a half."""
    for allowed, taken in ((20, 2), (1_000, 5), (1, 1)):
        turns = _filled(full=(1_000, 10), little=(1, 1))
        turns.take()
        turns.put("little", "little", 1)
        turns.take()
        for _ in range(2):  # a short one, and the next
            turns.put("little", "little", 1)
            batch = turns.take(beside_little=allowed)
        assert batch.count("full") == taken
        assert _filled(full=(1_000, 10)).take(beside_little=allowed) == ["full"] * 10


def test_l5_a_writer_s_transactions_are_short_beside_what_another_one_has() -> None:
    """So they are while a stream of the other one reports little, and not when it has ended."""
    company: list[Turns[str]] = []
    turns, other = (Turns[str](batch_results=_BATCH, company=company) for _ in range(2))
    for _ in range(60):
        turns.put("full", "full", 10)
    assert turns.take(beside_little=20) == ["full"] * 10
    for taken in (10, 2, 2):  # the first frame may be that of a call
        other.put("little", "little", 1)
        assert other.take(beside_little=20) == ["little"]
        assert turns.take(beside_little=20) == ["full"] * taken
    for _ in range(4):
        turns.put("full", "full", 10)
        turns.take(beside_little=20)
    assert turns.take(beside_little=20) == ["full"] * 10


def test_a_full_stream_that_has_ended_is_none_that_reports_little() -> None:
    """It is remembered for a while, and those beside it have full transactions all the time."""
    company: list[Turns[str]] = []
    turns, other = (Turns[str](batch_results=_BATCH, company=company) for _ in range(2))
    for full in (turns, other):
        for _ in range(20):
            full.put("ends", "ends", 10)
        full.put("ends", "ends", 1)
    for _ in range(200):
        turns.put("full", "full", 10)
    for ends in (10, 10, 1):
        assert other.take(beside_little=20) == ["ends"] * ends
    batches = [turns.take(beside_little=20) for _ in range(20)]
    assert sum(batch.count("ends") for batch in batches) == 21
    assert min(len(batch) for batch in batches) >= 10


def test_pace_follows_what_transactions_take() -> None:
    """Small ones say nothing of what a result costs."""
    pace = Pace()
    assert pace.results_within(0.01) is None
    pace.note(10, 1.0)
    assert pace.results_within(0.01) is None
    pace.note(10_000, 0.05)
    assert pace.results_within(0.01) == 2_000
    pace.note(10_000, 0.1)  # it counts a fifth, those before it the rest
    assert pace.results_within(0.012) == 2_000
    for _ in range(50):
        pace.note(10_000, 0.02)
    assert pace.results_within(0.01) == pytest.approx(5_000, rel=0.01)
    pace.note(10, 1.0)
    assert pace.results_within(0.01) == pytest.approx(5_000, rel=0.01)
    assert pace.results_within(0.000_001) == 1_000


def test_full_streams_share_a_transaction_by_results() -> None:
    """Not by frames: a stream with large ones gets no more than the others."""
    turns: Turns[int] = Turns(batch_results=10_000)
    for _ in range(100):
        turns.put("large", 1_000, 1_000)
        turns.put("small", 100, 100)
    batch = turns.take()
    large, small = 1_000 * batch.count(1_000), 100 * batch.count(100)
    # A frame has its price as well: of many small ones it is somewhat less.
    assert large / 2 < small < large


@pytest.mark.parametrize(("first", "order"), [("small", "sls"), ("large", "lss")])
def test_a_frame_costs_as_much_as_fifty_results(first: str, order: str) -> None:
    """So two frames of 10 are as much as one of 70, and who had its turn first is first again."""
    turns: Turns[str] = Turns(batch_results=10_000)
    frames = {"small": ("s", 10), "large": ("l", 70)}
    for stream in sorted(frames, key=lambda stream: stream != first):
        entry, results = frames[stream]
        for _ in range(700 // results):
            turns.put(stream, entry, results)
    assert "".join(turns.take()).startswith(order * 10)


def test_more_full_streams_than_a_transaction_has_room_for_take_turns() -> None:
    """Those that were left out are the first of the next one."""
    turns = _filled(**{f"s{number}": (4, 50) for number in range(6)})
    batches = [sorted(turns.take()) for _ in range(12)]
    assert batches == [["s0", "s1"], ["s2", "s3"], ["s4", "s5"]] * 4


def test_a_full_transaction_is_not_cut_for_streams_that_are_all_full() -> None:
    """One that happens to have one frame here just now has stored as much as the others."""
    turns = _filled(a=(10, 10), b=(10, 10))
    assert [sorted(turns.take()) for _ in range(2)] == [["a"] * 5 + ["b"] * 5] * 2
    for _ in range(9):
        turns.put("a", "a", 10)
    turns.put("b", "b", 10)
    assert sorted(turns.take()) == ["a"] * 9 + ["b"]


async def test_a_full_stream_leaves_a_place_to_each_other_one() -> None:
    """The first frame of a stream waits for nobody, so what waits is bounded all the same."""
    queue: FrameQueue[str] = FrameQueue(batch_results=_BATCH, places=2)
    for frame in ("a1", "a2"):
        await queue.put("a", frame, 1)
    more = [asyncio.create_task(queue.put("a", f"a{number}", 1)) for number in (3, 4)]
    await queue.put("b", "b1", 1)
    more.append(asyncio.create_task(queue.put("b", "b2", 1)))
    await asyncio.sleep(0)
    assert queue.waiting == 3
    assert [task.done() for task in more] == [False] * 3
    assert sorted(await queue.take()) == ["a1", "a2", "b1"]
    await asyncio.gather(*more[:2])
    assert queue.waiting >= 2
    assert set(await queue.take()) >= {"a3", "a4"}
    await more[2]
    queue.done(3)
    queue.done(3)
    async with asyncio.timeout(20.0):
        while queue.waiting:
            await queue.take()
    await queue.join()


async def test_l5_places_are_shared_between_the_streams() -> None:
    """Where a full stream has taken all, another one has as many places as its share."""
    queue: FrameQueue[str] = FrameQueue(batch_results=_BATCH, places=8)
    full = [asyncio.create_task(queue.put("full", "full", 1)) for _ in range(20)]
    await asyncio.sleep(0)
    other = [asyncio.create_task(queue.put("other", "other", 1)) for _ in range(6)]
    await asyncio.sleep(0)
    assert [task.done() for task in other] == [True] * 4 + [False] * 2
    assert queue.waiting == 12
    assert (await queue.take()).count("other") == 4
    await asyncio.sleep(0)
    # The other one has the rest of its frames in; the full one has no more than before.
    assert all(task.done() for task in other)
    assert sum(task.done() for task in full) <= 16
    async with asyncio.timeout(20.0):
        while queue.waiting:
            await queue.take()
            await asyncio.sleep(0)
    await asyncio.gather(*full)


async def test_many_frames_of_one_call_do_not_come_through_the_place_of_its_first() -> None:
    """As many wait as there are places, however many of its frames wait for one."""
    queue: FrameQueue[int] = FrameQueue(batch_results=1, places=3)
    putting = [asyncio.create_task(queue.put("call", number, 1)) for number in range(20)]
    taken: list[int] = []
    while len(taken) < 20:
        await asyncio.sleep(0)
        assert queue.waiting <= 3
        taken += await queue.take()
    assert taken == list(range(20))
    await asyncio.gather(*putting)


async def test_b2_a_place_that_was_promised_to_who_is_gone_is_for_the_next() -> None:
    """Whoever gives up, before or just when its turn comes, leaves nothing behind."""
    queue: FrameQueue[str] = FrameQueue(batch_results=_BATCH, places=1)
    await queue.put("a", "a1", 1)
    first, second, third = (
        asyncio.create_task(queue.put("a", f"a{number}", 1)) for number in (2, 3, 4)
    )
    await asyncio.sleep(0)
    first.cancel()
    assert await queue.take() == ["a1"]  # promises the place to the second, or to the first
    second.cancel()
    await asyncio.gather(first, second, return_exceptions=True)
    async with asyncio.timeout(20.0):
        await third
        assert await queue.take() == ["a4"]
    assert first.cancelled()
    assert second.cancelled()
    assert not queue.waiting
    assert not queue._promised
    assert not queue._waiting


@pytest.mark.parametrize(
    ("results", "places"), [(0, 1), (1, 1), (500, 1), (501, 2), (1_000, 2), (1_001, 3)]
)
def test_a_large_frame_takes_the_places_of_several(results: int, places: int) -> None:
    """So as many results wait, however many a frame has."""
    turns: Turns[str] = Turns(batch_results=_BATCH)
    turns.put("a", "frame", results)
    assert (turns.places, RESULTS_A_PLACE) == (places, 500)
    turns.take()
    assert not turns.places
