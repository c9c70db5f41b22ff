"""Make a completed campaign stuck, as only a hand in the database can.

The service never leaves a campaign like this: results, counters, state and audit
trail change in one transaction.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from pysqlite3 import dbapi2

if TYPE_CHECKING:
    from pathlib import Path

_COMPLETION = """
    SELECT transition FROM transitions JOIN campaigns USING (campaign)
    WHERE campaign_id = :campaign_id AND to_state = 'COMPLETED'
"""
_STATEMENTS = (
    f"DELETE FROM events WHERE transition IN ({_COMPLETION})",  # noqa: S608 - our own text
    f"DELETE FROM transitions WHERE transition IN ({_COMPLETION})",  # noqa: S608 - our own text
    """
    UPDATE campaigns SET state = 'SENDING', complete_time = NULL
    WHERE campaign_id = :campaign_id AND state = 'COMPLETED'
    """,
)


def take_completion_away(database: Path, campaign_id: str) -> None:
    """Set the campaign back to SENDING, all its results kept, and wipe the trail of it.

    Args:
        database: the file of a status service, which may be running.
        campaign_id: a campaign that is COMPLETED.

    Raises:
        RuntimeError: there is no such campaign.
    """
    with contextlib.closing(dbapi2.connect(str(database), timeout=10)) as connection:
        connection.isolation_level = None  # transactions are ours
        connection.execute("BEGIN IMMEDIATE")
        changed = [
            connection.execute(statement, {"campaign_id": campaign_id}).rowcount
            for statement in _STATEMENTS
        ]
        connection.execute("COMMIT")
    if changed != [1, 1, 1]:
        raise RuntimeError(f"campaign {campaign_id} was not completed exactly once: {changed}")
