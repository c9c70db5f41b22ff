"""WatchCampaign: the present state first, then every change, until the end."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest
from structlog.testing import capture_logs

from closeout.errors import NotFoundError
from closeout.status.v1 import status_pb2 as pb
from integration.status_support import PATIENCE_SECONDS, Status, results
from status_service.live import looks as looks_module

SENDING, PAUSED, COMPLETED, CANCELLED = range(3, 7)


async def test_the_first_snapshot_comes_at_once_and_the_last_is_terminal(status: Status) -> None:
    """A watch begins with the campaign as it is and ends by itself after a terminal state."""
    await status.start("a", 2)
    async with asyncio.timeout(PATIENCE_SECONDS):
        seen = []
        async for campaign in status.client.watch_campaign(campaign_id="a"):
            seen.append((campaign.state, campaign.sent))
            if len(seen) == 1:
                await status.report("a", *results([1]))
            elif seen[-1] == (SENDING, 1):
                await status.client.pause_campaign(campaign_id="a")
            elif seen[-1] == (PAUSED, 1):
                await status.report("a", *results([2]))
    assert seen == [(SENDING, 0), (SENDING, 1), (PAUSED, 1), (COMPLETED, 2)]


@pytest.mark.parametrize("state", [COMPLETED, CANCELLED])
async def test_a_watch_of_what_has_ended_is_one_snapshot(status: Status, state: int) -> None:
    """Watching a terminal campaign answers it once and ends."""
    await status.start("a", 0 if state == COMPLETED else 1)
    if state == CANCELLED:
        await status.client.cancel_campaign(campaign_id="a")
    seen = [campaign.state async for campaign in status.client.watch_campaign(campaign_id="a")]
    assert seen == [state]


@pytest.mark.parametrize("state", [COMPLETED, CANCELLED])
async def test_l1_the_end_does_not_wait_for_the_pace_of_snapshots(
    status: Status, monkeypatch: pytest.MonkeyPatch, state: int
) -> None:
    """The end is sent at once, however long the time between two snapshots is."""
    monkeypatch.setattr(looks_module, "_BETWEEN_SNAPSHOTS", 3600.0)
    await status.start("a", 2)
    async with (
        aclosing(status.client.watch_campaign(campaign_id="a")) as watch,
        asyncio.timeout(PATIENCE_SECONDS),
    ):
        assert (await anext(watch)).processed == 0
        await status.report("a", *results([1]))
        if state == COMPLETED:
            await status.report("a", *results([2]))
        else:
            await status.client.cancel_campaign(campaign_id="a")
        seen = [(campaign.state, campaign.processed) async for campaign in watch]
    assert seen == [(state, 2 if state == COMPLETED else 1)]


async def test_a_watch_of_nothing_is_not_found(status: Status) -> None:
    """Watching a campaign there is none of is NOT_FOUND."""
    with pytest.raises(NotFoundError):
        async for _ in status.client.watch_campaign(campaign_id="a"):
            pass


async def test_a_change_by_hand_is_seen(status: Status) -> None:
    """A change made in the database, which moves no revision, reaches the watcher too."""
    await status.start("a", 2)
    async with (
        aclosing(status.client.watch_campaign(campaign_id="a")) as watch,
        asyncio.timeout(PATIENCE_SECONDS),
    ):
        assert (await anext(watch)).display_name == ""
        status.execute("UPDATE campaigns SET display_name = 'by hand'")
        assert (await anext(watch)).display_name == "by hand"


async def test_a_slow_watcher_skips_and_holds_up_nobody(status: Status) -> None:
    """A watcher that does not read gets the end, not each of a thousand changes."""
    await status.start("a", 1_000)
    watch = aiter(status.stub.WatchCampaign(pb.WatchCampaignRequest(campaign_id="a")))
    assert (await anext(watch)).campaign.processed == 0
    for start in range(1, 1_001, 10):
        await status.report("a", *results(range(start, start + 10)))
    seen = [response.campaign.processed async for response in watch]
    assert seen == sorted(seen)
    assert seen[-1] == 1_000
    assert len(seen) < 100


async def test_many_watchers_see_the_end(status: Status) -> None:
    """Each of many watchers of one campaign gets its completion."""
    await status.start("a", 1)

    async def last() -> int:
        states = [
            campaign.state async for campaign in status.client.watch_campaign(campaign_id="a")
        ]
        return states[-1]

    watchers = [asyncio.create_task(last()) for _ in range(50)]
    await status.report("a", *results([1]))
    async with asyncio.timeout(PATIENCE_SECONDS):
        assert set(await asyncio.gather(*watchers)) == {COMPLETED}


async def test_s15_a_watcher_that_goes_away_is_no_error(status: Status) -> None:
    """Cancelled watches log nothing above warning, and other calls go on."""
    await status.start("a", 1)
    with capture_logs() as logs:
        for _ in range(20):
            async with aclosing(status.client.watch_campaign(campaign_id="a")) as watch:
                await anext(watch)
        await status.report("a", *results([1]))
    assert not [line for line in logs if line["log_level"] in {"error", "critical"}]
