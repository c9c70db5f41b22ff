"""What an answer of the status service shows as lost, and what is done about it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from closeout.status.v1 import status_pb2
from sender_service.campaigns.directory import Decision, Directory
from sender_service.reporting import reconciliation as module
from sender_service.reporting.reconciliation import Reconciliation
from sender_service.reporting.rejections import Rejections
from sender_service.reporting.relay_queue import Frame, Page, RelayQueue
from sender_service.reporting.relayed_campaign import RelayedCampaign
from sender_service.reporting.subscription import Event, Subscription
from sender_service.store.outbox import ShardKey, ShardProgress

KEY = ShardKey(1, 1)
_END = datetime(2030, 1, 1, tzinfo=UTC)


class Compared:
    """A stream with one campaign at work, of whose 20 outcomes 10 are acknowledged.

    Attributes:
        brought_back: the campaigns whose outcomes count as unreported again.
        ended: the campaigns that ended lately, the last one first.
    """

    def __init__(self) -> None:
        self.brought_back: list[int] = []
        self.ended: list[Any] = []
        self.queue = RelayQueue(10)
        store: Any = self
        self.directory = Directory(store)
        row: Any = SimpleNamespace(campaign=1, campaign_id="c1", organisation="default")
        self.active = self.directory.add(row)
        self.directory.decisions.get_nowait()
        self.queue.add(1, "c1", [ShardProgress(KEY, 20, 10)])
        self.rejections = Rejections(self.queue, self.directory)
        acknowledgements: Any = self
        self.reconciliation = Reconciliation(
            store,
            self.queue,
            acknowledgements,
            self.rejections,
            self.directory,
            organisation="default",
            replay_days=7,
        )
        self._frame = 0

    async def read(self, work: Any) -> Sequence[Any]:
        """Return the block of ended campaigns that is asked for."""
        before, limit = work.keywords["before"], work.keywords["limit"]
        rows = [row for row in self.ended if before is None or row.campaign < before.campaign]
        return rows[:limit]

    async def write(self, work: Any) -> Any:
        """Store nothing: the store is not the subject."""

    async def bring_back(self, campaign: int) -> None:
        """Note that the outcomes of a campaign count as unreported."""
        self.brought_back.append(campaign)

    def add_state(self, campaign: int, state: object) -> None:
        """Take a state, for people."""

    def decisions(self) -> list[Decision]:
        """Return what was decided since the last call."""
        decisions = self.directory.decisions
        return [decisions.get_nowait()[0] for _ in range(decisions.qsize())]

    def requested(self) -> list[RelayedCampaign]:
        """Send all requests of states that are due; return of which campaigns."""
        sent = []
        while (frame := self._next()) is not None and frame.page is None:
            sent.append(frame.campaign)
        return sent

    def pages(self) -> list[Page]:
        """Send all pages that are due; return them."""
        sent = []
        while (frame := self._next()) is not None:
            assert frame.page is not None
            sent.append(frame.page)
        return sent

    def _next(self) -> Frame | None:
        frame = self.queue.next_frame(0.0)
        if frame is not None:
            self._frame += 1
            self.queue.sent(self._frame, frame)
        return frame

    async def answer(
        self,
        campaign: RelayedCampaign,
        processed: int,
        *,
        state: status_pb2.Campaign.State.ValueType = status_pb2.Campaign.SENDING,
        revision: int = 1,
    ) -> None:
        """Let a stream bring a state, and the answer to the request of it."""
        self.reconciliation.receive(
            status_pb2.CampaignState(
                campaign_id=campaign.campaign_id,
                state=state,
                revision=revision,
                processed=processed,
            )
        )
        await self.reconciliation.compare(campaign)


@pytest.fixture
async def compared() -> Compared:
    """A stream whose first frame requests the state of its campaign."""
    made = Compared()
    await made.reconciliation.begin_stream()
    return made


async def test_s7_fewer_results_than_acknowledged_bring_all_back(compared: Compared) -> None:
    """The first answer of a stream shows a loss: everything is reported once more."""
    (campaign,) = compared.requested()
    await compared.answer(campaign, processed=9)
    assert compared.brought_back == [1]
    assert compared.pages() == [Page(KEY, 0, 10), Page(KEY, 10, 20)]
    assert compared.decisions() == []


async def test_as_many_results_as_acknowledged_go_on(compared: Compared) -> None:
    """Nothing is lost: what is not acknowledged is reported, and nothing else."""
    (campaign,) = compared.requested()
    await compared.answer(campaign, processed=10)
    assert compared.brought_back == []
    assert compared.pages() == [Page(KEY, 10, 20)]


async def test_a_later_answer_on_the_stream_shows_no_loss(compared: Compared) -> None:
    """It may be older than results of this stream, which are acknowledged meanwhile."""
    (campaign,) = compared.requested()
    await compared.answer(campaign, processed=10)
    assert compared.pages() == [Page(KEY, 10, 20)]
    compared.queue.acknowledge(2, ())
    assert campaign.acknowledged == 20
    compared.queue.apply(campaign, Event.REJECTED)
    assert compared.requested() == [campaign]
    await compared.answer(campaign, processed=10)
    assert compared.brought_back == []
    assert campaign.state is Subscription.ADMITTED


async def test_s7_the_first_answer_of_the_next_stream_counts_again(compared: Compared) -> None:
    """A database that was restored meanwhile is noticed by the stream after that."""
    (campaign,) = compared.requested()
    await compared.answer(campaign, processed=10)
    compared.queue.begin_stream()
    await compared.reconciliation.begin_stream()
    assert compared.requested() == [campaign]
    await compared.answer(campaign, processed=9)
    assert compared.brought_back == [1]


async def test_s7_a_lost_seal_is_made_again(compared: Compared) -> None:
    """Nothing goes out before that, and then all of it does."""
    (campaign,) = compared.requested()
    await compared.answer(campaign, processed=0, state=status_pb2.Campaign.DRAFT)
    assert compared.brought_back == [1]
    assert compared.decisions() == [Decision.RESEAL]
    assert compared.pages() == []
    compared.rejections.resealed(campaign, sealed=True)
    assert compared.requested() == [campaign]
    await compared.answer(campaign, processed=0, revision=2)
    assert compared.pages() == [Page(KEY, 0, 10), Page(KEY, 10, 20)]


@pytest.fixture
async def ended(monkeypatch: pytest.MonkeyPatch) -> Compared:
    """A stream beside which 20 campaigns, 101 to 120, have ended; its first block is of two."""
    monkeypatch.setattr(module, "FIRST_BLOCK", 2)
    made = Compared()
    made.queue.remove(1)
    made.ended = [
        SimpleNamespace(
            campaign=number,
            campaign_id=f"c{number}",
            total=5,
            finish_time=_END + timedelta(seconds=number),
        )
        for number in range(120, 100, -1)
    ]
    await made.reconciliation.begin_stream()
    return made


async def test_b3_of_those_that_have_ended_the_last_are_compared(ended: Compared) -> None:
    """Where nothing is lost, the stream is done with them and asks for no other."""
    asked = ended.requested()
    assert [campaign.number for campaign in asked] == [120, 119]
    for campaign in asked:
        assert not ended.reconciliation.is_settled
        await ended.answer(campaign, processed=5, state=status_pb2.Campaign.COMPLETED)
    assert ended.reconciliation.is_settled
    assert ended.queue.is_empty
    assert ended.requested() == []
    assert ended.decisions() == []


async def test_s7_ended_campaigns_are_gone_through_until_a_block_lacks_nothing(
    ended: Compared,
) -> None:
    """Each block is twice as large, and delivery looks once for all of a block."""
    lost = {120, 119, 118, 117, 116, 115, 112}
    blocks = []
    while asked := ended.requested():
        blocks.append([campaign.number for campaign in asked])
        for campaign in asked:
            assert ended.decisions() == []
            # One that ended with all results, and is still open there, lost its end.
            is_lost = campaign.number in lost
            state = status_pb2.Campaign.SENDING if is_lost else status_pb2.Campaign.COMPLETED
            await ended.answer(campaign, processed=5, state=state)
        if lost.intersection(blocks[-1]):
            assert ended.decisions() == [Decision.REOPEN]
    assert blocks == [
        [120, 119],
        [118, 117, 116, 115],
        list(range(114, 106, -1)),
        [106, 105, 104, 103, 102, 101],
    ]
    assert sorted(ended.brought_back) == sorted(lost)
    assert ended.reconciliation.is_settled
    assert ended.queue.is_empty
