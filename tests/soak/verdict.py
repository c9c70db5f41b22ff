"""Check what must hold at the end, with plain SQL."""

from __future__ import annotations

from collections.abc import Mapping

import psycopg

_DRIFT = """
    SELECT campaign_id FROM campaigns LEFT JOIN (
        SELECT campaign,
            count(*) FILTER (WHERE outcome = 1) AS unknown,
            count(*) FILTER (WHERE outcome = 2) AS skipped,
            count(*) FILTER (WHERE outcome = 3) AS failed,
            count(*) FILTER (WHERE outcome = 4) AS sent
        FROM results GROUP BY campaign
    ) AS counted USING (campaign)
    WHERE (campaigns.unknown, campaigns.skipped, campaigns.failed, campaigns.sent)
        IS DISTINCT FROM (counted.unknown, counted.skipped, counted.failed, counted.sent)
"""
_NOT_ENDED_ONCE = """
    SELECT campaign_id, state, count(transition), count(event_id) FROM campaigns
    LEFT JOIN transitions ON transitions.campaign = campaigns.campaign AND to_state = 'COMPLETED'
    LEFT JOIN events USING (transition)
    GROUP BY campaign_id, state
    HAVING state <> 'COMPLETED' OR count(transition) <> 1 OR count(event_id) <> 1
"""
_REPAIRED = """
    SELECT campaign_id FROM transitions JOIN campaigns USING (campaign) WHERE cause = 'RECONCILE'
"""


def violations(url: str, acknowledged: Mapping[str, bytearray]) -> dict[str, list[str]]:
    """Return the violations of each check."""
    lost = []
    stored = {name: bytearray(len(best)) for name, best in acknowledged.items()}
    with psycopg.connect(url) as connection:
        with connection.cursor("results") as cursor:  # a cursor on the server: there are millions
            cursor.execute(
                "SELECT campaign_id, sequence, outcome FROM results JOIN campaigns USING (campaign)"
            )
            for name, sequence, outcome in cursor:
                stored[name][sequence] = outcome
        for name, best in acknowledged.items():
            if stored[name] != best:
                differing = [n for n, one in enumerate(best) if stored[name][n] != one]
                lost += [f"{name}: {number}" for number in differing]
        found = {
            question: [str(row) for row in connection.execute(statement)]
            for question, statement in {
                "campaigns with counter drift": _DRIFT,
                "campaigns not completed exactly once": _NOT_ENDED_ONCE,
                "campaigns repaired": _REPAIRED,
            }.items()
        }
    return {"acknowledged results lost or changed": lost} | found
