"""Messages that are rendered before they are handed to their channel."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from integration import sender_support as support
from integration.sender_bench import Bench, bench
from sender_service.channels.contract import Handover, Message, Reply
from sender_service.channels.errors import TemplateError, TemplateLimitError
from sender_service.channels.rendering.bounded import BoundedTemplate, ReadyTemplate
from sender_service.channels.rendering.frames import Frame
from sender_service.channels.rendering.limits import OverBudgetError
from sender_service.channels.rendering.worker_process import WorkerUnavailableError
from sender_service.channels.rendering.workers import TemplateWorkers
from sender_service.channels.replies import render_error
from sender_service.delivery import shard_workers
from sender_service.delivery.plan import DeliveryPlan
from sender_service.domain import Outcome

_MESSAGES = 6


class HeldWorkers(TemplateWorkers):
    """Workers without a process: they make the number of each message, when they may."""

    def __init__(self) -> None:
        super().__init__(1)
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.waiting = 0
        self.fail: Callable[[int], Exception | None] = lambda _: None

    async def call(self, header: dict[str, Any], content: bytes) -> Frame:  # noqa: ARG002
        """Answer with the number."""
        self.waiting += 1
        await self.may_answer.wait()
        self.waiting -= 1
        sequence = header["message"]["sequence"]
        if (error := self.fail(sequence)) is not None:
            raise error
        return {"type": "text"}, str(sequence).encode()


class LightTemplate:
    """A template that meets its limits at one message."""

    def __init__(self, too_much: int) -> None:
        self.too_much = too_much

    def preview(self, message: Message) -> str:
        """Say the number."""
        return str(message.sequence)

    def render(self, message: Message) -> str:
        """Say the number, if that is not too much."""
        if message.sequence == self.too_much:
            raise OverBudgetError
        return f"{message.sequence}, light"


class Rendering:
    """A run whose channel renders, as the channels of the package do."""

    def __init__(self, b: Bench, *, too_much: int | None = None) -> None:
        self.bench = b
        self.workers = HeldWorkers()
        light = None if too_much is None else LightTemplate(too_much)
        rendering = BoundedTemplate(self.workers, "module:function", b"{}", light)
        plan = replace(b.plan(), rendering=rendering, template=light)
        self.plan: DeliveryPlan = plan
        self.made: dict[int, str] = {}
        b.plan = lambda: plan  # type: ignore[method-assign]
        b.channel.send = self.send  # type: ignore[method-assign]

    async def send(self, template: Any, message: Message, handover: Handover) -> Reply:
        """Render a message, and take it."""
        try:
            made = template.render(message)
        except TemplateError as error:
            return render_error(error)
        handover.begin("after it was handed over")
        assert message.sequence not in self.made
        self.made[message.sequence] = made
        await asyncio.sleep(0)
        return support.ACCEPTED


async def test_each_message_is_rendered_and_handed_over_once(tmp_path: Path) -> None:
    """What a process made is what the channel gets, and every message ends SENT."""
    async with bench(tmp_path, _MESSAGES) as b:
        rendering = Rendering(b)
        await b.until_done()
        assert rendering.made == {n: str(n) for n in range(1, _MESSAGES + 1)}
        outcomes = await b.outcomes()
        assert {outcome for outcome, _, _ in outcomes.values()} == {Outcome.SENT}


async def test_rendering_uses_no_connection_of_the_channel(tmp_path: Path) -> None:
    """Other campaigns of the channel send while the templates of one take their time."""
    async with bench(tmp_path, _MESSAGES) as b:
        rendering = Rendering(b)
        rendering.workers.may_answer.clear()
        running = asyncio.create_task(b.until_done())
        await support.eventually(lambda: rendering.workers.waiting == 1)
        free = 0
        while not rendering.plan.limit.locked():
            await rendering.plan.limit.acquire()
            free += 1
        assert free == b.channel.concurrency
        for _ in range(free):
            rendering.plan.limit.release()
        rendering.workers.may_answer.set()
        await running
        assert len(rendering.made) == _MESSAGES


async def test_a_message_over_the_light_budget_is_rendered_elsewhere(tmp_path: Path) -> None:
    """The try does not count, the message is sent once, and so are those behind it."""
    async with bench(tmp_path, _MESSAGES) as b:
        b.channel.concurrency = 1
        rendering = Rendering(b, too_much=3)
        await b.until_done()
        assert rendering.made == {1: "1, light", 2: "2, light", 3: "3", 4: "4", 5: "5", 6: "6"}
        assert {attempt for _, _, attempt in (await b.outcomes()).values()} == {1}


async def test_a_broken_limit_fails_its_message_alone(tmp_path: Path) -> None:
    """It ends FAILED with a code of its own; the others are sent."""
    async with bench(tmp_path, _MESSAGES) as b:
        rendering = Rendering(b)
        rendering.workers.fail = lambda n: TemplateLimitError("", "too long") if n == 2 else None
        await b.until_done()
        outcomes = await b.outcomes()
        assert outcomes.pop(2) == (Outcome.FAILED, "render_limit", 1)
        assert {outcome for outcome, _, _ in outcomes.values()} == {Outcome.SENT}


async def test_no_message_is_lost_where_no_process_renders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is tried again later, which counts as no try, and sent once."""
    monkeypatch.setattr(shard_workers, "RENDERING_WAIT_SECONDS", 0.01)
    async with bench(tmp_path, _MESSAGES) as b:
        rendering = Rendering(b)
        failures = [WorkerUnavailableError("no memory")] * 3
        rendering.workers.fail = lambda n: failures.pop() if n == 4 and failures else None
        await b.until_done()
        assert not failures
        outcomes = await b.outcomes()
        assert set(outcomes) == set(range(1, _MESSAGES + 1))
        assert {(outcome, attempt) for outcome, _, attempt in outcomes.values()} == {
            (Outcome.SENT, 1)
        }


@pytest.mark.parametrize("is_killed", [False, True], ids=["paused", "cancelled"])
async def test_a_message_that_is_being_rendered_is_handed_back(
    tmp_path: Path, *, is_killed: bool
) -> None:
    """S10, S17: a pause or a stop in the middle of rendering leaves no doubt and sends nothing."""
    async with bench(tmp_path, _MESSAGES) as b:
        rendering = Rendering(b)
        rendering.workers.may_answer.clear()
        running = asyncio.create_task((await b.begin()).run())
        await support.eventually(lambda: rendering.workers.waiting == 1)
        if is_killed:
            running.cancel()
        else:
            b.forbid()
        async with asyncio.timeout(60):
            await asyncio.gather(running, return_exceptions=True)
        assert rendering.made == {}
        assert await b.outcomes() == {}
        assert await support.in_doubt(b.store, b.campaign) == 0
        assert await b.is_released()
        b.allowed = True
        rendering.workers.may_answer.set()
        await b.until_done()
        assert len(rendering.made) == _MESSAGES


async def test_a_pause_after_rendering_is_obeyed(tmp_path: Path) -> None:
    """S17: a message that was rendered when the pause came is not handed over."""
    async with bench(tmp_path, 1) as b:
        rendering = Rendering(b)
        bounded = rendering.plan.rendering
        assert bounded is not None
        ready = bounded.ready

        async def paused_meanwhile(message: Message) -> ReadyTemplate:
            made = await ready(message)
            b.allowed = False  # and nobody has been woken yet
            return made

        bounded.ready = paused_meanwhile  # type: ignore[method-assign]
        await b.run_once()
        assert rendering.made == {}
        assert await support.in_doubt(b.store, b.campaign) == 0
