"""Two status services on one PostgreSQL and one sender: either may die at any moment."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from acceptance.deployment import Deployment
from acceptance.forked import ForkedService
from acceptance.processes import Service
from closeout.status.v1 import status_pb2
from integration.databases import PostgresqlDatabase
from integration.status_support import check_invariants
from providers.held_port import HeldPort
from providers.postgresql_server import PostgresqlServer
from providers.smtp_provider import SmtpProvider, scripted

_ADDRESSES = [f"person{number}@example.com" for number in range(1_000)]
#: How often each status service is killed.
_KILLS = 3


@contextmanager
def _status_services(folder: Path, database_url: str) -> Iterator[list[Service]]:
    with ExitStack() as stack:
        yield [
            stack.enter_context(
                ForkedService(
                    "status_service",
                    "status service listening on ",
                    folder / name,
                    {
                        "CLOSEOUT_STATUS_LISTEN": stack.enter_context(HeldPort()).address,
                        "CLOSEOUT_STATUS_DATABASE_URL": database_url,
                    },
                )
            )
            for name in ("one", "two")
        ]


@contextmanager
def _sender_service(folder: Path, provider: SmtpProvider, status: str) -> Iterator[Service]:
    settings = {
        "CLOSEOUT_SENDER_LISTEN": "127.0.0.1:0",
        "CLOSEOUT_SENDER_STATUS_ADDRESS": status,
        "CLOSEOUT_SMTP_HOST": "127.0.0.1",
        "CLOSEOUT_SMTP_PORT": str(provider.port),
    }
    with ForkedService(
        "sender_service", "sender service listening on ", folder / "sender", settings
    ) as sender:
        yield sender


async def test_s4_s7_the_sender_goes_on_through_the_one_that_lives(
    tmp_path: Path, postgresql_server: PostgresqlServer
) -> None:
    """Each is killed in turn while messages go out: one completion, no missing result.

    Results that one instance did not acknowledge go to the other.
    """
    database = PostgresqlDatabase(postgresql_server.create_database())
    provider = scripted(latency_seconds=0.01)
    async with provider:
        with _status_services(tmp_path, database.url) as services:
            for service in services:
                await asyncio.to_thread(service.start)
            addresses = ",".join(service.address for service in services)
            with _sender_service(tmp_path, provider, addresses) as sender:
                await asyncio.to_thread(sender.start)
                deployment = Deployment(services[0], sender, provider)
                await deployment.send(_ADDRESSES)
                for number in range(2 * _KILLS):
                    await deployment.accepted((number + 1) * 100)
                    await deployment.kill_and_start(services[number % 2])
                campaign = await deployment.completed()
                results = await deployment.results()
                assert await asyncio.to_thread(sender.terminate) == 0
            for service in services:
                assert await asyncio.to_thread(service.terminate) == 0
                assert not service.events("campaign_repaired"), "L1"
    assert (campaign.sent, campaign.total) == (len(_ADDRESSES), len(_ADDRESSES))
    outcomes = Counter(result.outcome for result in results.values())
    assert outcomes == {status_pb2.Result.SENT: len(_ADDRESSES)}
    assert set(deployment.accepted_by_address().values()) == {1}, "S10"
    with database.by_hand() as connection:
        check_invariants(connection)
    postgresql_server.drop_database(database.url)
