"""The circuit breaker of a provider, and the trial of a campaign's first answers."""

from __future__ import annotations

import itertools

import pytest

from sender_service.delivery.circuit_breaker import SPAN, Breaker, CircuitBreaker
from sender_service.delivery.trial import FIRST_MESSAGES, Refusal, Trial
from sender_service.domain import ProblemKind
from sender_service.verdicts import Answer, Fault

UNREACHABLE = Fault(ProblemKind.PROVIDER_UNREACHABLE, "it can't be reached")
REFUSES = Fault(ProblemKind.PROVIDER_REFUSES, "it refuses the login", needs_attention=True)
DEFERS = Fault(ProblemKind.PROVIDER_DEFERS, "it defers everybody")


class Time:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


@pytest.fixture
def time() -> Time:
    """A clock."""
    return Time()


def breaker_at(time: Time, fault: Fault | None = None) -> CircuitBreaker:
    """Return a breaker that was opened for ``fault`` and lets one message through now."""
    breaker = CircuitBreaker(time, jitter=lambda: 1.0)
    if fault is not None:
        breaker.open(fault, "its words")
        time.now += breaker.due_seconds
        breaker.half_open()
    breaker.pass_check()
    return breaker


def answer(breaker: CircuitBreaker, answer: Answer) -> Breaker:
    """Answer the one message; return the state afterwards."""
    breaker.answer(answer, "words", retry_after_seconds=None)
    return breaker.state


#: Why it was open, the answer to the one message, the state afterwards: every pair.
PAIRS = {
    (None, Answer.ACCEPTED): Breaker.CLOSED,
    (None, Answer.REFUSED): Breaker.CLOSED,
    (None, Answer.DEFERRED): Breaker.CLOSED,
    (None, Answer.LOST): Breaker.OPEN,
    (UNREACHABLE, Answer.ACCEPTED): Breaker.CLOSED,
    (UNREACHABLE, Answer.REFUSED): Breaker.CLOSED,
    (UNREACHABLE, Answer.DEFERRED): Breaker.CLOSED,
    (UNREACHABLE, Answer.LOST): Breaker.OPEN,
    (REFUSES, Answer.ACCEPTED): Breaker.CLOSED,
    (REFUSES, Answer.REFUSED): Breaker.OPEN,
    (REFUSES, Answer.DEFERRED): Breaker.OPEN,
    (REFUSES, Answer.LOST): Breaker.OPEN,
    (DEFERS, Answer.ACCEPTED): Breaker.CLOSED,
    (DEFERS, Answer.REFUSED): Breaker.CLOSED,
    (DEFERS, Answer.DEFERRED): Breaker.OPEN,
    (DEFERS, Answer.LOST): Breaker.OPEN,
}


@pytest.mark.parametrize(("fault", "reply"), PAIRS)
def test_the_answer_to_the_probe_closes_or_opens(
    time: Time, fault: Fault | None, reply: Answer
) -> None:
    """An answer that says nothing of the fault closes; the same fault again opens."""
    breaker = breaker_at(time, fault)
    assert answer(breaker, reply) is PAIRS[fault, reply]
    assert (breaker.fault is None) == (breaker.state is Breaker.CLOSED)


def test_every_pair_is_tested() -> None:
    """The table above lists each fault with each answer, but for PROVIDER_FAULT."""
    replies = set(Answer) - {Answer.PROVIDER_FAULT}
    assert set(PAIRS) == set(itertools.product([None, UNREACHABLE, REFUSES, DEFERS], replies))


@pytest.mark.parametrize("state", [Breaker.CLOSED, Breaker.OPEN])
@pytest.mark.parametrize("reply", Answer)
def test_a_late_answer_changes_nothing(time: Time, state: Breaker, reply: Answer) -> None:
    """Only a half open breaker takes an answer for that of its probe."""
    breaker = CircuitBreaker(time, state=state)
    assert answer(breaker, reply) is state


def test_a_new_breaker_wants_a_check_first(time: Time) -> None:
    """It knows nothing of its provider."""
    breaker = CircuitBreaker(time)
    assert (breaker.state, breaker.checked, breaker.reached) == (Breaker.HALF_OPEN, False, False)
    breaker.pass_check()
    assert (breaker.checked, breaker.reached) == (True, True)
    breaker.open(UNREACHABLE, "gone")
    assert not breaker.checked


@pytest.mark.parametrize(
    ("fault", "waits"),
    [
        (UNREACHABLE, [1, 2, 4, 8, 16, 30, 30]),
        (REFUSES, [5, 10, 20, 40, 80, 160, 300, 300]),
        (DEFERS, [5, 10, 20, 40, 80, 160, 300, 300]),
    ],
)
def test_the_waits_between_probes_grow(time: Time, fault: Fault, waits: list[float]) -> None:
    """To 30 s for a provider that can't be reached, to five minutes for any other."""
    breaker = CircuitBreaker(time, jitter=lambda: 1.0)
    seen = []
    for _ in waits:
        breaker.open(fault, "words")
        seen.append(breaker.due_seconds)
        time.now += breaker.due_seconds - 0.5
        breaker.half_open()
        assert breaker.state is Breaker.OPEN
        time.now += 0.5
        breaker.half_open()
        assert breaker.state is Breaker.HALF_OPEN
    assert seen == pytest.approx(waits)
    assert breaker.failures == len(waits)
    breaker.pass_check()
    answer(breaker, Answer.ACCEPTED)
    breaker.open(fault, "words")
    assert breaker.due_seconds == pytest.approx(waits[0])


def test_a_longer_wait_that_the_provider_asks_for_is_obeyed(time: Time) -> None:
    """A shorter one does not shorten the backoff."""
    breaker = CircuitBreaker(time, jitter=lambda: 0.0)
    breaker.open(DEFERS, "later", retry_after_seconds=90.0)
    assert breaker.due_seconds == pytest.approx(90)
    breaker.open(DEFERS, "later", retry_after_seconds=0.1)
    assert breaker.due_seconds == pytest.approx(7.5)


@pytest.mark.parametrize(("jitter", "due"), [(0.0, 90), (0.5, 94.5), (1.0, 99)])
def test_those_who_wait_as_asked_come_back_by_and_by(time: Time, jitter: float, due: float) -> None:
    """Nobody before the time that the provider asked for, and the last a tenth of it later."""
    breaker = CircuitBreaker(time, jitter=lambda: jitter)
    breaker.open(DEFERS, "later", retry_after_seconds=90.0)
    assert breaker.due_seconds == pytest.approx(due)


def test_a_wait_of_years_is_an_hour(time: Time) -> None:
    """What a provider says to one message, perhaps by mistake, ends no channel for good."""
    breaker = CircuitBreaker(time, jitter=lambda: 0.0)
    breaker.open(DEFERS, "later", retry_after_seconds=999_999_999.0)
    assert breaker.due_seconds == pytest.approx(3_600)


def test_attention_is_needed_at_once_or_after_five_minutes(time: Time) -> None:
    """At once if the provider never answered, or only a person can help."""
    never = CircuitBreaker(time)
    never.open(UNREACHABLE, "no route")
    assert never.needs_attention
    before = breaker_at(time)
    before.open(UNREACHABLE, "no route")
    assert not before.needs_attention
    time.now += 299
    before.open(UNREACHABLE, "no route")
    assert not before.needs_attention
    time.now += 1
    assert before.needs_attention
    refuses = breaker_at(time)
    refuses.open(REFUSES, "535")
    assert refuses.needs_attention
    defers = breaker_at(time)
    defers.open(DEFERS, "450")
    time.now += 3_600
    assert not defers.needs_attention


def test_most_of_the_last_answers_deferred_open(time: Time) -> None:
    """Sixteen of the last twenty, whatever came before them."""
    breaker = CircuitBreaker(time, state=Breaker.CLOSED)
    for _ in range(500):
        assert not breaker.note(deferred=False)
    assert [breaker.note(deferred=True) for _ in range(16)] == [False] * 15 + [True]


def test_a_few_answers_open_nothing(time: Time) -> None:
    """Fewer than twenty answers say little."""
    breaker = CircuitBreaker(time, state=Breaker.CLOSED)
    assert not any(breaker.note(deferred=True) for _ in range(SPAN - 1))
    assert breaker.note(deferred=True)


def test_everybody_gets_a_first_try_from_a_provider_that_greylists(time: Time) -> None:
    """Each time that a deferred message passes, twice as many deferrals are needed."""
    breaker = CircuitBreaker(time, state=Breaker.CLOSED)
    spans = []
    for _ in range(4):
        spans.append(next(n for n in itertools.count(1) if breaker.note(deferred=True)))
        breaker.open_for_deferrals("greylisted", retry_after_seconds=None)
        time.now += breaker.due_seconds
        breaker.half_open()
        breaker.pass_check()
        answer(breaker, Answer.ACCEPTED)
    assert spans == [20, 40, 80, 160]
    for _ in range(400):
        breaker.note(deferred=False)
    assert next(n for n in itertools.count(1) if breaker.note(deferred=True)) <= SPAN


def greylisted(time: Time, times: int) -> CircuitBreaker:
    """Return a closed breaker that was opened for deferrals and closed so many times."""
    breaker = CircuitBreaker(time, state=Breaker.CLOSED)
    for _ in range(times):
        breaker.open_for_deferrals("greylisted", retry_after_seconds=None)
        time.now += breaker.due_seconds
        breaker.half_open()
        breaker.pass_check()
        answer(breaker, Answer.ACCEPTED)
    return breaker


def test_no_number_of_deferrals_passes_for_greylisting_for_ever(time: Time) -> None:
    """After 20,480 of them in a row a provider counts as one that takes nothing."""
    breaker = greylisted(time, 12)
    assert next(n for n in itertools.count(1) if breaker.note(deferred=True)) == 20_480


@pytest.mark.parametrize(("deferred", "more"), [(8, 19), (9, 23)])
def test_a_provider_that_takes_most_again_is_judged_by_few_answers(
    time: Time, deferred: int, more: int
) -> None:
    """By its last 20 once at most a fifth of 40 was deferred, by its last 40 until then."""
    breaker = greylisted(time, 1)
    for number in range(41):
        assert not breaker.note(deferred=40 - deferred <= number < 40)
    assert next(n for n in itertools.count(1) if breaker.note(deferred=True)) == more


def test_a_refusal_after_an_acceptance_is_final() -> None:
    """The provider takes messages of this campaign, so it means the recipient."""
    trial = Trial(1_000)
    assert trial.refuse(1) is Refusal.EARLY
    trial.accept()
    assert [trial.refuse(n) for n in (1, 2)] == [Refusal.FINAL] * 2


def test_the_first_twenty_refusals_are_no_verdict() -> None:
    """However often single ones were tried meanwhile."""
    trial = Trial(1_000)
    for sequence in range(1, FIRST_MESSAGES):
        assert trial.refuse(sequence) is Refusal.EARLY
        assert trial.refuse(1) is Refusal.EARLY
    assert trial.refuse(FIRST_MESSAGES) is Refusal.EVERYBODY
    assert trial.refuse(FIRST_MESSAGES) is Refusal.EARLY


@pytest.mark.parametrize("remaining", [1, 2, 19])
def test_a_small_campaign_ends_when_everybody_was_refused(remaining: int) -> None:
    """Its people are refused for good as soon as each of them was tried."""
    trial = Trial(remaining)
    for sequence in range(1, remaining):
        assert trial.refuse(sequence) is Refusal.EARLY
    assert trial.refuse(remaining) is Refusal.FINAL
    assert trial.refuse(1) is Refusal.FINAL


def test_a_campaign_that_has_nobody_else_to_try_ends() -> None:
    """The rest was left out, or is with another instance: it shows nothing any more."""
    trial = Trial(1_000)
    assert [trial.refuse(n) for n in (1, 2, 3)] == [Refusal.EARLY] * 3
    trial.run_out()
    assert trial.refuse(1) is Refusal.FINAL


def test_twenty_refusals_are_no_verdict_where_nobody_else_is_left() -> None:
    """They are enough to doubt the provider."""
    trial = Trial(1_000)
    for sequence in range(1, FIRST_MESSAGES):
        trial.refuse(sequence)
    trial.run_out()
    assert trial.refuse(FIRST_MESSAGES) is Refusal.EVERYBODY


def test_a_provider_that_defers_some_does_not_refuse_everybody() -> None:
    """Twenty answers of which some are deferrals make refusals count."""
    trial = Trial(1_000)
    trial.note_other(1)
    for sequence in range(2, FIRST_MESSAGES):
        assert trial.refuse(sequence) is Refusal.EARLY
    assert trial.refuse(FIRST_MESSAGES) is Refusal.FINAL


def test_a_slow_provider_gets_to_the_others() -> None:
    """A refused message waits longer for each further try."""
    trial = Trial(1_000)
    holds = []
    for _ in range(4):
        trial.refuse(1)
        holds.append(trial.hold_seconds(1))
    assert holds == [3, 6, 12, 24]
