"""The sentences for people: each row of what can be found, word by word."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from status_service.campaigns.explanation import after_repair, explain
from status_service.domain import Counters, Diagnosis, Problem, State
from unit.explanations import HOUR, LOGIN, MINUTE, NOW, ROWS, STALLED, entered, standing

FOREIGN = "the relay\r\nNone is lost.\x1b[2J\u202e \x00\u2028said\tno"
SHOWN = "relay None is lost.�[2J� � said no"


@pytest.mark.parametrize(("changed", "explanation", "action"), ROWS.values(), ids=ROWS)
def test_what_is_found_is_said_in_these_words(
    changed: dict[str, Any], explanation: str, action: str
) -> None:
    """The explanation and the action of each row, to the letter."""
    assert explain(standing(**changed)) == (explanation, action)


@pytest.mark.parametrize(
    "changed",
    [
        {},
        STALLED,
        {"state": State.PAUSED, "diagnosis": Diagnosis.PAUSED, "entry": entered(MINUTE)},
        {"state": State.SCHEDULED, "diagnosis": None, "schedule_time": NOW + HOUR},
        {"state": State.DRAFT, "diagnosis": None, "total": None, "counters": Counters()},
    ],
)
def test_words_of_others_stay_in_their_line_of_the_explanation(changed: dict[str, Any]) -> None:
    """They begin no second line, which is this service's, and steer no terminal."""
    problem = LOGIN._replace(summary=FOREIGN, setting=FOREIGN)
    plain = LOGIN._replace(summary="x", setting="y")
    explanation, action = explain(standing(**changed, problems=[problem]))
    expected, _ = explain(standing(**changed, problems=[plain]))
    assert SHOWN in explanation.splitlines()[0]
    assert explanation.splitlines()[1:] == expected.splitlines()[1:]
    assert SHOWN in action
    assert len(action.splitlines()) == 1


def test_names_and_reasons_of_others_stay_in_their_line_too() -> None:
    """Who reported last, who paused or completed it, and why."""
    by = entered(MINUTE, actor=FOREIGN, reason=FOREIGN, forced=2)
    doubtful = {"state": State.COMPLETED, "diagnosis": None, "counters": Counters(unknown=48_200)}
    for changed, times in (
        (STALLED | {"last_reporter": FOREIGN}, 1),
        ({"state": State.PAUSED, "diagnosis": Diagnosis.PAUSED, "entry": by}, 1),
        (doubtful | {"entry": by}, 2),
    ):
        (line,) = explain(standing(**changed)).explanation.splitlines()
        assert line.count(SHOWN) == times
    quiet = explain(standing(**STALLED, last_reporter=" \n "))
    assert quiet.explanation == "No result for 42 min; nobody reported last."


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({}, "The sender names a problem without a description. Results still came 12 s ago."),
        (
            {"state": State.PAUSED, "diagnosis": Diagnosis.PAUSED, "entry": entered(MINUTE)},
            (
                "Paused 1 min ago by ops; 29,960 messages wait. The sender names a problem without"
                " a description."
            ),
        ),
        (
            {"state": State.SCHEDULED, "diagnosis": None, "schedule_time": NOW + HOUR},
            (
                "Starts in 1 h, on 25 Nov 2026, 13:00 UTC: 48,200 messages. The sender names a"
                " problem without a description."
            ),
        ),
        (
            {"state": State.DRAFT, "diagnosis": None, "total": None, "counters": Counters()},
            "Not started: the sender names a problem without a description.",
        ),
    ],
)
@pytest.mark.parametrize("summary", ["", " \n"])
def test_a_problem_without_words_is_said_to_have_none(
    changed: dict[str, Any], said: str, summary: str
) -> None:
    """In every state, also where there are blanks alone."""
    problems = [LOGIN._replace(summary=summary)]
    assert explain(standing(**changed, problems=problems)).explanation.splitlines()[0] == said


@pytest.mark.parametrize(
    ("total", "diagnosis", "found", "said"),
    [
        (48_200, None, Diagnosis.FULLY_PROCESSED, "Completed: all 48,200 messages have a result."),
        (2, None, Diagnosis.FULLY_PROCESSED, "Completed: all 2 messages have a result."),
        (1, None, Diagnosis.FULLY_PROCESSED, "Completed: the only message has a result."),
        (
            48_200,
            None,
            Diagnosis.COUNTER_DRIFT,
            "Counted again, and completed: all 48,200 messages have a result.",
        ),
        (48_200, Diagnosis.IN_PROGRESS, Diagnosis.COUNTER_DRIFT, "Counted again. Nothing to do."),
    ],
)
def test_a_repair_says_what_it_did(
    total: int, diagnosis: Diagnosis | None, found: Diagnosis, said: str
) -> None:
    """And what is to be done now, if the campaign goes on."""
    assert after_repair(standing(total=total, diagnosis=diagnosis), found) == said


@pytest.mark.parametrize("diagnosis", Diagnosis)
@pytest.mark.parametrize("problem", [None, LOGIN, LOGIN._replace(needs_attention=False)])
def test_a_problem_that_needs_a_person_needs_one_at_once(
    diagnosis: Diagnosis, problem: Problem | None
) -> None:
    """Whatever the diagnosis is; any other problem leaves it to the diagnosis."""
    problems = [] if problem is None else [Problem(8), problem]
    expected = diagnosis.needs_attention or (problem is not None and problem.needs_attention)
    assert standing(diagnosis=diagnosis, problems=problems).needs_attention is expected


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"sending": 10.0}, ", about 17 s to go."),
        ({"sending": 9.999}, "."),
        ({"idle": 60.0}, ", about 1 h 38 min to go."),
        ({"idle": 60.001}, "."),
        ({"total": 366, "counters": Counters(sent=1), "sending": 86_400.0}, ", about 365 d to go."),
        ({"total": 367, "counters": Counters(sent=1), "sending": 86_400.0}, "has a result."),
    ],
    ids=["so early", "too early", "so late", "too late", "so long", "too long"],
)
def test_the_time_left_is_said_where_it_can_be_known(changed: dict[str, Any], said: str) -> None:
    """From ten seconds on, while results are a minute old at most, and up to a year."""
    sending = timedelta(seconds=changed.pop("sending", 3_600.0))
    idle = timedelta(seconds=changed.pop("idle", 1.0))
    times = {"start_time": NOW - sending, "entry": entered(sending), "progress_time": NOW - idle}
    explanation, action = explain(standing(**changed, **times))
    assert explanation.startswith("On course")
    assert explanation.endswith(said)
    assert ("to go" in explanation) is ("to go" in said)
    assert action == "Nothing to do."


@pytest.mark.parametrize(("seconds", "begins"), [(1.0, "in 1 s"), (0.999, "now"), (-1.0, "now")])
def test_a_scheduled_campaign_says_when_it_starts(seconds: float, begins: str) -> None:
    """From a second before on, that is now."""
    scheduled = {"state": State.SCHEDULED, "diagnosis": None}
    time = NOW + timedelta(seconds=seconds)
    explanation = explain(standing(**scheduled, schedule_time=time)).explanation
    assert explanation.startswith(f"Starts {begins}, on ")


def test_a_deadline_that_is_now_is_past() -> None:
    """Nothing is said to be safe before it."""
    for later, said in ((0, False), (60_000_000, True)):
        deadline = round(NOW.timestamp() * 1e6) + later
        problems = [LOGIN._replace(deadline_time=deadline)]
        explanation = explain(standing(**STALLED, problems=problems)).explanation
        assert ("None fails before" in explanation) is said
