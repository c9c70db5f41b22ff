"""S15: the sender's own database fails in the middle, and everything goes on by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from integration import sender_support as support
from integration.sender_pair import pair
from sender_service.campaigns.directory import Decision
from sender_service.delivery import supervisor
from sender_service.delivery.supervisor import Supervisor
from sender_service.store import campaigns, outbox
from service_runtime.errors import StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def failing(work: Callable[..., Any], times: int) -> Callable[..., Any]:
    """Return a function of the store that the database does not answer at first."""
    left = [times]

    def fails(*arguments: Any, **named: Any) -> Any:
        if left[0]:
            left[0] -= 1
            raise StoreUnavailableError("the test says so")
        return work(*arguments, **named)

    return fails


def unexpected(lines: Any) -> list[str]:
    """Return the events that speak of a defect."""
    return [line["event"] for line in lines if line["log_level"] in {"error", "critical"}]


async def test_s15_a_campaign_ends_without_its_summary(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The line with the numbers is left out, and another one says why."""
    monkeypatch.setattr(outbox, "counts", failing(outbox.counts, 1))
    with capture_logs() as lines:
        async with pair(tmp_path) as both:
            for name in ("c1", "c2"):
                await both.begin(name, 3)
                await both.finished(name)

            def has_said_both() -> bool:
                said = [line["event"] for line in lines]
                return {"summary_unavailable", "campaign_delivered"} <= set(said)

            await support.eventually(has_said_both)
    assert unexpected(lines) == []


async def test_s15_organisations_without_work_are_visited_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those with work are not held up by that."""
    name = "organisations_finished_lately"
    monkeypatch.setattr(campaigns, name, failing(getattr(campaigns, name), 1))
    with capture_logs() as lines:
        async with pair(tmp_path) as both:
            await both.begin("c1", 3)
            await both.finished("c1")
    assert "reporting_retrying" in [line["event"] for line in lines]
    assert unexpected(lines) == []


async def test_s15_a_look_for_what_is_open_is_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until the database answers, and others are sent meanwhile."""
    monkeypatch.setattr(supervisor, "_FIRST_WAIT_SECONDS", 0.01)
    looks: list[Supervisor] = []
    resume = Supervisor.resume

    async def resumed(self: Supervisor) -> None:
        looks.append(self)
        if len(looks) in {2, 3}:  # the first one is that of the start
            raise StoreUnavailableError("the test says so")
        await resume(self)

    monkeypatch.setattr(Supervisor, "resume", resumed)
    with capture_logs() as lines:
        async with pair(tmp_path) as both:
            await both.begin("c1", 3)
            await both.finished("c1")
            assert len(looks) == 1
            looks[0]._directory.decide(Decision.REOPEN)
            await support.eventually(lambda: len(looks) == 4)
            await both.begin("c2", 3)
            await both.finished("c2")
    assert unexpected(lines) == []
