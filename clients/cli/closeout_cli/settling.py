"""A campaign that has ended, and whose sender has yet to write that down."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, TypeVar

from closeout.errors import FailedPreconditionError
from closeout.sender.v1 import sender_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from closeout.aio import SenderClient

Answer = TypeVar("Answer")

#: A sender is waited for so long, and asked so often, seconds.
_LONGEST_SECONDS = 10.0
_POLL_SECONDS = 0.2


async def once_settled(
    sender: SenderClient, campaign_id: str, call: Callable[[], Awaitable[Answer]]
) -> Answer:
    """Make a call that needs a campaign to have ended.

    A campaign is COMPLETED with its last result, a moment before its sender has the
    acknowledgement of that and calls it FINISHED. A sender that has only that to wait for is
    asked again, for ten seconds at most.

    Raises:
        FailedPreconditionError: CAMPAIGN_NOT_ENDED: messages have no outcome, or no
            acknowledgement came in that time; or another reason of the call.
    """
    deadline = time.monotonic() + _LONGEST_SECONDS
    while True:
        try:
            return await call()
        except FailedPreconditionError as error:
            is_early = error.reason == "CAMPAIGN_NOT_ENDED" and time.monotonic() < deadline
            if not is_early or not await _is_settling(sender, campaign_id):
                raise
        await asyncio.sleep(_POLL_SECONDS)


async def _is_settling(sender: SenderClient, campaign_id: str) -> bool:
    """Return whether every message has an outcome; it may be FINISHED since the call."""
    delivery = await sender.get_delivery(campaign_id=campaign_id)
    phases = (pb.GetDeliveryResponse.STARTED, pb.GetDeliveryResponse.FINISHED)
    return delivery.phase in phases and delivery.finished == delivery.total
