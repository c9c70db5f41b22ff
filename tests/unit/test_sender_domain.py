"""The rules of sending: every answer, every bound, every key."""

from __future__ import annotations

import enum
import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from closeout.sender.v1 import sender_pb2
from closeout.status.v1 import status_pb2
from sender_service.channels.contract import Answer, Reply
from sender_service.domain import (
    MAX_CODE,
    MAX_DETAIL,
    Backoff,
    Guarantee,
    MessageKeys,
    Outcome,
    Phase,
    Policy,
    ProblemKind,
    RetryPolicy,
    State,
    clean,
    cut_shards,
    room,
)
from sender_service.verdicts import Fault, Finished, Requeue, Retry, effect_of, retry_delay


def policy(guarantee: Guarantee = Guarantee.AT_MOST_ONCE, **changes: float) -> Policy:
    values = {"max_attempts": 3, "initial_backoff_seconds": 2.0, "deadline_seconds": 1000.0}
    return Policy(guarantee, RetryPolicy(**(values | changes)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (Phase, sender_pb2.GetDeliveryResponse.Phase),
        (State, status_pb2.Campaign.State),
        (Guarantee, sender_pb2.DeliveryOptions.Guarantee),
        (Outcome, status_pb2.Result.Outcome),
        (ProblemKind, status_pb2.Problem.Kind),
    ],
)
def test_words_are_those_of_the_contract(ours: type[enum.Enum], theirs: Any) -> None:
    """Every enum has the names of the proto, but for the one that is never sent."""
    assert {word.name for word in ours} == {
        name
        for name in theirs.keys()  # noqa: SIM118 - no dict
        if not name.endswith("UNSPECIFIED")
    }


def test_outcomes_have_the_numbers_of_the_contract() -> None:
    """The number of an outcome is its rank on the wire."""
    assert {word.name: word.value for word in Outcome} == {
        name: number for name, number in status_pb2.Result.Outcome.items() if number
    }


@pytest.mark.parametrize(
    ("answer", "guarantee", "attempt", "lost_before", "late"),
    list(itertools.product(Answer, Guarantee, [1, 2, 3, 4], [False, True], [False, True])),
)
def test_every_answer_has_an_effect(
    answer: Answer, guarantee: Guarantee, attempt: int, *, lost_before: bool, late: bool
) -> None:
    """All combinations: what ends, as what, and what is tried again."""
    effect = effect_of(
        Reply(answer, code="c", detail="d", provider_message_id="p"),
        attempt=attempt,
        lost_before=lost_before,
        elapsed_seconds=1000.0 if late else 0.0,
        policy=policy(guarantee),
        jitter=0.5,
    )
    at_most_once = guarantee is Guarantee.AT_MOST_ONCE
    if answer is Answer.ACCEPTED:
        assert effect == Finished(Outcome.SENT, "c", "d", "p")
    elif answer is Answer.REFUSED:
        assert effect == Finished(Outcome.FAILED, "c", "d")
    elif answer is Answer.PROVIDER_FAULT:
        assert effect == Requeue()
    elif answer is Answer.LOST and at_most_once:
        assert effect == Finished(Outcome.UNKNOWN, "c", "d")
    elif attempt >= 3 or late:
        maybe_arrived = lost_before or answer is Answer.LOST
        assert effect == Finished(Outcome.UNKNOWN if maybe_arrived else Outcome.FAILED, "c", "d")
    else:
        assert effect == Retry(
            2.0 * 2 ** (attempt - 1), lost_before or answer is Answer.LOST, "c", "d"
        )


def test_a_lost_answer_without_a_code_is_in_doubt() -> None:
    """An UNKNOWN message always says why."""
    effect = effect_of(
        Reply(Answer.LOST),
        attempt=1,
        lost_before=False,
        elapsed_seconds=0,
        policy=policy(),
        jitter=0,
    )
    assert effect == Finished(Outcome.UNKNOWN, "in_doubt", "")


@given(
    attempt=st.integers(1, 10_000),
    retry_after=st.none() | st.floats(-10, 100_000),
    initial=st.floats(0, 3600),
    longest=st.floats(0, 86_400),
    jitter=st.floats(0, 1),
)
def test_a_delay_is_bounded_and_never_shorter_than_asked(
    attempt: int, retry_after: float | None, initial: float, longest: float, jitter: float
) -> None:
    """Backoff stays within five quarters of the longest; Retry-After is honoured."""
    retry = RetryPolicy(1000.0, initial_backoff_seconds=initial, max_backoff_seconds=longest)
    delay = retry_delay(attempt, retry_after, retry, jitter)
    assert delay >= max(retry_after or 0, 0)
    assert delay <= max(longest * 1.25, max(retry_after or 0, 0) * 1.1)


def test_a_schedule_names_each_wait_and_keeps_the_last() -> None:
    """Jitter spreads a wait by a quarter, and the provider may ask for more."""
    retry = RetryPolicy(initial_backoff_seconds=1.0, schedule=(5.0, 30.0, 120.0))
    waits = [retry_delay(attempt, None, retry, 0.5) for attempt in (1, 2, 3, 4, 10_000)]
    assert waits == [5.0, 30.0, 120.0, 120.0, 120.0]
    assert retry_delay(2, None, retry, 0.0) == 22.5
    assert retry_delay(2, None, retry, 1.0) == 37.5
    assert retry_delay(3, 900.0, retry, 0.0) == 900.0
    assert retry_delay(1, 1.0, retry, 0.5) == 5.0


@pytest.mark.parametrize("attempt", [1, 5, 100, 10_000])
def test_without_a_number_of_tries_only_the_deadline_ends_them(attempt: int) -> None:
    """max_attempts 0 is no limit, and never a refusal of the second try."""
    endless = policy(max_attempts=0, max_backoff_seconds=10.0)

    def effect(elapsed_seconds: float) -> Any:
        return effect_of(
            Reply(Answer.DEFERRED, code="451"),
            attempt=attempt,
            lost_before=False,
            elapsed_seconds=elapsed_seconds,
            policy=endless,
            jitter=0.5,
        )

    assert isinstance(effect(900.0), Retry)
    assert effect(1000.0) == Finished(Outcome.FAILED, "451", "")


@pytest.mark.parametrize("retry_after", [None, 2000.0])
@pytest.mark.parametrize("guarantee", Guarantee)
def test_a_wait_beyond_the_deadline_is_cut_to_the_time_left(
    retry_after: float | None, guarantee: Guarantee
) -> None:
    """Neither backoff nor Retry-After ends a message while time is left (L3)."""

    def effect(elapsed_seconds: float) -> Any:
        return effect_of(
            Reply(Answer.DEFERRED, code="429", retry_after_seconds=retry_after),
            attempt=2,
            lost_before=False,
            elapsed_seconds=elapsed_seconds,
            policy=policy(guarantee, initial_backoff_seconds=700.0),
            jitter=0.5,
        )

    assert effect(0.0) == Retry(1000.0, lost=False, code="429")
    assert effect(990.0) == Retry(10.0, lost=False, code="429")
    assert effect(1000.0) == Finished(Outcome.FAILED, "429", "")


@given(
    st.lists(
        st.tuples(st.text(), st.text(), st.text(), st.integers(1, 2**40)), min_size=2, unique=True
    )
)
def test_s12_no_two_messages_share_a_key(messages: list[tuple[str, str, str, int]]) -> None:
    """Organisation, campaign, content and sequence make the key, and nothing runs together."""
    keys = [
        MessageKeys(organisation=o, campaign_id=c, content_digest=d).key(sequence)
        for o, c, d, sequence in messages
    ]
    assert len(set(keys)) == len(messages)


def test_s12_a_key_is_the_same_for_ever() -> None:
    """Keys are part of what other instances and later versions must agree on."""
    keys = MessageKeys(organisation="default", campaign_id="welcome", content_digest="d")
    again = MessageKeys(organisation="default", campaign_id="welcome", content_digest="d")
    assert keys.key(1) == keys.key(1) == again.key(1) == "7d337fda389e7454852e7bd9179d3d16"


@given(total=st.integers(0, 5000), size=st.integers(1, 700))
def test_shards_cover_every_sequence_once(total: int, size: int) -> None:
    """Ranges are dense, in order and not larger than asked."""
    ranges = cut_shards(total, size)
    assert [n for first, last in ranges for n in range(first, last + 1)] == list(
        range(1, total + 1)
    )
    assert all(last - first < size for first, last in ranges)


@given(window=st.integers(1, 100), in_doubt=st.integers(0, 200), data=st.data())
def test_room_never_lets_doubt_exceed_the_window(
    window: int, in_doubt: int, data: st.DataObject
) -> None:
    """What is taken fills the window and goes no further."""
    settled = data.draw(st.integers(0, in_doubt))
    take = room(window=window, in_doubt=in_doubt, finished=settled)
    assert take >= 0
    assert in_doubt - settled + take <= max(window, in_doubt - settled)
    if in_doubt - settled <= window:
        assert in_doubt - settled + take == window


@given(st.text(st.characters(), max_size=1200))
def test_what_a_provider_says_can_always_be_sent(text: str) -> None:
    """Lone surrogates, NUL and length never keep a result from being reported."""
    cleaned = clean(text, MAX_DETAIL)
    result = status_pb2.Result(detail=cleaned, code=clean(text, MAX_CODE))
    assert len(result.detail) <= MAX_DETAIL
    assert "\0" not in cleaned


def test_backoff_doubles_to_its_bound_and_starts_anew() -> None:
    """Waits grow, stay bounded, and are short again after a success."""
    backoff = Backoff(first_seconds=1, max_seconds=5, jitter=lambda: 1.0)
    assert [backoff.next_seconds() for _ in range(5)] == [1, 2, 4, 5, 5]
    backoff.reset()
    assert backoff.next_seconds() == 1


def test_terminal_states_are_those_nothing_is_sent_in() -> None:
    """A closed campaign is closed, whoever closed it."""
    assert {state for state in State if state.is_terminal} == {State.COMPLETED, State.CANCELLED}


@pytest.mark.parametrize(
    ("kind", "summary", "setting"),
    [
        (ProblemKind.CONTENT_INVALID, "the provider is away", ""),
        ("PROVIDER_UNKNOWN", "the provider is away", ""),
        (ProblemKind.PROVIDER_DEFERS, None, ""),
        (ProblemKind.PROVIDER_DEFERS, "the provider is away", 25),
    ],
)
def test_a_fault_that_cannot_be_reported_is_refused(kind: Any, summary: Any, setting: Any) -> None:
    """A channel of another package learns it at once, before a stream breaks by it."""
    with pytest.raises(ValueError, match=r"a fault|of a fault"):
        Fault(kind, summary, setting)
