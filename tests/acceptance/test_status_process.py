"""The process of the status service: start, refusal to start, signals, a store that fails."""

from __future__ import annotations

import asyncio
import resource
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from acceptance.forked import ForkedService
from acceptance.processes import Service, wait_until
from closeout.aio import StatusClient
from closeout.aio.channel import open_channel
from closeout.errors import UnavailableError, from_rpc_error
from integration.status_support import Stream, eventually, reporting, results
from service_runtime.process import EXIT_FORCED

_LINE = "status service listening on "
SENDING, COMPLETED = 3, 5


@pytest.fixture
def status(tmp_path: Path) -> Iterator[Service]:
    """A status service that is not started."""
    with ForkedService(
        "status_service", _LINE, tmp_path / "a", {"CLOSEOUT_STATUS_LISTEN": "127.0.0.1:0"}
    ) as service:
        yield service


@asynccontextmanager
async def _full_disk(status: Service, client: StatusClient) -> AsyncIterator[Stream]:
    """Report half of a campaign, limit the disk space, and send the other half.

    The limit is above the size of the log and below that of the write-ahead log. It
    ends with the process, or by :func:`_limit_files`.
    """
    await client.create_campaign(campaign_id="a")
    await client.start_campaign(campaign_id="a", total=20_000)
    async with reporting(client) as stream:
        for start in range(1, 10_001, 500):
            await stream.send("a", *results(range(start, start + 500)))
        await stream.acked(20)
        _limit_files(status, 262_144)
        for start in range(10_001, 20_001, 500):
            await stream.send("a", *results(range(start, start + 500)))
        wait_until(lambda: status.events("store_write_failed"), what="a write fails")
        yield stream


def _limit_files(status: Service, size: int | None) -> None:
    """Limit the files of the process to ``size`` bytes; None removes the limit."""
    hard = resource.prlimit(status.pid, resource.RLIMIT_FSIZE)[1]
    resource.prlimit(status.pid, resource.RLIMIT_FSIZE, (hard if size is None else size, hard))


def refused(service: Service, **environment: str) -> str:
    """Start a service that can't start; return its one line with the reason."""
    service.launch(**environment)
    assert service.wait() == 2, service.log
    (line,) = (line for line in service.log.splitlines() if not line.startswith("{"))
    return line


def test_a_second_process_on_the_same_port_learns_who_holds_it(
    status: Service, tmp_path: Path
) -> None:
    """The message names the address and the process; the first one continues."""
    status.start()
    with ForkedService(
        "status_service", _LINE, tmp_path / "b", {"CLOSEOUT_STATUS_LISTEN": status.address}
    ) as second:
        line = refused(second)
    assert status.address in line
    assert f"process {status.pid}" in line
    assert status.is_running


def test_a_second_process_on_the_same_database_learns_who_holds_it(status: Service) -> None:
    """The message names the file and the process; after its end the file is free."""
    status.start()
    with ForkedService(
        "status_service", _LINE, status.folder / "b", {"CLOSEOUT_STATUS_LISTEN": "127.0.0.1:0"}
    ) as second:
        url = f"sqlite:///{status.folder}/closeout-status.db"
        line = refused(second, CLOSEOUT_STATUS_DATABASE_URL=url)
        assert f"{status.folder}/closeout-status.db" in line
        assert f"process {status.pid}" in line
        status.kill()
        second.start(CLOSEOUT_STATUS_DATABASE_URL=url)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("CLOSEOUT_STATUS_LISTEN", "nonsense", "expected HOST:PORT"),
        ("CLOSEOUT_STATUS_LISTEN", "127.0.0.1:99999", "expected HOST:PORT"),
        ("CLOSEOUT_STATUS_LISTEN", "203.0.113.1:20051", "203.0.113.1:20051"),
        ("CLOSEOUT_STATUS_LISTN", "x", "did you mean CLOSEOUT_STATUS_LISTEN?"),
        ("CLOSEOUT_STATUS_DATABASE_URL", "mysql://u:secret@h/d", "only sqlite:///PATH"),
        ("CLOSEOUT_STATUS_DATABASE_URL", "sqlite:///:memory:", "as sqlite:///PATH only"),
        ("CLOSEOUT_STATUS_DATABASE_URL", "sqlite+aiosqlite:///x", "as sqlite:///PATH only"),
        ("CLOSEOUT_STATUS_DATABASE_URL", "sqlite://", "as sqlite:///PATH only"),
        ("CLOSEOUT_STATUS_DATABASE_URL", "nonsense", "is not a database URL"),
        ("CLOSEOUT_STATUS_DATABASE_URL", "sqlite:////dev/null/x.db", "can't use the database"),
        ("CLOSEOUT_STATUS_DATABASE_URL", "sqlite:///broken.db", "can't open the database"),
    ],
)
def test_what_it_can_not_start_with_is_named_in_one_line(
    status: Service, name: str, value: str, expected: str
) -> None:
    """A wrong setting or an unusable file: exit code 2, one line on standard error, no secret."""
    (status.folder / "broken.db").write_bytes(b"this is no database" * 1_000)
    line = refused(status, **{name: value})
    assert expected in line
    assert "secret" not in line


def test_a_port_held_by_somebody_else_is_refused(status: Service) -> None:
    """The port of another program is refused in the same way."""
    with socket.create_server(("127.0.0.1", 0)) as holder:
        address = f"127.0.0.1:{holder.getsockname()[1]}"
        assert f"can't listen on {address}" in refused(status, CLOSEOUT_STATUS_LISTEN=address)


def test_a_log_that_is_no_terminal_is_json(status: Service) -> None:
    """Every line on standard error is an object that names the event and the service.

    Its publisher of events may begin while the service stops already.
    """
    status.start()
    assert status.terminate() == 0
    lines = status.log.splitlines()
    events = status.events()
    assert len(events) == len(lines)
    assert {event["service"] for event in events} == {"status"}
    names = [event["event"] for event in events if event["event"] != "event_publishing_begun"]
    assert names[-2:] == ["stopping", "stopped"]


async def test_sigterm_drains_and_exits_with_0(status: Service) -> None:
    """A stop acknowledges queued frames, ends streams with SHUTTING_DOWN, and exits with 0."""
    status.start()
    async with StatusClient(status.address) as client:
        await client.create_campaign(campaign_id="a")
        await client.start_campaign(campaign_id="a", total=100_000)
        async with reporting(client) as stream:
            for start in range(1, 50_001, 500):
                await stream.send("a", *results(range(start, start + 500)))
            status.signal(signal.SIGTERM)
            ended = await stream.status()
            assert ended is not None
            error = from_rpc_error(ended)
            assert isinstance(error, UnavailableError)
            assert error.reason == "SHUTTING_DOWN"
        assert await asyncio.to_thread(status.wait) == 0
        await asyncio.to_thread(status.start)
    async with StatusClient(status.address) as client:
        campaign = await client.get_campaign(campaign_id="a")
        assert campaign.sent >= stream.acked_through * 500
    assert status.terminate() == 0
    assert not [event for event in status.events() if event["level"] in {"error", "critical"}]


async def test_a_second_signal_ends_it_at_once(status: Service) -> None:
    """While a stop waits for a write that fails, a second signal ends it with code 3."""
    status.start(CLOSEOUT_STATUS_GRACE_SECONDS="600")
    async with StatusClient(status.address) as client, _full_disk(status, client):
        status.signal(signal.SIGTERM)
        wait_until(lambda: status.events("stopping"), what="it stops")
        assert status.is_running
        status.signal(signal.SIGTERM)
        assert await asyncio.to_thread(status.wait) == 3


async def test_s7_s15_a_full_disk_loses_nothing_and_is_reported(status: Service) -> None:
    """While no write succeeds nothing is acknowledged; health, calls and log report it."""
    status.start()
    async with open_channel(status.address) as channel:
        client = StatusClient(channel)
        health = health_pb2_grpc.HealthStub(channel)

        async def serving() -> bool:
            answer = await health.Check(health_pb2.HealthCheckRequest())
            return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

        async def not_serving() -> bool:
            return not await serving()

        async with _full_disk(status, client) as stream:
            await eventually(not_serving, what="health says NOT_SERVING")
            with pytest.raises(UnavailableError) as caught:
                await client.pause_campaign(campaign_id="a")
            assert caught.value.reason == "STORE_UNAVAILABLE"
            assert caught.value.retry_after_seconds
            wait_until(
                lambda: len(status.events("store_write_failed")) >= 3,
                what="three attempts are logged",
            )
            # No empty transaction in between sets it to SERVING.
            assert len(status.events("readiness_changed")) == 2
            assert stream.acked_through == 20
            assert (await client.get_campaign(campaign_id="a")).sent == 10_000
            _limit_files(status, None)
            await stream.acked(40)
            await eventually(serving, what="health says SERVING again")
        campaign = await client.get_campaign(campaign_id="a")
        assert (campaign.state, campaign.sent) == (COMPLETED, 20_000)
    failed = status.events("store_write_failed")[0]
    assert (failed["level"], failed["failures"]) == ("error", 1)
    assert failed["results"] > 0
    assert status.events("store_write_recovered")
    assert status.terminate() == 0


async def test_s7_a_stop_while_nothing_can_be_stored_ends(status: Service) -> None:
    """A service that can't store its queue stops within its grace, without acknowledging it."""
    status.start(CLOSEOUT_STATUS_GRACE_SECONDS="0.5")
    async with StatusClient(status.address) as client, _full_disk(status, client) as stream:
        status.signal(signal.SIGTERM)
        assert await asyncio.to_thread(status.wait) in {0, EXIT_FORCED}  # 3 on a slow machine
        ended = await stream.status()
        assert ended is not None
        assert ended.code() in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}
        assert stream.acked_through == 20
    status.start()
    async with StatusClient(status.address) as client:
        campaign = await client.get_campaign(campaign_id="a")
        assert (campaign.state, campaign.sent) == (SENDING, 10_000)
