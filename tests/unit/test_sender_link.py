"""For how long a sender goes on without a word of the status service."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from sender_service.campaigns.directory import Directory
from sender_service.domain import ProblemKind, State
from sender_service.reporting import link
from sender_service.reporting.link import Link, steady_seconds
from sender_service.reporting.probe import Probe


class Row:
    """A row of ``campaigns``."""

    campaign = 1
    campaign_id = "c1"
    organisation = "default"


class Clock:
    """Time that passes when a test says so."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        """Return it."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def directory() -> Directory:
    """A directory with a campaign whose state is not known yet."""
    made = Directory(cast("Any", None))
    made.add(cast("Any", Row()))
    return made


def link_of(directory: Directory, clock: Clock, hold_after_seconds: float | None = 60) -> Link:
    """Return the link of the organisation ``default``."""
    return Link(directory, "default", lambda: 7, hold_after_seconds=hold_after_seconds, clock=clock)


def receive(directory: Directory, state: State, revision: int = 1) -> None:
    """Have a stream bring a state of the campaign."""
    directory.receive("default", "c1", state, revision)


def state_of(directory: Directory) -> State | None:
    """Return the state of the campaign, as far as it is known."""
    (active,) = directory.of("default")
    return active.state


def summary_of(directory: Directory) -> str:
    """Return what the organisation's problem with the status service is."""
    problem = directory.status_problems.of("default")
    assert problem is not None
    assert problem.kind is ProblemKind.STATUS_SERVICE_UNREACHABLE
    return problem.summary


def test_it_holds_when_the_time_is_over_and_not_before(directory: Directory, clock: Clock) -> None:
    """The time counts from what was heard last, however often a stream is tried since."""
    link = link_of(directory, clock)
    link.heard()
    receive(directory, State.SENDING)
    clock.now += 59.9
    link.disconnected("connection refused")
    assert not link.hold_if_unheard()
    assert state_of(directory) is State.SENDING
    expected = "the status service does not answer; after 60 s without an answer nothing more is"
    assert summary_of(directory).startswith(expected)
    assert not directory.status_problems.held
    clock.now += 0.1
    with capture_logs() as logged:
        assert link.hold_if_unheard()
        assert not link.hold_if_unheard(), "once"
        link.disconnected("connection refused")
    assert state_of(directory) is None
    assert summary_of(directory).endswith("so nothing is sent until it does")
    assert directory.status_problems.held == {"default"}
    (line,) = logged
    assert (line["event"], line["unheard_seconds"]) == ("sending_held", 60.0)
    assert (line["reason"], line["unreported_results"]) == ("connection refused", 7)


def test_what_is_heard_begins_the_time_anew(directory: Directory, clock: Clock) -> None:
    """Nobody is held while answers come, and a hold is over with the next one."""
    link = link_of(directory, clock)
    for _ in range(10):
        link.heard()
        receive(directory, State.SENDING)
        clock.now += 50
        assert not link.hold_if_unheard()
    clock.now += 50
    assert link.hold_if_unheard()
    with capture_logs() as logged:
        link.heard()
    assert directory.status_problems.of("default") is None
    assert not directory.status_problems.held
    assert [(line["event"], line["was_held"]) for line in logged] == [
        ("status_stream_restored", True)
    ]
    assert state_of(directory) is None, "the campaign itself has to be heard of"


def test_a_sender_that_is_never_to_hold_goes_on(directory: Directory, clock: Clock) -> None:
    """That is what `off` says; the text says that nothing ends it."""
    link = link_of(directory, clock, None)
    link.heard()
    receive(directory, State.SENDING)
    link.disconnected("connection refused")
    clock.now += 1e6
    assert not link.hold_if_unheard()
    assert state_of(directory) is State.SENDING
    assert summary_of(directory) == "the status service does not answer"


@pytest.mark.parametrize("state", [None, State.PAUSED, State.CANCELLED, State.SCHEDULED])
def test_what_is_not_sent_is_not_held(
    directory: Directory, clock: Clock, state: State | None
) -> None:
    """It keeps the state that is known of it; whoever asks learns that nothing is sent."""
    link = link_of(directory, clock)
    link.heard()
    if state is not None:
        receive(directory, state)
    clock.now += 100
    assert not link.hold_if_unheard()
    assert state_of(directory) is state
    link.disconnected("connection refused")
    assert summary_of(directory).endswith("so nothing is sent until it does")


def test_only_what_a_new_stream_has_confirmed_is_sent(directory: Directory) -> None:
    """A campaign that the stream has brought again goes on; so does what is not SENDING."""
    receive(directory, State.SENDING)
    assert directory.forget_unconfirmed("default") == 0
    directory.begin_stream("default")
    assert directory.forget_unconfirmed("elsewhere") == 0
    assert directory.forget_unconfirmed("default") == 1
    assert state_of(directory) is None
    receive(directory, State.PAUSED)
    directory.begin_stream("default")
    assert directory.forget_unconfirmed("default") == 0
    assert state_of(directory) is State.PAUSED


def test_a_quiet_stream_is_probed_in_time(directory: Directory) -> None:
    """Several times within the hold, one frame at a time, while something is SENDING."""
    probe = Probe(directory, "default", hold_after_seconds=60)
    receive(directory, State.SENDING)
    probe.heard(100.0)
    assert probe.next_frame(114.9) is None
    assert probe.next_time() == 115.0
    frame = probe.next_frame(115.0)
    assert frame is not None
    assert (frame.campaign.campaign_id, frame.page, frame.is_probe) == ("c1", None, True)
    assert probe.next_frame(115.1) is None
    receive(directory, State.PAUSED, 2)
    assert probe.next_frame(200.0) is None
    assert probe.next_time() == 215.0


def test_nothing_is_probed_where_nothing_is_ever_held(directory: Directory) -> None:
    """With `off` a quiet stream stays quiet."""
    probe = Probe(directory, "default", hold_after_seconds=None)
    receive(directory, State.SENDING)
    probe.heard(100.0)
    assert (probe.next_frame(1e9), probe.next_time()) == (None, None)


@pytest.mark.parametrize(("platform", "seconds"), [("linux", 123.0), ("darwin", 456.0)])
def test_the_clock_counts_on_while_a_linux_machine_sleeps(
    monkeypatch: pytest.MonkeyPatch, platform: str, seconds: float
) -> None:
    """After a night of sleep nothing was heard for a night. Elsewhere there is no such clock."""
    clocks = {7: 123.0}
    time = SimpleNamespace(
        CLOCK_BOOTTIME=7, clock_gettime=clocks.__getitem__, monotonic=lambda: 456.0
    )
    monkeypatch.setattr(link, "time", time)
    monkeypatch.setattr(link, "sys", SimpleNamespace(platform=platform))
    assert steady_seconds() == seconds


def test_the_clock_never_goes_back() -> None:
    """Whatever is done to the time of day."""
    assert steady_seconds() <= steady_seconds()
