"""The count of a campaign's results that its completion rests on.

A counter that somebody changed by hand must complete nothing with messages missing, so the
results are counted before a campaign completes. A small campaign is counted under the lock
that the write holds. A large one is counted on a snapshot, which holds up nobody; a write
that locks the campaign later takes that count if it still holds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa

from status_service.domain import Counters, State
from status_service.recording import failure_groups, result_rows
from status_service.recording.types import counters_of
from status_service.schema import campaigns

if TYPE_CHECKING:
    from collections.abc import Sequence

#: The results of a campaign with more messages are never counted under a lock.
MOST_UNDER_LOCK = 20_000
#: Nor those of one with more just to say how it stands: its counters are believed there.
MOST_TO_ANSWER = 1_000_000


class UncountedError(Exception):
    """The results of a large campaign must be counted on a snapshot first; nothing is written.

    Attributes:
        campaign: its number.
    """

    def __init__(self, campaign: int) -> None:
        super().__init__(f"the results of campaign {campaign} are to be counted first")
        self.campaign = campaign


class Count(NamedTuple):
    """The results of a campaign, counted on a snapshot.

    Attributes:
        revision: of the campaign in that snapshot.
        counters: what its row said there.
        counted: how many results there were.
        groups: its results by code, as ``failure_groups`` has them; None: its counters
            were right, so nobody counted those.
    """

    revision: int
    counters: Counters
    counted: Counters
    groups: Sequence[dict[str, Any]] | None

    @property
    def drift(self) -> Counters:
        """What the counters lack while the count holds."""
        return self.counted.minus(self.counters)

    def holds(self, campaign: sa.Row[Any]) -> bool:
        """Return whether the count says what is wrong with the counters of a locked campaign.

        Every write of results moves the counters by what it stores, in one transaction, and
        raises the revision. So counters that were right stay so; of counters that were
        wrong, the same is wrong only while nothing has changed.
        """
        if campaign.revision != self.revision:
            return campaign.revision > self.revision and self.counters == self.counted
        return counters_of(campaign) == self.counters


def count(connection: sa.Connection, campaign: sa.Row[Any], total: int) -> Count:
    """Count the results of a campaign whose row was read on the same snapshot, or is locked."""
    counted = result_rows.count(connection, campaign.campaign, total)
    return of(connection, campaign, counted)


def of(connection: sa.Connection, campaign: sa.Row[Any], counted: Counters) -> Count:
    """Return a count that was made already; count by code as well if the counters are wrong."""
    counters = counters_of(campaign)
    groups = None
    if counted != counters:
        groups = failure_groups.counted(connection, campaign.campaign)
    return Count(campaign.revision, counters, counted, groups)


def count_by_number(connection: sa.Connection, number: int) -> Count | None:
    """Count the results of a campaign on a snapshot; None: it was taken out by hand."""
    row = connection.execute(
        sa.select(campaigns).where(campaigns.c.campaign == number)
    ).one_or_none()
    return None if row is None or row.total is None else count(connection, row, row.total)


def is_filled(campaign: sa.Row[Any], deltas: Counters) -> bool:
    """Return whether a campaign that has not ended is full once these are added to its counters."""
    processed = counters_of(campaign).processed + deltas.processed
    return not State(campaign.state).is_terminal and processed >= campaign.total


def of_locked(
    connection: sa.Connection, campaign: sa.Row[Any], total: int, known: Count | None
) -> Count:
    """Return a count that holds for a locked campaign.

    Args:
        connection: in a transaction that holds ``campaign`` locked.
        campaign: its row as it was locked; no result was stored since.
        total: how many messages it has.
        known: a count on an earlier snapshot, if there is one.

    Raises:
        UncountedError: it is large, and ``known`` does not hold.
    """
    if known is not None and known.holds(campaign):
        return known
    if total > MOST_UNDER_LOCK:
        raise UncountedError(campaign.campaign)
    return count(connection, campaign, total)


def correct_groups(connection: sa.Connection, campaign: int, known: Count) -> None:
    """Store the results by code as they were counted, where the counters were wrong.

    Args:
        connection: in a transaction that holds the campaign locked, before it stores results.
        campaign: its number.
        known: a count that holds.
    """
    if known.groups is not None:
        failure_groups.replace(connection, campaign, known.groups)
