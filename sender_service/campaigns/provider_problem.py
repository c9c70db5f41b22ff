"""What is wrong with a provider as a whole, as callers get it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sender_service.channels.contract import Fault
from sender_service.domain import MAX_DETAIL, Problem, ProblemKind, clean

if TYPE_CHECKING:
    from sender_service.channels.contract import Channel, Reply


def problem_of(channel: Channel, reply: Reply) -> Problem:
    """Return the problem that a reply with PROVIDER_FAULT stands for.

    Channels of other packages may not name the fault; it is one of the connection then.
    """
    fault = reply.fault or Fault(
        ProblemKind.PROVIDER_UNREACHABLE, f"channel {channel.name} can't reach its provider"
    )
    words = reply.detail
    if reply.code and not words.startswith(reply.code):
        words = f"{reply.code} {words}".strip()
    return Problem(
        fault.kind,
        fault.summary,
        detail=clean(words, MAX_DETAIL),
        setting=fault.setting,
        provider=channel.provider,
        needs_attention=fault.needs_attention,
    )
