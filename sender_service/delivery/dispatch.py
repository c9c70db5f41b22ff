"""Hand one message to its channel, and tell what that did to it."""

from __future__ import annotations

import asyncio
import json
import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import structlog

from sender_service.channels.contract import Answer, Message, Reply
from sender_service.domain import Effect, MessageKeys, Policy, effect_of

if TYPE_CHECKING:
    from sender_service.channels.contract import Channel, Template
    from sender_service.store.shards import Launch

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Job:
    """What is the same for all messages of a campaign.

    Attributes:
        campaign_id: the campaign, as callers know it.
        channel: where its messages go.
        limit: bounds the calls of the channel at once, over all campaigns.
        template: its content, compiled.
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


class HandedOver(NamedTuple):
    """What became of a message, what the provider said, and when the try began (µs)."""

    effect: Effect
    reply: Reply
    begin_time: int


async def hand_over(job: Job, launch: Launch) -> HandedOver:
    """Hand one message over; an exception out of a channel becomes LOST.

    A channel never raises for what a provider does, so an exception is a defect of
    it, is logged with its stack, and nobody knows whether the message went out.
    """
    begin_time = time.time_ns() // 1000
    try:
        reply = await _send(job, launch)
        return HandedOver(_effect(job, launch, reply, begin_time), reply, begin_time)
    except asyncio.CancelledError as error:
        if _is_cancelled():
            raise
        reply = _defect(job, launch, error)
    except Exception as error:  # noqa: BLE001 - logged with its stack, and in doubt
        reply = _defect(job, launch, error)
    return HandedOver(_effect(job, launch, reply, begin_time), reply, begin_time)


async def _send(job: Job, launch: Launch) -> Reply:
    message = Message(
        job.campaign_id,
        launch.sequence,
        launch.address,
        launch.recipient_key,
        json.loads(launch.fields),
        job.keys.key(launch.sequence),
        launch.attempts + 1,
    )
    return await job.channel.send(job.template, message)


def _effect(job: Job, launch: Launch, reply: Reply, begin_time: int) -> Effect:
    first_time = begin_time if launch.first_attempt_time is None else launch.first_attempt_time
    return effect_of(
        reply,
        attempt=launch.attempts + 1,
        lost_before=launch.lost,
        # A clock that was set back must not make it negative.
        elapsed_seconds=max(time.time_ns() // 1000 - first_time, 0) / 1_000_000,
        policy=job.policy,
        jitter=random.random(),  # noqa: S311 - it keeps retries apart, no more
    )


def _defect(job: Job, launch: Launch, error: BaseException) -> Reply:
    log.error(
        "channel_failed",
        campaign_id=job.campaign_id,
        sequence=launch.sequence,
        channel=job.channel.name,
        exc_info=error,
    )
    return Reply(Answer.LOST, code="channel_error", detail=type(error).__name__)


def _is_cancelled() -> bool:
    """Return whether it is this task that is cancelled, not something it waits for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
