"""Which organisations have a stream: as many as there are places, in turns."""

from __future__ import annotations

from collections import Counter

import pytest

from sender_service.reporting.stream_places import Moves, StreamPlaces


@pytest.fixture
def places() -> StreamPlaces:
    """Two places, of which a visit may have one."""
    return StreamPlaces(2, most_visits=1, turn_seconds=10.0)


def test_who_asks_first_gets_a_place(places: StreamPlaces) -> None:
    """The others wait until somebody leaves."""
    for name in ("a", "b", "c"):
        places.ask(name)
    assert places.move(0.0) == Moves([], ["a", "b"])
    assert places.others_wait
    places.leave("a")
    assert places.move(1.0) == Moves([], ["c"])
    assert not places.others_wait


def test_a_place_is_kept_for_a_turn_whoever_waits(places: StreamPlaces) -> None:
    """After that the one that had its place for longest waits behind the others."""
    for name in ("a", "b", "c"):
        places.ask(name)
    places.move(0.0)
    assert places.move(9.9) == Moves([], [])
    assert places.move(10.0) == Moves(["a"], ["c"])
    assert places.move(20.0) == Moves(["b"], ["a"])


def test_nobody_leaves_while_nobody_waits(places: StreamPlaces) -> None:
    """A stream stays open for as long as there is room."""
    places.ask("a")
    places.ask("b")
    places.move(0.0)
    assert places.move(1_000.0) == Moves([], [])


def test_nobody_leaves_for_one_who_finds_room(places: StreamPlaces) -> None:
    """A stream that has had its turn goes on while there is a place beside it."""
    places.ask("a")
    places.move(0.0)
    places.ask("b")
    assert places.move(1_000.0) == Moves([], ["b"])


def test_only_free_places_are_given(places: StreamPlaces) -> None:
    """However many wait for them."""
    places.ask("a")
    places.move(0.0)
    for name in ("b", "c"):
        places.ask(name)
    assert places.move(1.0) == Moves([], ["b"])


def test_every_organisation_gets_as_many_turns() -> None:
    """A thousand of them at 250 places: each has a place for a quarter of the time."""
    places = StreamPlaces(250, most_visits=16, turn_seconds=10.0)
    names = [f"o{number}" for number in range(1_000)]
    had: Counter[str] = Counter()
    for second in range(0, 400, 10):
        for name in names:
            places.ask(name)
        places.move(float(second))
        assert len(places.open) == 250
        had.update(places.open)
    assert set(had.values()) == {10}


def test_visits_take_what_is_left(places: StreamPlaces) -> None:
    """Not more at once than they may have, and never before those with work."""
    for name in ("v", "w"):
        places.visit(name)
    places.ask("a")
    assert places.move(0.0) == Moves([], ["a", "v"])
    assert (places.is_visit("a"), places.is_visit("v")) == (False, True)
    places.leave("v")
    assert places.move(1.0) == Moves([], ["w"])


def test_no_place_is_left_for_visits_where_all_are_taken(places: StreamPlaces) -> None:
    """Not even where one who has work takes the last one at the same time."""
    places.ask("a")
    places.move(0.0)
    places.ask("b")
    places.visit("v")
    assert places.move(1.0) == Moves([], ["b"])


def test_a_visit_becomes_a_stay(places: StreamPlaces) -> None:
    """An organisation that gets work on its visit keeps its place, and leaves the visit's."""
    places.visit("v")
    places.visit("w")
    places.move(0.0)
    places.ask("v")
    assert not places.is_visit("v")
    assert places.move(1.0) == Moves([], ["w"])


def test_who_has_a_stream_is_not_visited(places: StreamPlaces) -> None:
    """Nor who waits for one."""
    places.ask("a")
    places.visit("a")
    assert places.move(0.0) == Moves([], ["a"])
    places.visit("a")
    assert places.move(1.0) == Moves([], [])
