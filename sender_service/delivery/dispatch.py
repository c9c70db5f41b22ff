"""Hand one message to its channel, and decide what the answer does to it."""

from __future__ import annotations

import asyncio
import json
import random
import time
from typing import TYPE_CHECKING, NamedTuple

from sender_service.channels.contract import Answer, Message, Reply
from sender_service.channels.rendering.limits import OverBudgetError
from sender_service.verdicts import Effect, effect_of
from service_runtime.cancellation import task_is_cancelled

if TYPE_CHECKING:
    from sender_service.channels.contract import Handover
    from sender_service.channels.rendering.bounded import ReadyTemplate
    from sender_service.delivery.plan import DeliveryPlan
    from sender_service.store.batch import PendingMessage


class Dispatched(NamedTuple):
    """What a reply does to a message, the reply, and when the try began (µs)."""

    effect: Effect
    reply: Reply
    begin_time: int


async def dispatch(
    plan: DeliveryPlan,
    message: PendingMessage,
    handover: Handover,
    ready: ReadyTemplate | None = None,
) -> Dispatched:
    """Hand one message over; ``handover`` says meanwhile whether the provider could have it.

    ``ready`` is the message where it is rendered already.

    A channel raises for nothing that a provider does, so an exception is a defect of the
    channel: it is logged with its stack, at most once a second. The message is in doubt if the
    handover had begun; otherwise it is deferred.

    Raises:
        OverBudgetError: the message takes too long to render here, and nobody has it.
    """
    begin_time = time.time_ns() // 1000
    try:
        template = ready or plan.template
        reply = await plan.channel.send(template, message_of(plan, message), handover)
        return Dispatched(_effect(plan, message, reply, begin_time), reply, begin_time)
    except asyncio.CancelledError as error:
        if task_is_cancelled():
            raise
        reply = _defect(plan, message, handover, error)
    except OverBudgetError:
        raise
    except Exception as error:  # noqa: BLE001 - logged with its stack, and in doubt
        reply = _defect(plan, message, handover, error)
    return Dispatched(_effect(plan, message, reply, begin_time), reply, begin_time)


def abandoned(
    plan: DeliveryPlan, message: PendingMessage, handover: Handover
) -> tuple[Effect, int]:
    """Return what becomes of a message whose call was cancelled after its handover began.

    With the time (µs) to store as the beginning of the try.
    """
    begin_time = time.time_ns() // 1000
    detail = f"the sender was stopped after the message's data was sent, {handover.stage}"
    reply = Reply(Answer.LOST, code="in_doubt", detail=detail)
    return _effect(plan, message, reply, begin_time), begin_time


def message_of(plan: DeliveryPlan, message: PendingMessage) -> Message:
    """Return a message as its channel gets it."""
    return Message(
        plan.campaign_id,
        message.sequence,
        message.address,
        message.recipient_key,
        json.loads(message.fields),
        plan.keys.key(message.sequence),
        message.attempts + 1,
    )


def _effect(plan: DeliveryPlan, message: PendingMessage, reply: Reply, begin_time: int) -> Effect:
    first_time = begin_time if message.first_attempt_time is None else message.first_attempt_time
    return effect_of(
        reply,
        attempt=message.attempts + 1,
        lost_before=message.lost,
        # A clock that was set back must not make it negative.
        elapsed_seconds=max(time.time_ns() // 1000 - first_time, 0) / 1_000_000,
        policy=plan.policy,
        jitter=random.random(),  # noqa: S311 - it keeps retries apart, no more
    )


def _defect(
    plan: DeliveryPlan, message: PendingMessage, handover: Handover, error: BaseException
) -> Reply:
    plan.defects.add_defect(
        error,
        campaign_id=plan.campaign_id,
        sequence=message.sequence,
        channel=plan.channel.name,
    )
    answer = Answer.LOST if handover.begun else Answer.DEFERRED
    return Reply(answer, code="channel_error", detail=type(error).__name__)
