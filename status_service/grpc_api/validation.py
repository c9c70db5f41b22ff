"""What a request must be before anything is done with it.

Each check returns the value in the form the service works with, or raises an
InvalidRequestError that names the field.
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING

from service_runtime.errors import InvalidRequestError
from status_service.domain import State
from status_service.grpc_api.messages import from_results, from_timestamp
from status_service.reads.queries import PageRequest

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from google.protobuf.duration_pb2 import Duration
    from google.protobuf.timestamp_pb2 import Timestamp

    from closeout.status.v1 import status_pb2
    from status_service.recording.result_columns import ResultColumns, ResultRow

_CAMPAIGN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
#: Results in one frame, at most.
FRAME_RESULTS = 1_000
#: The largest total: sequences stay within a signed 64-bit integer with room to count.
_LARGEST_TOTAL = 2**53
#: The times a ``datetime`` can hold, microseconds since 1970.
_FIRST_MICROSECOND = -62_135_596_800_000_000
_LAST_MICROSECOND = 253_402_300_799_999_999
_NO_TIME = "not a time of the years 1 to 9999"
#: The texts of a result in the order of the columns, and how long each may be.
_LONGEST = {"code": 64, "detail": 500, "provider_message_id": 255}
_OUTCOMES = frozenset(range(1, 5))


def campaign_id(given: str) -> str:
    """Return a campaign id that is well formed."""
    if not _CAMPAIGN_ID.fullmatch(given):
        expected = "1 to 128 of A-Z a-z 0-9 . _ - beginning with a letter or a digit"
        problem = "required" if not given else f"{given[:140]!r} is not {expected}"
        raise InvalidRequestError.of({"campaign_id": problem})
    return given


def text(field: str, given: str, longest: int) -> str:
    """Return a text of at most ``longest`` characters, without NUL."""
    if len(given) > longest:
        raise InvalidRequestError.of({field: f"longer than {longest} characters"})
    if "\x00" in given:
        raise InvalidRequestError.of({field: "contains a NUL character"})
    return given


def total(given: int) -> int:
    """Return a number of messages."""
    if not 0 <= given <= _LARGEST_TOTAL:
        raise InvalidRequestError.of({"total": f"{given} is not within 0..{_LARGEST_TOTAL}"})
    return given


def page(size: int, token: str, *, default: int, most: int) -> PageRequest:
    """Return which page is asked for."""
    if size < 0:
        raise InvalidRequestError.of({"page_size": "negative"})
    return PageRequest(min(size or default, most), token)


def states(given: Iterable[int]) -> list[State]:
    """Return states by their numbers in the contract."""
    known = list(State)
    for number in given:
        if not 1 <= number <= len(known):
            raise InvalidRequestError.of({"states": f"{number} is not a state"})
    return [known[number - 1] for number in given]


def outcomes(given: Iterable[int]) -> list[int]:
    """Return outcomes by their numbers in the contract."""
    for number in given:
        if number not in _OUTCOMES:
            raise InvalidRequestError.of({"outcomes": f"{number} is not an outcome"})
    return list(given)


def moment(field: str, given: Timestamp) -> datetime:
    """Return a time within the years 1 to 9999."""
    try:
        return from_timestamp(given)
    except (ValueError, OverflowError) as error:
        raise InvalidRequestError.of({field: _NO_TIME}) from error


def threshold(given: Duration) -> timedelta:
    """Return a positive duration."""
    try:
        span = given.ToTimedelta()
    except (ValueError, OverflowError) as error:
        raise InvalidRequestError.of({"stall_threshold": "out of range"}) from error
    if span <= timedelta():
        raise InvalidRequestError.of({"stall_threshold": "not positive"})
    return span


def results(given: Sequence[status_pb2.Result]) -> ResultColumns:
    """Return the results of a frame as the ledger takes them.

    Whether the sequences are the campaign's is the ledger's to say. This runs for
    every result there is, so a frame is looked at column by column, and row by row
    only to name what is wrong.
    """
    if len(given) > FRAME_RESULTS:
        raise InvalidRequestError.of(
            {"results": f"{len(given)} in one frame; at most {FRAME_RESULTS}"}
        )
    columns = from_results(given)
    _, outcomes, attempts, *texts, times = columns
    there = list(filter(None, times))
    fits = (
        _OUTCOMES.issuperset(outcomes)
        and min(attempts, default=0) >= 0
        and all(map(_fits, texts, _LONGEST.values()))
        and min(there, default=0) >= _FIRST_MICROSECOND
        and max(there, default=0) <= _LAST_MICROSECOND
    )
    if not fits:
        for index, row in enumerate(columns.rows()):
            _check_row(f"results[{index}]", row)
    return columns


def _fits(column: Sequence[str], longest: int) -> bool:
    return max(map(len, column), default=0) <= longest and "\x00" not in "".join(column)


def _check_row(place: str, row: ResultRow) -> None:
    _, outcome, attempt, *texts, finish = row
    if outcome not in _OUTCOMES:
        raise InvalidRequestError.of({f"{place}.outcome": "required"})
    if attempt < 0:
        raise InvalidRequestError.of({f"{place}.attempt": "negative"})
    if finish is not None and not _FIRST_MICROSECOND <= finish <= _LAST_MICROSECOND:
        raise InvalidRequestError.of({f"{place}.finish_time": _NO_TIME})
    for (field, longest), given in zip(_LONGEST.items(), texts, strict=True):
        text(f"{place}.{field}", given, longest)
