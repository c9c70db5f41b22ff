"""A campaign as its caller asks for it, and as it is stored once the channel's defaults are in."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

from sender_service.channels.contract import NoContent, content_to_json
from sender_service.domain import Guarantee, family_of
from sender_service.store.values import NewCampaign

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sender_service.channels.contract import Channel, Content
    from sender_service.domain import RetryPolicy

_MILLISECOND = timedelta(milliseconds=1)
#: How long the next campaign of a family counts as a repetition, where none says otherwise.
_REPEAT_AFTER = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class RetryInput:
    """``RetryPolicy`` of the contract; None stands for what was left out.

    ``max_attempts`` 0 is no limit, whatever the channel's is.
    """

    initial_backoff: timedelta | None = None
    max_backoff: timedelta | None = None
    max_attempts: int = 0
    deadline: timedelta | None = None


@dataclass(frozen=True, slots=True)
class CampaignDraft:
    """What CreateCampaign asks for, checked.

    Attributes:
        channel: the name of the channel.
        campaign_id: the id; empty: the status service chooses one.
        request_id: a UUID that makes a call without an id safe to repeat, or empty.
        display_name: for people.
        content: what is sent.
        labels: of the campaign at the status service.
        guarantee: what a lost answer allows; None: the channel's.
        max_in_flight: how many messages may be in the provider's hands at once; 0: the
            channel's.
        retry: when to try again; None: the channel's schedule.
        recipient_fields: the fields that recipients have; None: variables of the templates
            are not checked.
        family: which campaigns it must not repeat by accident; empty: those of its name.
        repeat_after: how long a campaign counts as a repetition of another one of its
            family; None: 7 days; zero: never.
    """

    channel: str
    campaign_id: str = ""
    request_id: str = ""
    display_name: str = ""
    content: Content = field(default_factory=NoContent)
    labels: Mapping[str, str] = field(default_factory=dict)
    guarantee: Guarantee | None = None
    max_in_flight: int = 0
    retry: RetryInput | None = None
    recipient_fields: tuple[str, ...] | None = None
    family: str = ""
    repeat_after: timedelta | None = None


def new_campaign(draft: CampaignDraft, organisation: str, channel: Channel) -> NewCampaign:
    """Return the campaign that a draft asks for, with the defaults of its channel."""
    content = content_to_json(draft.content)
    retry = _schedule(draft.retry, channel.retry)
    return NewCampaign(
        organisation=organisation,
        campaign_id=draft.campaign_id,
        # With an id that the caller chose, that alone identifies a repeated call.
        request_id="" if draft.campaign_id else draft.request_id,
        display_name=draft.display_name,
        channel=draft.channel,
        content=content,
        content_digest=digest([draft.channel, draft.content.kind, content]),
        request_digest=_request_digest(draft, content),
        guarantee=draft.guarantee or _guarantee_of(channel),
        max_in_flight=draft.max_in_flight or channel.max_in_flight,
        max_attempts=retry.max_attempts,
        # Zeros stand for the schedule of the channel.
        initial_backoff_ms=0 if retry.schedule else round(retry.initial_backoff_seconds * 1000),
        max_backoff_ms=0 if retry.schedule else round(retry.max_backoff_seconds * 1000),
        retry_deadline_ms=(
            draft.retry.deadline // _MILLISECOND if draft.retry and draft.retry.deadline else None
        ),
        labels=draft.labels,
        family=family_of(draft.family, draft.display_name),
        repeat_after_ms=(_REPEAT_AFTER if draft.repeat_after is None else draft.repeat_after)
        // _MILLISECOND,
    )


def _schedule(retry: RetryInput | None, default: RetryPolicy) -> RetryPolicy:
    """Return the requested waits, where none are requested the channel's schedule.

    The deadline is resolved when messages are sent.
    """
    if retry is None:
        return default
    if retry.initial_backoff is None and retry.max_backoff is None:
        return dataclasses.replace(default, max_attempts=retry.max_attempts)
    initial, longest = default.initial_backoff_seconds, default.max_backoff_seconds
    if retry.initial_backoff is not None:
        initial = retry.initial_backoff.total_seconds()
    if retry.max_backoff is not None:
        longest = retry.max_backoff.total_seconds()
    if retry.initial_backoff is None:
        initial = min(initial, longest)
    return dataclasses.replace(
        default,
        initial_backoff_seconds=initial,
        max_backoff_seconds=max(initial, longest),
        max_attempts=retry.max_attempts,
        schedule=(),
    )


def _guarantee_of(channel: Channel) -> Guarantee:
    return Guarantee.AT_LEAST_ONCE if channel.at_least_once else Guarantee.AT_MOST_ONCE


def _request_digest(draft: CampaignDraft, content: str) -> str:
    """Return a digest over all that the caller chose but the ids."""
    retry = None if draft.retry is None else dataclasses.asdict(draft.retry)
    chosen: list[object] = [
        draft.display_name,
        draft.channel,
        content,
        dict(draft.labels),
        draft.guarantee,
        draft.max_in_flight,
        retry and {name: str(value) for name, value in retry.items()},
    ]
    if draft.family or draft.repeat_after is not None:
        # Left out where nothing is chosen, so that digests of older versions stay.
        chosen.append([draft.family, str(draft.repeat_after)])
    return digest(chosen)


def digest(parts: object) -> str:
    """Return a digest of what JSON can have: 32 hexadecimal digits."""
    encoded = json.dumps(parts, sort_keys=True).encode()
    return hashlib.blake2b(encoded, digest_size=16).hexdigest()
