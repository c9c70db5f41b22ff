"""Group commit: what waits is bounded, a commit is bounded, and nobody waits for ever."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from structlog.testing import capture_logs

from closeout.status.v1 import status_pb2 as pb
from integration.databases import Database, PostgresqlDatabase
from integration.status_support import (
    PATIENCE_SECONDS,
    Stream,
    eventually,
    reporting,
    results,
    serving,
)
from status_service.recording import ledger
from status_service.recording.group_commit import GroupCommitter
from status_service.recording.types import Frame, FrameReceipt, Recorded

COMPLETED = pb.Campaign.COMPLETED
_A_FRAME = 100
#: A commit takes three frames, and as many wait at most.
_FRAMES = 3
_SETTINGS = {"commit_results": _FRAMES * _A_FRAME, "queue_frames": _FRAMES}


async def _send(stream: Stream, campaign_id: str, frames: int) -> None:
    for first in range(1, frames * _A_FRAME, _A_FRAME):
        await stream.send(campaign_id, *results(range(first, first + _A_FRAME)))


async def test_a_store_that_stands_still_fills_no_memory(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A frame for which there is no room stays with its sender, however long it takes."""
    frames = 100
    go_on = threading.Event()
    record, submit = ledger.record, GroupCommitter.submit
    inside = most_inside = 0

    def held(*args: Any, **kwargs: Any) -> Recorded:
        assert go_on.wait(PATIENCE_SECONDS)
        return record(*args, **kwargs)

    async def counted(self: GroupCommitter, frame: Frame) -> asyncio.Future[FrameReceipt]:
        nonlocal inside, most_inside
        receipt = await submit(self, frame)

        def left(_: asyncio.Future[FrameReceipt]) -> None:
            nonlocal inside
            inside -= 1

        inside += 1
        most_inside = max(most_inside, inside)
        receipt.add_done_callback(left)
        return receipt

    monkeypatch.setattr(ledger, "record", held)
    monkeypatch.setattr(GroupCommitter, "submit", counted)
    with capture_logs() as logs:
        async with serving(database, **_SETTINGS) as status:
            await status.start("a", frames * _A_FRAME)
            async with reporting(status.client) as stream:
                await _send(stream, "a", 5 * _FRAMES)  # small enough to be on their way at once
                assert stream.acked_through == 0
                go_on.set()
                for first in range(5 * _FRAMES * _A_FRAME + 1, frames * _A_FRAME, _A_FRAME):
                    await stream.send("a", *results(range(first, first + _A_FRAME)))
                await stream.announced("a", COMPLETED)
    # Two transactions may be under way on PostgreSQL, and one frame between queue and commit.
    transactions = 2 if isinstance(database, PostgresqlDatabase) else 1
    assert _FRAMES < most_inside <= (transactions + 1) * _FRAMES + 1
    commits = [line for line in logs if line["event"] == "results_recorded"]
    assert sum(line["frames"] for line in commits) == frames
    assert max(line["results"] for line in commits) == _FRAMES * _A_FRAME
    assert max(line["queued_frames"] for line in commits) <= _FRAMES
    assert all(line["queue_seconds"] >= 0 < line["write_seconds"] for line in commits)


async def test_l5_a_huge_campaign_holds_up_no_small_one(database: Database) -> None:
    """A small campaign completes while four streams are busy with a huge one."""
    frames = 150
    async with (
        asyncio.timeout(4 * PATIENCE_SECONDS),
        serving(database, **_SETTINGS) as status,
        reporting(status.client) as small,
    ):
        await status.start("huge", frames * _A_FRAME)
        await status.start("small", 1)

        async def report_huge() -> bool:
            async with reporting(status.client) as stream:
                await _send(stream, "huge", frames)
                await stream.announced("huge", COMPLETED)
                return small.states.get("small") == COMPLETED

        huge = [asyncio.create_task(report_huge()) for _ in range(4)]

        async def under_way() -> bool:
            return (await status.client.get_campaign(campaign_id="huge")).processed > 0

        await eventually(under_way, what="the huge campaign is under way")
        await small.send("small", *results([1]))
        await small.announced("small", COMPLETED)
        assert await asyncio.gather(*huge) == [True] * 4


async def test_l5_a_full_stream_stands_before_no_other(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A frame of another stream is in the next transaction, however many others wait."""
    go_on = threading.Event()
    record, submit = ledger.record, GroupCommitter.submit
    commits: list[list[str]] = []
    came: list[str] = []

    def held(connection: Any, frames: Sequence[Frame], **options: Any) -> Recorded:
        commits.append([frame.reporter for frame in frames])
        assert go_on.wait(PATIENCE_SECONDS)
        return record(connection, frames, **options)

    async def noted(self: GroupCommitter, frame: Frame) -> asyncio.Future[FrameReceipt]:
        receipt = await submit(self, frame)
        came.append(frame.reporter)
        return receipt

    monkeypatch.setattr(ledger, "record", held)
    monkeypatch.setattr(GroupCommitter, "submit", noted)
    frames = 5 * _FRAMES
    async with serving(database, **_SETTINGS) as status:
        await status.start("a", frames * _A_FRAME + 1)  # one campaign: both have one writer
        async with reporting(status.client) as full, reporting(status.client) as other:
            await _send(full, "a", frames)

            async def is_full() -> bool:
                return len(commits) == 1 and len(came) == len(commits[0]) + _FRAMES

            await eventually(is_full, what="the queue is full")
            await other.send("a", *results([frames * _A_FRAME + 1]), reporter="other")

            async def has_come() -> bool:
                return "other" in came

            await eventually(has_come, what="the other frame waits, too")
            go_on.set()
            await full.announced("a", COMPLETED)
            await other.acked(1)
    assert "other" in commits[1]


@pytest.mark.parametrize("new_database", ["postgresql"], indirect=True)
async def test_a_slow_transaction_holds_up_no_other_campaign(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On PostgreSQL two transactions run at once, though never two with the same campaign."""
    go_on = threading.Event()
    record = ledger.record
    running, most = Counter[str](), Counter[str]()
    both = threading.Lock()

    def watched(connection: Any, frames: Sequence[Frame], **options: Any) -> Recorded:
        names = {frame.key.campaign_id for frame in frames}
        with both:
            running.update(names)
            for name in names:
                most[name] = max(most[name], running[name])
        try:
            assert "slow" not in names or go_on.wait(PATIENCE_SECONDS)
            return record(connection, frames, **options)
        finally:
            with both:
                running.subtract(names)

    monkeypatch.setattr(ledger, "record", watched)
    async with (
        serving(database, **_SETTINGS) as status,
        reporting(status.client) as slow,
        reporting(status.client) as quick,
    ):
        await status.start("slow", 2 * _FRAMES * _A_FRAME)
        await status.start("quick", 2 * _FRAMES * _A_FRAME)
        await _send(slow, "slow", 2 * _FRAMES)
        await _send(quick, "quick", 2 * _FRAMES)
        await quick.announced("quick", COMPLETED)
        assert slow.acked_through == 0
        go_on.set()
        await slow.announced("slow", COMPLETED)
    assert most == {"slow": 1, "quick": 1}
