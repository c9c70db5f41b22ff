"""A frozen campaign is sealed, however long the status service does not answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs

from sender_service.campaigns import status_gateway
from sender_service.campaigns.active_campaign import ActiveCampaign
from sender_service.campaigns.directory import Directory, Source
from sender_service.delivery.activation import activate, show_stuck
from sender_service.domain import Phase, Problem, ProblemKind
from sender_service.errors import (
    CampaignCancelledError,
    CampaignSealedError,
    ServiceKeyError,
    StatusServiceUnavailableError,
)
from service_runtime.errors import StoreUnavailableError

_PATIENCE_SECONDS = 20.0


class _Store:
    """Takes what is written."""

    async def write(self, work: Any) -> None:
        """Do nothing."""


@pytest.fixture
def directory() -> Directory:
    store: Any = _Store()
    return Directory(store)


@pytest.fixture
def active(directory: Directory) -> ActiveCampaign:
    row: Any = SimpleNamespace(campaign=1, campaign_id="c1", organisation="default")
    return directory.add(row)


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> list[Phase | Exception]:
    """What the status service will answer, in this order."""
    made: list[Phase | Exception] = []

    async def seal_frozen(*_: Any) -> Phase:
        answer = made.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(status_gateway, "seal_frozen", seal_frozen)
    return made


async def activated(directory: Directory, active: ActiveCampaign) -> bool:
    """Activate the campaign, which waits for nothing for long."""
    anything: Any = SimpleNamespace(client=lambda _: None)
    async with asyncio.timeout(_PATIENCE_SECONDS):
        return await activate(anything, anything, directory, active)


@pytest.mark.parametrize(
    ("answer", "goes_on"),
    [
        (Phase.STARTED, True),
        (Phase.FINISHED, False),
        (CampaignCancelledError("it is CANCELLED", metadata={}), False),
    ],
    ids=["sealed", "finished", "cancelled"],
)
async def test_only_a_sealed_campaign_is_delivered(
    directory: Directory,
    active: ActiveCampaign,
    answers: list[Phase | Exception],
    answer: Phase | Exception,
    *,
    goes_on: bool,
) -> None:
    """Not one that is finished, or that was cancelled before it began."""
    answers.append(answer)
    assert await activated(directory, active) is goes_on
    assert not active.problems


async def test_a_process_that_stops_asks_no_more(
    directory: Directory, active: ActiveCampaign, answers: list[Phase | Exception]
) -> None:
    """The next one seals the campaign."""
    answers.append(Phase.STARTED)
    directory.stop()
    assert not await activated(directory, active)
    assert answers


@pytest.mark.parametrize(
    ("error", "kind", "needs_attention"),
    [
        (
            lambda: StatusServiceUnavailableError("gone"),
            ProblemKind.STATUS_SERVICE_UNREACHABLE,
            False,
        ),
        (lambda: ServiceKeyError("no key"), ProblemKind.STATUS_SERVICE_REFUSES, True),
        (lambda: CampaignSealedError("of 7"), ProblemKind.START_REFUSED, True),
    ],
    ids=["silent", "refused key", "refused"],
)
async def test_a_start_that_failed_is_shown_and_tried_again(
    directory: Directory,
    active: ActiveCampaign,
    answers: list[Phase | Exception],
    error: Callable[[], Exception],
    kind: ProblemKind,
    *,
    needs_attention: bool,
) -> None:
    """People see why, and nothing of it is left when the campaign is sealed."""
    answers += [error(), Phase.STARTED]
    shown = []

    async def wait(_: float) -> None:
        shown.extend(active.problems)

    active.wait = wait  # type: ignore[method-assign, assignment]
    assert await activated(directory, active)
    assert [(problem.kind, problem.needs_attention) for problem in shown] == [
        (kind, needs_attention)
    ]
    assert not active.problems


async def test_a_store_that_does_not_answer_ends_the_attempt(
    directory: Directory, active: ActiveCampaign, answers: list[Phase | Exception]
) -> None:
    """It is no refusal of the status service: whoever called begins again."""
    answers.append(StoreUnavailableError("gone"))
    with pytest.raises(StoreUnavailableError):
        await activated(directory, active)
    assert not active.problems


@pytest.mark.parametrize(
    ("kind", "level"),
    [(ProblemKind.CHANNEL_UNAVAILABLE, "error"), (ProblemKind.START_REFUSED, "warning")],
)
async def test_what_a_caller_can_cause_is_no_error_in_the_log(
    directory: Directory, active: ActiveCampaign, kind: ProblemKind, level: str
) -> None:
    """What only an operator can mend is one; either is logged once."""
    problem = Problem(kind, "it can't go on", detail="why", needs_attention=True)
    with capture_logs() as lines:
        for _ in range(2):
            active.wake()
            await show_stuck(directory, active, Source.START, problem)
    assert [(line["event"], line["log_level"]) for line in lines] == [("campaign_stuck", level)]
