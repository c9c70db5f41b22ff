"""B2: what one caller can have at once, and what is left for the next."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from contextlib import ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from service_runtime import call_limits, caller_places
from service_runtime.call_limits import CallLimits, TooManyCallsError, request_has_arrived
from service_runtime.caller_places import Connection, Place, Places
from service_runtime.sampled_log import SampledLog


def taken(places: Places, organisation: str, address: str, *, yields: bool = True) -> int:
    """Take all that a caller gets; return how much that was."""
    count = 0
    while places.take(organisation, address, yields=yields):
        count += 1
    return count


def held(places: Places) -> Counter[Connection]:
    """Return how many places each caller has."""
    return Counter({caller: len(found) for caller, found in places._held.items()})


async def test_b2_a_connection_gets_a_quarter_and_an_organisation_a_half() -> None:
    """Nobody gets everything, and what was given back is there again."""
    places = Places("streams", 400)
    assert taken(places, "a", "one", yields=False) == 100
    assert taken(places, "a", "two", yields=False) == 100
    assert taken(places, "a", "three", yields=False) == 0
    assert taken(places, "b", "one", yields=False) == 100
    for place in list(places._held["a", "one"]):
        places.give_back(place)
    assert taken(places, "a", "three", yields=False) == 100


@pytest.mark.parametrize("hostile", [1, 3, 50, 199])
async def test_b2_however_many_take_all_they_can_the_next_one_finds_a_place(hostile: int) -> None:
    """Within one organisation, and in another one; its place is not the next to be lost."""
    places = Places("streams", 400)
    task = asyncio.create_task(_take_twice_as_much(places, hostile))
    await asyncio.wait([task])
    honest = asyncio.create_task(_take(places, "a"))
    other = asyncio.create_task(_take(places, "b"))
    await asyncio.wait([honest, other])
    again = asyncio.create_task(_take_twice_as_much(places, hostile))
    await asyncio.wait([again])
    assert honest.result() is not None
    assert other.result() is not None
    assert honest.result() in places._held["a", "honest"]
    assert other.result() in places._held["b", "honest"]
    assert sum(held(places).values()) == places._taken <= 400


async def _take(places: Places, organisation: str) -> Place | None:
    return places.take(organisation, "honest", yields=True)


async def _take_twice_as_much(places: Places, hostile: int) -> None:
    """Take places for so many connections by turns, and for all it is worth."""
    for _ in range(400 // hostile):
        for number in range(hostile):
            with contextlib.suppress(asyncio.CancelledError):
                places.take("a", f"hostile {number}", yields=True)


@given(st.lists(st.tuples(st.booleans(), st.sampled_from("ab"), st.sampled_from("xyz"))))
def test_b2_what_is_taken_is_what_was_not_given_back(steps: list[tuple[bool, str, str]]) -> None:
    """Never more than there are, and nothing is kept of those who have nothing."""
    places = Places("streams", 8)
    have: list[Place] = []

    async def walk() -> None:
        for takes, organisation, address in steps:
            found = places.take(organisation, address) if takes else None
            if found is not None:
                have.append(found)
            elif not takes and have:
                places.give_back(have.pop(0))

    asyncio.run(walk())
    assert places._taken == len(have) <= 8
    assert held(places) == Counter(place.connection for place in have)
    assert set(places._of_organisation) == {place.connection[0] for place in have}


async def test_b2_a_stream_that_was_silent_for_long_gives_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where nobody has more than the next caller; one that sends keeps its place."""
    places = Places("streams that send", 8, of_organisation=4, takes_silent=True)

    async def take(address: str) -> Place | None:
        return places.take("a", address, yields=True)

    first, *others = [await asyncio.create_task(take(address)) for address in "wxyz"]
    assert await asyncio.create_task(take("next")) is None
    monkeypatch.setattr(caller_places, "SILENT_SECONDS", 0.0)
    assert first is not None
    first.heard_at += 1.0  # it has sent something since
    assert await asyncio.create_task(take("next")) is not None
    assert not first.is_taken_away
    assert [place.is_taken_away for place in others if place] == [True, False, False]


async def test_b2_whoever_has_fewer_takes_a_stream_from_whoever_has_most() -> None:
    """The newest of them ends with the error of the limit; what is being answered stays."""
    limits = CallLimits(most_streams=8, most_calls=8)
    ends: dict[str, str] = {}
    done = asyncio.Event()

    async def hold(name: str, address: str, *, lasting: bool = True) -> None:
        try:
            with limits.held("a", address, lasting=lasting):
                if not lasting:
                    request_has_arrived()
                ends[name] = "open"
                await done.wait()
        except TooManyCallsError:
            ends[name] = "refused"

    async with asyncio.TaskGroup() as group:
        with capture_logs():
            for name, address in (("1", "x"), ("2", "x"), ("3", "y"), ("4", "y")):
                group.create_task(hold(name, address))
                await asyncio.sleep(0)
            group.create_task(hold("5", "z"))
            for _ in range(5):
                await asyncio.sleep(0)
            calls = (("c1", "x"), ("c2", "x"), ("c3", "y"), ("c4", "y"), ("c5", "z"))
            for name, address in calls:
                group.create_task(hold(name, address, lasting=False))
                await asyncio.sleep(0)
            done.set()
    assert sorted(end for name, end in ends.items() if not name.startswith("c")) == [
        *["open"] * 4,
        "refused",
    ]
    assert ends["5"] == "open"
    assert [ends[name] for name, _ in calls] == [*["open"] * 4, "refused"]


async def test_b2_a_refusal_says_what_to_do_and_is_logged_now_and_then() -> None:
    """Each kind has its limit; the log has one line of many refusals."""
    limits = CallLimits(most_streams=4, most_calls=8)
    with ExitStack() as holding, capture_logs() as lines:
        holding.enter_context(limits.held("a", "one", lasting=True))
        for _ in range(10):
            with (
                pytest.raises(TooManyCallsError) as caught,
                limits.held("a", "one", lasting=True),
            ):
                pytest.fail("it has one too many")
        holding.enter_context(limits.held("a", "one", lasting=False))
        holding.enter_context(limits.held("", "one", lasting=True))
    assert caught.value.metadata == {"kind": "streams", "most": "2"}
    assert "close some" in caught.value.message
    assert [(line["event"], line["kind"], line["log_level"]) for line in lines] == [
        ("call_refused", "streams", "warning")
    ]
    with limits.held("a", "one", lasting=True):
        pass  # what was held is given back


def test_b2_a_sampled_line_counts_those_that_have_none() -> None:
    """The first at once, then at most one a second."""
    times = iter([100.0, 100.1, 100.9, 101.0])
    log = SampledLog("call_refused", lambda: next(times))
    with capture_logs() as lines:
        for _ in range(4):
            log.add(kind="streams")
    assert [line["unlogged"] for line in lines] == [0, 2]


async def test_b2_large_requests_need_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """So many at once; what was given back goes to the next."""
    monkeypatch.setattr(call_limits, "_MOST_REQUESTS", 4)
    limits = CallLimits()
    with limits.room_for_request("a", "one"):
        with (
            capture_logs(),
            pytest.raises(TooManyCallsError) as caught,
            limits.room_for_request("a", "one"),
        ):
            pytest.fail("it has one too many")
        assert caught.value.metadata["kind"] == "large requests"
    with limits.room_for_request("a", "one"):
        pass
