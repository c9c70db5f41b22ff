"""An event as a CloudEvent 1.0 in JSON, in structured mode.

Source: https://github.com/cloudevents/spec, cloudevents/formats/json-format.md.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    import sqlalchemy as sa

#: The media type of the body.
CONTENT_TYPE: Final = "application/cloudevents+json; charset=utf-8"
_COUNTERS = ("sent", "failed", "skipped", "unknown")


def body_of(
    event: sa.Row[Any],
    campaign: sa.Row[Any],
    transition: sa.Row[Any] | None,
    details: Mapping[str, str],
) -> str:
    """Return the body of an event.

    Args:
        event: its row.
        campaign: the row of its campaign, as it is when the event is published.
        transition: the change of state that it is about, if it is one.
        details: what its writer noted, and the explanation of how the campaign stands.
    """
    data: dict[str, Any] = {
        "campaignId": campaign.campaign_id,
        "displayName": campaign.display_name,
        "channel": campaign.channel,
        "labels": json.loads(campaign.labels),
        "state": campaign.state,
        # As in the JSON of protobuf: an integer of 64 bits is a string.
        "revision": str(campaign.revision),
        "total": None if campaign.total is None else str(campaign.total),
        **{name: str(getattr(campaign, name)) for name in _COUNTERS},
        "progressTime": _time(campaign.progress_time),
        "completeTime": _time(campaign.complete_time),
        **details,
    }
    if transition is not None:
        data["transition"] = {
            "fromState": transition.from_state,
            "toState": transition.to_state,
            "cause": transition.cause,
            "actor": transition.actor,
            "onBehalfOf": transition.on_behalf_of,
            "reason": transition.reason,
            "createTime": _time(transition.create_time),
        }
    envelope = {
        "specversion": "1.0",
        "id": event.event_id,
        "source": f"/closeout/organisations/{campaign.organisation}",
        "type": f"closeout.{event.kind}.v1",
        "subject": campaign.campaign_id,
        "time": _time(event.create_time),
        "datacontenttype": "application/json",
        # Of one campaign, events are in the order of these numbers.
        "sequence": f"{event.event:020d}",
        "data": data,
    }
    return json.dumps(envelope, ensure_ascii=False, separators=(",", ":"))


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat(timespec="microseconds")[:-6] + "Z"
