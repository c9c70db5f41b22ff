"""What the delivery of a campaign begins with: what its outbox has when it starts again."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from sender_service.campaigns.active_campaign import ActiveCampaign
from sender_service.campaigns.directory import Directory
from sender_service.delivery.campaign_delivery import CampaignDelivery
from sender_service.delivery.circuit_breaker import Breaker, CircuitBreaker
from sender_service.delivery.clock import Clock
from sender_service.delivery.gate import Held
from sender_service.delivery.shared_provider import SharedProvider
from sender_service.domain import Outcome, ProblemKind, State
from sender_service.store.outbox import ShardKey, ShardProgress
from sender_service.verdicts import Answer, Fault, Finished, Reply

if TYPE_CHECKING:
    from sender_service.delivery.gate import Gate

_TOTAL = 10
_REFUSED = Reply(Answer.REFUSED, code="550")
_FAILED = Finished(Outcome.FAILED, "550")


class AttendedError(Exception):
    """The delivery has come to the provider of its campaign."""


class Restarted:
    """The delivery of a campaign of ten messages, up to its provider.

    Args:
        journaled: how many outcomes each of its shards has.
    """

    def __init__(self, *journaled: int) -> None:
        self.gates: list[Gate] = []
        self._journaled = journaled
        clock = Clock()
        channel: Any = SimpleNamespace(name="smtp", provider="smtp.example.com:587")
        self.shared = SharedProvider(
            channel, clock, CircuitBreaker(clock.now, state=Breaker.CLOSED)
        )
        row: Any = SimpleNamespace(
            campaign=1,
            campaign_id="c1",
            organisation="default",
            channel="smtp",
            total=_TOTAL,
            unreachable_time=None,
        )
        self.active = ActiveCampaign(row)
        played: Any = self
        self._delivery = CampaignDelivery(
            played,
            played,
            Directory(played),
            self.active,
            played,
            contents=played,
            providers=played,
            scheduler=played,
            instance="one",
        )

    unreachable_deadline_hours = 48.0

    async def read(self, _: Any) -> list[ShardProgress]:
        """Say how many outcomes there are, as the store does."""
        return [
            ShardProgress(ShardKey(1, shard), number, 0)
            for shard, number in enumerate(self._journaled, 1)
        ]

    def get(self, name: str) -> str:
        """Return a channel."""
        return name

    def of(self, _: str) -> Restarted:
        """Return its provider."""
        return self

    def attend(self, gate: Gate) -> None:
        """Keep what stands before the campaign, and end the delivery here."""
        self.gates.append(gate)
        raise AttendedError

    def remove(self, _: Any) -> None:
        """Let go of a gate, or of what was compiled."""

    forget = remove

    async def gate(self) -> Gate:
        """Run the delivery until it has a gate."""
        self.active.receive(State.SENDING, 1)
        with pytest.raises(AttendedError):
            await self._delivery.run()
        return self.gates[0]

    async def is_over(self) -> bool:
        """Return whether the delivery ends by itself."""
        running = asyncio.create_task(self._delivery.run())
        for _ in range(20):
            await asyncio.sleep(0)
        found = running.done()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        return found


@pytest.mark.parametrize("state", [None, State.PAUSED, State.SENDING])
async def test_a_campaign_brought_back_to_be_reported_again_delivers_nothing(
    state: State | None,
) -> None:
    """Whatever its state is, and whether its channel still exists or not."""
    restarted = Restarted(6, 4)
    if state is not None:
        restarted.active.receive(state, 1)
    assert await restarted.is_over()
    assert not restarted.gates


async def test_a_campaign_that_has_a_message_left_waits_for_its_state() -> None:
    """Nothing is sent before the status service has answered, and nothing is over."""
    restarted = Restarted(6, 3)
    assert not await restarted.is_over()
    assert not restarted.gates


async def test_after_a_restart_the_few_who_are_left_are_refused_for_good() -> None:
    """Two of ten have no outcome, so two refusals are all that there can be."""
    gate = await Restarted(5, 3).gate()
    assert isinstance(gate.judge(9, _REFUSED, _FAILED), Held)
    assert gate.judge(10, _REFUSED, _FAILED) is _FAILED


async def test_an_outage_ends_when_the_hours_of_the_setting_are_over() -> None:
    """To the second."""
    restarted = Restarted(0)
    gate = await restarted.gate()
    fault = Fault(ProblemKind.PROVIDER_UNREACHABLE, "gone")
    restarted.shared.open(fault, "no route", retry_after_seconds=None)
    problem = gate.outage.problem()
    assert problem is not None
    assert problem.since_time is not None
    assert problem.deadline_time is not None
    assert problem.deadline_time - problem.since_time == timedelta(hours=48)
