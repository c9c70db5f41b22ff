"""What is still to be reported, against a model, and case by case."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from sender_service.reporting.relay_queue import Acknowledged, Frame, Page, RelayQueue
from sender_service.reporting.relayed_campaign import RelayedCampaign
from sender_service.reporting.subscription import Event, Subscription
from sender_service.store.outbox import ShardKey, ShardProgress

if TYPE_CHECKING:
    from collections.abc import Collection

KEY = ShardKey(1, 1)


def queue_with(journaled: int, reported: int = 0) -> RelayQueue:
    queue = RelayQueue(10)
    queue.add(1, "c1", [ShardProgress(KEY, journaled, reported)])
    return queue


def first_of(queue: RelayQueue) -> RelayedCampaign:
    campaign = queue.find(1)
    assert campaign is not None
    return campaign


def take(queue: RelayQueue, now: float = 0.0) -> tuple[int, Page | None] | None:
    """Return what the next frame carries, without sending it."""
    frame = queue.next_frame(now)
    return None if frame is None else (frame.campaign.number, frame.page)


def drain(queue: RelayQueue, first_number: int = 1) -> list[tuple[int, Page | None]]:
    """Send all there is, as if each question was answered at once."""
    frames = []
    number = first_number
    while (frame := queue.next_frame(0.0)) is not None:
        queue.sent(number, frame)
        if frame.page is None:
            queue.apply(frame.campaign, Event.ANSWERED)
        frames.append((frame.campaign.number, frame.page))
        number += 1
    return frames


def rejected(acknowledged: Acknowledged) -> dict[int, int]:
    """Return the first rejected frame of each campaign."""
    return {campaign.number: number for campaign, number in acknowledged.rejected.items()}


def hold(queue: RelayQueue, until: float = 0.0) -> None:
    """Do about a rejection what the stream does."""
    queue.apply(first_of(queue), Event.REJECTED, until=until)


def test_a_campaign_is_subscribed_to_before_its_results() -> None:
    """The first frame of a campaign on a stream asks for its state."""
    assert drain(queue_with(15)) == [(1, None), (1, Page(KEY, 0, 10)), (1, Page(KEY, 10, 15))]


def test_a_page_rejected_on_a_later_stream_is_sent_again() -> None:
    """What was in flight on the stream before does not count on the next one."""
    queue = queue_with(5)
    drain(queue)
    queue.begin_stream()
    frames = drain(queue)
    assert frames == [(1, None), (1, Page(KEY, 0, 5))]
    assert rejected(queue.acknowledge(2, {2})) == {1: 2}
    hold(queue)
    assert drain(queue, 3) == frames


def test_a_new_stream_sends_what_was_not_acknowledged() -> None:
    """Acknowledged pages are not sent again, all others are."""
    queue = queue_with(25)
    drain(queue)
    assert queue.acknowledge(2, ()).reported == {KEY: 10}
    queue.begin_stream()
    assert drain(queue) == [(1, None), (1, Page(KEY, 10, 20)), (1, Page(KEY, 20, 25))]


def test_pages_after_a_rejected_one_do_not_count() -> None:
    """What follows a rejected page is sent again with it, so that nothing is left out."""
    queue = queue_with(25)
    drain(queue)
    acknowledged = queue.acknowledge(4, {3})
    assert acknowledged.reported == {KEY: 10}
    assert rejected(acknowledged) == {1: 3}
    assert drain(queue, 5) == [(1, Page(KEY, 10, 20)), (1, Page(KEY, 20, 25))]


def test_a_page_counts_as_in_flight_before_it_is_written() -> None:
    """A page that is read while the one before it is rejected is sent again with it."""
    queue = queue_with(20)
    request = queue.next_frame(0.0)
    assert request is not None
    queue.sent(1, request)
    queue.apply(first_of(queue), Event.ANSWERED)
    first, second = queue.next_frame(0.0), queue.next_frame(0.0)
    assert first is not None
    assert second is not None
    assert (first.page, second.page) == (Page(KEY, 0, 10), Page(KEY, 10, 20))
    queue.sent(2, first)
    assert queue.acknowledge(2, {2}).reported == {}
    queue.sent(3, second)
    assert queue.acknowledge(3, ()).reported == {}
    assert drain(queue, 4) == [(1, Page(KEY, 0, 10)), (1, Page(KEY, 10, 20))]


def test_a_held_campaign_is_asked_for_again_before_its_results() -> None:
    """The answer shows how it stands; what is answered before that is no news."""
    queue = queue_with(20)
    drain(queue)
    assert rejected(queue.acknowledge(2, {2})) == {1: 2}
    hold(queue, until=5.0)
    assert take(queue) is None
    assert rejected(queue.acknowledge(3, {3})) == {}
    request = queue.next_frame(5.0)
    assert request is not None
    assert request.page is None
    queue.sent(4, request)
    assert take(queue, 5.0) is None
    acknowledged = queue.acknowledge(4, {4})
    assert (rejected(acknowledged), acknowledged.answered) == ({1: 4}, [])
    hold(queue)
    assert drain(queue, 5) == [(1, None), (1, Page(KEY, 0, 10)), (1, Page(KEY, 10, 20))]


def test_rejections_before_an_answer_are_no_news() -> None:
    """Pages of before the last request are older than its answer, good or bad."""
    queue = queue_with(30)
    drain(queue)
    queue.acknowledge(2, {2})
    hold(queue)
    request = queue.next_frame(0.0)
    assert request is not None
    queue.sent(5, request)
    acknowledged = queue.acknowledge(5, {3, 4})
    assert rejected(acknowledged) == {}
    assert acknowledged.answered == [first_of(queue)]


def test_answers_to_a_campaign_that_was_begun_again_do_not_count() -> None:
    """A frame in flight belongs to the campaign as it was when the frame was made."""
    queue = queue_with(5)
    request = queue.next_frame(0.0)
    assert request is not None
    queue.sent(1, request)
    queue.remove(1)
    queue.add(1, "c1", [ShardProgress(KEY, 5, 0)])
    assert queue.acknowledge(1, ()).answered == []
    assert drain(queue, 2) == [(1, None), (1, Page(KEY, 0, 5))]


def test_a_campaign_added_twice_keeps_its_pages_in_flight() -> None:
    """A rejected page is sent again, although its campaign was begun again meanwhile."""
    queue = queue_with(20)
    drain(queue)
    queue.add(1, "c1", [ShardProgress(KEY, 25, 0)])
    assert drain(queue, 4) == [(1, Page(KEY, 20, 25))]
    assert queue.acknowledge(4, {2}).reported == {}
    assert drain(queue, 5)[0] == (1, Page(KEY, 0, 10))


def test_an_announcement_that_comes_late_takes_nothing_back() -> None:
    """The outbox only grows: what was read before an announcement may come after it."""
    queue = queue_with(5)
    queue.journaled(KEY, 15)
    queue.journaled(KEY, 12)
    queue.add(1, "c1", [ShardProgress(KEY, 10, 0)])
    assert queue.unreported == 15
    assert drain(queue) == [(1, None), (1, Page(KEY, 0, 10)), (1, Page(KEY, 10, 15))]
    queue.journaled(KEY, 15)
    assert drain(queue, 4) == []


def test_an_ended_campaign_is_only_asked_for() -> None:
    """All of its results were acknowledged, and none goes out."""
    queue = RelayQueue(10)
    queue.add_ended(1, "c1", 30)
    assert drain(queue) == [(1, None)]
    assert (first_of(queue).acknowledged, queue.unreported) == (30, 0)
    queue.remove_ended()
    assert queue.find(1) is None


def test_a_campaign_that_ended_and_is_at_work_again_is_reported() -> None:
    """What is at work takes the place of what ended."""
    queue = RelayQueue(10)
    queue.add_ended(1, "c1", 5)
    queue.add(1, "c1", [ShardProgress(KEY, 5, 0)])
    assert first_of(queue).acknowledged == 0
    assert drain(queue) == [(1, None), (1, Page(KEY, 0, 5))]
    queue.remove_ended()
    assert queue.find(1) is not None


def test_a_held_campaign_does_not_hold_up_another() -> None:
    """L5: a campaign whose results are rejected waits alone."""
    queue = queue_with(5)
    queue.add(2, "c2", [ShardProgress(ShardKey(2, 1), 5, 0)])
    assert take(queue) == (1, None)
    hold(queue, until=100.0)
    assert [campaign for campaign, _ in drain(queue)] == [2, 2]
    assert queue.next_hold_over(50.0) == 100.0
    assert take(queue, 101.0) == (1, None)


def test_s17_a_new_stream_asks_for_a_held_campaign_at_once() -> None:
    """Its state is obeyed although its results wait."""
    queue = queue_with(5)
    assert take(queue) == (1, None)
    hold(queue, until=100.0)
    queue.begin_stream()
    assert take(queue) == (1, None)


def test_campaigns_take_turns() -> None:
    """L5: a small campaign's page does not wait for all pages of a large one."""
    queue = queue_with(1000)
    queue.add(2, "c2", [ShardProgress(ShardKey(2, 1), 5, 0)])
    assert [campaign for campaign, _ in drain(queue)[:4]] == [1, 2, 1, 2]


def test_a_replaced_store_gets_everything_again() -> None:
    """After report_all_again the first entry is the next one sent."""
    queue = queue_with(10, reported=10)
    assert drain(queue) == [(1, None)]
    queue.report_all_again()
    queue.begin_stream()
    assert drain(queue)[1] == (1, Page(KEY, 0, 10))


def test_results_wait_for_the_answer_to_the_subscription() -> None:
    """The answer must not count results of this very stream."""
    queue = queue_with(5)
    request = queue.next_frame(0.0)
    assert request is not None
    queue.sent(1, request)
    assert take(queue) is None
    assert queue.acknowledge(1, ()).answered == [first_of(queue)]
    assert take(queue) is None
    queue.apply(first_of(queue), Event.ANSWERED)
    assert take(queue) == (1, Page(KEY, 0, 5))


def test_a_lost_campaign_is_reported_from_its_first_entry() -> None:
    """Pages in flight at that moment do not count: those before them may be lost."""
    queue = queue_with(25, reported=10)
    drain(queue)
    assert first_of(queue).acknowledged == 10
    queue.report_again(first_of(queue))
    assert drain(queue, 4) == []
    assert queue.acknowledge(3, ()).reported == {}
    assert first_of(queue).acknowledged == 0
    assert drain(queue, 4)[0] == (1, Page(KEY, 0, 10))


class Streams(RuleBasedStateMachine):
    """Streams that break, frames that are refused, journals that grow."""

    def __init__(self) -> None:
        super().__init__()
        self.queue = RelayQueue(3)
        self.keys = [ShardKey(1, 1), ShardKey(1, 2), ShardKey(2, 1)]
        self.journaled = dict.fromkeys(self.keys, 0)
        self.stored: dict[ShardKey, set[int]] = {key: set() for key in self.keys}
        self.reported = dict.fromkeys(self.keys, 0)
        self.taken: Frame | None = None
        self.in_flight: list[tuple[int, Frame]] = []
        self.number = 0
        for campaign in (1, 2):
            self.queue.add(
                campaign,
                f"c{campaign}",
                [ShardProgress(key, 0, 0) for key in self.keys if key.campaign == campaign],
            )

    @rule(index=st.integers(0, 2), more=st.integers(1, 8))
    def journal_grows(self, index: int, more: int) -> None:
        """A delivery commits."""
        key = self.keys[index]
        self.journaled[key] += more
        self.queue.journaled(key, self.journaled[key])

    @precondition(lambda self: self.taken is None)
    @rule()
    def take(self) -> None:
        """The writer takes what is next, and reads it from the journal."""
        self.taken = self.queue.next_frame(0.0)

    @precondition(lambda self: self.taken is not None)
    @rule()
    def write(self) -> None:
        """The writer has read what it took, and sends it."""
        assert self.taken is not None
        self.number += 1
        self.queue.sent(self.number, self.taken)
        self.in_flight.append((self.number, self.taken))
        self.taken = None

    @precondition(lambda self: self.in_flight)
    @rule(data=st.data())
    def acknowledge(self, data: st.DataObject) -> None:
        """The service answers some frames, and refuses some of those."""
        count = data.draw(st.integers(1, len(self.in_flight)))
        answered, self.in_flight = self.in_flight[:count], self.in_flight[count:]
        refused = {number for number, _ in answered if data.draw(st.booleans())}
        for number, frame in answered:
            if frame.page is not None and number not in refused:
                self.stored[frame.page.key].update(
                    range(frame.page.after + 1, frame.page.through + 1)
                )
        self.take_answer(answered[-1][0], refused)

    def take_answer(self, through: int, refused: Collection[int]) -> None:
        """Take an acknowledgement as the stream does."""
        acknowledged = self.queue.acknowledge(through, refused)
        self.reported |= acknowledged.reported
        for campaign in acknowledged.rejected:
            self.queue.apply(campaign, Event.REJECTED)
        for campaign in acknowledged.answered:
            self.queue.apply(campaign, Event.ANSWERED)

    @rule(campaign=st.integers(1, 2))
    def results_are_lost(self, campaign: int) -> None:
        """The service turns out to have lost all results of a campaign that were stored."""
        for key in self.keys:
            if key.campaign == campaign:
                self.stored[key].clear()
                self.reported[key] = 0
        lost = self.queue.find(campaign)
        assert lost is not None
        self.queue.report_again(lost)

    @rule(campaign=st.integers(1, 2), helps=st.booleans())
    def sealed_again(self, campaign: int, *, helps: bool) -> None:
        """The campaign is found to be lost, and sealed again."""
        lost = self.queue.find(campaign)
        assert lost is not None
        if lost.state is Subscription.ADMITTED:
            self.results_are_lost(campaign)
            self.queue.apply(lost, Event.LOSS_FOUND)
            self.queue.apply(lost, Event.SEAL_REQUESTED)
            self.queue.apply(lost, Event.SEALED if helps else Event.SEAL_DID_NOT_HELP)

    @rule()
    def break_stream(self) -> None:
        """The stream is lost with all that is in flight."""
        self.number = 0
        self.taken = None
        self.in_flight = []
        self.queue.begin_stream()

    @invariant()
    def reported_is_stored(self) -> None:
        """Nothing counts as reported that the service did not store."""
        for key, through in self.reported.items():
            assert set(range(1, through + 1)) <= self.stored[key]

    def teardown(self) -> None:
        """L4: once faults stop, everything is reported."""
        self.break_stream()
        for _ in range(10_000):
            self.take()
            if self.taken is None:
                break
            self.write()
            number, frame = self.in_flight.pop(0)
            if frame.page is not None:
                self.stored[frame.page.key].update(
                    range(frame.page.after + 1, frame.page.through + 1)
                )
            self.take_answer(number, ())
        assert self.reported == self.journaled
        assert self.queue.unreported == 0


TestStreams = Streams.TestCase
TestStreams.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def test_a_page_has_the_entries_behind_its_first() -> None:
    """So many are read for it: not those that were reported before."""
    pages = [page for _, page in drain(queue_with(25, reported=8)) if page is not None]
    assert [(page.after, page.through, page.size) for page in pages] == [(8, 18, 10), (18, 25, 7)]
