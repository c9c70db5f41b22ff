"""New results of one campaign, copied before its row is locked. On PostgreSQL alone.

To copy them takes most of a transaction, and with the row locked first everybody else who
reports to the campaign would wait for that. Nobody sees them before the commit, and that
comes only if all that an ordinary transaction finds out under the lock still holds then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa

from service_runtime.database_time import database_now
from status_service.recording import counting
from status_service.recording.merge import all_are_new, new_results, receive_new
from status_service.recording.refusals import refusal
from status_service.recording.result_rows import upsert
from status_service.recording.stored_outcomes import stored_outcomes
from status_service.schema import campaigns

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from status_service.recording.merge import Accepted, Merged
    from status_service.recording.types import CampaignKey, Frame

#: How long a transaction that copies waits for a lock at most: the holder of that may wait
#: for rows that were copied. PostgreSQL looks for such a circle after a second.
LONGEST_WAIT = "100ms"
#: To copy fewer results takes less than all else in their transaction.
LEAST = 500


class NotAheadError(Exception):
    """Copied results can't stay as they are; nothing of the transaction does.

    The same frames are to be recorded in the ordinary order.
    """


class Copied(NamedTuple):
    """Results that were copied before their campaign was locked.

    Attributes:
        campaign: the number of their campaign.
        merged: what was stored of it.
    """

    campaign: int
    merged: Merged

    def confirm(self, campaign: sa.Row[Any] | None, reported: Accepted) -> Merged:
        """Return what was stored, and write into each receipt what became of its frame.

        Args:
            campaign: the row, locked; None: there is none any more.
            reported: all frames, with the reason of each that can't be applied.

        Raises:
            NotAheadError: something has changed since.
        """
        if (
            campaign is None
            or campaign.campaign != self.campaign
            or any(receipt.error for _, receipt in reported)
            or counting.is_filled(campaign, self.merged.deltas)
        ):
            raise NotAheadError
        receive_new(reported)
        return self.merged


def may_copy(frames: Sequence[Frame]) -> bool:
    """Return whether frames are many results of one campaign, and expected to be new."""
    return (
        len({frame.key for frame in frames}) == 1
        and sum(frame.results.size for frame in frames) >= LEAST
        and all(frame.results.has_lines for frame in frames)
    )


def copy(
    connection: sa.Connection, by_campaign: Mapping[CampaignKey, Accepted]
) -> dict[CampaignKey, Copied]:
    """Copy the results of a campaign's frames, if as far as one can see each of them is new.

    Those that fill the campaign are left: what is stored is counted before they are.

    Args:
        connection: in a write transaction that holds no lock.
        by_campaign: frames of one campaign.

    Returns:
        What was copied, to be confirmed once the campaign is locked; empty: nothing was.

    Raises:
        NotAheadError: one of them was stored by others meanwhile.
    """
    ((key, reported),) = by_campaign.items()
    campaign = connection.execute(_READ, key._asdict()).one_or_none()
    if campaign is None or any(refusal(campaign, frame) for frame, _ in reported):
        return {}
    number = campaign.campaign
    requested = {number: [frame.results.sequence for frame, _ in reported]}
    if not all_are_new(reported, stored_outcomes(connection, requested)[number]):
        return {}
    merged = new_results(reported)
    if counting.is_filled(campaign, merged.deltas):
        return {}
    given = [(number, part) for part in merged.changed]
    try:
        upsert(connection, given, campaign.now, all_new=True)
    except sa.exc.IntegrityError as error:
        raise NotAheadError from error
    return {key: Copied(number, merged)}


_READ = sa.select(
    campaigns,
    database_now().label("now"),
    sa.func.set_config("lock_timeout", LONGEST_WAIT, sa.true()),
).where(
    campaigns.c.organisation == sa.bindparam("organisation"),
    campaigns.c.campaign_id == sa.bindparam("campaign_id"),
)
