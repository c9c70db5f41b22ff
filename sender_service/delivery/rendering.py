"""Render a message of a campaign before it is handed to its channel."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from sender_service.channels.rendering.worker_process import WorkerUnavailableError
from sender_service.delivery.dispatch import message_of

if TYPE_CHECKING:
    from sender_service.channels.rendering.bounded import ReadyTemplate
    from sender_service.delivery.plan import DeliveryPlan
    from sender_service.store.batch import PendingMessage

log = structlog.get_logger()

#: A message that no process can render now is tried again after so long, seconds.
RENDERING_WAIT_SECONDS = 1.0


async def rendered(plan: DeliveryPlan, message: PendingMessage) -> ReadyTemplate:
    """Return a message, rendered elsewhere; nobody else waits for it meanwhile.

    Raises:
        WorkerUnavailableError: no process can do it now; it is logged.
    """
    rendering = plan.rendering
    assert rendering is not None  # noqa: S101 - the plan renders elsewhere
    try:
        return await rendering.ready(message_of(plan, message))
    except WorkerUnavailableError as error:
        log.warning(
            "rendering_unavailable",
            campaign_id=plan.campaign_id,
            sequence=message.sequence,
            reason=str(error),
            action="it is tried again; look at the memory and the processes of the machine",
        )
        raise
