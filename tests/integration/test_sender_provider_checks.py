"""The check of a provider: one that is silent, fails, never ends or ignores a stop."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import pytest

from closeout.status.v1 import status_pb2
from integration import sender_support as support
from integration.held_campaigns import held_up
from integration.sender_pair import pair
from sender_service.channels.contract import Handover, Reply
from sender_service.delivery import provider as provider_module

if TYPE_CHECKING:
    from pathlib import Path


Kind = status_pb2.Problem.Kind


#: A clock so slow that no second probe comes.
_STANDS_STILL = 1e-4


_FAST = 200.0


async def test_a_silent_provider_is_shown_within_seconds(tmp_path: Path) -> None:
    """While the check still waits; one that never answered needs a person at once."""
    async with pair(tmp_path, speed=_FAST) as both:
        both.channel.hold_checks.clear()
        await both.begin("c1", 5)
        problem = await held_up(both, "c1", Kind.PROVIDER_UNREACHABLE)
        assert problem.summary == "scripted has not answered for 3 s"
        assert problem.setting.startswith("silence ")
        assert problem.detail == "the sender still waits, before it greeted"
        assert problem.needs_attention
        both.channel.hold_checks.set()
        assert (await both.ended("c1")).sent == 5
        assert not (await both.finished("c1")).problems


async def test_a_probe_without_an_answer_is_shown_within_seconds(tmp_path: Path) -> None:
    """It says how far the message has come; the provider was reached, so it may recover."""
    async with pair(tmp_path, speed=_FAST) as both:
        both.channel.hold.clear()
        await both.begin("c1", 5)
        problem = await held_up(both, "c1", Kind.PROVIDER_UNREACHABLE)
        assert problem.detail == "one message waits for an answer, after it was handed over"
        assert not problem.needs_attention
        both.channel.hold.set()
        assert (await both.ended("c1")).sent == 5


@pytest.mark.parametrize("defect", [ZeroDivisionError(), asyncio.CancelledError()])
async def test_a_defect_of_a_check_is_a_fault_of_the_provider(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, defect: BaseException
) -> None:
    """It is shown, no message is sent, and the check is tried again."""
    async with pair(tmp_path, speed=_FAST) as both:

        async def check(handover: Handover | None = None) -> Reply:  # noqa: ARG001
            raise defect

        with monkeypatch.context() as patch:
            patch.setattr(both.channel, "check", check)
            await both.begin("c1", 5)
            problem = await held_up(both, "c1", Kind.PROVIDER_UNREACHABLE)
            assert problem.detail == f"channel_error {type(defect).__name__}"
            assert both.channel.calls == []
        assert (await both.ended("c1")).sent == 5


async def test_a_check_that_never_ends_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A channel that breaks its promise holds its campaigns up as one whose check fails."""
    monkeypatch.setattr(provider_module, "_CHECK_GRACE_SECONDS", 0.0)
    async with pair(tmp_path, speed=_FAST) as both:
        both.channel.timeout_seconds = 0.05
        both.channel.hold_checks.clear()
        await both.begin("c1", 5)
        await support.eventually(lambda: both.channel.checks >= 2)

        async def shown() -> bool:
            said = await both.problem("c1")
            return said.startswith("channel scripted can't reach its provider: timeout")

        await support.eventually(shown)
        both.channel.hold_checks.set()
        assert (await both.ended("c1")).sent == 5


async def test_a_stop_waits_for_no_check(tmp_path: Path) -> None:
    """S10: nothing is in doubt, and the next process sends everything once."""
    async with pair(tmp_path, grace_seconds=600) as both:
        both.channel.hold_checks.clear()
        await both.begin("c1", 40)
        await support.eventually(lambda: both.channel.checks == 1)
        async with asyncio.timeout(60):
            await both.stop_sender()
        assert both.channel.calls == []
        both.channel.hold_checks.set()
        await both.start_sender()
        assert (await both.ended("c1")).sent == 40
        assert both.channel.accepted() == list(range(1, 41))


@pytest.mark.parametrize("times", [1, 1_000])
async def test_l7_a_stop_waits_for_no_check_that_ignores_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    """A library below a channel may lose a cancellation, or all of them."""
    began, ended = asyncio.Event(), asyncio.Event()

    async def check(handover: Handover | None = None) -> Reply:  # noqa: ARG001
        began.set()
        for _ in range(times):
            with contextlib.suppress(asyncio.CancelledError):
                await ended.wait()
        return support.ACCEPTED

    async with pair(tmp_path, grace_seconds=600) as both:
        monkeypatch.setattr(both.channel, "check", check)
        both.channel.timeout_seconds = 600
        await both.begin("c1", 5)
        await began.wait()
        async with asyncio.timeout(30):
            await both.stop_sender()
        ended.set()


async def test_a_kill_beside_a_silent_provider_leaves_one_message_in_doubt(tmp_path: Path) -> None:
    """A new process hands over one message, and more only after its answer."""
    async with pair(tmp_path) as both:
        both.channel.hold.clear()
        await both.begin("c1", 40)
        await both.begin("c2", 40)
        await support.eventually(lambda: both.channel.flying == 1)

        async def doubts() -> int:
            found = [await both.sender.get_delivery(campaign_id=name) for name in ("c1", "c2")]
            return sum(delivery.in_doubt for delivery in found)

        assert await doubts() == 1
        both.channel.hold.set()
        assert (await both.ended("c1")).sent == (await both.ended("c2")).sent == 40
