"""The tables. What can be said as a constraint is, so that no code can break it."""

from __future__ import annotations

from status_service.schema.access_tables import delegations, keys, sessions
from status_service.schema.campaign_tables import (
    CHANGED_CHANNEL,
    NOT_SENT,
    campaign_labels,
    campaigns,
    failure_groups,
    results,
    samples,
    transitions,
)
from status_service.schema.columns import metadata
from status_service.schema.event_tables import alarms, deliveries, events, subscriptions
from status_service.schema.upkeep_tables import deleted_campaigns, duties, removals, store

__all__ = [
    "CHANGED_CHANNEL",
    "NOT_SENT",
    "alarms",
    "campaign_labels",
    "campaigns",
    "delegations",
    "deleted_campaigns",
    "deliveries",
    "duties",
    "events",
    "failure_groups",
    "keys",
    "metadata",
    "removals",
    "results",
    "samples",
    "sessions",
    "store",
    "subscriptions",
    "transitions",
]
