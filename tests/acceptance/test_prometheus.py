"""A real Prometheus scrapes both services: the alert for a campaign that stands, and all queries.

The alert fires for a stalled campaign, resolves when it moves or is repaired, and does not
fire for a paused campaign or a slow one.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from acceptance.forked import ForkedService
from acceptance.processes import PATIENCE_SECONDS, Service
from acceptance.prometheus_server import INTERVAL_SECONDS, Prometheus
from closeout.aio import SenderClient, StatusClient
from closeout_cli.__main__ import main
from integration.databases import SqliteDatabase
from integration.status_support import reporting, results
from providers.prometheus_files import ALERTS, RULES, panel_expressions, rules

STALLED = "CloseoutCampaignStalled"
#: How long without a new result is too long here, seconds.
THRESHOLD = 3.0
#: Expressions that have no series in a healthy system without TLS.
EMPTY_WHILE_WELL = {"Calls that fail/A"}


@dataclass
class Deployment:
    """Both services as processes, a Prometheus, and what a test does with them."""

    status: Service
    sender: Service
    prometheus: Prometheus
    database: SqliteDatabase

    async def until(self, condition: Callable[[], bool], *, what: str) -> None:
        """Wait until something holds."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not await asyncio.to_thread(condition):
            assert time.monotonic() < deadline, what
            await asyncio.sleep(INTERVAL_SECONDS / 5)

    async def fires(self, name: str = STALLED) -> None:
        """Wait until an alert fires."""
        await self.until(lambda: name in self.prometheus.firing(), what=f"{name} fires")

    async def resolves(self, name: str = STALLED) -> None:
        """Wait until an alert does not fire any more."""
        await self.until(lambda: name not in self.prometheus.firing(), what=f"{name} resolves")

    async def judged(self, moment: float) -> None:
        """Wait until campaigns that stood at a moment were judged again and again since."""
        await self.until(
            lambda: (
                time.time() - moment > 2 * THRESHOLD
                and self.prometheus.evaluations_since(moment) > THRESHOLD / INTERVAL_SECONDS
            ),
            what="the rules are evaluated",
        )


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """Both services and a Prometheus, for all tests of this module."""
    folder = tmp_path_factory.mktemp("prometheus")
    path = folder / "status.db"
    with (
        ForkedService(
            "status_service",
            "status service listening on ",
            folder / "status",
            {
                "CLOSEOUT_STATUS_LISTEN": "127.0.0.1:0",
                "CLOSEOUT_STATUS_DATABASE_URL": f"sqlite:///{path}",
                "CLOSEOUT_STATUS_STALL_THRESHOLD_SECONDS": str(THRESHOLD),
                # The pass would repair before the alert fires.
                "CLOSEOUT_STATUS_RECONCILE_INTERVAL_SECONDS": "3600",
            },
        ) as status,
        ForkedService(
            "sender_service",
            "sender service listening on ",
            folder / "sender",
            {"CLOSEOUT_SENDER_LISTEN": "127.0.0.1:0"},
        ) as sender,
    ):
        status.start()
        sender.start(CLOSEOUT_SENDER_STATUS_ADDRESS=status.address)
        targets = {
            "closeout-status": status.http_address,
            "closeout-sender": sender.http_address,
        }
        with Prometheus(folder / "prometheus", targets) as prometheus:
            yield Deployment(status, sender, prometheus, SqliteDatabase(path))


@asynccontextmanager
async def slowly(client: StatusClient, campaign_id: str) -> AsyncIterator[None]:
    """Report one result after the other of a campaign, none for long, while the block runs."""
    await client.create_campaign(campaign_id=campaign_id)
    await client.start_campaign(campaign_id=campaign_id, total=100_000)

    async def report() -> None:
        async with reporting(client) as stream:
            for number in range(1, 100_000):
                await stream.send(campaign_id, *results([number]))
                await asyncio.sleep(THRESHOLD / 12)

    task = asyncio.create_task(report())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await client.cancel_campaign(campaign_id=campaign_id)


async def begin(client: StatusClient, campaign_id: str) -> None:
    """Start a campaign of two messages, and report the first."""
    await client.create_campaign(campaign_id=campaign_id)
    await client.start_campaign(campaign_id=campaign_id, total=2)
    await report(client, campaign_id, 1)


async def report(client: StatusClient, campaign_id: str, *sequences: int) -> None:
    """Report results; they are stored when it returns."""
    async with reporting(client) as stream:
        await stream.send(campaign_id, *results(sequences))
        await stream.acked(1)


async def test_the_alert_fires_for_a_campaign_that_stands(deployment: Deployment) -> None:
    """Not for a paused one and a slow one; it resolves when the campaign moves or is repaired."""
    status = deployment.status.address
    async with StatusClient(status) as client, slowly(client, "slow"):
        await begin(client, "paused")
        await client.pause_campaign(campaign_id="paused")
        await deployment.judged(time.time())
        assert not deployment.prometheus.ever_fired(STALLED)

        await begin(client, "spring")
        await deployment.fires()
        said = deployment.prometheus.annotations(STALLED)
        assert said["summary"].startswith("1 campaign(s) stand")
        assert "`closeout check`" in said["description"]
        assert await asyncio.to_thread(main, ["check", "--status-address", status]) == 0, (
            "the usual threshold is longer"
        )
        words = ["check", "--stalled-for", f"{THRESHOLD:g}s", "--status-address", status]
        assert await asyncio.to_thread(main, words) == 2
        await report(client, "spring", 2)
        await deployment.resolves()

        # The founding bug: every message has a result, and the campaign is not completed.
        await begin(client, "stuck")
        await report(client, "stuck", 2)
        with deployment.database.by_hand() as connection:
            connection.execute(
                "UPDATE campaigns SET state = 'SENDING', complete_time = NULL"
                " WHERE campaign_id = 'stuck'"
            )
        await deployment.fires()
        assert await asyncio.to_thread(main, ["fix", "--status-address", status]) == 0
        await deployment.resolves()
        await deployment.fires("CloseoutRepairsFound")


async def test_each_query_of_rules_and_dashboard_has_an_answer(deployment: Deployment) -> None:
    """Prometheus evaluates every expression, and each that should has series."""
    async with SenderClient(deployment.sender.address) as client:
        await client.check_sender()
    asked = {rule["record"]: rule["expr"] for rule in rules(RULES)} | panel_expressions()

    def unanswered() -> list[str]:
        return [
            place
            for place, expression in asked.items()
            if place not in EMPTY_WHILE_WELL and not deployment.prometheus.query(expression)
        ]

    await deployment.until(lambda: not unanswered(), what="every expression has series")
    for rule in rules(ALERTS):
        deployment.prometheus.query(rule["expr"])


async def test_a_service_that_is_gone_is_called_for(deployment: Deployment) -> None:
    """And it resolves when the service is back."""
    assert "CloseoutServiceDown" not in deployment.prometheus.firing()
    address = deployment.sender.http_address
    await asyncio.to_thread(deployment.sender.kill)
    await deployment.fires("CloseoutServiceDown")
    await asyncio.to_thread(
        lambda: deployment.sender.start(
            CLOSEOUT_SENDER_STATUS_ADDRESS=deployment.status.address,
            CLOSEOUT_SENDER_HTTP_LISTEN=address,
        )
    )
    await deployment.resolves("CloseoutServiceDown")
