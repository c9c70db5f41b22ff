"""B2: the limits of calls and streams, over gRPC and HTTP, and requests that do not arrive."""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import AsyncExitStack
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from acceptance.hostile_http2 import INITIAL_WINDOW, connected, message
from closeout.aio import StatusClient
from closeout.aio.channel import open_channel
from closeout.connection import CHANNEL_OPTIONS
from closeout.errors import (
    CallCancelledError,
    InvalidArgumentError,
    ResourceExhaustedError,
    from_rpc_error,
)
from integration.http_support import calling
from integration.status_support import PATIENCE_SECONDS, eventually, serving
from integration.tls_support import Authority
from service_runtime import call_limits, grpc_requests, grpc_server, http_server

_BATCH = "/closeout.status.v1.StatusService/BatchReportResults"
_GET = "/closeout.status.v1.StatusService/GetCampaign"


async def test_b2_one_connection_can_not_have_all_streams(tmp_path: Path) -> None:
    """It is refused with reason and advice, by gRPC and HTTP; another one is served."""
    async with AsyncExitStack() as held, serving(tmp_path, max_streams=12) as status:
        await status.start("a", 2)
        channel = await held.enter_async_context(open_channel(status.address))
        client = StatusClient(channel)
        for _ in range(3):
            watch = client.watch_campaign(campaign_id="a")
            held.push_async_callback(watch.aclose)
            await anext(watch)
        with pytest.raises(ResourceExhaustedError) as caught:
            await anext(client.watch_campaign(campaign_id="a"))
        assert caught.value.reason == "TOO_MANY_CALLS"
        assert caught.value.metadata == {"kind": "streams", "most": "6"}
        assert caught.value.retry_after_seconds == 1
        # Calls that are no streams go on, and so do others.
        assert (await client.get_campaign(campaign_id="a")).pending == 2
        await status.report("a")
        async with calling(status.url) as http:
            watching = [asyncio.ensure_future(http.get("/v1/campaigns/a:watch")) for _ in range(12)]
            held.callback(lambda: [task.cancel() for task in watching])
            done, _ = await asyncio.wait(
                watching, return_when=asyncio.FIRST_COMPLETED, timeout=PATIENCE_SECONDS
            )
            (refused, *_) = done
            assert refused.result().status_code == 429
            assert refused.result().json()["details"][0]["reason"] == "TOO_MANY_CALLS"
            for task in watching:
                task.cancel()
            await asyncio.gather(*watching, return_exceptions=True)


async def test_all_who_watched_come_back_at_once_and_are_let_in(tmp_path: Path) -> None:
    """As after a restart: gRPC refuses some as CANCELLED, and whoever tries again gets in."""
    async with AsyncExitStack() as held, serving(tmp_path) as status:
        await status.start("a", 2)
        own = [*CHANNEL_OPTIONS, ("grpc.use_local_subchannel_pool", 1)]
        clients = [
            StatusClient(
                await held.enter_async_context(grpc.aio.insecure_channel(status.address, own))
            )
            for _ in range(6)
        ]

        async def watching(client: StatusClient) -> None:
            while True:
                watch = client.watch_campaign(campaign_id="a")
                held.push_async_callback(watch.aclose)
                with contextlib.suppress(CallCancelledError):
                    await anext(watch)
                    return

        async with asyncio.TaskGroup() as group:
            for client in clients * 100:
                group.create_task(watching(client))


async def test_b2_a_fast_client_may_not_send_ahead_without_bound(tmp_path: Path) -> None:
    """Of a call that nobody reads, 64 KiB are taken, however much this client sent before."""
    body = message(b"\0" * 4_000_000)
    async with (
        serving(tmp_path) as status,
        connected(status.address) as client,
        client.being_read() as reading,
    ):
        for _ in range(2):
            stream, sent = client.open_stream(_BATCH), 0

            async def arrives() -> bool:
                nonlocal sent
                sent += client.send(stream, body[sent:])  # noqa: B023 - awaited below
                return sent == len(body) or reading.done()

            await eventually(arrives, what="the service takes the message")
        assert not reading.done()
        assert client.window_of_a_stream == INITIAL_WINDOW


async def test_b2_watchers_of_health_do_not_take_the_streams_of_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever says not who it is has limits of its own."""
    monkeypatch.setattr(call_limits, "_MOST_OPEN", 8)
    async with (
        serving(tmp_path, max_streams=12) as status,
        grpc.aio.insecure_channel(
            status.address, options=[("grpc.use_local_subchannel_pool", 1)]
        ) as channel,
    ):
        await status.start("a", 1)
        stub = health_pb2_grpc.HealthStub(channel)
        watches = [stub.Watch(health_pb2.HealthCheckRequest()) for _ in range(3)]
        answers = await asyncio.gather(*(watch.read() for watch in watches), return_exceptions=True)
        assert sorted(isinstance(answer, grpc.aio.AioRpcError) for answer in answers) == [
            False,
            False,
            True,
        ]
        await status.report("a")
        await stub.Check(health_pb2.HealthCheckRequest(), timeout=PATIENCE_SECONDS)
        for watch in watches:
            watch.cancel()


async def test_b2_large_bodies_of_http_are_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A body that is one too many is refused, and small ones go on."""
    monkeypatch.setattr(call_limits, "_MOST_REQUESTS", 8)
    large = b"x" * (grpc_requests.SMALL_BYTES + 1)
    head = (
        b"POST /v1/campaigns HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        b"connection: close\r\ncontent-length: %d\r\n\r\n"
    )
    async with serving(tmp_path) as status, AsyncExitStack() as held:
        host, _, port = status.url.removeprefix("http://").rpartition(":")

        async def post(body: bytes, length: int) -> asyncio.StreamReader:
            reader, writer = await asyncio.open_connection(host, int(port))
            held.callback(writer.close)
            writer.write(head % length + body)
            await writer.drain()
            return reader

        # Each is another connection; together they have the half of an organisation.
        readers = [await post(large, len(large) + 1) for _ in range(5)]
        answers = [asyncio.create_task(reader.read()) for reader in readers]
        done, _ = await asyncio.wait(
            answers, return_when=asyncio.FIRST_COMPLETED, timeout=PATIENCE_SECONDS
        )
        assert [b" 429 " in answer.result() for answer in done] == [True]
        assert b"TOO_MANY_CALLS" in done.pop().result()
        small = await post(b'{"campaignId": "a"}', 19)
        async with asyncio.timeout(PATIENCE_SECONDS):
            assert b" 200 " in await small.read()
        for answer in answers:
            answer.cancel()
        await asyncio.gather(*answers, return_exceptions=True)


async def test_b2_a_request_that_does_not_arrive_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call without its request ends; it is the caller's mistake."""
    async with (
        serving(tmp_path) as status,
        grpc.aio.insecure_channel(status.address, options=CHANNEL_OPTIONS) as channel,
    ):
        call = channel.stream_unary(_GET)(timeout=PATIENCE_SECONDS)
        await call.done_writing()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
        error = from_rpc_error(caught.value)
        assert isinstance(error, InvalidArgumentError)
        assert "no request" in str(error)
        monkeypatch.setattr(grpc_requests, "REQUEST_SECONDS", 0.1)
        call = channel.stream_unary(_GET)(timeout=PATIENCE_SECONDS)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
        error = from_rpc_error(caught.value)
        assert isinstance(error, InvalidArgumentError)
        assert "did not arrive" in str(error)


async def test_b2_a_handshake_of_tls_that_does_not_go_on_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over HTTP and gRPC: a connection has ten seconds to become one."""
    assert http_server.HANDSHAKE_SECONDS == 10.0
    assert dict(grpc_server.server_options())["grpc.server_handshake_timeout_ms"] == 10_000
    monkeypatch.setattr(http_server, "HANDSHAKE_SECONDS", 0.1)
    monkeypatch.setattr(grpc_server, "_HANDSHAKE_SECONDS", 1)
    files = Authority(tmp_path).issue("server").settings()
    async with serving(tmp_path, **files) as status:
        for place in (status.http_address, status.address):
            host, _, port = place.rpartition(":")
            reader, writer = await asyncio.open_connection(host, int(port))
            async with asyncio.timeout(PATIENCE_SECONDS):
                with contextlib.suppress(ConnectionError):
                    assert await reader.read() == b""
            writer.close()
