"""What the page "Mark complete" says of each answer of the dry run."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from service_runtime.errors import StoreUnavailableError
from status_service.campaigns.standing import Standing
from status_service.campaigns.types import Changed
from status_service.dashboard.completion import Verdict, completion, in_words, what_changed
from status_service.domain import Counters, Diagnosis, State
from status_service.errors import CampaignNotFullyProcessedError, CampaignNotSendingError

NOW = datetime(2026, 11, 25, 9, 41, 7, tzinfo=UTC)
FIVE_MINUTES = timedelta(minutes=5)
_ROW: Any = None


def _standing(**changed: Any) -> Standing:
    values: dict[str, Any] = {
        "state": State.SENDING,
        "total": 48_200,
        "counters": Counters(sent=18_097, failed=143),
        "diagnosis": Diagnosis.STALLED,
        "problems": [],
        "now": NOW,
        "start_time": NOW - timedelta(hours=1),
        "progress_time": NOW - timedelta(minutes=42),
    }
    return Standing(**(values | changed))


def _refusal() -> CampaignNotFullyProcessedError:
    return CampaignNotFullyProcessedError(
        "a", total=48_200, counters=Counters(sent=18_097, failed=143), missing=[(4_561, 12_050)]
    )


def test_a_refusal_says_what_force_would_change() -> None:
    """The numbers that were counted, beside those that force would make of them."""
    shown = completion(_refusal(), _standing(), stall_threshold=FIVE_MINUTES)
    assert shown.verdict is Verdict.REFUSED
    assert shown.sentence == (
        "29,960 of 48,200 messages have no result, so this campaign can't be marked complete."
    )
    assert shown.reason_code == "CAMPAIGN_NOT_FULLY_PROCESSED"
    assert [(row.label, row.now, row.after) for row in shown.rows] == [
        ("Sent", 18_097, 18_097),
        ("Failed", 143, 143),
        ("Skipped", 0, 0),
        ("Unknown", 0, 29_960),
        ("No result yet", 29_960, 0),
    ]
    assert shown.after is not None
    assert shown.after.label == "Of 48,200 messages: 18,097 sent, 143 failed, 29,960 in doubt."


@pytest.mark.parametrize(
    ("standing", "waiting"),
    [
        (
            {"progress_time": NOW - timedelta(seconds=3)},
            "Results are still coming in, the last one 3 s ago.",
        ),
        (
            {"progress_time": NOW - timedelta(seconds=3), "state": State.PAUSED},
            "Results are still coming in, the last one 3 s ago.",
        ),
        (
            {"progress_time": None, "start_time": NOW - timedelta(seconds=9)},
            "It started 9 s ago, and no result has come yet.",
        ),
    ],
)
def test_force_is_not_offered_while_results_come(standing: dict[str, Any], waiting: str) -> None:
    """Nobody is invited to end by force what goes on by itself."""
    shown = completion(_refusal(), _standing(**standing), stall_threshold=FIVE_MINUTES)
    assert shown.verdict is Verdict.IN_PROGRESS
    assert shown.waiting == f"{waiting} Force is offered when none came for 5 minutes."


@pytest.mark.parametrize(
    "standing",
    [
        {"progress_time": None, "start_time": NOW - timedelta(minutes=6)},
        {"progress_time": None, "start_time": NOW, "state": State.PAUSED},
    ],
)
def test_force_is_offered_where_no_result_can_be_waited_for(standing: dict[str, Any]) -> None:
    """A campaign that nobody sends for so long, or that is paused, may have lost its sender."""
    shown = completion(_refusal(), _standing(**standing), stall_threshold=FIVE_MINUTES)
    assert (shown.verdict, shown.waiting) == (Verdict.REFUSED, "")


@pytest.mark.parametrize(
    ("total", "sentence"),
    [
        (10_000, "Every one of 10,000 messages has a result."),
        (1, "The only message has a result."),
        (0, "It has no messages."),
    ],
)
def test_what_is_possible_changes_nothing_else(total: int, sentence: str) -> None:
    """A campaign of which every message has a result can be completed without a loss."""
    answer = Changed(_ROW, transitioned=True, before=_ROW)
    shown = completion(answer, _standing(total=total), stall_threshold=FIVE_MINUTES)
    assert shown.verdict is Verdict.POSSIBLE
    assert shown.sentence == f"{sentence} Marking it complete changes nothing else."


@pytest.mark.parametrize(
    ("state", "sentence"),
    [
        (State.DRAFT, "This campaign has not started, so it can't be marked complete."),
        (State.SCHEDULED, "This campaign has not started, so it can't be marked complete."),
        (State.CANCELLED, "This campaign was cancelled. A cancelled campaign stays cancelled."),
    ],
)
def test_a_wrong_state_offers_no_form(state: State, sentence: str) -> None:
    """A campaign that is not being sent is neither completed nor forced."""
    refusal = CampaignNotSendingError("a", state=state)
    shown = completion(refusal, _standing(state=state), stall_threshold=FIVE_MINUTES)
    assert shown.verdict is Verdict.WRONG_STATE
    assert shown.sentence.startswith(sentence)
    assert not shown.rows


def test_a_completed_campaign_is_completed_already() -> None:
    """Nothing is done a second time."""
    answer = Changed(_ROW, transitioned=False, before=_ROW)
    standing = _standing(state=State.COMPLETED)
    shown = completion(answer, standing, stall_threshold=FIVE_MINUTES)
    assert (shown.verdict, shown.sentence) == (
        Verdict.COMPLETED,
        "This campaign is completed already.",
    )


def test_a_failure_is_no_verdict() -> None:
    """A database that does not answer says nothing about the campaign."""
    with pytest.raises(StoreUnavailableError):
        completion(StoreUnavailableError("down"), _standing(), stall_threshold=FIVE_MINUTES)


@pytest.mark.parametrize(
    ("length", "text"),
    [
        (timedelta(minutes=5), "5 minutes"),
        (timedelta(minutes=1), "1 minute"),
        (timedelta(seconds=90), "1 min 30 s"),
        (timedelta(hours=2), "2 h"),
        (timedelta(seconds=0.05), "less than 1 s"),
    ],
)
def test_a_threshold_is_said_in_words(length: timedelta, text: str) -> None:
    """Whole minutes are a word."""
    assert in_words(length) == text


@pytest.mark.parametrize(
    ("before", "what"),
    [
        (30_172, "212 results came in"),
        (29_961, "1 result came in"),
        (29_960, "it stands differently"),
        (None, "it stands differently"),
    ],
)
def test_what_changed_meanwhile_is_said(before: int | None, what: str) -> None:
    """Whoever decided by an older page learns what came in since."""
    now = completion(_refusal(), _standing(), stall_threshold=FIVE_MINUTES)
    said = f"It changed while you read: {what}. Here is how it stands now."
    assert what_changed(before, now) == said
