"""Campaigns are registered: once for each id, or for each request without one."""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from service_runtime.database_time import read_clock
from status_service.campaigns.types import Changed
from status_service.domain import Cause
from status_service.errors import CampaignAlreadyExistsError
from status_service.recording import deleted
from status_service.recording.transitions import write_transition
from status_service.recording.types import CampaignKey
from status_service.schema import campaign_labels, campaigns

if TYPE_CHECKING:
    from service_runtime.caller import Caller
    from status_service.campaigns.types import NewCampaign


def create(connection: sa.Connection, caller: Caller, new: NewCampaign) -> Changed:
    """Register a DRAFT, or return the campaign that this call registered before.

    Works inside a write transaction that its caller holds.

    Raises:
        CampaignAlreadyExistsError: the id is taken by other content, or was until somebody
            deleted the campaign; the transaction must be rolled back.
    """
    columns = campaigns.c
    now = read_clock(connection)
    content = {
        "display_name": new.display_name,
        "channel": new.channel,
        "labels": json.dumps(dict(new.labels), sort_keys=True),
    }
    # Of two at once, one inserts; the other waits for it and then finds its row.
    created = connection.execute(
        insert(campaigns)
        .values(
            organisation=caller.organisation,
            campaign_id=new.campaign_id or str(uuid.uuid4()),
            # It distinguishes calls without an id of the caller's, and only those.
            request_id=None if new.campaign_id else new.request_id or None,
            create_time=now,
            **content,
        )
        .on_conflict_do_nothing()
        .returning(campaigns)
    ).one_or_none()
    if created is None:
        same = (
            columns.campaign_id == new.campaign_id
            if new.campaign_id
            else columns.request_id == new.request_id
        )
        existing = connection.execute(
            sa.select(campaigns).where(columns.organisation == caller.organisation, same)
        ).one()
        if any(getattr(existing, name) != value for name, value in content.items()):
            raise CampaignAlreadyExistsError(existing.campaign_id)
        return Changed(existing, transitioned=False, before=existing)
    # Read after the insert, which waited for whoever deletes a campaign with this id.
    key = CampaignKey(caller.organisation, created.campaign_id)
    if deleted.find(connection, key) is not None:
        raise CampaignAlreadyExistsError(created.campaign_id)
    _write_labels(connection, created, new)
    write_transition(
        connection,
        None,
        created,
        now=now,
        cause=Cause.USER,
        actor=caller.actor,
        reason="",
        on_behalf_of=caller.on_behalf_of,
    )
    return Changed(created, transitioned=True, before=None)


def _write_labels(connection: sa.Connection, created: sa.Row[Any], new: NewCampaign) -> None:
    if new.labels:
        connection.execute(
            sa.insert(campaign_labels),
            [
                {
                    "organisation": created.organisation,
                    "label": label,
                    "value": value,
                    "campaign": created.campaign,
                }
                for label, value in new.labels.items()
            ],
        )
