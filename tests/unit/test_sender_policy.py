"""What a stored campaign does about messages that no answer has ended."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from sender_service.domain import Guarantee, RetryPolicy
from sender_service.store.values import policy_of

_CHANNEL = RetryPolicy(initial_backoff_seconds=7.0, max_backoff_seconds=70.0)


def stored(**chosen: Any) -> Any:
    """Return the row of a campaign that chose nothing else."""
    nothing = {"initial_backoff_ms": 0, "max_backoff_ms": 0, "retry_deadline_ms": None}
    return SimpleNamespace(
        **nothing | {"max_attempts": 4, "guarantee": Guarantee.AT_LEAST_ONCE.value} | chosen
    )


def test_what_a_campaign_chose_goes_before_the_channel_and_the_setting() -> None:
    """Its waits and its deadline are stored in milliseconds."""
    row = stored(initial_backoff_ms=1_500, max_backoff_ms=90_000, retry_deadline_ms=120_000)
    policy = policy_of(row, deadline_seconds=3_600.0, channel_retry=_CHANNEL)
    assert policy.guarantee is Guarantee.AT_LEAST_ONCE
    assert policy.retry == RetryPolicy(
        initial_backoff_seconds=1.5,
        max_backoff_seconds=90.0,
        max_attempts=4,
        deadline_seconds=120.0,
    )


def test_without_a_choice_the_waits_are_the_channel_s_and_the_deadline_the_setting_s() -> None:
    """How often it is tried is the campaign's in any case."""
    policy = policy_of(stored(), deadline_seconds=3_600.0, channel_retry=_CHANNEL)
    assert policy.retry == RetryPolicy(
        initial_backoff_seconds=7.0,
        max_backoff_seconds=70.0,
        max_attempts=4,
        deadline_seconds=3_600.0,
    )
