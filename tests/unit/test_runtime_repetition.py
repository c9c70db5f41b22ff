"""Background work goes on: a store is waited for, and a defect is logged and survived."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from structlog.testing import capture_logs

from service_runtime.errors import StoreUnavailableError
from service_runtime.repetition import repeat

_AWAY = StoreUnavailableError("the database does not answer")
#: What a turn returns.
_MORE, _NOTHING = True, False


class Work:
    """Does what a test lists; rests in between, and is cancelled when the list is empty."""

    def __init__(self, *turns: bool | Exception) -> None:
        self._turns = list(turns)
        #: What was done: "work" and "rest".
        self.done: list[str] = []

    async def work(self) -> bool:
        """Do the next turn."""
        if not self._turns:
            raise asyncio.CancelledError
        self.done.append("work")
        turn = self._turns.pop(0)
        if isinstance(turn, Exception):
            raise turn
        return turn

    async def rest(self) -> None:
        """Note that it rests."""
        self.done.append("rest")


async def done(*turns: bool | Exception) -> tuple[list[str], list[tuple[str, str]]]:
    """Return what was done in these turns, and the level and name of what was logged."""
    work = Work(*turns)
    with capture_logs() as logged, pytest.raises(asyncio.CancelledError):
        await repeat(
            work.work,
            rest=work.rest,
            postponed="sweep_postponed",
            failed="sweep_failed",
            defect_seconds=0,
            channel="smtp",
        )
    assert all(line["channel"] == "smtp" for line in logged)
    return work.done, [(line["log_level"], line["event"]) for line in logged]


async def test_work_goes_on_at_once_while_there_is_more() -> None:
    """It rests when there is none."""
    found, logged = await done(_MORE, _MORE, _NOTHING, _MORE, _NOTHING)
    assert found == ["work", "work", "work", "rest", "work", "work", "rest"]
    assert logged == []


async def test_a_store_that_does_not_answer_is_waited_for() -> None:
    """One line for each time that it is away, however often it is tried."""
    found, logged = await done(_AWAY, _AWAY, _NOTHING, _AWAY)
    assert found == ["work", "rest"] * 4
    assert logged == [("warning", "sweep_postponed")] * 2


async def test_s15_a_defect_is_logged_and_survived() -> None:
    """Each one, with its stack; the next turn comes after a rest."""
    found, logged = await done(ValueError("a defect"), ValueError("again"), _MORE, _NOTHING)
    assert found == ["work", "rest", "work", "rest", "work", "work", "rest"]
    assert logged == [("error", "sweep_failed")] * 2


async def test_the_stack_and_the_words_of_the_store_are_in_the_log() -> None:
    """Whoever reads of a failure can find its cause."""
    work = Work(_AWAY, ValueError("a defect"))
    with capture_logs() as logged, pytest.raises(asyncio.CancelledError):
        await repeat(work.work, rest=work.rest, postponed="p", failed="f", defect_seconds=0)
    assert _lines(logged) == [("p", "the database does not answer", None), ("f", None, True)]


def _lines(logged: Sequence[dict[str, object]]) -> list[tuple[object, object, object]]:
    return [(line["event"], line.get("error"), line.get("exc_info")) for line in logged]
