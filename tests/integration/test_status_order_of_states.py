"""S16: streams and watches never go back to an older state, through real services."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing

import pytest

from closeout.errors import UnavailableError, from_rpc_error
from integration.databases import Database
from integration.status_support import (
    Status,
    Stream,
    eventually,
    reporting,
    results,
    serving,
)

SENDING, PAUSED, COMPLETED, CANCELLED = range(3, 7)
_on_postgresql = pytest.mark.parametrize("new_database", ["postgresql"], indirect=True)


@pytest.fixture
async def instances(database: Database) -> AsyncIterator[list[Status]]:
    """Two services on one database."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(serving(database)) for _ in range(2)]


def states_of(stream: Stream, campaign_id: str) -> list[tuple[int, int]]:
    """Return (state, revision) of a campaign as a stream announced them, in order."""
    return [
        (state.state, state.revision)
        for response in stream.responses
        for state in response.campaign_states
        if state.campaign_id == campaign_id
    ]


@_on_postgresql
@pytest.mark.parametrize("end", ["pause_campaign", "cancel_campaign"])
@pytest.mark.parametrize("caller", [0, 1], ids=["one-instance", "two-instances"])
async def test_s16_a_frame_that_waits_behind_a_locked_row_brings_no_older_state(
    database: Database, instances: list[Status], caller: int, end: str
) -> None:
    """Its receipt says SENDING, and comes after the pause was announced: PAUSED stays.

    The row of another campaign is locked by hand, so what one writer has stored waits
    for the acknowledgement of what the other has not.
    """
    client = instances[caller].client
    for name in ("a", "b"):
        await instances[0].start(name, 10)
    async with reporting(instances[0].client) as stream:
        for name in ("a", "b"):
            await stream.send(name)
        await stream.acked(2)
        with database.by_hand() as by_hand:
            by_hand.execute("SELECT 1 FROM campaigns WHERE campaign_id = 'b' FOR UPDATE")
            await stream.send("b", *results([1]))

            async def waits() -> bool:
                with database.by_hand() as another:
                    (waiting,) = another.execute(
                        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
                        " AND cardinality(pg_blocking_pids(pid)) > 0"
                    ).fetchone()
                return bool(waiting)

            await eventually(waits, what="b waits for its row")
            await stream.send("a", *results([1]))

            async def stored() -> bool:
                return (await client.get_campaign(campaign_id="a")).processed == 1

            await eventually(stored, what="a is stored")
            assert stream.acked_through == 2, "it waits behind b"
            ended = await getattr(client, end)(campaign_id="a")
            await stream.announced("a", ended.campaign.state)
            assert stream.acked_through == 2, "it still waits behind b"
        await stream.acked(4)
        # Whatever the acknowledgement said has come; a later frame brings what is so.
        await stream.send("a", *results([2]))
        await stream.acked(5)
        seen = states_of(stream, "a")
    assert [state for state, _ in seen] == [SENDING, ended.campaign.state]
    assert [revision for _, revision in seen] == sorted(revision for _, revision in seen)


@_on_postgresql
async def test_s16_revisions_of_a_stream_never_go_down(instances: list[Status]) -> None:
    """However pauses and resumes of two instances meet frames: what is said only goes up."""
    here, there = instances
    await here.start("a", 200)
    async with reporting(here.client) as stream, reporting(there.client) as other:
        for number in range(1, 60, 2):
            await stream.send("a", *results([number]))
            await there.client.pause_campaign(campaign_id="a")
            await other.send("a", *results([number + 1]))
            last = await here.client.resume_campaign(campaign_id="a")
        for one in (stream, other):
            await one.acked(30)
            await one.until(
                lambda one=one: (
                    states_of(one, "a")[-1][0] == last.campaign.state and one.states["a"] == SENDING
                )
            )
            revisions = [revision for _, revision in states_of(one, "a")]
            assert revisions == sorted(set(revisions))


async def _set_back(status: Status, campaign_id: str) -> None:
    """Set a campaign back by hand to what a backup would have: lower revision and counters."""
    status.execute(
        "UPDATE campaigns SET revision = 2, sent = 0, progress_time = NULL, state = 'SENDING'"
        " WHERE campaign_id = ?",
        campaign_id,
    )
    status.execute("DELETE FROM results")
    status.execute("DELETE FROM events WHERE kind = 'campaign.paused'")
    status.execute("DELETE FROM transitions WHERE to_state = 'PAUSED'")


async def test_s16_a_watch_ends_when_the_store_went_back(status: Status) -> None:
    """UNAVAILABLE says so; another watch begins with what the database has now."""
    await status.start("a", 5)
    await status.report("a", *results([1, 2]))
    await status.client.pause_campaign(campaign_id="a")
    async with aclosing(status.client.watch_campaign(campaign_id="a")) as watch:
        assert (await anext(watch)).state == PAUSED
        await _set_back(status, "a")
        with pytest.raises(UnavailableError, match="the database went back") as caught:
            await anext(watch)
    assert caught.value.reason == "STORE_UNAVAILABLE"
    assert (caught.value.metadata["revision"], caught.value.metadata["announced"]) == ("2", "4")
    async with aclosing(status.client.watch_campaign(campaign_id="a")) as watch:
        campaign = await anext(watch)
        assert (campaign.state, campaign.revision, campaign.processed) == (SENDING, 2, 0)
        await status.report("a", *results([1]))
        campaign = await anext(watch)
        assert (campaign.revision, campaign.processed) == (3, 1)


@_on_postgresql
async def test_s16_a_stream_ends_when_the_store_went_back(status: Status) -> None:
    """UNAVAILABLE says so; another stream takes the older state, and changes from there."""
    await status.start("a", 5)
    await status.report("a", *results([1, 2]))
    await status.client.pause_campaign(campaign_id="a")
    async with reporting(status.client) as stream:
        await stream.send("a")
        await stream.announced("a", PAUSED)
        await _set_back(status, "a")
        ended = await stream.status()
        assert states_of(stream, "a") == [(PAUSED, 4)]
    assert ended is not None
    error = from_rpc_error(ended)
    assert isinstance(error, UnavailableError)
    assert (error.reason, error.metadata["revision"]) == ("STORE_UNAVAILABLE", "2")
    async with reporting(status.client) as stream:
        await stream.send("a")
        await stream.announced("a", SENDING)
        await stream.send("a", *results([1]))
        await stream.acked(2)
        await status.client.cancel_campaign(campaign_id="a")
        await stream.announced("a", CANCELLED)
        assert states_of(stream, "a") == [(SENDING, 2), (CANCELLED, 4)]


@pytest.mark.parametrize("by", ["a-frame", "a-call"])
async def test_s16_a_commit_before_the_poll_shows_that_the_store_went_back(
    status: Status, by: str
) -> None:
    """The revision it found is older than one that was known: the streams end, at once.

    On SQLite nothing polls, and on PostgreSQL the commit comes first: what it makes is as
    late as what was known, or later, so no poll finds it.
    """
    await status.start("a", 5)
    await status.report("a", *results([1, 2]))
    async with reporting(status.client) as stream, reporting(status.client) as other:
        for one in (stream, other):
            await one.send("a")
            await one.acked(1)
        # One frame was lost: the next commit has the revision that was known.
        status.execute("DELETE FROM results WHERE sequence = 2")
        status.execute("UPDATE campaigns SET revision = revision - 1, sent = 1")
        if by == "a-frame":
            await other.send("a", *results([3]))
        else:
            await status.client.pause_campaign(campaign_id="a")
        for one in (stream, other):
            ended = await one.status()
            assert ended is not None
            error = from_rpc_error(ended)
            assert (error.reason, error.metadata["revision"]) == ("STORE_UNAVAILABLE", "2")
            assert error.metadata["announced"] == "3"


async def test_s16_writers_and_callers_at_once_end_no_stream(status: Status) -> None:
    """Whatever commits and is published in which order: nothing looks like a store gone back."""
    names = [f"c{number}" for number in range(4)]
    for name in names:
        await status.start(name, 40)

    async def report(stream: Stream, first: int) -> None:
        for sequence in range(first, 40, 3):
            for name in names:
                await stream.send(name, *results([sequence]))
        await stream.acked(len(range(first, 40, 3)) * len(names))

    async def pause(name: str) -> None:
        for _ in range(10):
            await status.client.pause_campaign(campaign_id=name)
            await status.client.resume_campaign(campaign_id=name)

    async with AsyncExitStack() as stack:
        streams = [await stack.enter_async_context(reporting(status.client)) for _ in range(3)]
        await asyncio.gather(
            *(report(stream, number) for number, stream in enumerate(streams, 1)),
            *map(pause, names),
        )
        for name in names:
            await status.client.cancel_campaign(campaign_id=name)
            for stream in streams:
                await stream.announced(name, CANCELLED)


@pytest.mark.parametrize("new_database", ["sqlite"], indirect=True)
async def test_s16_a_restored_database_is_taken_as_it_is(database: Database) -> None:
    """After a restore a service has nothing of before in mind: streams and watches begin lower."""
    async with serving(database) as status:
        await status.start("a", 5)
        await status.report("a", *results([1, 2]))
        await status.client.pause_campaign(campaign_id="a")
        async with reporting(status.client) as stream:
            await stream.send("a")
            await stream.announced("a", PAUSED)
    async with serving(database) as status:
        await _set_back(status, "a")
        async with reporting(status.client) as stream:
            await stream.send("a")
            await stream.announced("a", SENDING)
            assert states_of(stream, "a") == [(SENDING, 2)]
            async with aclosing(status.client.watch_campaign(campaign_id="a")) as watch:
                assert (await anext(watch)).revision == 2
            await status.client.cancel_campaign(campaign_id="a")
            await stream.announced("a", CANCELLED)
