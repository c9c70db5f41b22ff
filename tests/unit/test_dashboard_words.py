"""States, the trail and the first sentences of pages, in words."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from status_service.campaigns.standing import Standing
from status_service.dashboard.security import (
    form_token,
    is_token,
    names_this_machine,
    path_of_this_site,
)
from status_service.dashboard.states import shown
from status_service.dashboard.summary import heading, lede
from status_service.dashboard.trail import stamp, steps
from status_service.domain import Counters, Diagnosis, Problem, State

NOW = datetime(2026, 11, 25, 9, 41, 7, tzinfo=UTC)


def standing(state: State, diagnosis: Diagnosis | None = None, **changed: Any) -> Standing:
    """Return what is known of a campaign of ten messages."""
    known = {"total": 10, "counters": Counters(), "problems": (), "now": NOW} | changed
    return Standing(state=state, diagnosis=diagnosis, **known)


@pytest.mark.parametrize(
    ("it", "said"),
    [
        (standing(State.DRAFT), "Draft, collecting recipients"),
        (
            standing(State.SCHEDULED, schedule_time=NOW + timedelta(hours=21)),
            "Scheduled, starts in 21 h",
        ),
        (standing(State.SCHEDULED, schedule_time=NOW), "Scheduled, starts now"),
        (standing(State.SENDING, Diagnosis.IN_PROGRESS), "Sending, on course"),
        (standing(State.SENDING, Diagnosis.STALLED), "Sending, stalled"),
        (
            standing(
                State.SENDING, Diagnosis.IN_PROGRESS, problems=[Problem(1, needs_attention=True)]
            ),
            "Sending, held up",
        ),
        (standing(State.PAUSED, Diagnosis.PAUSED), "Paused, until it is resumed"),
        (standing(State.COMPLETED, counters=Counters(sent=10)), "Completed"),
        (
            standing(State.COMPLETED, counters=Counters(sent=8, unknown=2)),
            "Completed, with 2 in doubt",
        ),
        (standing(State.CANCELLED), "Cancelled, ended by its owner"),
    ],
)
def test_a_state_has_a_word_and_how_it_is(it: Standing, said: str) -> None:
    """And an icon of its name."""
    found = shown(it)
    assert found.short.word == said
    assert found.icon == it.state.lower()


def test_every_diagnosis_of_a_sending_campaign_has_words() -> None:
    """A new one fails here, and not on the page."""
    for diagnosis in Diagnosis:
        assert shown(standing(State.SENDING, diagnosis)).how


@pytest.mark.parametrize(
    ("needy", "others", "first", "second"),
    [
        (0, 0, "Nothing needs a person", "No campaign is open."),
        (0, 1, "Nothing needs a person", "One campaign is open, and nothing is wrong with it."),
        (1, 0, "One campaign needs a person", "No other is open."),
        (1, 1, "One campaign needs a person", "One other is open, and nothing is wrong with it."),
        (
            2,
            13,
            "Two campaigns need a person",
            "13 others are open, and nothing is wrong with them.",
        ),
    ],
)
def test_two_sentences_say_how_all_are(needy: int, others: int, first: str, second: str) -> None:
    """Numbers to twelve in words."""
    assert heading(needy) == first
    assert lede(needy, others) == second


@pytest.mark.parametrize(
    ("before", "after", "cause", "verb"),
    [
        (None, "DRAFT", "USER", "Registered"),
        ("DRAFT", "SCHEDULED", "USER", "Scheduled"),
        ("SCHEDULED", "SENDING", "SCHEDULE", "Started"),
        ("PAUSED", "SENDING", "USER", "Resumed"),
        ("SENDING", "PAUSED", "USER", "Paused"),
        ("SENDING", "COMPLETED", "RESULT", "Completed"),
        ("SENDING", "COMPLETED", "MANUAL", "Marked complete"),
        ("SENDING", "COMPLETED", "RECONCILE", "Repaired"),
        ("PAUSED", "CANCELLED", "USER", "Cancelled"),
    ],
)
def test_the_trail_says_what_happened(
    before: str | None, after: str, cause: str, verb: str
) -> None:
    """In one verb, with who did it and for whom."""
    row = SimpleNamespace(
        from_state=before,
        to_state=after,
        cause=cause,
        actor="key:ops",
        on_behalf_of="ada",
        reason="so",
        create_time=NOW,
        forced=0,
    )
    (found,) = steps([row], NOW)  # type: ignore[list-item]
    assert (found.verb, found.who, found.reason) == (verb, "key:ops (ada)", "so")


def test_a_time_has_its_year_only_where_it_is_another() -> None:
    """With seconds, since it is looked up in logs."""
    assert stamp(NOW, NOW) == "25 Nov, 09:41:07"
    assert stamp(NOW, NOW + timedelta(days=300)) == "25 Nov 2026, 09:41:07"


@pytest.mark.parametrize(
    ("host", "is_here"),
    [
        ("127.0.0.1:20080", True),
        ("localhost", True),
        ("[::1]:80", True),
        ("127.1.2.3", True),
        ("evil.example", False),
        ("127.0.0.1.evil.example:20080", False),
        ("localhost.evil.example", False),
        ("10.0.0.1", False),
        ("", False),
        ("[::1", False),
    ],
)
def test_a_name_of_this_machine_is_loopback(host: str, is_here: bool) -> None:  # noqa: FBT001
    """Whatever else leads here may belong to somebody else."""
    assert names_this_machine(host) is is_here


def test_a_form_token_is_of_one_session() -> None:
    """And shows nothing of it."""
    token = form_token(b"one")
    assert is_token(b"one", token)
    assert not is_token(b"other", token)
    assert not is_token(b"one", "")
    assert not is_token(b"one", "ü")


@pytest.mark.parametrize(
    ("path", "led"),
    [
        ("/campaigns/x?a=b", "/campaigns/x?a=b"),
        ("//x", "/"),
        ("/\\x", "/"),
        ("x", "/"),
        ("", "/"),
        ("/a\r\nb", "/"),
        ("/\t/evil.example", "/"),
    ],
)
def test_only_a_path_of_this_site_is_led_to(path: str, led: str) -> None:
    """After sign-in, whatever the address asks for."""
    assert path_of_this_site(path) == led
