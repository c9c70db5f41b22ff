"""The status database put back from a backup: what it lost comes back from the journal."""

from __future__ import annotations

import shutil
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from pysqlite3 import dbapi2
from structlog.testing import capture_logs

from closeout.errors import NotFoundError, UnavailableError
from integration import sender_support as support
from integration.sender_pair import TERMINAL, Pair, State, pair
from integration.status_support import by_hand, check_invariants
from sender_service.store import campaigns, outbox
from status_service.recording import ledger
from status_service.recording.types import Frame, Recorded

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import sqlalchemy as sa

    from closeout.status.v1 import status_pb2

MESSAGES = 200


def back_up(folder: Path) -> None:
    """Copy the status database while its service runs, as docs/operations.md says."""
    with (
        closing(dbapi2.connect(folder / "status.db")) as source,
        closing(dbapi2.connect(folder / "backup.db")) as target,
    ):
        source.backup(target)


async def restore(both: Pair, *, sender_restarts: bool = False) -> None:
    """Stop the status service, put the copy in its place, and start it again."""
    if sender_restarts:
        await both.stop_sender()
    await both.stop_status()
    for suffix in ("-wal", "-shm"):
        (both.folder / f"status.db{suffix}").unlink(missing_ok=True)
    shutil.copyfile(both.folder / "backup.db", both.folder / "status.db")
    await both.start_status()
    if sender_restarts:
        await both.start_sender()


def pause_provider(both: Pair, *, after: int) -> None:
    """Let the provider answer so many more messages, then none."""
    answered = 0

    def script(_: Any) -> Any:
        nonlocal answered
        answered += 1
        if answered == after:
            both.channel.hold.clear()
        return support.ACCEPTED

    both.channel.script = script
    both.channel.hold.set()


def release_provider(both: Pair) -> None:
    """Let the provider answer all."""
    both.channel.script = lambda _: support.ACCEPTED
    both.channel.hold.set()


async def processed(both: Pair, campaign_id: str, at_least: int) -> None:
    """Wait until the status service has so many results, and the sender knows that."""

    async def look() -> bool:
        campaign = await both.status.get_campaign(campaign_id=campaign_id)
        delivery = await both.sender.get_delivery(campaign_id=campaign_id)
        return campaign.processed >= at_least and delivery.unreported == 0

    await support.eventually(look)


async def quiet(both: Pair, campaign_id: str, *, answered_before: int) -> None:
    """Wait until the provider holds, and every answer it gave is stored and acknowledged."""

    async def look() -> bool:
        held = not both.channel.hold.is_set()
        campaign = await both.status.get_campaign(campaign_id=campaign_id)
        delivery = await both.sender.get_delivery(campaign_id=campaign_id)
        answered = len(both.channel.accepted()) - answered_before
        return held and delivery.unreported == 0 and campaign.processed == answered

    await support.eventually(look)


async def ended(both: Pair, campaign_id: str) -> status_pb2.Campaign:
    """Wait until a campaign is there, in a terminal state and fully processed."""

    async def look() -> status_pb2.Campaign | None:
        try:
            campaign = await both.status.get_campaign(campaign_id=campaign_id)
        except (NotFoundError, UnavailableError):
            return None
        return campaign if campaign.state in TERMINAL and campaign.pending == 0 else None

    campaign: status_pb2.Campaign = await support.eventually(look)
    return campaign


async def check_complete(both: Pair, campaign_id: str = "c1") -> None:
    """S1, S3, S4, S10: the campaign is COMPLETED with everything, and nothing was sent twice."""
    campaign = await ended(both, campaign_id)
    assert (campaign.state, campaign.sent) == (State.COMPLETED, MESSAGES)
    assert set(await both.results(campaign_id)) == set(range(1, MESSAGES + 1))
    assert both.channel.accepted() == list(range(1, MESSAGES + 1))
    delivery = await both.finished(campaign_id)
    assert (delivery.unreported, len(delivery.problems)) == (0, 0)
    with by_hand(both.folder) as connection:
        check_invariants(connection)


def losses(logged: Sequence[Any]) -> list[tuple[str, bool]]:
    """Return the campaigns of which a loss was logged, and whether it was one by count."""
    return [
        (line["campaign_id"], line["processed"] < line["acknowledged"])
        for line in logged
        if line["event"] == "status_store_lost_results"
    ]


def rejections(logged: Sequence[Any]) -> list[Any]:
    """Return the rejections that the sender did not expect; the status service logs its own."""
    return [line for line in logged if line["event"] == "results_rejected" and "action" in line]


@pytest.mark.parametrize("sender_restarts", [False, True])
async def test_s7_l4_a_running_campaign_gets_back_what_was_lost(
    tmp_path: Path, *, sender_restarts: bool
) -> None:
    """S7, S15: results acknowledged after the backup are reported again, and that is logged."""
    async with pair(tmp_path, grace_seconds=20) as both:
        pause_provider(both, after=60)
        await both.begin("c1", MESSAGES)
        await processed(both, "c1", 20)
        back_up(tmp_path)
        pause_provider(both, after=80)
        await processed(both, "c1", 100)
        if sender_restarts:
            release_provider(both)  # or the sender could not stop without doubt
        with capture_logs() as logged:
            await restore(both, sender_restarts=sender_restarts)
            release_provider(both)
            await check_complete(both)
        assert losses(logged) == [("c1", True)]


@pytest.mark.parametrize("sender_restarts", [False, True])
async def test_s7_a_finished_campaign_is_completed_again(
    tmp_path: Path, *, sender_restarts: bool
) -> None:
    """The founding symptom: ended at the sender, it would stay SENDING in the restored store."""
    async with pair(tmp_path) as both:
        pause_provider(both, after=60)
        await both.begin("c1", MESSAGES)
        await processed(both, "c1", 20)
        back_up(tmp_path)
        release_provider(both)
        await check_complete(both)
        with capture_logs() as logged:
            await restore(both, sender_restarts=sender_restarts)
            await check_complete(both)
        assert losses(logged) == [("c1", True)]


@pytest.mark.parametrize("finished", [False, True])
@pytest.mark.parametrize("registered", [False, True])
async def test_s7_a_campaign_younger_than_the_backup_comes_back(
    tmp_path: Path, *, registered: bool, finished: bool
) -> None:
    """One the restored store does not know, or has as a DRAFT, is registered and sealed again."""
    async with pair(tmp_path) as both:
        if registered:
            await both.create("c1", MESSAGES)
        back_up(tmp_path)
        if not registered:
            await both.create("c1", MESSAGES)
        if not finished:
            pause_provider(both, after=60)
        await both.sender.start_campaign(campaign_id="c1")
        if finished:
            await check_complete(both)
        else:
            await processed(both, "c1", 20)
        with capture_logs() as logged:
            await restore(both)
            release_provider(both)
            await check_complete(both)
        assert losses(logged) == [("c1", True)]
        assert not rejections(logged)


async def test_s7_a_campaign_without_messages_comes_back(tmp_path: Path) -> None:
    """No result is missing of it, only its seal and its end."""
    async with pair(tmp_path) as both:
        back_up(tmp_path)
        await both.begin("c1", 0)
        await both.finished("c1")
        with capture_logs() as logged:
            await restore(both)
            assert (await ended(both, "c1")).state == State.COMPLETED
            await both.finished("c1")
        assert losses(logged) == [("c1", False)]


async def test_delivery_looks_once_for_all_that_was_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many ended campaigns come back, the open ones are read after the last answer."""
    looks = 0
    read = campaigns.open_campaigns

    def counted(connection: sa.Connection) -> Sequence[sa.Row[Any]]:
        nonlocal looks
        looks += 1
        return read(connection)

    names = [f"c{number}" for number in range(20)]
    async with pair(tmp_path) as both:
        back_up(tmp_path)
        for name in names:
            await both.begin(name, 2)
        for name in names:
            await both.finished(name)
        monkeypatch.setattr(campaigns, "open_campaigns", counted)
        await restore(both)
        for name in names:
            assert (await ended(both, name)).sent == 2
        assert looks == 1


async def test_what_is_asked_for_again_is_read_without_content(tmp_path: Path) -> None:
    """B3: neither ended nor open campaigns bring their content into memory."""
    async with support.open_store(tmp_path) as store:
        await support.add_campaign(store, messages=1)
        finished = await support.add_campaign(store, messages=0, campaign_id="c2")
        await store.write(partial(outbox.finish_if_reported, campaign=finished.campaign))
        (row,) = await store.read(
            partial(campaigns.finished_lately, organisation="default", days=7)
        )
        assert row[:3] == (finished.campaign, "c2", 0)
        assert "content" not in row._fields
        (row,) = await store.read(campaigns.open_campaigns)
        assert "content" not in row._fields


async def test_a_new_store_gets_finished_campaigns_too(tmp_path: Path) -> None:
    """A store with another identity receives every campaign that ended lately."""
    async with pair(tmp_path) as both:
        await both.begin("c1", MESSAGES)
        await check_complete(both)
        await both.stop_status()
        with capture_logs() as logged:
            await both.start_status("other.db")
            campaign = await ended(both, "c1")
        assert (campaign.state, campaign.sent) == (State.COMPLETED, MESSAGES)
        assert both.channel.accepted() == list(range(1, MESSAGES + 1))
        assert [line["event"] for line in logged].count("status_store_replaced") == 1


async def test_a_campaign_that_ended_too_long_ago_is_not_asked_for(tmp_path: Path) -> None:
    """``replay_days`` bounds what a new stream asks for; 0 asks for nothing that ended."""
    async with pair(tmp_path, replay_days=0) as both:
        pause_provider(both, after=60)
        await both.begin("c1", MESSAGES)
        await processed(both, "c1", 20)
        back_up(tmp_path)
        release_provider(both)
        await check_complete(both)
        await restore(both)
        await both.begin("c2", 1)
        await ended(both, "c2")
        assert (await both.status.get_campaign(campaign_id="c1")).state == State.SENDING


async def test_an_ordinary_restart_repeats_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was acknowledged is neither sent again nor taken for lost when a stream reopens."""
    recorded: list[tuple[str, int, int]] = []
    record = ledger.record

    def watched(connection: sa.Connection, frames: Sequence[Frame], **options: Any) -> Recorded:
        done = record(connection, frames, **options)
        recorded.extend(
            (frame.key.campaign_id, frame.results.size, receipt.duplicate)
            for frame, receipt in zip(frames, done.receipts, strict=True)
        )
        return done

    monkeypatch.setattr(ledger, "record", watched)
    async with pair(tmp_path) as both:
        await both.begin("c0", 30)
        await both.finished("c0")
        pause_provider(both, after=60)
        await both.begin("c1", MESSAGES)
        # A frame under way at the stop would rightly come again.
        await quiet(both, "c1", answered_before=30)
        already = len(recorded)
        with capture_logs() as logged:
            await both.stop_status()
            await both.start_status()
            release_provider(both)
            assert (await ended(both, "c1")).sent == MESSAGES
            await both.finished("c1")
        after = recorded[already:]
        assert {("c0", 0, 0), ("c1", 0, 0)} <= set(after)  # both were asked for
        assert not [frame for frame in after if frame[0] == "c0" and frame[1]]
        assert sum(results for _, results, _ in recorded) == MESSAGES + 30
        assert not [frame for frame in recorded if frame[2]]
        assert losses(logged) == []
