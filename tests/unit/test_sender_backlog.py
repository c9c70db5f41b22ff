"""What is still to be reported, against a model, and case by case."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from sender_service.reporting.relay_queue import Backlog, Frame, Page
from sender_service.store.outbox import ShardKey, ShardProgress

if TYPE_CHECKING:
    from collections.abc import Collection

KEY = ShardKey(1, 1)


def backlog_with(journaled: int, reported: int = 0) -> Backlog:
    backlog = Backlog(10)
    backlog.add(1, [ShardProgress(KEY, journaled, reported)])
    return backlog


def drain(backlog: Backlog, first_number: int = 1) -> list[Frame]:
    frames = []
    number = first_number
    while (frame := backlog.next_frame(0.0)) is not None:
        backlog.sent(number, frame)
        if frame.page is None:
            backlog.admit(frame.campaign)  # as if it was answered at once
        frames.append(frame)
        number += 1
    return frames


def test_a_campaign_is_subscribed_to_before_its_results() -> None:
    """The first frame of a campaign on a stream asks for its state."""
    assert drain(backlog_with(15)) == [
        Frame(1, None),
        Frame(1, Page(KEY, 0, 10)),
        Frame(1, Page(KEY, 10, 15)),
    ]


def test_a_new_stream_sends_what_was_not_acknowledged() -> None:
    """Acknowledged pages are not sent again, all others are."""
    backlog = backlog_with(25)
    drain(backlog)
    assert backlog.acknowledge(2, ()).reported == {KEY: 10}
    backlog.restart()
    assert [frame.page for frame in drain(backlog)] == [
        None,
        Page(KEY, 10, 20),
        Page(KEY, 20, 25),
    ]


def test_pages_after_a_rejected_one_do_not_count() -> None:
    """What follows a rejected page is sent again with it, so that nothing is left out."""
    backlog = backlog_with(25)
    drain(backlog)
    acknowledged = backlog.acknowledge(4, {3})
    assert acknowledged.reported == {KEY: 10}
    assert acknowledged.rejected == {3: 1}
    assert [frame.page for frame in drain(backlog, 5)] == [Page(KEY, 10, 20), Page(KEY, 20, 25)]


def test_a_page_counts_as_in_flight_before_it_is_written() -> None:
    """A page that is read while the one before it is rejected is sent again with it."""
    backlog = backlog_with(20)
    assert backlog.next_frame(0.0) == Frame(1, None)
    backlog.sent(1, Frame(1, None))
    backlog.admit(1)
    first, second = backlog.next_frame(0.0), backlog.next_frame(0.0)
    assert first == Frame(1, Page(KEY, 0, 10))
    assert second == Frame(1, Page(KEY, 10, 20))
    backlog.sent(2, first)
    assert backlog.acknowledge(2, {2}).reported == {}
    backlog.sent(3, second)
    assert backlog.acknowledge(3, ()).reported == {}
    assert [frame.page for frame in drain(backlog, 4)] == [Page(KEY, 0, 10), Page(KEY, 10, 20)]


def test_a_page_under_way_is_not_taken_yet() -> None:
    """A later answer to a subscription says nothing of results that are under way."""
    backlog = backlog_with(5)
    for number in (1, 2):
        backlog.subscribe_again(1)
        assert backlog.next_frame(0.0) == Frame(1, None)
        backlog.sent(number, Frame(1, None))
    assert backlog.acknowledge(1, ()).accepted == set()
    assert drain(backlog, 3) == []
    backlog.admit(1)
    assert drain(backlog, 3) == [Frame(1, Page(KEY, 0, 5))]
    assert backlog.acknowledge(2, ()).accepted == set()
    assert backlog.acknowledge(3, ()).accepted == {1}


def test_a_rejection_older_than_the_next_subscription_tells_nothing() -> None:
    """Its page is sent again all the same, once the subscription is answered."""
    backlog = backlog_with(20)
    drain(backlog)
    assert backlog.acknowledge(2, {2}).rejected == {2: 1}
    backlog.subscribe_again(1)
    assert backlog.next_frame(0.0) == Frame(1, None)
    assert backlog.acknowledge(3, {3}).rejected == {}
    backlog.sent(4, Frame(1, None))
    assert backlog.acknowledge(4, {4}).rejected == {4: 1}
    assert [frame.page for frame in drain(backlog, 5)] == [
        None,
        Page(KEY, 0, 10),
        Page(KEY, 10, 20),
    ]


def test_only_the_last_subscription_of_a_campaign_tells() -> None:
    """What an earlier one is answered, good or bad, is overtaken."""
    backlog = backlog_with(5)
    for number in (1, 2, 3):
        backlog.subscribe_again(1)
        assert backlog.next_frame(0.0) == Frame(1, None)
        backlog.sent(number, Frame(1, None))
    first = backlog.acknowledge(1, {1})
    assert (first.rejected, first.subscribed) == ({}, set())
    assert backlog.acknowledge(2, ()).subscribed == set()
    assert backlog.next_frame(0.0) is None
    assert backlog.acknowledge(3, ()).subscribed == {1}


def test_a_campaign_with_nothing_to_report_is_accepted() -> None:
    """The answer to its subscription is all that shows that it is not refused."""
    backlog = backlog_with(5, reported=5)
    drain(backlog)
    assert backlog.acknowledge(1, ()).accepted == {1}


def test_a_campaign_taken_up_twice_keeps_its_pages_in_flight() -> None:
    """A rejected page is sent again, although its campaign was begun anew meanwhile."""
    backlog = backlog_with(20)
    drain(backlog)
    backlog.add(1, [ShardProgress(KEY, 25, 0)])
    assert [frame.page for frame in drain(backlog, 4)] == [Page(KEY, 20, 25)]
    assert backlog.acknowledge(4, {2}).reported == {}
    assert drain(backlog, 5)[0].page == Page(KEY, 0, 10)


def test_a_held_campaign_does_not_hold_up_another() -> None:
    """L5: a campaign whose results are refused waits alone."""
    backlog = backlog_with(5)
    other = ShardKey(2, 1)
    backlog.add(2, [ShardProgress(other, 5, 0)])
    backlog.hold(1, 100.0)
    assert [frame.campaign for frame in drain(backlog)] == [2, 2]
    assert backlog.held_until(50.0) == 100.0
    assert backlog.next_frame(101.0) == Frame(1, None)


def test_campaigns_take_turns() -> None:
    """L5: a small campaign's page does not wait for all pages of a large one."""
    backlog = backlog_with(1000)
    backlog.add(2, [ShardProgress(ShardKey(2, 1), 5, 0)])
    frames = drain(backlog)
    assert [frame.campaign for frame in frames[:4]] == [1, 2, 1, 2]


def test_a_replaced_store_is_told_everything_again() -> None:
    """After report_all_again the first entry is the next one sent."""
    backlog = backlog_with(10, reported=10)
    assert drain(backlog) == [Frame(1, None)]
    backlog.report_all_again()
    backlog.restart()
    assert drain(backlog)[1] == Frame(1, Page(KEY, 0, 10))


def test_results_wait_for_the_answer_to_the_subscription() -> None:
    """What it is answered must not count results of this very stream."""
    backlog = backlog_with(5)
    backlog.sent(1, Frame(1, None))
    assert backlog.next_frame(0.0) == Frame(1, None)
    assert backlog.next_frame(0.0) is None
    assert backlog.acknowledge(1, ()).subscribed == {1}
    assert backlog.next_frame(0.0) is None
    backlog.admit(1)
    assert backlog.next_frame(0.0) == Frame(1, Page(KEY, 0, 5))


def test_a_lost_campaign_is_reported_from_its_first_entry() -> None:
    """Pages in flight at that moment do not count: those before them may be lost."""
    backlog = backlog_with(25, reported=10)
    drain(backlog)
    assert backlog.acknowledged(1) == 10
    backlog.report_again(1)
    assert drain(backlog, 4) == []
    assert backlog.acknowledge(3, ()).reported == {}
    assert backlog.acknowledged(1) == 0
    assert drain(backlog, 4)[0] == Frame(1, Page(KEY, 0, 10))


class Streams(RuleBasedStateMachine):
    """Streams that break, frames that are refused, journals that grow."""

    def __init__(self) -> None:
        super().__init__()
        self.backlog = Backlog(3)
        self.keys = [ShardKey(1, 1), ShardKey(1, 2), ShardKey(2, 1)]
        self.journaled = dict.fromkeys(self.keys, 0)
        self.stored: dict[ShardKey, set[int]] = {key: set() for key in self.keys}
        self.reported = dict.fromkeys(self.keys, 0)
        self.taken: Frame | None = None
        self.in_flight: list[tuple[int, Frame]] = []
        self.number = 0
        for campaign in (1, 2):
            self.backlog.add(
                campaign,
                [ShardProgress(key, 0, 0) for key in self.keys if key.campaign == campaign],
            )

    @rule(index=st.integers(0, 2), more=st.integers(1, 8))
    def journal_grows(self, index: int, more: int) -> None:
        """A delivery commits."""
        key = self.keys[index]
        self.journaled[key] += more
        self.backlog.journaled(key, self.journaled[key])

    @precondition(lambda self: self.taken is None)
    @rule()
    def take(self) -> None:
        """The writer takes what is next, and reads it from the journal."""
        self.taken = self.backlog.next_frame(0.0)

    @precondition(lambda self: self.taken is not None)
    @rule()
    def write(self) -> None:
        """The writer has read what it took, and sends it."""
        assert self.taken is not None
        self.number += 1
        self.backlog.sent(self.number, self.taken)
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
        self.settle(answered[-1][0], refused)

    def settle(self, through: int, refused: Collection[int]) -> None:
        """Take an acknowledgement as the reporter does."""
        acknowledged = self.backlog.acknowledge(through, refused)
        self.reported |= acknowledged.reported
        for campaign in acknowledged.subscribed:
            self.backlog.admit(campaign)

    @rule(campaign=st.integers(1, 2))
    def results_are_lost(self, campaign: int) -> None:
        """The service turns out to have lost all results of a campaign that were stored."""
        for key in self.keys:
            if key.campaign == campaign:
                self.stored[key].clear()
                self.reported[key] = 0
        self.backlog.report_again(campaign)

    @rule(campaign=st.integers(1, 2))
    def asked_again(self, campaign: int) -> None:
        """A try to seal a campaign is over, and it is to be asked for again."""
        self.backlog.subscribe_again(campaign)

    @rule()
    def break_stream(self) -> None:
        """The stream is lost with all that is in flight."""
        self.number = 0
        self.taken = None
        self.in_flight = []
        self.backlog.restart()

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
            self.settle(number, ())
        assert self.reported == self.journaled
        assert self.backlog.unreported == 0


TestStreams = Streams.TestCase
TestStreams.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
