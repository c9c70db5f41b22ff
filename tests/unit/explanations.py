"""What can be found of a campaign, and its explanation and action, word by word."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from status_service.campaigns.standing import Entry, Standing
from status_service.domain import Counters, Diagnosis, Problem, State

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)


MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)


LOGIN = Problem(
    kind=7,
    summary="the mail server refuses the sender's login",
    detail="535 5.7.8 authentication failed",
    setting="[smtp] password",
    needs_attention=True,
)


DEADLINE = round(datetime(2026, 11, 26, 8, 59, 12, tzinfo=UTC).timestamp() * 1e6)


CORRECT = (
    "Correct [smtp] password at the sender and start it again. The campaign then goes on by itself."
)


#: What a Timestamp holds at most, in microseconds since 1970; many programs mean "never" by it.
LAST_MOMENT = 253_402_300_799_999_999


WAIT = "29,960 of 48,200 messages have no result. None is lost: they wait at the sender."


def entered(before: timedelta, **changed: Any) -> Entry:
    """Return that a campaign came into its state so long ago."""
    values = {"actor": "ops", "on_behalf_of": "", "reason": "", "forced": 0} | changed
    return Entry(create_time=NOW - before, **values)


def standing(**changed: Any) -> Standing:
    """Return a campaign of 48,200 messages that has been sending for an hour."""
    values: dict[str, Any] = {
        "state": State.SENDING,
        "total": 48_200,
        "counters": Counters(sent=18_097, failed=143),
        "diagnosis": Diagnosis.IN_PROGRESS,
        "problems": (),
        "now": NOW,
        "start_time": NOW - HOUR,
        "progress_time": NOW - timedelta(seconds=12),
        "last_reporter": "mail-1/77",
        "entry": entered(HOUR),
    }
    return Standing(**(values | changed))


STALLED = {"diagnosis": Diagnosis.STALLED, "progress_time": NOW - 42 * MINUTE}


UNSENT = {"counters": Counters(), "progress_time": None}


ROWS: dict[str, tuple[dict[str, Any], str, str]] = {
    "stalled, a problem": (
        STALLED | {"problems": [LOGIN]},
        f"Nothing has gone out for 42 min: the mail server refuses the sender's login.\n{WAIT}",
        CORRECT,
    ),
    "stalled, a problem with a deadline": (
        STALLED | {"problems": [LOGIN._replace(deadline_time=DEADLINE)]},
        (
            "Nothing has gone out for 42 min: the mail server refuses the sender's login.\n"
            f"{WAIT} None fails before 26 Nov 2026, 08:59 UTC."
        ),
        CORRECT,
    ),
    "stalled, one message left": (
        STALLED
        | {"total": 2, "counters": Counters(sent=1)}
        | {"problems": [LOGIN._replace(deadline_time=DEADLINE)]},
        (
            "Nothing has gone out for 42 min: the mail server refuses the sender's login.\n"
            "1 of 2 messages has no result. It is not lost: it waits at the sender."
            " It does not fail before 26 Nov 2026, 08:59 UTC."
        ),
        CORRECT,
    ),
    "stalled, a deadline that is past": (
        STALLED | {"problems": [LOGIN._replace(deadline_time=1)]},
        f"Nothing has gone out for 42 min: the mail server refuses the sender's login.\n{WAIT}",
        CORRECT,
    ),
    "stalled, the last deadline there is": (
        STALLED | {"problems": [LOGIN._replace(deadline_time=LAST_MOMENT)]},
        (
            "Nothing has gone out for 42 min: the mail server refuses the sender's login.\n"
            f"{WAIT} None fails before 31 Dec 9999, 23:59 UTC."
        ),
        CORRECT,
    ),
    "stalled, the first deadline there is": (
        STALLED | {"problems": [LOGIN._replace(deadline_time=-62_135_596_800_000_000)]},
        f"Nothing has gone out for 42 min: the mail server refuses the sender's login.\n{WAIT}",
        CORRECT,
    ),
    "stalled, a problem that passes": (
        STALLED | {"problems": [Problem(8, "the provider asks to wait")]},
        f"Nothing has gone out for 42 min: the provider asks to wait.\n{WAIT}",
        "Nothing to do yet: the sender tries again by itself. If it lasts, see to the provider.",
    ),
    "stalled, no problem": (
        STALLED,
        "No result for 42 min; mail-1/77 reported last.",
        (
            "See that this sender runs and reaches this service. If it is gone for good with its"
            " database, mark complete by force records 29,960 messages as UNKNOWN."
        ),
    ),
    "never started": (
        UNSENT | {"diagnosis": Diagnosis.NEVER_STARTED},
        "Started 1 h ago, and no sender has reported anything.",
        "See that a sender runs, reaches this service and has this campaign, or cancel it.",
    ),
    "never started, a problem": (
        UNSENT | {"diagnosis": Diagnosis.NEVER_STARTED, "problems": [LOGIN]},
        (
            "Nothing has gone out for 1 h: the mail server refuses the sender's login.\n"
            "48,200 of 48,200 messages have no result. None is lost: they wait at the sender."
        ),
        CORRECT,
    ),
    "in progress, a problem": (
        {"problems": [Problem(8, "the provider asks to wait"), LOGIN]},
        f"The mail server refuses the sender's login. Results still came 12 s ago.\n{WAIT}",
        CORRECT,
    ),
    "in progress, a problem and no result": (
        UNSENT | {"problems": [LOGIN], "start_time": NOW - timedelta(seconds=4)},
        (
            "The mail server refuses the sender's login. It started 4 s ago, and no result has"
            " come yet.\n48,200 of 48,200 messages have no result. None is lost: they wait at the"
            " sender."
        ),
        CORRECT,
    ),
    "in progress, a problem that passes": (
        {"problems": [Problem(1, "the mail server does not answer", setting="[smtp] host")]},
        f"The mail server does not answer. Results still came 12 s ago.\n{WAIT}",
        "Nothing to do yet: the sender tries again by itself. If it lasts, check [smtp] host.",
    ),
    "in progress, a problem without a setting": (
        {"problems": [LOGIN._replace(kind=2, setting="", summary="there is no channel carrier")]},
        f"There is no channel carrier. Results still came 12 s ago.\n{WAIT}",
        "Install and configure the channel at the sender, and start the sender again.",
    ),
    "in progress": (
        {},
        "On course: 18,240 of 48,200 messages have a result, about 1 h 38 min to go.",
        "Nothing to do.",
    ),
    "in progress, one result": (
        {"counters": Counters(sent=1), "total": 2, "start_time": NOW - MINUTE},
        "On course: 1 of 2 messages has a result.",
        "Nothing to do.",
    ),
    "in progress, more than an estimate is good for": (
        {
            "counters": Counters(sent=1),
            "total": 2**53,
            "start_time": NOW - timedelta(days=30),
            "entry": entered(timedelta(days=30)),
        },
        "On course: 1 of 9,007,199,254,740,992 messages has a result.",
        "Nothing to do.",
    ),
    "in progress, the longest that is said": (
        {
            "counters": Counters(sent=1),
            "total": 37,
            "start_time": NOW - timedelta(days=10),
            "entry": entered(timedelta(days=10)),
        },
        "On course: 1 of 37 messages has a result, about 360 d to go.",
        "Nothing to do.",
    ),
    "in progress, resumed": (
        {"entry": entered(5 * MINUTE)},
        "On course: 18,240 of 48,200 messages have a result.",
        "Nothing to do.",
    ),
    "in progress, no recent result": (
        {"progress_time": NOW - 3 * MINUTE},
        "On course: 18,240 of 48,200 messages have a result.",
        "Nothing to do.",
    ),
    "in progress, no result": (
        UNSENT | {"start_time": NOW - timedelta(seconds=4)},
        "Started 4 s ago; no result has come yet of 48,200 messages.",
        "Nothing to do.",
    ),
    "paused": (
        {
            "state": State.PAUSED,
            "diagnosis": Diagnosis.PAUSED,
            "entry": entered(84 * MINUTE, on_behalf_of="kim@desk"),
        },
        "Paused 1 h 24 min ago by ops (kim@desk); 29,960 messages wait.",
        "Resume it, or cancel it.",
    ),
    "paused, one message left": (
        {
            "state": State.PAUSED,
            "diagnosis": Diagnosis.PAUSED,
            "total": 18_241,
            "entry": entered(timedelta()),
        },
        "Paused now by ops; 1 message waits.",
        "Resume it, or cancel it.",
    ),
    "paused, a problem": (
        {
            "state": State.PAUSED,
            "diagnosis": Diagnosis.PAUSED,
            "entry": entered(MINUTE),
            "problems": [LOGIN],
        },
        (
            "Paused 1 min ago by ops; 29,960 messages wait."
            " The mail server refuses the sender's login."
        ),
        f"{CORRECT} Resume the campaign, or cancel it.",
    ),
    "fully processed": (
        {"diagnosis": Diagnosis.FULLY_PROCESSED},
        "All 48,200 messages have a result, and the campaign is still open.",
        "Fix completes it.",
    ),
    "counter drift": (
        {"diagnosis": Diagnosis.COUNTER_DRIFT},
        "The counters differ from the stored results.",
        "Fix counts them again.",
    ),
    "draft": (
        {"state": State.DRAFT, "total": None, "counters": Counters(), "diagnosis": None},
        "Not started; recipients are being collected.",
        "",
    ),
    "draft, its start is refused": (
        {
            "state": State.DRAFT,
            "total": None,
            "counters": Counters(),
            "diagnosis": None,
            "problems": [Problem(4, "the status service refuses the start", needs_attention=True)],
        },
        "Not started: the status service refuses the start.",
        (
            "Correct what the status service refuses: the sender tries again by itself. Otherwise"
            " cancel the campaign."
        ),
    ),
    "scheduled": (
        {
            "state": State.SCHEDULED,
            "diagnosis": None,
            "schedule_time": NOW + 21 * HOUR,
            "total": 120_000,
        },
        "Starts in 21 h, on 26 Nov 2026, 09:00 UTC: 120,000 messages.",
        "",
    ),
    "completed": (
        {
            "state": State.COMPLETED,
            "diagnosis": None,
            "counters": Counters(sent=48_000, failed=200),
            "entry": entered(17 * HOUR),
        },
        "Completed 17 h ago. Every one of 48,200 messages has a result.",
        "",
    ),
    "completed, some in doubt": (
        {
            "state": State.COMPLETED,
            "diagnosis": None,
            "counters": Counters(sent=48_188, unknown=12),
            "entry": entered(timedelta(days=40)),
        },
        (
            "Completed on 16 Oct 2026. Every one of 48,200 messages has a result; 12 of them are in"
            " doubt."
        ),
        "Look at those in doubt, then resend if a second copy does no harm.",
    ),
    "completed, one in doubt": (
        {
            "state": State.COMPLETED,
            "diagnosis": None,
            "counters": Counters(sent=48_199, unknown=1),
            "entry": entered(17 * HOUR),
        },
        "Completed 17 h ago. Every one of 48,200 messages has a result; 1 of them is in doubt.",
        "Look at the one in doubt, then resend if a second copy does no harm.",
    ),
    "completed, nobody": (
        {
            "state": State.COMPLETED,
            "diagnosis": None,
            "total": 0,
            "counters": Counters(),
            "entry": entered(17 * HOUR),
        },
        "Completed 17 h ago. It has no messages.",
        "",
    ),
    "completed by force": (
        {
            "state": State.COMPLETED,
            "diagnosis": None,
            "counters": Counters(sent=18_240, unknown=29_960),
            "entry": entered(6 * 24 * HOUR, forced=29_960, reason="the sender burnt down"),
        },
        (
            "Marked complete 6 d ago by ops; 29,960 messages without a result were recorded as"
            ' UNKNOWN. Reason: "the sender burnt down"'
        ),
        "Look at those in doubt, then resend if a second copy does no harm.",
    ),
    "completed, its only message": (
        {
            "state": State.COMPLETED,
            "diagnosis": None,
            "total": 1,
            "counters": Counters(sent=1),
            "entry": entered(17 * HOUR),
        },
        "Completed 17 h ago. Its only message has a result.",
        "",
    ),
    "completed by force, one message": (
        {
            "state": State.COMPLETED,
            "diagnosis": None,
            "counters": Counters(sent=48_199, unknown=1),
            "entry": entered(HOUR, forced=1, reason="the sender burnt down"),
        },
        (
            "Marked complete 1 h ago by ops; 1 message without a result was recorded as"
            ' UNKNOWN. Reason: "the sender burnt down"'
        ),
        "Look at the one in doubt, then resend if a second copy does no harm.",
    ),
    "cancelled": (
        {
            "state": State.CANCELLED,
            "diagnosis": None,
            "counters": Counters(sent=18_240, skipped=29_950),
            "entry": entered(2 * HOUR),
        },
        "Cancelled 2 h ago by ops. 18,240 were sent, 29,950 were not; 10 have no result yet.",
        "",
    ),
    "cancelled, one of each": (
        {
            "state": State.CANCELLED,
            "diagnosis": None,
            "total": 5,
            "counters": Counters(sent=1, failed=1, skipped=1, unknown=1),
            "entry": entered(2 * HOUR),
        },
        (
            "Cancelled 2 h ago by ops. 1 was sent, 1 was not, 1 failed, 1 is in doubt;"
            " 1 has no result yet."
        ),
        "",
    ),
    "cancelled before the start": (
        {
            "state": State.CANCELLED,
            "diagnosis": None,
            "total": None,
            "counters": Counters(),
            "entry": entered(2 * HOUR),
        },
        "Cancelled 2 h ago by ops, before it was started.",
        "",
    ),
}
