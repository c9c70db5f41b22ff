"""What the row of a campaign keeps: its registration, its policy, its problems."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from sender_service.domain import Guarantee, Policy, Problem, ProblemKind, RetryPolicy

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import sqlalchemy as sa

#: Problems are stored as a JSON list with one object for each; this is the list of none.
NO_PROBLEMS: Final = "[]"


@dataclass(frozen=True, slots=True)
class NewCampaign:
    """A campaign as CreateCampaign takes it, all defaults resolved.

    Attributes:
        organisation: whose it is.
        campaign_id: the id; never empty.
        request_id: of the call that asked for it; empty if it gave none.
        display_name: for people.
        channel: the name of the channel.
        content: JSON, as ``content_to_json`` of :mod:`sender_service.channels.contract`
            writes it.
        content_digest: over channel, kind and content.
        request_digest: over all that the caller chose.
        guarantee: what a lost answer allows.
        max_in_flight: how many messages may be in the provider's hands at once.
        max_attempts: tries of one message; 0: no limit.
        initial_backoff_ms: the wait before the second try; 0 with ``max_backoff_ms`` 0.
        max_backoff_ms: the longest wait; 0: the schedule of the channel counts.
        retry_deadline_ms: no try is planned for later than this after the first; None: the
            sender's setting.
        labels: of the campaign at the status service.
        family: as ``family_of`` of the domain returns it; empty: none.
        repeat_after_ms: how far from its begin another campaign of the family counts as a
            repetition; 0: never.
    """

    organisation: str
    campaign_id: str
    request_id: str
    display_name: str
    channel: str
    content: str
    content_digest: str
    request_digest: str
    guarantee: Guarantee
    max_in_flight: int
    max_attempts: int
    initial_backoff_ms: int
    max_backoff_ms: int
    retry_deadline_ms: int | None
    labels: Mapping[str, str]
    family: str = ""
    repeat_after_ms: int = 0


def policy_of(row: sa.Row[Any], *, deadline_seconds: float, channel_retry: RetryPolicy) -> Policy:
    """Return what a stored campaign does about messages that no answer has ended.

    Args:
        row: the campaign.
        deadline_seconds: the sender's setting, for a campaign without its own.
        channel_retry: of the campaign's channel, for a campaign that chose no waits.
    """
    if row.retry_deadline_ms is not None:
        deadline_seconds = row.retry_deadline_ms / 1000
    limits = {"max_attempts": row.max_attempts, "deadline_seconds": deadline_seconds}
    if row.max_backoff_ms:
        retry = RetryPolicy(
            initial_backoff_seconds=row.initial_backoff_ms / 1000,
            max_backoff_seconds=row.max_backoff_ms / 1000,
            **limits,
        )
    else:
        retry = dataclasses.replace(channel_retry, **limits)
    return Policy(guarantee=Guarantee(row.guarantee), retry=retry)


def problems_to_json(problems: Iterable[Problem]) -> str:
    """Return problems as they are stored; times are texts in ISO 8601."""
    return json.dumps(
        [
            {
                **dataclasses.asdict(problem),
                "since_time": _time_to_json(problem.since_time),
                "deadline_time": _time_to_json(problem.deadline_time),
            }
            for problem in problems
        ]
    )


def problems_from_json(stored: str) -> tuple[Problem, ...]:
    """Return the problems that :func:`problems_to_json` wrote."""
    return tuple(_problem(fields) for fields in json.loads(stored))


def _problem(fields: dict[str, str | bool | None]) -> Problem:
    return Problem(
        kind=ProblemKind(str(fields["kind"])),
        summary=str(fields["summary"]),
        detail=str(fields["detail"]),
        setting=str(fields["setting"]),
        provider=str(fields["provider"]),
        since_time=_time_from_json(fields, "since_time"),
        needs_attention=bool(fields["needs_attention"]),
        deadline_time=_time_from_json(fields, "deadline_time"),
    )


def _time_to_json(time: datetime | None) -> str | None:
    return None if time is None else time.isoformat()


def _time_from_json(fields: Mapping[str, str | bool | None], name: str) -> datetime | None:
    stored = fields.get(name)
    return datetime.fromisoformat(stored) if isinstance(stored, str) else None
