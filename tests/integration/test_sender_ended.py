"""B3: what campaigns that have ended cost the sender, counted in statements, rows and frames."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from sqlalchemy import event

from closeout.status.v1 import status_pb2 as pb
from integration import sender_support as support
from integration.sender_pair import State, pair
from integration.test_sender_restores import back_up, ended, restore
from sender_service.campaigns.directory import Decision, Directory
from sender_service.reporting import reconciliation
from sender_service.reporting.acknowledgements import Acknowledgements
from sender_service.reporting.reconciliation import FIRST_BLOCK, Reconciliation
from sender_service.reporting.rejections import Rejections
from sender_service.reporting.relay_queue import RelayQueue
from sender_service.store import campaigns, schema
from sender_service.store.campaigns import EndedBefore

if TYPE_CHECKING:
    from pathlib import Path

    from service_runtime.database import Store

_REPLAY_DAYS = 7
_MICROSECONDS_A_SECOND = 1_000_000


class Reads:
    """Counts the statements of a store."""

    def __init__(self, store: Store) -> None:
        self.statements: list[str] = []
        for engine in (store._engines.reader, store._engines.writer):
            event.listen(engine, "before_cursor_execute", self._note)

    def _note(self, *call: Any) -> None:
        self.statements.append(call[2])

    def take(self) -> list[str]:
        """Return those since the last call."""
        taken, self.statements = self.statements, []
        return taken


class Relay:
    """The reporting of one organisation, whose status service the test plays."""

    def __init__(self, store: Store) -> None:
        self.directory = Directory(store)
        self.queue = RelayQueue(500)
        acknowledgements = Acknowledgements(store, replay_days=_REPLAY_DAYS)
        self.reconciliation = Reconciliation(
            store,
            self.queue,
            acknowledgements,
            Rejections(self.queue, self.directory),
            self.directory,
            organisation=support.ORGANISATION,
            replay_days=_REPLAY_DAYS,
        )

    async def stream(self, lost: set[str]) -> int:
        """Request all that a new stream requests; return how many frames that took."""
        await self.reconciliation.begin_stream()
        self.queue.begin_stream()
        frames = 0
        while (frame := self.queue.next_frame(time.monotonic())) is not None:
            frames += 1
            self.queue.sent(frames, frame)
            name = frame.campaign.campaign_id
            state = pb.Campaign.State.SENDING if name in lost else pb.Campaign.State.COMPLETED
            processed = 0 if name in lost else 3
            self.reconciliation.receive(
                pb.CampaignState(campaign_id=name, state=state, revision=2, processed=processed)
            )
            for campaign in self.queue.acknowledge(frames, {}).answered:
                await self.reconciliation.compare(campaign)
        assert self.reconciliation.is_settled
        return frames

    def looks(self) -> int:
        """Return how often delivery is to read all open campaigns."""
        decisions = self.directory.decisions
        return [decisions.get_nowait()[0] for _ in range(decisions.qsize())].count(Decision.REOPEN)


async def add_ended(store: Store, number: int) -> list[str]:
    """Store campaigns that ended one after the other, each with content; return their ids."""
    row = await support.add_campaign(store, messages=3, campaign_id="model")
    names = [f"c{one}" for one in range(number)]

    def work(connection: sa.Connection) -> None:
        table = schema.campaigns
        model = connection.execute(sa.select(table).where(table.c.campaign == row.campaign)).one()
        values = {**model._mapping, "phase": "FINISHED", "content": "x" * 5_000}
        del values["campaign"]
        begun = model.create_time
        connection.execute(
            sa.insert(table),
            [
                values
                | {
                    "campaign_id": name,
                    "finish_time": begun.replace(microsecond=place % _MICROSECONDS_A_SECOND),
                }
                for place, name in enumerate(names)
            ],
        )
        connection.execute(sa.delete(table).where(table.c.campaign == row.campaign))

    def clear(connection: sa.Connection) -> None:
        for table in (schema.shards, schema.uploads):
            connection.execute(sa.delete(table).where(table.c.campaign == row.campaign))

    await store.write(clear)
    await store.write(work)
    return names


async def test_b3_a_reconnect_costs_the_same_however_many_campaigns_have_ended(
    tmp_path: Path,
) -> None:
    """With 10,000 ended campaigns: as many statements as with none, and one block of frames."""
    async with support.open_store(tmp_path) as store:
        relay, reads = Relay(store), Reads(store)
        assert await relay.stream(set()) == 0
        without = len(reads.take())
        await add_ended(store, 10_000)
        reads.take()
        assert await relay.stream(set()) == FIRST_BLOCK
        assert len(reads.take()) == without
        assert relay.looks() == 0


async def test_b3_a_look_for_organisations_goes_through_no_ended_campaigns(tmp_path: Path) -> None:
    """Two statements for each organisation, and one more, whatever it has ended."""
    async with support.open_store(tmp_path) as store:
        await add_ended(store, 1_000)

        def others(connection: sa.Connection) -> None:
            connection.exec_driver_sql(
                "UPDATE campaigns SET organisation = 'org' || (campaign % 3)"
            )
            connection.exec_driver_sql(
                "UPDATE campaigns SET finish_time = 1 WHERE organisation = 'org1'"
            )

        await store.write(others)
        reads = Reads(store)
        found = await store.read(
            partial(campaigns.organisations_finished_lately, days=_REPLAY_DAYS)
        )
        assert found == ["org0", "org2"]
        # BEGIN, and the clock.
        assert len(reads.take()) == 2 + 2 * 3 + 1


async def test_b3_catching_up_after_a_restore_is_linear(tmp_path: Path) -> None:
    """Ten times as many lost campaigns cost about ten times as many statements, not a hundred.

    What is requested besides them is a few times as much and a block, and open campaigns
    are read once for each block.
    """
    costs = {}
    for lost in (40, 400):
        folder = tmp_path / str(lost)
        folder.mkdir()
        async with support.open_store(folder) as store:
            names = await add_ended(store, 1_500)
            relay, reads = Relay(store), Reads(store)
            frames = await relay.stream(set(names[-lost:]))
            costs[lost] = len(reads.take())
            assert lost < frames <= 6 * lost + FIRST_BLOCK
            back = await support.rows(
                store,
                sa.select(schema.campaigns.c.campaign_id).where(
                    schema.campaigns.c.phase == "STARTED"
                ),
            )
            assert {row.campaign_id for row in back} == set(names[-lost:])
            assert relay.looks() <= lost.bit_length()
    assert costs[400] < 12 * costs[40]


@pytest.mark.parametrize("size", [1, 2, 3, 4])
async def test_s7_campaigns_that_ended_at_the_same_moment_are_each_requested_once(
    tmp_path: Path, size: int
) -> None:
    """Page by page, wherever a page ends: the last one to end first."""
    async with support.open_store(tmp_path) as store:
        names = await add_ended(store, 8)
        moments = dict(zip(names, (3, 1, 3, 2, 3, 1, 2, 3), strict=True))
        # Within some seconds from now, and not in the order in which they were stored.
        ended = {name: moment * _MICROSECONDS_A_SECOND for name, moment in moments.items()}

        def end(connection: sa.Connection) -> None:
            for name, moment in ended.items():
                connection.exec_driver_sql(
                    "UPDATE campaigns SET finish_time ="
                    " (SELECT max(create_time) FROM campaigns) + ? WHERE campaign_id = ?",
                    (moment, name),
                )

        await store.write(end)
        pages: list[list[str]] = []
        before = None
        for _ in range(len(names) + 1):
            found = await store.read(
                partial(
                    campaigns.finished_lately,
                    organisation=support.ORGANISATION,
                    days=_REPLAY_DAYS,
                    before=before,
                    limit=size,
                )
            )
            pages.append([row.campaign_id for row in found])
            if not found:
                break
            before = EndedBefore(found[-1].finish_time, found[-1].campaign)
        assert [name for page in pages for name in page] == [
            *("c7", "c4", "c2", "c0"),
            *("c6", "c3"),
            *("c5", "c1"),
        ]
        assert not pages[-1]
        assert {len(page) for page in pages[:-2]} <= {size}


async def test_s7_all_that_a_restore_lost_comes_back_block_by_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More ended campaigns than a stream requests at first were lost: none is forgotten."""
    monkeypatch.setattr(reconciliation, "FIRST_BLOCK", 2)
    names = [f"c{number}" for number in range(9)]
    async with pair(tmp_path) as both:
        await both.begin("kept", 2)
        await both.finished("kept")
        back_up(tmp_path)
        for name in names:
            await both.begin(name, 2)
            await both.finished(name)
        await restore(both)
        for name in names:
            campaign = await ended(both, name)
            assert (campaign.state, campaign.sent) == (State.COMPLETED, 2)
        assert len(both.channel.accepted()) == 2 * (len(names) + 1)
