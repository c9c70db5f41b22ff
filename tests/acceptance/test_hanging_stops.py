"""L7: a stop ends within its grace, a second signal at once, whatever a database does.

`make soak` stops a service at every step of a write; these are some of them.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest

from acceptance import deaf_process, hanging_sender
from acceptance.deployment import until
from acceptance.failing_campaign import LAST, MIDDLE
from acceptance.failpoints import Failpoint, Fault, When
from acceptance.forked import ForkedService
from acceptance.hanging_stops import stop_while_it_hangs
from acceptance.processes import wait_until
from closeout.aio import SenderClient
from closeout.errors import ClientError
from closeout.sender.v1.sender_pb2 import TextContent
from integration.databases import Database, PostgresqlDatabase, SqliteDatabase
from providers.postgresql_server import PostgresqlServer
from service_runtime.process import EXIT_FORCED

#: A new database for a folder.
NewDatabase = Callable[[Path], Database]


@pytest.fixture(params=["sqlite", "postgresql"])
def new_database(request: pytest.FixtureRequest) -> NewDatabase:
    """Make databases of each kind."""
    if request.param == "sqlite":
        return lambda folder: SqliteDatabase(folder / "status.db")
    server: PostgresqlServer = request.getfixturevalue("postgresql_server")
    return lambda _: PostgresqlDatabase(server.create_database())


async def test_l7_a_stop_ends_while_a_write_hangs(
    tmp_path: Path, new_database: NewDatabase
) -> None:
    """A hanging thread, or event loop, ends with its process; acknowledged results stay."""
    cases = {
        "before": (MIDDLE, Failpoint(Fault.HANG, When.BEFORE, "commit"), False),
        "loop": (MIDDLE, Failpoint(Fault.HANG, When.BEFORE, "acknowledge"), False),
        "twice": (LAST, Failpoint(Fault.HANG, When.AFTER, "commit"), True),
    }
    async with asyncio.TaskGroup() as group:
        for name, (frame, point, impatient) in cases.items():
            folder = tmp_path / name
            folder.mkdir()
            group.create_task(
                stop_while_it_hangs(folder, new_database(folder), frame, point, impatient=impatient)
            )


async def test_l7_a_stop_of_the_sender_ends_while_a_write_hangs(tmp_path: Path) -> None:
    """Also the sender ends, though its database never answers."""
    settings = {
        "CLOSEOUT_SENDER_LISTEN": "127.0.0.1:0",
        "CLOSEOUT_SENDER_STATUS_ADDRESS": "127.0.0.1:1",
        "CLOSEOUT_SENDER_GRACE_SECONDS": "0",
    }
    sender = ForkedService(hanging_sender.main, "sender service listening on ", tmp_path, settings)
    with sender:
        await asyncio.to_thread(sender.start)
        (tmp_path / hanging_sender.HANG).touch()
        async with SenderClient(sender.address) as client:
            call = asyncio.create_task(
                client.create_campaign(campaign_id="a", body=TextContent(text="a"), channel="null")
            )
            await until((tmp_path / hanging_sender.HANGS).exists)
            sender.signal(signal.SIGTERM)
            assert await asyncio.to_thread(sender.wait) == EXIT_FORCED
            with pytest.raises((ClientError, grpc.aio.AioRpcError)):
                await call
    (cut,) = sender.events("stop_cut_short")
    assert any(name.startswith("store-") for name in cut["hanging"])


@pytest.mark.parametrize("impatient", [False, True], ids=["once", "again and again"])
def test_l7_a_signal_is_heard_without_the_main_thread(tmp_path: Path, *, impatient: bool) -> None:
    """One that comes just before a call that hangs is noted by Python, and the call goes on."""
    grace = {deaf_process.GRACE_SECONDS: "3600" if impatient else "0"}
    with ForkedService(deaf_process.main, "deaf to ", tmp_path, grace) as deaf:
        deaf.start()
        deaf.signal(signal.SIGTERM)

        def ended() -> bool:
            if impatient:
                deaf.signal(signal.SIGTERM)
            return not deaf.is_running

        wait_until(ended, what="the process ends")
        assert deaf.wait() == EXIT_FORCED
