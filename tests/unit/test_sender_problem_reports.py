"""Which problems are reported when, without a network."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from closeout.status.v1 import status_pb2 as pb
from sender_service.campaigns.active_campaign import ActiveCampaign
from sender_service.campaigns.directory import Directory, Source
from sender_service.domain import Problem, ProblemKind
from sender_service.reporting import wire
from sender_service.reporting.problem_reports import ProblemReports
from sender_service.reporting.relay_queue import Frame, RelayQueue
from sender_service.reporting.relayed_campaign import RelayedCampaign
from sender_service.reporting.subscription import Event
from sender_service.store.outbox import ShardKey, ShardProgress
from status_service.grpc_api import validation
from status_service.grpc_api.problem_validation import LONGEST

WAITS = Problem(ProblemKind.PROVIDER_DEFERS, "the provider asks to wait")
LOGIN = Problem(ProblemKind.PROVIDER_REFUSES, "the login is refused", needs_attention=True)
AWAY = Problem(ProblemKind.STATUS_SERVICE_UNREACHABLE, "no answer")


class Row:
    """A row of ``campaigns``."""

    campaign = 1
    campaign_id = "c1"
    organisation = "default"


class Reporting:
    """A stream with one campaign, and what is to be reported on it."""

    def __init__(self) -> None:
        self.directory = Directory(cast("Any", None))
        self.active: ActiveCampaign = self.directory.add(cast("Any", Row()))
        self.queue = RelayQueue(10)
        self.reports = ProblemReports(self.queue, self.directory, Row.organisation)
        self.number = 0
        self.now = 0.0
        self.begin_stream()

    def begin_stream(self) -> None:
        """Begin a new stream."""
        self.queue.begin_stream()
        self.reports.begin_stream()

    def note(self, problem: Problem | None, source: Source = Source.PROVIDER) -> None:
        """See a problem, or that it is gone."""
        if self.active.known_problems.note(source, problem):
            self.reports.changed(1)

    def open(self, entries: int = 0) -> None:
        """Begin to report the campaign."""
        self.queue.add(1, "c1", [ShardProgress(ShardKey(1, 1), entries, 0)])

    def next(self, now: float | None = None) -> Frame | None:
        """Send the next frame with problems alone, a second later or at a time."""
        self.now = self.now + 1.0 if now is None else now
        frame = self.reports.next_frame(self.now)
        if frame is not None:
            self.number += 1
            self.queue.sent(self.number, frame)
        return frame

    def request(self) -> tuple[Problem, ...] | None:
        """Send the request of the campaign's state; return the problems beside it."""
        frame = self.queue.next_frame(0.0)
        assert frame is not None
        assert (frame.page, frame.problems) == (None, None)
        self.number += 1
        self.queue.sent(self.number, frame)
        return self.reports.beside_request(frame.campaign)

    @property
    def campaign(self) -> RelayedCampaign:
        """The campaign as it is reported."""
        campaign = self.queue.find(1)
        assert campaign is not None
        return campaign


class CountingDirectory(Directory):
    """A directory that counts how often it is asked for a campaign."""

    asked = 0

    def find(self, campaign: int) -> ActiveCampaign | None:
        """Return the campaign with this number if it is at work."""
        self.asked += 1
        return super().find(campaign)


class NumberedRow(Row):
    """One of many rows."""

    def __init__(self, number: int) -> None:
        self.campaign = number
        self.campaign_id = f"c{number}"


def kinds(found: tuple[Problem, ...] | None) -> list[ProblemKind]:
    """Return the kinds of problems."""
    assert found is not None
    return [problem.kind for problem in found]


@pytest.fixture
def stream() -> Reporting:
    return Reporting()


def test_the_request_of_the_state_carries_them_also_when_there_are_none(
    stream: Reporting,
) -> None:
    """So that what an earlier process left is gone; those for a person come first."""
    stream.open()
    assert stream.request() == ()
    stream.note(WAITS)
    stream.note(LOGIN, Source.CHANNEL)
    stream.begin_stream()
    assert stream.next() is None, "the request carries them"
    assert kinds(stream.request()) == [LOGIN.kind, WAITS.kind]
    assert stream.next() is None, "they were reported"


def test_a_change_is_reported_once_and_alone(stream: Reporting) -> None:
    """While the answer is awaited, while results go out, and while they are held back."""
    stream.open()
    stream.request()
    for event in (None, Event.ANSWERED, Event.REJECTED):
        if event is not None:
            stream.queue.apply(stream.campaign, event, until=1e9)
        for problem in (WAITS, None):
            stream.note(problem)
            frame = stream.next()
            assert frame is not None
            assert frame.page is None
            assert kinds(frame.problems) == ([WAITS.kind] if problem else [])
            assert stream.next() is None


def test_changes_that_follow_at_once_are_reported_together(stream: Reporting) -> None:
    """What a provider says may differ with each message: the last words go out after a while."""
    stream.open()
    stream.request()
    for number in range(100):
        stream.note(replace(WAITS, detail=str(number)))
        frame = stream.next(10.0)
        assert (frame is None) is (number > 0)
    again = stream.reports.next_time(10.0)
    assert again is not None
    assert 10.0 < again <= 11.0
    frame = stream.next(again)
    assert frame is not None
    assert [problem.detail for problem in frame.problems or ()] == ["99"]
    assert stream.next(again + 10.0) is None


def test_nothing_goes_out_while_the_campaign_is_brought_back(stream: Reporting) -> None:
    """The status service does not have it; the request after the new seal carries them."""
    stream.open()
    stream.request()
    stream.queue.apply(stream.campaign, Event.LOSS_FOUND)
    stream.note(WAITS)
    assert stream.next() is None
    stream.queue.apply(stream.campaign, Event.SEAL_REQUESTED)
    assert stream.next() is None
    stream.queue.apply(stream.campaign, Event.SEALED)
    assert kinds(stream.request()) == [WAITS.kind]


def test_what_waited_goes_out_once_the_results_are_brought_back(stream: Reporting) -> None:
    """There no state is requested again."""
    stream.open()
    stream.request()
    stream.queue.apply(stream.campaign, Event.LOSS_FOUND)
    stream.note(WAITS)
    assert stream.next() is None
    stream.queue.apply(stream.campaign, Event.BROUGHT_BACK)
    frame = stream.next()
    assert frame is not None
    assert kinds(frame.problems) == [WAITS.kind]


def test_a_campaign_that_is_only_frozen_reports_its_problems(stream: Reporting) -> None:
    """On each stream; one without problems says nothing."""
    assert stream.next() is None
    stream.note(LOGIN, Source.START)
    for _ in range(2):
        frame = stream.next()
        assert frame is not None
        assert (frame.campaign.campaign_id, kinds(frame.problems)) == ("c1", [LOGIN.kind])
        assert stream.next() is None
        stream.begin_stream()


def test_that_the_status_service_is_away_is_none_of_its_problems(stream: Reporting) -> None:
    """It is left out, and its coming and going is no change."""
    stream.open()
    stream.note(AWAY, Source.START)
    stream.note(WAITS)
    assert kinds(stream.request()) == [WAITS.kind]
    stream.note(None, Source.START)
    assert stream.next() is None


def test_a_rejection_leaves_the_campaign_where_it_is(stream: Reporting) -> None:
    """Results go on; the problems come again: after a while, or with the next change."""
    stream.open(entries=10)
    stream.request()
    stream.queue.acknowledge(stream.number, ())
    stream.queue.apply(stream.campaign, Event.ANSWERED)
    for retryable in (True, False):
        stream.note(replace(WAITS, detail=str(retryable)))
        assert stream.next() is not None
        acknowledged = stream.queue.acknowledge(stream.number, [stream.number])
        assert (acknowledged.frames, acknowledged.rejected) == (1, {})
        assert acknowledged.unheard == {stream.campaign: stream.number}
        stream.reports.rejected(stream.campaign, pb.Rejection(reason="X", retryable=retryable))
        assert stream.campaign.has_frame, "results go out"
        now = max(time.monotonic(), stream.now)
        assert stream.next(now) is None
        again = stream.reports.next_time(now)
        if retryable:
            assert again is not None
            assert 0 < again - now <= 60
            frame = stream.next(again)
            assert frame is not None
            assert kinds(frame.problems) == [WAITS.kind]
            stream.queue.acknowledge(stream.number, ())
        else:
            assert again is None
    stream.note(LOGIN, Source.CHANNEL)
    assert stream.next() is not None


def test_a_campaign_that_is_not_at_work_is_forgotten(stream: Reporting) -> None:
    """Nothing is sent of it, and nothing is kept."""
    stream.note(LOGIN)
    stream.directory.remove(stream.active)
    assert stream.next() is None
    assert stream.reports.next_time(-1.0) is None
    ended = RelayedCampaign(1, "c1", ended_total=3)
    assert stream.reports.beside_request(ended) is None


texts = st.text(max_size=700)


@given(
    found=st.lists(
        st.builds(
            Problem,
            kind=st.sampled_from(ProblemKind),
            summary=texts,
            detail=texts,
            setting=texts,
            provider=texts,
            since_time=st.none() | st.datetimes(timezones=st.timezones()),
            needs_attention=st.booleans(),
        ),
        max_size=12,
    )
)
def test_whatever_a_channel_says_can_be_reported(found: list[Problem]) -> None:
    """A problem never has its frame refused, which would hold the results up."""
    request = pb.ReportResultsRequest(campaign_id="a", problems=wire.problems(found))
    request = pb.ReportResultsRequest.FromString(request.SerializeToString())
    assert validation.frame(request).campaigns[0].problems is not None


@pytest.mark.parametrize("text", ["summary", "detail", "setting", "provider"])
def test_what_is_reported_of_a_problem_is_as_long_as_may_be(text: str) -> None:
    """The status service takes it, and no character that it would take is cut."""
    longest = LONGEST[text]
    for length in (longest, longest + 1):
        values = {"summary": "it waits"} | {text: "é" * length}
        (reported,) = wire.problems([Problem(ProblemKind.PROVIDER_DEFERS, **values)]).problems
        assert getattr(reported, text) == "é" * longest


def test_as_many_problems_are_reported_as_may_be() -> None:
    """Eight, the first ones."""
    found = [replace(WAITS, summary=str(number)) for number in range(12)]
    reported = [problem.summary for problem in wire.problems(found).problems]
    assert reported == [str(number) for number in range(8)]


def test_a_new_stream_looks_at_each_of_many_campaigns_a_few_times() -> None:
    """However many are held up: each frame does not look at all that are still to come.

    Those of which nothing else is reported yet are not left out by that.
    """
    count = 200
    directory = CountingDirectory(cast("Any", None))
    queue = RelayQueue(10)
    reports = ProblemReports(queue, directory, Row.organisation)
    for number in range(1, count + 1):
        active = directory.add(cast("Any", NumberedRow(number)))
        active.known_problems.note(Source.PROVIDER, LOGIN)
        if number > 1:
            queue.add(number, active.campaign_id, [])
    queue.begin_stream()
    reports.begin_stream()
    reported = {}
    while (frame := reports.next_frame(1.0) or queue.next_frame(1.0)) is not None:
        beside = reports.beside_request(frame.campaign) if frame.problems is None else ()
        reported[frame.campaign.number] = frame.problems or beside
    assert [len(found or ()) for found in reported.values()] == [1] * count
    assert directory.asked < 5 * count
