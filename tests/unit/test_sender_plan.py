"""What is the same for all messages of a campaign, and why there may be nothing of the kind."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from sender_service.channels.errors import ChannelError, InvalidContentError
from sender_service.channels.rendering.worker_process import WorkerUnavailableError
from sender_service.delivery.plan import DeliveryPlan, make_plan
from sender_service.domain import Guarantee, ProblemKind, RetryPolicy
from sender_service.errors import ChannelNotFoundError
from sender_service.settings import SenderSettings
from service_runtime.errors import ServiceError, StoreUnavailableError

_TEMPLATE: Any = object()


class Planned:
    """A channel, and what the content of its campaign comes to."""

    def __init__(self, *, timeout_seconds: float = 5.0, fails: Exception | None = None) -> None:
        self.retry = RetryPolicy(60.0)
        self.name, self.timeout_seconds = "smtp", timeout_seconds
        self._fails = fails

    def channel_of(self, name: str) -> Planned:
        """Return the channel."""
        assert name == self.name
        return self

    async def compiled(self, row: Any, channel: Planned) -> Any:
        """Return the content of a campaign, or fail."""
        assert (row.campaign_id, channel) == ("c1", self)
        if self._fails is not None:
            raise self._fails
        return _TEMPLATE

    async def plan(self, **settings: Any) -> Any:
        """Make the plan of a campaign."""
        contents: Any = SimpleNamespace(get=self.compiled)
        channels: Any = SimpleNamespace(
            get=self.channel_of, limit=lambda _: asyncio.Semaphore(1), defects=lambda _: None
        )
        row: Any = SimpleNamespace(
            campaign_id="c1",
            organisation="o",
            channel="smtp",
            content_digest="d",
            max_in_flight=64,
            max_attempts=4,
            guarantee=Guarantee.AT_MOST_ONCE.value,
            retry_deadline_ms=None,
            initial_backoff_ms=0,
            max_backoff_ms=0,
        )
        return await make_plan(contents, channels, row, SenderSettings(**settings))


@pytest.mark.parametrize(
    ("timeout_seconds", "lease_seconds"), [(5.0, 30.0), (8.0, 30.0), (9.0, 31.0), (60.0, 82.0)]
)
async def test_a_lease_outlasts_a_call_between_two_renewals(
    timeout_seconds: float, lease_seconds: float
) -> None:
    """Two heartbeats, the longest call and two seconds: as long as is set, or longer."""
    plan = await Planned(timeout_seconds=timeout_seconds).plan(
        lease_seconds=30.0, heartbeat_seconds=10.0
    )
    assert isinstance(plan, DeliveryPlan)
    assert plan.lease_seconds == lease_seconds
    assert (plan.heartbeat_seconds, plan.window) == (10.0, 64)
    assert (plan.template, plan.renders_elsewhere) == (_TEMPLATE, False)


async def test_messages_are_tried_for_as_many_hours_as_are_set() -> None:
    """Where the campaign has no deadline of its own."""
    plan = await Planned().plan(retry_deadline_hours=2.0)
    assert plan.policy.retry.deadline_seconds == 7_200.0


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (InvalidContentError("subject", "it is empty"), ProblemKind.CONTENT_INVALID),
        (WorkerUnavailableError("no memory"), ProblemKind.CHANNEL_UNAVAILABLE),
        (ChannelNotFoundError("smtp", installed=[]), ProblemKind.CHANNEL_UNAVAILABLE),
    ],
)
async def test_a_campaign_that_can_t_be_sent_says_what_is_to_be_mended(
    error: ServiceError | ChannelError, kind: ProblemKind
) -> None:
    """The content, where that is at fault, and otherwise the channel; a person has to."""
    problem = await Planned(fails=error).plan()
    assert (problem.kind, problem.needs_attention) == (kind, True)
    assert problem.summary == "channel smtp can't be used"
    assert problem.detail == str(error)


async def test_what_a_channel_says_is_as_long_as_is_stored() -> None:
    """500 characters of it."""
    problem = await Planned(fails=ChannelError("é" * 501)).plan()
    assert problem.detail == "é" * 500


async def test_a_store_that_does_not_answer_is_no_problem_of_the_campaign() -> None:
    """It is tried again."""
    with pytest.raises(StoreUnavailableError):
        await Planned(fails=StoreUnavailableError("gone")).plan()
