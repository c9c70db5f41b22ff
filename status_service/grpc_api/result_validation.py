"""The check that runs for every result there is: column by column, and only then converted."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING

from service_runtime.validation import NO_TIME
from status_service.domain import Outcome
from status_service.recording.result_columns import NO_RESULTS, ResultColumns

if TYPE_CHECKING:
    from collections.abc import Sequence

    from closeout.status.v1 import status_pb2
    from service_runtime.validation import Validation

#: The fields of a result in the order of the columns, but for the time, which has two.
_FIELDS = attrgetter(
    *("sequence", "outcome", "attempt", "code", "detail", "provider_message_id"),
    *("finish_time.seconds", "finish_time.nanos"),
)
_OUTCOMES = frozenset(map(int, Outcome))
#: The texts of a result in the order of the columns, and how long each may be.
LONGEST = {"code": 64, "detail": 500, "provider_message_id": 255}
#: The years 1 to 9999, seconds since 1970.
_FIRST_SECOND, _LAST_SECOND = -62_135_596_800, 253_402_300_799
_LAST_NANOSECOND = 999_999_999


def checked_results(
    check: Validation, field: str, results: Sequence[status_pb2.Result]
) -> ResultColumns:
    """Return results as the ledger takes them, in their order.

    Whether the sequences are the campaign's is the ledger's to say. The fields of a
    result are read by one call, which does not come back to Python in between, and the
    results are checked row by row only to name what is wrong.

    Args:
        check: notes what is wrong.
        field: the path of the results.
        results: the results.
    """
    if not results:
        return NO_RESULTS
    columns = tuple(zip(*map(_FIELDS, results), strict=True))
    _, outcomes, attempts, *texts, seconds, nanos = columns
    fits = (
        _OUTCOMES.issuperset(outcomes)
        and min(attempts) >= 0
        and all(map(_fits, texts, LONGEST.values()))
        and min(seconds) >= _FIRST_SECOND
        and max(seconds) <= _LAST_SECOND
        and min(nanos) >= 0
        and max(nanos) <= _LAST_NANOSECOND
    )
    if not fits:
        for index, row in enumerate(zip(*columns, strict=True)):
            _check_row(check, f"{field}[{index}]", row)
        return NO_RESULTS
    times = [
        second * 1_000_000 + nano // 1_000 or None
        for second, nano in zip(seconds, nanos, strict=True)
    ]
    return ResultColumns._make((*columns[:-2], times))


def _fits(column: Sequence[str], longest: int) -> bool:
    return max(map(len, column)) <= longest and "\x00" not in "".join(column)


def _check_row(check: Validation, place: str, row: Sequence[object]) -> None:
    match row:
        case (_, outcome, int(attempt), *texts, int(second), int(nano)):
            if outcome not in _OUTCOMES:
                problem = f"{outcome} is not a value this service knows" if outcome else "required"
                check.refuse(f"{place}.outcome", problem)
            if attempt < 0:
                check.refuse(f"{place}.attempt", "negative")
            for (name, longest), text in zip(LONGEST.items(), texts, strict=True):
                check.text(f"{place}.{name}", str(text), longest=longest)
            in_calendar = _FIRST_SECOND <= second <= _LAST_SECOND
            if not in_calendar or not 0 <= nano <= _LAST_NANOSECOND:
                check.refuse(f"{place}.finish_time", NO_TIME)
