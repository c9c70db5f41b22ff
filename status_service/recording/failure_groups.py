"""Results that are not SENT, counted by code in the transaction that stores them.

The groups of an outcome always add up to its counter. Where all results are SENT, which is
the usual case, nothing is read and nothing written.
"""

from __future__ import annotations

import json
from itertools import compress
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

# SQLite has the same clause and compiles this form of it.
from sqlalchemy.dialects.postgresql import insert

from status_service.domain import Outcome
from status_service.recording.code_groups import (
    MOST_CODES,
    MOST_EXAMPLES,
    Added,
    Group,
    GroupKey,
    moved,
)
from status_service.schema import NOT_SENT, failure_groups, results

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from status_service.recording.code_groups import Removed
    from status_service.recording.merge import Merged

_LOOKUPS_A_STATEMENT = 1_000
_COLUMNS = failure_groups.c

_STORED = sa.select(results.c.sequence, results.c.outcome, results.c.code).where(
    results.c.campaign == sa.bindparam("campaign"),
    results.c.sequence.in_(sa.bindparam("sequences", expanding=True)),
)
_GROUPS = sa.select(failure_groups).where(
    _COLUMNS.campaign.in_(sa.bindparam("campaigns", expanding=True))
)
#: A plain number: the comparison of an enum is not in C.
_SENT = int(Outcome.SENT)
_KEY = ("campaign", "outcome", "is_rest", "code")
_VALUES = ("number", "detail", "examples")
_INSERT = insert(failure_groups)
_UPSERT = _INSERT.on_conflict_do_update(
    index_elements=_KEY, set_={name: _INSERT.excluded[name] for name in _VALUES}
)
_DELETE = sa.delete(failure_groups).where(_COLUMNS.campaign == sa.bindparam("number_of_campaign"))


def replaced_results(
    connection: sa.Connection, replaced: Mapping[int, Sequence[int]]
) -> dict[int, list[Removed]]:
    """Return the results that are going to be replaced, by campaign.

    Args:
        connection: in a transaction that holds the campaigns locked.
        replaced: sequences by campaign.
    """
    found: dict[int, list[Removed]] = {}
    for campaign, sequences in replaced.items():
        rows = found[campaign] = []
        for start in range(0, len(sequences), _LOOKUPS_A_STATEMENT):
            part = list(sequences[start : start + _LOOKUPS_A_STATEMENT])
            stored = connection.execute(_STORED, {"campaign": campaign, "sequences": part})
            rows += [(sequence, outcome, code) for sequence, outcome, code in stored]
    return found


def move(
    connection: sa.Connection,
    stored: Mapping[int, Merged],
    replaced: Mapping[int, Sequence[Removed]],
) -> None:
    """Count results that were just stored, and no longer those they replaced.

    Two statements for all campaigns: a statement costs as much as a hundred results.

    Args:
        connection: in a transaction that holds the campaigns locked.
        stored: what was stored, by campaign.
        replaced: what that replaced, as :func:`replaced_results` returned it.
    """
    added = {campaign: _added(merged) for campaign, merged in stored.items()}
    concerned = [campaign for campaign in stored if added[campaign] or replaced[campaign]]
    if not concerned:
        return
    groups = _groups(connection, concerned)
    after = {}
    for campaign in concerned:
        changed = moved(groups[campaign], added[campaign], replaced[campaign])
        if changed is None:
            recount(connection, campaign)  # somebody changed rows by hand
        else:
            after[campaign] = changed
    _store(connection, after)


def _groups(connection: sa.Connection, numbers: Sequence[int]) -> dict[int, dict[GroupKey, Group]]:
    """Return the groups of campaigns as they are stored, by campaign."""
    found: dict[int, dict[GroupKey, Group]] = {campaign: {} for campaign in numbers}
    for start in range(0, len(numbers), _LOOKUPS_A_STATEMENT):
        part = numbers[start : start + _LOOKUPS_A_STATEMENT]
        for row in connection.execute(_GROUPS, {"campaigns": part}):
            found[row.campaign][GroupKey(row.outcome, row.is_rest, row.code)] = Group(
                row.number, row.detail, tuple(json.loads(row.examples))
            )
    return found


def _added(merged: Merged) -> dict[tuple[int, str], Added]:
    """Return the results of each code, but for those that are SENT."""
    found: dict[tuple[int, str], Added] = {}
    if merged.deltas.sent == sum(part.size for part in merged.changed):
        return found
    for part in merged.changed:
        places: dict[tuple[int, str], list[int]] = {}
        # In C, since most results are SENT.
        for place in compress(range(part.size), map(_SENT.__ne__, part.outcome)):
            places.setdefault((part.outcome[place], part.code[place]), []).append(place)
        for pair, of_pair in places.items():
            before = found.get(pair, Added(0, "", ()))
            examples = of_pair[: MOST_EXAMPLES - len(before.examples)]
            found[pair] = Added(
                before.number + len(of_pair),
                before.detail or part.detail[of_pair[0]],
                (*before.examples, *(part.sequence[place] for place in examples)),
            )
    return found


def _store(connection: sa.Connection, changed: Mapping[int, Mapping[GroupKey, Group]]) -> None:
    rows = [
        {
            "campaign": campaign,
            **key._asdict(),
            "number": group.number,
            "detail": group.detail,
            "examples": json.dumps(group.examples),
        }
        for campaign, groups in changed.items()
        for key, group in groups.items()
    ]
    if rows:
        connection.execute(_UPSERT, rows)


def recount(connection: sa.Connection, campaign: int) -> None:
    """Count the results of a campaign by code again, in one pass over them.

    Args:
        connection: in a transaction that holds the campaign locked.
        campaign: its number.
    """
    replace(connection, campaign, counted(connection, campaign))


def counted(connection: sa.Connection, campaign: int) -> list[dict[str, Any]]:
    """Return the groups of a campaign by counting its results, in one pass over them.

    The largest groups of an outcome keep their code; the others are the rest. Each names
    the first and the last of its results.
    """
    return [dict(row) for row in connection.execute(_COUNT, {"counted": campaign}).mappings()]


def replace(connection: sa.Connection, campaign: int, groups: Sequence[dict[str, Any]]) -> None:
    """Store these groups in place of those of a campaign.

    Args:
        connection: in a transaction that holds the campaign locked.
        campaign: its number.
        groups: as :func:`counted` returned them.
    """
    connection.execute(_DELETE, {"number_of_campaign": campaign})
    if groups:
        connection.execute(_INSERT, groups)


def add(
    connection: sa.Connection, campaign: int, outcome: Outcome, code: str, added: Added
) -> None:
    """Count results that were just stored, all of one outcome and code and none of them before.

    Args:
        connection: in a transaction that holds the campaign locked.
        campaign: its number.
        outcome: which one, not SENT.
        code: their code.
        added: how many there are, and some of them.
    """
    changed = moved(_groups(connection, [campaign])[campaign], {(outcome, code): added}, [])
    _store(connection, {campaign: changed or {}})


def number_of(connection: sa.Connection, campaign: int, outcome: Outcome, code: str) -> int:
    """Return how many results have an outcome and a code; 0: none, or the code has no group."""
    group = _groups(connection, [campaign])[campaign].get(GroupKey(outcome, 0, code))
    return 0 if group is None else group.number


def _counting() -> sa.Executable:
    """Return the statement, built once."""
    rows = results.c
    grouped = (
        sa.select(
            rows.outcome,
            rows.code,
            sa.func.count().label("number"),
            sa.func.min(rows.sequence).label("first"),
            sa.func.max(rows.sequence).label("last"),
        )
        .where(
            rows.campaign == sa.bindparam("counted", type_=sa.BigInteger),
            NOT_SENT,
        )
        .group_by(rows.outcome, rows.code)
        .cte("grouped")
    )
    place = sa.func.row_number().over(
        partition_by=grouped.c.outcome, order_by=[grouped.c.number.desc(), grouped.c.code]
    )
    ranked = sa.select(grouped, place.label("place")).cte("ranked")
    is_rest = sa.case((ranked.c.place > MOST_CODES, 1), else_=0).label("is_rest")
    code = sa.case((ranked.c.place > MOST_CODES, ""), else_=ranked.c.code).label("code")
    parted = sa.select(
        ranked.c.outcome, is_rest, code, ranked.c.number, ranked.c.first, ranked.c.last
    ).cte("parted")
    summed = (
        sa.select(
            parted.c.outcome,
            parted.c.is_rest,
            parted.c.code,
            sa.cast(sa.func.sum(parted.c.number), sa.BigInteger).label("number"),
            sa.func.min(parted.c.first).label("first"),
            sa.func.max(parted.c.last).label("last"),
        )
        .group_by(parted.c.outcome, parted.c.is_rest, parted.c.code)
        .cte("summed")
    )
    first, last = (sa.cast(summed.c[name], sa.Text) for name in ("first", "last"))
    both = sa.literal("[").concat(first).concat(", ").concat(last).concat("]")
    one = sa.literal("[").concat(first).concat("]")
    return sa.select(
        rows.campaign,
        summed.c.outcome,
        summed.c.is_rest,
        summed.c.code,
        summed.c.number,
        rows.detail,
        sa.case((summed.c.first == summed.c.last, one), else_=both).label("examples"),
    ).join_from(
        summed,
        results,
        sa.and_(
            rows.campaign == sa.bindparam("counted", type_=sa.BigInteger),
            rows.sequence == summed.c.first,
        ),
    )


_COUNT = _counting()
