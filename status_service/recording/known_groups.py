"""Groups that a campaign has already: only their number changes, by one statement.

This is the usual case of a campaign with failures, and the statement is the driver's: what
:mod:`.failure_groups` does costs several times as much, most of it to build statements
and to read rows.
"""

from __future__ import annotations

from functools import cache
from itertools import chain, islice
from typing import TYPE_CHECKING

from status_service.recording.code_groups import MOST_EXAMPLES
from status_service.recording.result_columns import array, integers, texts

if TYPE_CHECKING:
    from collections.abc import Mapping

    import sqlalchemy as sa

    from status_service.recording.code_groups import Added

#: SQLite takes 32,766 values in a statement.
_ROWS_A_STATEMENT = 1_000
#: A group that keeps its text and its examples, so that nothing else changes.
_UPDATE = (
    "UPDATE failure_groups SET number = failure_groups.number + given.column5 FROM {given}"  # noqa: S608 - no input
    " WHERE failure_groups.campaign = given.column1 AND failure_groups.outcome = given.column2"
    " AND failure_groups.is_rest = 0 AND failure_groups.code = given.column3"
    " AND failure_groups.number > 0"
    " AND (failure_groups.detail <> '' OR given.column4 = '')"
    f" AND json_array_length({{examples}}) >= {MOST_EXAMPLES}"
    "{among}"
    " RETURNING failure_groups.campaign, failure_groups.outcome, failure_groups.code"
)
_UPDATE_ARRAYS = _UPDATE.format(
    given="unnest(%s::bigint[], %s::smallint[], %s::text[], %s::text[], %s::bigint[])"
    " AS given (column1, column2, column3, column4, column5)",
    examples="failure_groups.examples::json",
    # Without it, a plan made while the table was small reads groups of all campaigns.
    among=" AND failure_groups.campaign = ANY (%s::bigint[])",
)


def count_more(
    connection: sa.Connection, added: Mapping[int, Mapping[tuple[int, str], Added]]
) -> dict[int, dict[tuple[int, str], Added]]:
    """Add results to the groups that need no other change; return the results of the others.

    Args:
        connection: in a transaction that holds the campaigns locked.
        added: new results by campaign, and by outcome and code.

    Returns:
        What is still to be counted, of every campaign.
    """
    rest = {campaign: dict(pairs) for campaign, pairs in added.items()}
    rows = (
        (campaign, outcome, code, new.detail, new.number)
        for campaign, pairs in added.items()
        for (outcome, code), new in pairs.items()
    )
    while part := list(islice(rows, _ROWS_A_STATEMENT)):
        for campaign, outcome, code in _update(connection, part):
            del rest[campaign][outcome, code]
    return rest


def _update(
    connection: sa.Connection, rows: list[tuple[int, int, str, str, int]]
) -> list[tuple[int, int, str]]:
    """Return the groups that had only their number to change."""
    if connection.dialect.name == "postgresql":
        campaigns, outcomes, codes, details, numbers = zip(*rows, strict=True)
        columns = (
            *(integers(campaigns), integers(outcomes)),
            *(texts(codes), texts(details)),
            integers(numbers),
        )
        values = [array([column]) for column in columns]
        result = connection.exec_driver_sql(_UPDATE_ARRAYS, (*values, values[0]))
    else:
        given: tuple[object, ...] = tuple(chain.from_iterable(rows))
        result = connection.exec_driver_sql(_update_values(len(rows)), given)
    return [(campaign, outcome, code) for campaign, outcome, code in result]


@cache
def _update_values(rows: int) -> str:
    values = ", ".join(["(?, ?, ?, ?, ?)"] * rows)
    return _UPDATE.format(
        given=f"(VALUES {values}) AS given", examples="failure_groups.examples", among=""
    )
