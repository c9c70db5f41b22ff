"""When a run over a shard writes down what is finished, and what it shows meanwhile."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from integration import sender_support as support
from integration.sender_bench import bench
from sender_service.delivery import shard_delivery
from sender_service.delivery.shard_report import Ended
from sender_service.store import leases
from sender_service.verdicts import Answer

if TYPE_CHECKING:
    from pathlib import Path

    from sender_service.channels.contract import Handover, Message, Reply

_PATIENCE_SECONDS = 20.0
_NEVER = 3_600.0


@pytest.fixture
def woken_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a run look around only where something wakes it."""
    monkeypatch.setattr(shard_delivery, "_IDLE_SECONDS", _NEVER)
    monkeypatch.setattr(shard_delivery, "_COMMIT_SECONDS", _NEVER)


@pytest.mark.usefixtures("woken_only")
@pytest.mark.parametrize("messages", [1, 3, 30])
async def test_the_last_answers_are_written_down_at_once(tmp_path: Path, messages: int) -> None:
    """Nothing else is awaited, so nobody waits for more of them."""
    async with bench(tmp_path, messages) as b, asyncio.timeout(_PATIENCE_SECONDS):
        report = await b.run_once()
        assert (report.ended, report.counts["sent"]) == (Ended.IDLE, messages)
        assert await b.is_released()


async def test_an_answer_is_written_down_soon_while_others_are_awaited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A provider that is slow with some messages holds up no result of another one."""
    monkeypatch.setattr(shard_delivery, "_IDLE_SECONDS", _NEVER)
    async with bench(tmp_path, 6) as b, asyncio.timeout(_PATIENCE_SECONDS):
        hold = asyncio.Event()

        async def send(_template: Any, message: Message, handover: Handover) -> Reply:
            handover.begin("before the server answered")
            if message.sequence > 1:
                await hold.wait()
            return support.ACCEPTED

        monkeypatch.setattr(b.channel, "send", send)
        running = asyncio.create_task(b.run_once())

        async def written() -> bool:
            return list(await b.outcomes()) == [1]

        await support.eventually(written)
        hold.set()
        assert (await running).counts["sent"] == 6


@pytest.mark.usefixtures("woken_only")
async def test_s9_a_lost_lease_ends_a_run_at_once(tmp_path: Path) -> None:
    """Whatever it waits for: nothing of it goes on under another one's lease."""
    async with bench(tmp_path, 20) as b, asyncio.timeout(_PATIENCE_SECONDS):
        b.heartbeat_seconds = 0.02
        b.channel.hold.clear()
        running = asyncio.create_task((await b.begin()).run())
        await support.eventually(lambda: b.channel.flying == 4)
        await b.store.write(leases.release_all)
        assert (await running).ended is Ended.LEASE_LOST


async def test_messages_are_in_flight_until_they_are_answered(tmp_path: Path) -> None:
    """Each counts by its answer then, and none stays in flight."""
    async with bench(tmp_path, 6) as b, asyncio.timeout(_PATIENCE_SECONDS):
        tally = b.gate.shared.tally
        b.channel.script = lambda m: support.REFUSED if m.sequence == 2 else support.ACCEPTED
        b.channel.hold.clear()
        running = asyncio.create_task(b.run_once())
        await support.eventually(lambda: b.channel.flying == 4)
        assert (tally.in_flight, tally.answers) == (4, {})
        b.channel.hold.set()
        await running
        assert tally.in_flight == 0
        assert tally.answers == {Answer.ACCEPTED: 5, Answer.REFUSED: 1}


async def test_a_handover_that_is_broken_off_is_in_flight_no_more(tmp_path: Path) -> None:
    """Its answer is lost, and is counted as that."""
    async with bench(tmp_path, 6) as b, asyncio.timeout(_PATIENCE_SECONDS):
        tally = b.gate.shared.tally
        b.channel.hold.clear()
        running = asyncio.create_task(b.run_once())
        await support.eventually(lambda: b.channel.flying == 4)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        assert tally.in_flight == 0
        assert tally.answers == {Answer.LOST: 4}
        assert (tally.outcomes.total(), tally.requeued) == (4, 2)
