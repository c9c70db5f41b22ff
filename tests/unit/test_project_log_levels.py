"""What is logged as an error is something that an operator has to mend, and docs say so."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from structlog.testing import capture_logs

from sender_service.campaigns.directory import Source
from sender_service.delivery import activation
from sender_service.delivery.campaign_delivery import CampaignDelivery
from sender_service.domain import Problem, ProblemKind
from service_runtime import repetition

ROOT = Path(__file__).resolve().parents[2]
SERVICES = ("service_runtime", "sender_service", "status_service")
#: It logs the event that its callers name with ``failed``.
REPETITION = Path(inspect.getfile(repetition))
OPERATIONS = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
#: A person has to act: the database, a key or a provider has failed for good, a write hangs,
#: or somebody changed the database by hand.
TO_MEND = {
    "campaign_repaired",
    "campaign_stuck",
    "provider_given_up",
    "results_rejected",
    "sending_held",
    "status_service_refuses",
    "store_write_failed",
    "watchdog_silent",
}
#: Nobody but a developer can mend it; no caller causes it, whatever it sends.
DEFECTS = {
    "background_work_failed",
    "call_failed",
    "channel_failed",
    "count_failed",
    "delivery_crashed",
    "delivery_task_failed",
    "event_delivery_failed",
    "event_publishing_failed",
    "live_pages_failed",
    "look_failed",
    "metrics_not_refreshed",
    "page_failed",
    "provider_loop_crashed",
    "record_failed",
    "removal_failed",
    "reporting_failed",
}


def logged_errors() -> Iterator[str]:
    """Yield the events that a service can log as an error."""
    for service in SERVICES:
        for file in (ROOT / service).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if not isinstance(node, ast.Call):
                    continue
                events: list[ast.expr] = []
                if isinstance(node.func, ast.Name) and node.func.id == "repeat":
                    events = [word.value for word in node.keywords if word.arg == "failed"]
                if _is_error(node.func) and file != REPETITION:
                    events = node.args[:1]
                for event in events:
                    assert isinstance(event, ast.Constant), f"{file}:{node.lineno}"
                    yield str(event.value)


def _is_error(function: ast.expr) -> bool:
    """Return whether a function is one of the log's for errors, or may be one."""
    return any(
        isinstance(part, ast.Attribute)
        and part.attr in {"error", "exception", "critical"}
        and isinstance(part.value, ast.Name)
        and part.value.id == "log"
        for part in ast.walk(function)
    )


def test_every_error_of_the_log_was_judged() -> None:
    """A line that any caller can cause is no error: see the two sets of this test."""
    assert set(logged_errors()) == TO_MEND | DEFECTS


@pytest.mark.parametrize("event", sorted(TO_MEND | DEFECTS))
def test_an_error_is_documented_as_one(event: str) -> None:
    """Whoever searches the log for errors finds each of them explained."""
    found = re.findall(rf"^\|[^|]*`{event}`[^|]*\|([^|]+)\|([^\n]+)", OPERATIONS, re.MULTILINE)
    assert any(
        level.strip() in {"error", "critical"} or "The level is error where" in meaning
        for level, meaning in found
    )


@pytest.mark.parametrize(
    ("kind", "level"),
    [
        (ProblemKind.CHANNEL_UNAVAILABLE, "error"),
        (ProblemKind.CONTENT_INVALID, "warning"),
        (ProblemKind.START_REFUSED, "warning"),
    ],
)
async def test_a_campaign_that_is_wrong_by_itself_is_no_error(
    monkeypatch: pytest.MonkeyPatch, kind: ProblemKind, level: str
) -> None:
    """Who may create campaigns can't fill the log with errors: the channel is the operator's."""
    monkeypatch.setattr(activation, "STUCK_SECONDS", 0.0)
    directory: Any = mock.AsyncMock()
    active: Any = mock.AsyncMock()
    with capture_logs() as logs:
        await activation.show_stuck(directory, active, Source.START, Problem(kind, "wrong"))
    assert [(line["event"], line["log_level"]) for line in logs] == [("campaign_stuck", level)]


@pytest.mark.parametrize(("fault", "level"), [(None, "warning"), ("unreachable", "error")])
async def test_a_campaign_that_its_provider_refuses_alone_is_no_error(
    monkeypatch: pytest.MonkeyPatch, fault: str | None, level: str
) -> None:
    """Where the provider takes the messages of others, the campaign is wrong, not the provider."""
    any_of: Any = mock.MagicMock()
    delivery = CampaignDelivery(
        *[any_of] * 5, contents=any_of, providers=any_of, scheduler=any_of, instance="i"
    )
    monkeypatch.setattr(delivery, "_close", mock.AsyncMock(return_value=True))
    gate: Any = mock.MagicMock()
    gate.shared.breaker.fault = fault
    gate.outage.problem.return_value = Problem(ProblemKind.PROVIDER_REFUSES, "refuses")
    with capture_logs() as logs:
        assert await delivery._give_up(gate)
    assert [(line["event"], line["log_level"]) for line in logs] == [("provider_given_up", level)]
