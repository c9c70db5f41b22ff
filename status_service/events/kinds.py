"""The kinds of events, and those that a subscription gets which names none."""

from __future__ import annotations

from typing import Final

from status_service.campaigns.alarms import RECOVERED, STALLED
from status_service.campaigns.repair import REPAIRED
from status_service.domain import State
from status_service.recording.outbox import FAILURE_RATE_HIGH

#: Every change of state has one.
TRANSITIONS: Final = tuple(f"campaign.{state.lower()}" for state in State)
#: What is no change of state.
OTHERS: Final = (STALLED, RECOVERED, REPAIRED, FAILURE_RATE_HIGH)
#: All of them.
KINDS: Final = (*TRANSITIONS, *OTHERS)
#: What people want to hear of: an end, or something that a person should look at.
USUAL: Final = ("campaign.completed", "campaign.cancelled", *OTHERS)
