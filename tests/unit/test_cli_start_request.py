"""When a campaign shall start, and what a repeated command says about it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from closeout.errors import FailedPreconditionError
from closeout.sender.v1 import sender_pb2
from closeout.status.v1 import status_pb2 as pb
from closeout_cli.failures import FAILED, USAGE, CommandError
from closeout_cli.repetition import is_repetition, repetition
from closeout_cli.start_request import StartRequest, check_start, described, effective
from closeout_cli.words import clock

LATER = datetime(2099, 1, 1, tzinfo=UTC)
MUCH_LATER = datetime(2099, 2, 1, tzinfo=UTC)


def a_campaign(state: pb.Campaign.State.ValueType, time: datetime = LATER) -> pb.Campaign:
    """Return a campaign with every time that its state has."""
    campaign = pb.Campaign(campaign_id="c", state=state)
    campaign.schedule_time.FromDatetime(time)
    for name in ("start_time", "complete_time"):
        getattr(campaign, name).FromDatetime(
            datetime.now(UTC) - timedelta(days=3, hours=12, minutes=30)
        )
    return campaign


SCHEDULED = a_campaign(pb.Campaign.SCHEDULED)
MOVED = a_campaign(pb.Campaign.SCHEDULED, MUCH_LATER)
SENDING = a_campaign(pb.Campaign.SENDING)
#: What a text has for them: its name may not depend on the time zone, and its words do.
TIMES = {"then": SCHEDULED.schedule_time, "later": MOVED.schedule_time}


@pytest.mark.parametrize(
    ("request_", "before", "after", "transitioned", "text"),
    [
        (StartRequest(), None, SENDING, True, "started"),
        (StartRequest(), a_campaign(pb.Campaign.DRAFT), SENDING, True, "started"),
        (StartRequest(now=True), None, SENDING, True, "started"),
        (StartRequest(now=True), SCHEDULED, SENDING, True, "started now, instead of at {then}"),
        (StartRequest(LATER), None, SCHEDULED, True, "scheduled for {then}"),
        (StartRequest(MUCH_LATER), SCHEDULED, MOVED, False, "moved from {then} to {later}"),
        (StartRequest(MUCH_LATER), SCHEDULED, None, False, "moved from {then} to {later}"),
        (
            StartRequest(LATER),
            SCHEDULED,
            SCHEDULED,
            False,
            "already scheduled for {then}, which stays (--now starts it at once)",
        ),
        (
            StartRequest(),
            SCHEDULED,
            SCHEDULED,
            False,
            "already scheduled for {then}, which stays (--now starts it at once)",
        ),
        (StartRequest(), SENDING, SENDING, False, "was started 3d 12h ago and goes on: SENDING"),
        (
            StartRequest(),
            SENDING,
            a_campaign(pb.Campaign.PAUSED),
            False,
            "was started before and is PAUSED; closeout resume c goes on",
        ),
        (
            StartRequest(),
            None,
            a_campaign(pb.Campaign.COMPLETED),
            False,
            "this campaign was sent before: COMPLETED 3d 12h ago; nothing was sent again",
        ),
        (StartRequest(), None, None, False, "was started before; nothing was changed"),
    ],
)
def test_a_start_says_what_became_of_it(
    request_: StartRequest,
    before: pb.Campaign | None,
    after: pb.Campaign | None,
    text: str,
    *,
    transitioned: bool,
) -> None:
    """Whoever repeats a command learns whether it changed anything."""
    expected = text.format(**{name: clock(time) for name, time in TIMES.items()})
    assert described(request_, before, after, transitioned=transitioned) == expected


def test_a_past_start_of_a_new_campaign_is_refused() -> None:
    """A minute is forgiven; a campaign that was started with that time may be repeated."""
    now = datetime.now(UTC)
    past = StartRequest(now - timedelta(minutes=2))
    with pytest.raises(CommandError, match="is past; nothing was created") as caught:
        check_start(past, None, "c")
    assert caught.value.exit_code == USAGE
    for before in (SCHEDULED, a_campaign(pb.Campaign.DRAFT)):
        with pytest.raises(CommandError, match=r"is past; nothing was changed\. .+ --now"):
            check_start(past, before, "c")
    check_start(past, SENDING, "c")
    check_start(StartRequest(now - timedelta(seconds=30)), None, "c")
    check_start(StartRequest(LATER), None, "c")
    check_start(StartRequest(), None, "c")


def test_the_same_command_is_safe_after_its_time() -> None:
    """A time that was right once is no wrong request when a campaign has begun at it."""
    past = StartRequest(datetime.now(UTC) - timedelta(hours=1))
    assert effective(past, SENDING) == StartRequest()
    assert effective(past, SCHEDULED) == past
    assert effective(past, None) == past
    later = StartRequest(LATER)
    assert effective(later, SENDING) == later


def test_a_cancelled_campaign_is_not_sent() -> None:
    """The text names the way to another one."""
    with pytest.raises(CommandError, match=r"was cancelled; nothing was sent\..+--campaign-id c-2"):
        check_start(StartRequest(), a_campaign(pb.Campaign.CANCELLED), "c")


def test_the_options_make_the_request() -> None:
    """Who would get a campaign twice decides the caller, and nobody gets it by default."""
    repeats = sender_pb2.StartCampaignRequest
    assert StartRequest.of("", now=False).repeat == repeats.REFUSE
    assert StartRequest.of("", now=False, only_new=True).repeat == repeats.ONLY_NEW
    assert StartRequest.of("", now=True, again=True) == (None, True, repeats.AGAIN)


@pytest.mark.parametrize(
    ("repeated", "total", "others", "everybody"),
    [
        ("2", "3", "to the other 1: --only-new", "to all 3 of them again: --again"),
        ("3", "3", "", "to all 3 of them again: --again"),
        ("", "x", "to people who did not get it: --only-new", "to all of them again: --again"),
    ],
)
def test_a_repetition_names_the_numbers_and_the_ways_on(
    repeated: str, total: str, others: str, everybody: str
) -> None:
    """The service's sentence without what programs do, and what to add to the command.

    Where everybody got it, no option is named that would send to nobody.
    """
    refusal = FailedPreconditionError(
        "2 of these 3 people got campaign 'Welcome' (welcome-1) 2 min ago; nothing is started."
        " Start it with repeat = ONLY_NEW to leave them out",
        reason="AUDIENCE_REPEATED",
        metadata={"repeated": repeated, "total": total},
    )
    assert is_repetition(refusal)
    error = repetition(refusal, "welcome-2")
    assert str(error) == (
        "2 of these 3 people got campaign 'Welcome' (welcome-1) 2 min ago. Nothing was sent"
    )
    assert error.exit_code == FAILED
    *ways, third, last = [line.strip() for line in error.more[1:]]
    assert ways == [way for way in (others, everybody) if way]
    assert "another id" in third
    assert "closeout cancel welcome-2" in last
    assert not is_repetition(FailedPreconditionError("no", reason="AUDIENCE_FROZEN"))
