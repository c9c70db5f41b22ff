"""The rules of campaigns, exhaustively: states, starts, outcomes, diagnosis."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta

import pytest

from closeout.status.v1 import status_pb2 as pb
from status_service.domain import (
    ALLOWED,
    OPEN,
    START_TOLERANCE,
    TERMINAL,
    Cause,
    Counters,
    Diagnosis,
    Outcome,
    Start,
    State,
    decide_start,
    diagnose,
    sources,
)

_PAIRS = list(itertools.product(State, State))
#: The diagram of docs/states.md, line by line.
_DIAGRAM = {
    State.DRAFT: {State.SCHEDULED, State.SENDING, State.CANCELLED},
    State.SCHEDULED: {State.SENDING, State.COMPLETED, State.CANCELLED},
    State.SENDING: {State.PAUSED, State.COMPLETED, State.CANCELLED},
    State.PAUSED: {State.SENDING, State.COMPLETED, State.CANCELLED},
    State.COMPLETED: set(),
    State.CANCELLED: set(),
}


@pytest.mark.parametrize(("before", "after"), _PAIRS, ids=[f"{a}-{b}" for a, b in _PAIRS])
def test_s6_each_pair_of_states_is_allowed_as_the_diagram_says(before: State, after: State) -> None:
    """A change is allowed, and its source named to SQL, exactly where the diagram has it."""
    allowed = after in _DIAGRAM[before]
    assert ((before, after) in ALLOWED) == allowed
    assert (before in sources(after)) == allowed


def test_s6_nothing_leaves_a_terminal_state_and_nothing_stays() -> None:
    """COMPLETED and CANCELLED alone are terminal; no transition leads from a state to itself."""
    assert (
        {state for state in State if state.is_terminal}
        == TERMINAL
        == {state for state, following in _DIAGRAM.items() if not following}
    )
    assert not any(before is after for before, after in ALLOWED)
    assert set(sources(State.COMPLETED)) == {*OPEN, State.SCHEDULED}


def test_s2_outcomes_rank_from_unknown_to_sent() -> None:
    """UNKNOWN < SKIPPED < FAILED < SENT."""
    assert Outcome.UNKNOWN < Outcome.SKIPPED < Outcome.FAILED < Outcome.SENT


def test_the_contract_has_the_same_names_and_numbers() -> None:
    """Every state, outcome, cause and diagnosis is in status.proto, with outcomes' own numbers."""
    for ours, theirs in (
        (State, pb.Campaign.State),
        (Outcome, pb.Result.Outcome),
        (Cause, pb.Transition.Cause),
        (Diagnosis, pb.CampaignDiagnosis.Diagnosis),
    ):
        names = {name for name in theirs.keys() if not name.endswith("UNSPECIFIED")}  # noqa: SIM118
        assert {member.name for member in ours} == names
    assert all(pb.Result.Outcome.Value(outcome.name) == outcome for outcome in Outcome)


def test_counters_add_up_and_subtract() -> None:
    """Processed is the sum of all four; minus is what leads from one to the other."""
    counters = Counters.of({Outcome.SENT: 1, Outcome.FAILED: 2, Outcome.SKIPPED: 3, 1: 4})
    assert counters == Counters(sent=1, failed=2, skipped=3, unknown=4)
    assert counters.processed == 10
    assert counters.minus(Counters(1, 1, 1, 1)) == Counters(0, 1, 2, 3)
    assert Counters.of({}) == Counters()


_NOW = datetime(2030, 1, 1, tzinfo=UTC)
_LIMIT = timedelta(minutes=5)
_LONG, _SHORT = timedelta(hours=1), timedelta(minutes=1)


@pytest.mark.parametrize(
    ("state", "counted", "counters", "started", "progressed", "expected"),
    [
        # Counters first: nothing can be said with wrong ones.
        (State.SENDING, 3, 2, _SHORT, _SHORT, Diagnosis.COUNTER_DRIFT),
        (State.SENDING, 3, 10, _LONG, _LONG, Diagnosis.COUNTER_DRIFT),
        (State.SENDING, 10, 3, _LONG, _LONG, Diagnosis.COUNTER_DRIFT),
        (State.PAUSED, 3, 2, _LONG, None, Diagnosis.COUNTER_DRIFT),
        # Then fullness, whatever the state and the time.
        (State.SENDING, 10, 10, _SHORT, _SHORT, Diagnosis.FULLY_PROCESSED),
        (State.SENDING, 10, 10, _LONG, _LONG, Diagnosis.FULLY_PROCESSED),
        (State.PAUSED, 10, 10, _LONG, _LONG, Diagnosis.FULLY_PROCESSED),
        # Then its owner's will.
        (State.PAUSED, 3, 3, _LONG, _LONG, Diagnosis.PAUSED),
        (State.PAUSED, 0, 0, _SHORT, None, Diagnosis.PAUSED),
        # Then the last progress, never the age.
        (State.SENDING, 3, 3, _LONG, _SHORT, Diagnosis.IN_PROGRESS),
        (State.SENDING, 3, 3, _LONG, _LIMIT, Diagnosis.IN_PROGRESS),
        (State.SENDING, 3, 3, _SHORT, _LONG, Diagnosis.IN_PROGRESS),
        (State.SENDING, 0, 0, _LIMIT, None, Diagnosis.IN_PROGRESS),
        (State.SENDING, 3, 3, _LONG, _LONG, Diagnosis.STALLED),
        (State.SENDING, 3, 3, _LONG, _LIMIT + timedelta(microseconds=1), Diagnosis.STALLED),
        (State.SENDING, 0, 0, _LONG, None, Diagnosis.NEVER_STARTED),
    ],
)
def test_the_diagnosis_of_an_open_campaign(  # noqa: PLR0917
    state: State,
    counted: int,
    counters: int,
    started: timedelta,
    progressed: timedelta | None,
    expected: Diagnosis,
) -> None:
    """Counters, then fullness, then pause, then time since the last new result decide."""
    found = diagnose(
        state=state,
        total=10,
        counters=Counters(sent=counters),
        counted=Counters(sent=counted),
        start_time=_NOW - started,
        progress_time=None if progressed is None else _NOW - progressed,
        now=_NOW,
        stall_threshold=_LIMIT,
    )
    assert found is expected


def test_what_a_machine_mends_and_what_needs_a_person() -> None:
    """Defects are repaired; only STALLED and NEVER_STARTED ask for somebody."""
    assert {d for d in Diagnosis if d.is_defect} == {
        Diagnosis.FULLY_PROCESSED,
        Diagnosis.COUNTER_DRIFT,
    }
    assert {d for d in Diagnosis if d.needs_attention} == {
        Diagnosis.STALLED,
        Diagnosis.NEVER_STARTED,
    }


_NOW = datetime(2027, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
#: Times around now: too late, just not too late, now, later, another one later.
_TIMES = [
    _NOW - START_TOLERANCE - _MICROSECOND,
    _NOW - START_TOLERANCE,
    _NOW,
    _NOW + _MICROSECOND,
    _NOW + timedelta(days=1),
]
_STARTS = [
    (state, same_total, schedule_time, start_time, start_now)
    for state, same_total, schedule_time, start_time, start_now in itertools.product(
        State, [True, False], [None, *_TIMES], [None, *_TIMES], [False, True]
    )
    if not (start_now and start_time)
]


def _start_by_the_contract(  # noqa: PLR0911 - one for each sentence
    state: State,
    same_total: bool,  # noqa: FBT001
    schedule_time: datetime | None,
    start_time: datetime | None,
    start_now: bool,  # noqa: FBT001
) -> Start:
    """Answer as the comment of StartCampaign in status.proto says, sentence by sentence."""
    given = start_time is not None
    if given and start_time < _TIMES[1] and start_time != schedule_time:
        return Start.TOO_LATE
    if state is State.CANCELLED:
        return Start.CANCELLED
    if not same_total:
        return Start.OTHER_TOTAL
    match state:
        case State.DRAFT:
            return Start.LATER if start_time in _TIMES[3:] else Start.NOW
        case State.SCHEDULED if start_now:
            return Start.NOW
        case State.SCHEDULED if not given or start_time == schedule_time:
            return Start.NOTHING
        case State.SCHEDULED:
            return Start.MOVED if start_time in _TIMES[3:] else Start.NOW
    return Start.OTHER_TIME if given and start_time != schedule_time else Start.NOTHING


def test_s17_each_start_is_what_the_contract_says() -> None:
    """In each state, for each time stored and requested: it is moved or started as asked only."""
    for state, same_total, schedule_time, start_time, start_now in _STARTS:
        decision = decide_start(
            state=state,
            same_total=same_total,
            schedule_time=schedule_time,
            start_time=start_time,
            start_now=start_now,
            now=_NOW,
        )
        expected = _start_by_the_contract(state, same_total, schedule_time, start_time, start_now)
        assert decision is expected, (state, same_total, schedule_time, start_time, start_now)


def test_s17_a_repeated_call_never_starts_a_scheduled_campaign() -> None:
    """Whatever scheduled it, the same call again, or one without a time, changes nothing."""
    for start_time in _TIMES[3:]:
        for requested in (None, start_time):
            decision = decide_start(
                state=State.SCHEDULED,
                same_total=True,
                schedule_time=start_time,
                start_time=requested,
                start_now=False,
                now=_NOW + timedelta(days=9),
            )
            assert decision is Start.NOTHING
