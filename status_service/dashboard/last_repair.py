"""What the last repair of a session did: made of its answer, and kept as a text.

A session keeps the text, so that a reload of the page shows what was done, and does not do
it again, on whatever instance it is answered.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from status_service.domain import State

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from status_service.campaigns.repair import Finding

#: Campaigns that are named at most.
_MOST = 50
#: As much is kept of a name that others gave, characters.
_NAME = 200


@dataclass(frozen=True, slots=True)
class Repaired:
    """What was done to one campaign.

    Attributes:
        campaign_id: its id.
        name: what people call it.
        was: what was the matter with it.
        done: what was done, in words.
        state: the state it has now.
    """

    campaign_id: str
    name: str
    was: str
    done: str
    state: State


@dataclass(frozen=True, slots=True)
class LastRepair:
    """What a repair did.

    Attributes:
        moment: when.
        repaired: the campaigns, the first :data:`_MOST`.
        more: how many more there were.
    """

    moment: datetime
    repaired: Sequence[Repaired]
    more: int


def last_repair(findings: Iterable[Finding], moment: datetime) -> LastRepair:
    """Return what RepairCampaigns did; what somebody else holds locked is named as well."""
    done = [found for found in findings if found.repaired or found.is_locked]
    return LastRepair(moment, list(map(_repaired, done[:_MOST])), max(0, len(done) - _MOST))


def _repaired(found: Finding) -> Repaired:
    row = found.campaign
    return Repaired(
        row.campaign_id,
        (row.display_name or row.campaign_id)[:_NAME],
        str(found.diagnosis),
        found.action,
        State(row.state),
    )


def to_text(repair: LastRepair) -> str:
    """Return what a session keeps."""
    content = asdict(repair) | {"moment": repair.moment.isoformat(), "kind": "repair"}
    return json.dumps(content, ensure_ascii=False)


def from_text(text: str) -> LastRepair | None:
    """Return what a session has kept; None if that is something else, or nothing."""
    try:
        content: Any = json.loads(text) if text else None
    except ValueError:
        return None
    if not isinstance(content, dict) or content.get("kind") != "repair":
        return None
    repaired = [Repaired(**row | {"state": State(row["state"])}) for row in content["repaired"]]
    moment = datetime.fromisoformat(content["moment"]).astimezone(UTC)
    return LastRepair(moment, repaired, content["more"])
