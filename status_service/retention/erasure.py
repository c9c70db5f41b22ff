"""An address is erased from what results say, a bounded number of results at a time.

The status service has no addresses of its own; a provider may have named one in its answer,
which is the ``detail`` of a result, and of the group of results that failed so.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import sqlalchemy as sa

from status_service.schema import campaigns, failure_groups, results

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Messages whose results one transaction looks at.
LOOKED_AT: Final = 10_000
#: What stands in the place of an address.
ERASED: Final = "[erased]"
_FIELDS = (results.c.detail, results.c.provider_message_id)


class Place(NamedTuple):
    """How far the results of an organisation were looked at.

    Attributes:
        campaign: the number of a campaign.
        sequence: up to this message of it.
    """

    campaign: int
    sequence: int


class Found(NamedTuple):
    """Where an address stands, in the results that one transaction looked at.

    Attributes:
        campaign: their campaign.
        sequences: the results.
        groups: how many groups of failures.
        place: where to go on; None: all was looked at.
    """

    campaign: int
    sequences: Sequence[int]
    groups: int
    place: Place | None


def pattern_of(address: str) -> re.Pattern[str]:
    """Return what finds an address in a text, and no longer one that only has it in it."""
    return re.compile(rf"(?<![\w.+-]){re.escape(address)}(?![\w-]|\.\w)", re.IGNORECASE)


def look(connection: sa.Connection, organisation: str, address: str, after: Place) -> Found:
    """Find an address in the next results of an organisation.

    Args:
        connection: on a snapshot.
        organisation: whose.
        address: what is looked for.
        after: where the look before stopped.
    """
    campaign = connection.execute(
        sa.select(campaigns.c.campaign, campaigns.c.total)
        .where(campaigns.c.organisation == organisation, campaigns.c.campaign >= after.campaign)
        .order_by(campaigns.c.campaign)
        .limit(1)
    ).one_or_none()
    if campaign is None:
        return Found(0, (), 0, None)
    number = campaign.campaign
    begin = after.sequence if number == after.campaign else 0
    end = begin + LOOKED_AT
    pattern = pattern_of(address)
    rows = connection.execute(_named_in_results(number, address, begin, end))
    sequences = [row.sequence for row in rows if _names(row, pattern)]
    groups = 0 if begin else len(_groups(connection, number, address, pattern))
    is_last = end >= (campaign.total or 0)
    return Found(number, sequences, groups, Place(number + 1, 0) if is_last else Place(number, end))


def erase(connection: sa.Connection, address: str, found: Found) -> tuple[int, int]:
    """Erase an address from what :func:`look` found; return of how many results and groups.

    What these say now counts: a better result may have replaced one since.
    """
    pattern = pattern_of(address)
    of_them = sa.and_(results.c.campaign == found.campaign, results.c.sequence.in_(found.sequences))
    erased = 0
    for row in connection.execute(sa.select(results).where(of_them).with_for_update()):
        if _names(row, pattern):
            erased += 1
            connection.execute(
                sa.update(results)
                .where(results.c.campaign == found.campaign, results.c.sequence == row.sequence)
                .values(
                    {
                        column.name: pattern.sub(ERASED, getattr(row, column.name))
                        for column in _FIELDS
                    }
                )
            )
    groups = _groups(connection, found.campaign, address, pattern) if found.groups else []
    columns = failure_groups.c
    for group in groups:
        connection.execute(
            sa.update(failure_groups)
            .where(
                columns.campaign == group.campaign,
                columns.outcome == group.outcome,
                columns.is_rest == group.is_rest,
                columns.code == group.code,
            )
            .values(detail=pattern.sub(ERASED, group.detail))
        )
    return erased, len(groups)


def _named_in_results(
    campaign: int, address: str, begin: int, end: int
) -> sa.Select[tuple[int, str, str]]:
    columns = results.c
    return sa.select(columns.sequence, columns.detail, columns.provider_message_id).where(
        columns.campaign == campaign,
        columns.sequence > begin,
        columns.sequence <= end,
        sa.or_(*(_has(column, address) for column in _FIELDS)),
    )


def _has(column: sa.Column[str], address: str) -> sa.ColumnElement[bool]:
    return sa.func.lower(column).contains(address.lower(), autoescape=True)


def _names(row: sa.Row[Any], pattern: re.Pattern[str]) -> bool:
    return any(pattern.search(getattr(row, column.name)) for column in _FIELDS)


def _groups(
    connection: sa.Connection, campaign: int, address: str, pattern: re.Pattern[str]
) -> list[sa.Row[Any]]:
    rows = connection.execute(
        sa.select(failure_groups).where(
            failure_groups.c.campaign == campaign, _has(failure_groups.c.detail, address)
        )
    )
    return [row for row in rows if pattern.search(row.detail)]
