"""Hand one message to its channel, and decide what the answer does to it."""

from __future__ import annotations

import asyncio
import json
import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import structlog

from sender_service.channels.contract import Answer, Handover, Message, Reply
from sender_service.verdicts import Effect, effect_of

if TYPE_CHECKING:
    from sender_service.channels.contract import Channel, Template
    from sender_service.domain import MessageKeys, Policy
    from sender_service.store.batch import PendingMessage

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class DeliveryPlan:
    """What is the same for all messages of a campaign.

    Attributes:
        campaign_id: the campaign, as callers know it.
        channel: where its messages go.
        limit: bounds the calls of the channel that run at once, over all campaigns.
        template: the content, compiled.
        keys: makes idempotency keys.
        policy: how often a message is tried.
        window: how many messages may be in doubt.
        lease_seconds: how long a claim holds.
        heartbeat_seconds: how often it is renewed.
    """

    campaign_id: str
    channel: Channel
    limit: asyncio.Semaphore
    template: Template
    keys: MessageKeys
    policy: Policy
    window: int
    lease_seconds: float
    heartbeat_seconds: float


class Dispatched(NamedTuple):
    """What became of a message, the provider's reply, and when the try began (µs)."""

    effect: Effect
    reply: Reply
    begin_time: int


async def dispatch(plan: DeliveryPlan, message: PendingMessage) -> Dispatched:
    """Hand one message over; an exception out of a channel becomes LOST.

    A channel raises for nothing that a provider does, so an exception is a defect of the
    channel: it is logged with its stack, and the message is in doubt.
    """
    begin_time = time.time_ns() // 1000
    try:
        reply = await _send(plan, message)
        return Dispatched(_effect(plan, message, reply, begin_time), reply, begin_time)
    except asyncio.CancelledError as error:
        if _is_cancelled():
            raise
        reply = _defect(plan, message, error)
    except Exception as error:  # noqa: BLE001 - logged with its stack, and in doubt
        reply = _defect(plan, message, error)
    return Dispatched(_effect(plan, message, reply, begin_time), reply, begin_time)


async def _send(plan: DeliveryPlan, message: PendingMessage) -> Reply:
    handed_over = Message(
        plan.campaign_id,
        message.sequence,
        message.address,
        message.recipient_key,
        json.loads(message.fields),
        plan.keys.key(message.sequence),
        message.attempts + 1,
    )
    return await plan.channel.send(plan.template, handed_over, Handover())


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


def _defect(plan: DeliveryPlan, message: PendingMessage, error: BaseException) -> Reply:
    log.error(
        "channel_failed",
        campaign_id=plan.campaign_id,
        sequence=message.sequence,
        channel=plan.channel.name,
        exc_info=error,
    )
    return Reply(Answer.LOST, code="channel_error", detail=type(error).__name__)


def _is_cancelled() -> bool:
    """Return whether this task is cancelled, and not a call it waits for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
