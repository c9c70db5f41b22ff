"""SendTest: a message to a few addresses, now, outside any campaign."""

from __future__ import annotations

import asyncio
import secrets
import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, NamedTuple

import structlog

from sender_service.campaigns import audience, content
from sender_service.campaigns.provider_problem import problem_of
from sender_service.channels.contract import Answer, Handover, Message, Reply
from sender_service.channels.errors import TemplateError
from sender_service.channels.rendering import threads
from sender_service.channels.rendering.bounded import BoundedTemplate, ReadyTemplate
from sender_service.channels.rendering.worker_process import WorkerUnavailableError
from sender_service.channels.replies import detail, render_error
from sender_service.domain import (
    MAX_CODE,
    MAX_DETAIL,
    MAX_PROVIDER_MESSAGE_ID,
    Outcome,
    Problem,
    clean,
)
from service_runtime.errors import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sender_service.campaigns.audience import RecipientInput
    from sender_service.campaigns.drafts import CampaignDraft
    from sender_service.channels.contract import Channel, Template
    from sender_service.channels.registry import ChannelRegistry

log = structlog.get_logger()

#: What the templates and the provider get as the campaign of a test.
CAMPAIGN_ID = "test"
#: A message whose rendering takes longer, in seconds of computing, is not sent.
SLOW_SECONDS = 1.0
#: A channel keeps its own deadline; this much later, seconds, one that does not is cut off.
_GRACE_SECONDS = 1.0

_OUTCOMES = {
    Answer.ACCEPTED: Outcome.SENT,
    Answer.REFUSED: Outcome.FAILED,
    Answer.DEFERRED: Outcome.FAILED,  # nothing is tried again
    Answer.PROVIDER_FAULT: Outcome.FAILED,
    Answer.LOST: Outcome.UNKNOWN,
}


class Attempt(NamedTuple):
    """What became of one message of a test.

    Attributes:
        address: where it went.
        outcome: SENT, FAILED, or UNKNOWN if the answer was lost.
        code: as in a result.
        detail: as in a result.
        provider_message_id: as in a result.
        problem: what is wrong with the provider as a whole, if that is why it FAILED.
    """

    address: str
    outcome: Outcome
    code: str
    detail: str
    provider_message_id: str
    problem: Problem | None


class Trials:
    """Messages outside any campaign.

    Args:
        channels: where they go.
    """

    def __init__(self, channels: ChannelRegistry) -> None:
        self._channels = channels
        self._shares: dict[str, asyncio.Semaphore] = {}

    async def send(
        self, draft: CampaignDraft, recipients: Sequence[RecipientInput]
    ) -> list[Attempt]:
        """Send a message to each of a few recipients at once; store and repeat nothing.

        A message waits for its turn among those of campaigns, at most as long as one
        message may take; all tests together use half of the channel at most. When the call
        is cancelled, so are its attempts.

        Raises:
            InvalidRequestError: the content is wrong, or a recipient can't be used.
            TemplateInvalidError: a template is broken, or uses a variable that is no field.
            ChannelNotFoundError: there is no such channel.
            ChannelUnconfiguredError: it lacks a setting.
        """
        channel = self._channels.get(draft.channel)
        template = await content.compiled(self._channels.callers_workers, channel, draft)
        messages = await asyncio.to_thread(_messages, channel, recipients)
        limits = (self._share(channel), self._channels.limit(draft.channel))
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(_attempt(channel, limits, template, message))
                for message in messages
            ]
        return [
            _outcome(channel, message, task.result())
            for message, task in zip(messages, tasks, strict=True)
        ]

    def _share(self, channel: Channel) -> asyncio.Semaphore:
        """Return what bounds the calls of all tests at once: the others are for campaigns."""
        most = max(channel.concurrency // 2, 1)
        return self._shares.setdefault(channel.name, asyncio.Semaphore(most))


def _messages(channel: Channel, recipients: Sequence[RecipientInput]) -> list[Message]:
    rows = audience.check_rows(channel, recipients)
    refused = {f"recipients[{at}]": row.reason for at, row in enumerate(rows) if row.reason}
    if refused:
        raise InvalidRequestError.of(refused)
    return [
        Message(
            campaign_id=CAMPAIGN_ID,
            sequence=number,
            address=row.address,
            recipient_key=recipient.recipient_key,
            fields=recipient.fields,
            idempotency_key=secrets.token_hex(16),
        )
        for number, (row, recipient) in enumerate(zip(rows, recipients, strict=True), 1)
    ]


async def _attempt(
    channel: Channel,
    limits: Sequence[asyncio.Semaphore],
    template: BoundedTemplate | Template,
    message: Message,
) -> Reply:
    usable: ReadyTemplate | Template
    try:
        if isinstance(template, BoundedTemplate):
            usable = await template.ready(message)
        else:
            usable = template
            if (unusable := await threads.run(_rehearse, template, message)) is not None:
                return unusable
    except WorkerUnavailableError as error:
        why = f"{error}; try again"
        return Reply(Answer.DEFERRED, code="render_unavailable", detail=detail(why))
    except Exception as error:  # noqa: BLE001 - logged with its stack, and in the answer
        return _defect(channel, Handover(), error)
    async with AsyncExitStack() as taken:
        try:
            async with asyncio.timeout(channel.timeout_seconds):
                for limit in limits:
                    await taken.enter_async_context(limit)
        except TimeoutError:
            wait = f"{channel.timeout_seconds:g} s"
            why = f"channel {channel.name} had no connection for a test for {wait}; try again"
            return Reply(Answer.DEFERRED, code="busy", detail=why)
        return await _send(channel, usable, message)


def _rehearse(template: Template, message: Message) -> Reply | None:
    """Render a message in this thread; return the reply if it must not be sent.

    A channel without ``template_maker`` renders in the thread that serves everybody, where
    a slow template would hold up all campaigns.
    """
    begin = time.thread_time()
    try:
        template.preview(message)
    except TemplateError as error:
        return render_error(error)
    seconds = time.thread_time() - begin
    if seconds <= SLOW_SECONDS:
        return None
    why = f"the templates took {seconds:.1f} s for one message; make their loops shorter"
    return Reply(Answer.REFUSED, code="render_limit", detail=why)


async def _send(channel: Channel, template: ReadyTemplate | Template, message: Message) -> Reply:
    handover = Handover()
    try:
        async with asyncio.timeout(channel.timeout_seconds + _GRACE_SECONDS):
            return await channel.send(template, message, handover)
    except TimeoutError:
        answer = Answer.LOST if handover.begun else Answer.PROVIDER_FAULT
        why = f"no answer within {channel.timeout_seconds:g} s"
        return Reply(answer, code="timeout", detail=why)
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        return _defect(channel, handover, error)  # what the channel waited for was cancelled
    except Exception as error:  # noqa: BLE001 - logged with its stack, and in the answer
        return _defect(channel, handover, error)


def _defect(channel: Channel, handover: Handover, error: BaseException) -> Reply:
    """Return the reply for a channel that raised, which it does for nothing a provider does."""
    log.error("channel_failed", campaign_id=CAMPAIGN_ID, channel=channel.name, exc_info=error)
    answer = Answer.LOST if handover.begun else Answer.REFUSED
    return Reply(answer, code="channel_error", detail=type(error).__name__)


def _outcome(channel: Channel, message: Message, reply: Reply) -> Attempt:
    outcome = _OUTCOMES[reply.answer]
    code = reply.code or ("in_doubt" if outcome is Outcome.UNKNOWN else "")
    return Attempt(
        address=message.address,
        outcome=outcome,
        code=clean(code, MAX_CODE),
        detail=clean(reply.detail, MAX_DETAIL),
        provider_message_id=clean(reply.provider_message_id, MAX_PROVIDER_MESSAGE_ID),
        problem=problem_of(channel, reply) if reply.answer is Answer.PROVIDER_FAULT else None,
    )
