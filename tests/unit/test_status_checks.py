"""What a request must be: what is taken stays as it is, what is not names its field."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from closeout.status.v1 import status_pb2 as pb
from service_runtime.errors import InvalidRequestError
from status_service.domain import State
from status_service.grpc_api import messages, validation


def violations(check: Callable[[], object]) -> set[str]:
    """Return the fields that a check which must fail complains of."""
    with pytest.raises(InvalidRequestError) as caught:
        check()
    return set(caught.value.fields)


@pytest.mark.parametrize("given_id", ["a", "A-1", "0", "a.b_c-d", "x" * 128])
def test_a_campaign_id_is_taken(given_id: str) -> None:
    """1 to 128 of A-Z a-z 0-9 . _ - beginning with a letter or a digit."""
    assert validation.campaign_id(given_id) == given_id


@pytest.mark.parametrize(
    "given_id", ["", "-a", ".", "_", "a b", "a/b", "a\n", "\n", "ä", "x" * 129, "a\x00", "\uff41"]
)
def test_a_campaign_id_is_refused(given_id: str) -> None:
    """Anything else, also a line feed at the end and letters of other alphabets."""
    assert violations(lambda: validation.campaign_id(given_id)) == {"campaign_id"}


def test_texts_are_bounded_by_characters_not_bytes() -> None:
    """As many characters as allowed, whatever they take in bytes; no NUL."""
    assert validation.text("reason", "𝄞" * 5, 5) == "𝄞" * 5
    assert violations(lambda: validation.text("reason", "x" * 6, 5)) == {"reason"}
    assert violations(lambda: validation.text("reason", "\x00", 5)) == {"reason"}


@pytest.mark.parametrize(
    ("number", "taken"), [(0, True), (2**53, True), (-1, False), (2**53 + 1, False)]
)
def test_a_total_is_bounded(number: int, taken: bool) -> None:  # noqa: FBT001
    """Totals are 0 to 2**53."""
    if taken:
        assert validation.total(number) == number
    else:
        assert violations(lambda: validation.total(number)) == {"total"}


def test_pages_have_a_default_and_a_largest_size() -> None:
    """0 is the default, too much is the most, less than nothing is refused."""
    sizes = [validation.page(size, "t", default=50, most=100).size for size in (0, 1, 100, 101)]
    assert sizes == [50, 1, 100, 100]
    assert violations(lambda: validation.page(-1, "", default=1, most=1)) == {"page_size"}


def test_states_and_outcomes_are_those_of_the_contract() -> None:
    """Each number of the contract is taken for what it names; 0 and others are refused."""
    for state in State:
        number = pb.Campaign.State.Value(state.value)
        assert validation.states([number]) == [state]
        assert messages.to_state(state) == number
    for wrong in (0, 7, -1):
        assert violations(lambda: validation.states([wrong])) == {"states"}  # noqa: B023
    assert validation.outcomes([1, 4]) == [1, 4]
    for wrong in (0, 5):
        assert violations(lambda: validation.outcomes([wrong])) == {"outcomes"}  # noqa: B023


def test_a_threshold_is_positive_and_finite() -> None:
    """A duration of more than nothing that a clock can add."""
    assert validation.threshold(Duration(nanos=1_000)) == timedelta(microseconds=1)
    for wrong in (Duration(), Duration(seconds=-1), Duration(seconds=2**62)):
        assert violations(lambda: validation.threshold(wrong)) == {"stall_threshold"}  # noqa: B023


@pytest.mark.parametrize("seconds", [253_402_300_800, -62_135_596_801, 2**62, -(2**62)])
def test_a_time_outside_the_calendar_is_refused(seconds: int) -> None:
    """As start_time and as finish_time alike."""
    stamp = Timestamp(seconds=seconds)
    assert violations(lambda: validation.moment("start_time", stamp)) == {"start_time"}
    wrong = [pb.Result(sequence=1, outcome=4), pb.Result(sequence=2, outcome=4, finish_time=stamp)]
    assert violations(lambda: validation.results(wrong)) == {"results[1].finish_time"}


@pytest.mark.parametrize(
    "moment",
    [
        datetime(1, 1, 1, tzinfo=UTC),
        datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
        datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC),
    ],
)
def test_a_time_of_the_calendar_is_taken(moment: datetime) -> None:
    """To the microsecond, at both ends and before 1970."""
    stamp = Timestamp()
    stamp.FromDatetime(moment)
    assert validation.moment("start_time", stamp) == moment
    (row,) = validation.results([pb.Result(sequence=1, outcome=4, finish_time=stamp)]).rows()
    assert row[-1] == (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"outcome": 0}, "outcome"),
        ({"outcome": 5}, "outcome"),
        ({"outcome": 4, "attempt": -1}, "attempt"),
        ({"outcome": 4, "code": "x" * 65}, "code"),
        ({"outcome": 4, "detail": "x" * 501}, "detail"),
        ({"outcome": 4, "provider_message_id": "x" * 256}, "provider_message_id"),
        ({"outcome": 4, "code": "\x00"}, "code"),
    ],
)
def test_a_wrong_result_is_named_with_its_place(fields: dict[str, Any], field: str) -> None:
    """The violation says which result of the frame, and which field of it."""
    rows = [pb.Result(sequence=1, outcome=4), pb.Result(sequence=2, **fields)]
    assert violations(lambda: validation.results(rows)) == {f"results[1].{field}"}


def test_a_frame_has_at_most_a_thousand_results() -> None:
    """1,000 are taken, 1,001 are refused."""
    rows = [pb.Result(sequence=1, outcome=4)] * 1_001
    assert validation.results(rows[:1_000]).size == 1_000
    assert violations(lambda: validation.results(rows)) == {"results"}


_texts = st.text(st.characters(exclude_characters="\x00", codec="utf-8"), max_size=64)


@given(
    sequence=st.integers(-(2**63), 2**63 - 1),
    outcome=st.integers(1, 4),
    attempt=st.integers(0, 2**31 - 1),
    texts=st.tuples(
        *[st.text(st.characters(exclude_characters="\x00", codec="utf-8"), max_size=64)] * 3
    ),
)
def test_a_result_goes_into_a_row_field_by_field(
    sequence: int, outcome: int, attempt: int, texts: tuple[str, str, str]
) -> None:
    """Nothing of a result is lost or altered on its way to the ledger."""
    code, detail, message_id = texts
    result = pb.Result(
        sequence=sequence,
        outcome=outcome,
        attempt=attempt,
        code=code,
        detail=detail,
        provider_message_id=message_id,
    )
    (row,) = validation.results([result]).rows()
    assert row == (sequence, outcome, attempt, code, detail, message_id, None)
