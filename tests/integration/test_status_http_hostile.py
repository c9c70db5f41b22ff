"""Clients of HTTP that break the rules: each is answered or cut, and nobody else notices."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from integration.databases import PATIENCE_SECONDS
from integration.http_support import calling, reason_of, watching
from integration.status_support import Status, eventually, serving
from service_runtime import http_connection, http_server
from status_service.http_api import calls

GET = b"GET /v1/campaigns HTTP/1.1\r\nhost: localhost\r\n\r\n"
POST = b"POST /v1/campaigns HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"


@pytest.fixture
async def status(tmp_path: Path) -> AsyncIterator[Status]:
    """A status service on SQLite."""
    async with serving(tmp_path) as service:
        yield service


async def ask(status: Status, *parts: bytes) -> bytes:
    """Send bytes as they are; return all that comes until the service closes the connection."""
    host, _, port = status.url.removeprefix("http://").rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        for part in parts:
            writer.write(part)
            await writer.drain()
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()


def statuses(answers: bytes) -> list[int]:
    """Return the statuses of answers on one connection."""
    return [int(found) for found in re.findall(rb"HTTP/1\.1 (\d{3}) ", answers)]


async def others_are_served(status: Status) -> None:
    """Check that an honest client is answered."""
    async with calling(status.url) as client:
        assert (await client.get("/v1/campaigns")).status_code == 200


@pytest.mark.parametrize(
    "sent",
    [
        b"\x00\xff\x01\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nhost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: localhost\r\nx: " + b"a" * 1_000_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: localhost\r\n" + b"x: a\r\n" * 100_000 + b"\r\n",
        b"GET /" + b"a" * 1_000_000 + b" HTTP/1.1\r\nhost: localhost\r\n\r\n",
        POST + b"content-length: -1\r\n\r\n{}",
        POST + b"content-length: 1, 2\r\n\r\n{}",
        POST + b"transfer-encoding: chunked\r\n\r\nzz\r\n{}\r\n",
        POST + b"transfer-encoding: gzip\r\n\r\n{}",
    ],
    ids=range(10),
)
async def test_what_is_no_http_is_refused_and_the_connection_closed(
    status: Status, sent: bytes
) -> None:
    """400, or nothing where more came than is read; heads have at most 64 KiB."""
    assert statuses(await ask(status, sent)) in ([400], [501], [])
    await others_are_served(status)


async def test_requests_on_one_connection_are_answered_in_order(status: Status) -> None:
    """Keep-alive and pipelining; garbage behind a request does not change its answer."""
    closing = b"GET /v1/campaigns/none HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
    assert statuses(await ask(status, GET, GET + GET, closing)) == [200, 200, 200, 404]
    assert statuses(await ask(status, GET + b"\x00\xff garbage\r\n\r\n")) == [200, 400]
    body = b'{"campaignId": "a"}' + GET[:10]
    length = f"content-length: {len(body) - 10}\r\n\r\n".encode()
    assert statuses(await ask(status, POST + length + body + GET[10:] + closing)) == [200, 200, 404]


async def test_garbage_behind_a_stream_waits_for_its_end(status: Status) -> None:
    """A watch goes on, whatever its client sends meanwhile."""
    await status.start("a", 1)
    watch = b"GET /v1/campaigns/a:watch HTTP/1.1\r\nhost: localhost\r\n\r\n"
    asking = asyncio.ensure_future(ask(status, watch + b"\x00 garbage\r\n\r\n"))
    await others_are_served(status)
    await status.client.cancel_campaign(campaign_id="a")
    answers = await asking
    assert b'"CANCELLED"' in answers
    assert statuses(answers) == [200, 400]


async def test_a_request_that_does_not_arrive_is_given_up(
    status: Status, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A head has 30 s and a body has 30 s, even if some bytes come now and then."""
    assert (http_connection.HEAD_SECONDS, calls.BODY_SECONDS) == (30.0, 30.0)
    monkeypatch.setattr(http_connection, "HEAD_SECONDS", 0.2)
    monkeypatch.setattr(calls, "BODY_SECONDS", 0.2)
    for parts, expected in (
        ([b""], []),
        ([b"GET / HT"], []),
        ([GET, b"GET / HT"], [200]),
        ([POST + b"content-length: 9\r\n\r\n", b"{"], [408]),
    ):
        assert statuses(await ask(status, *parts)) == expected
    await others_are_served(status)


async def test_a_client_that_leaves_in_the_middle_is_forgotten(status: Status) -> None:
    """Half a head, half a body, or no time for the answer."""
    for parts in ([b"GET / HT"], [POST + b"content-length: 99\r\n\r\n{"], [GET * 50]):
        host, _, port = status.url.removeprefix("http://").rpartition(":")
        _, writer = await asyncio.open_connection(host, int(port))
        writer.writelines(parts)
        await writer.drain()
        writer.transport.abort()
    await others_are_served(status)


async def test_a_body_of_many_small_objects_holds_nobody_up(status: Status) -> None:
    """They are refused, while others are answered."""
    form = b'{"campaigns":[{"results":[' + b"{}," * 200_000 + b"{}]}]}"
    length = f"content-length: {len(form)}\r\nconnection: close\r\n\r\n".encode()
    head = POST.replace(b"/v1/campaigns", b"/v1/results:batchReport")
    asking = asyncio.ensure_future(ask(status, head + length, form))
    await others_are_served(status)
    assert statuses(await asking) == [400]


async def test_idle_connections_keep_nobody_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where connections run out, those that wait longest make room; a stream stays."""
    monkeypatch.setattr(http_server, "MAX_CONNECTIONS", 40)
    async with serving(tmp_path) as status, calling(status.url) as client:
        await client.post("/v1/campaigns", json={"campaignId": "c"})
        host, _, port = status.url.removeprefix("http://").rpartition(":")
        async with watching(client, "/v1/campaigns/c:watch") as events:
            assert await events.next() is not None
            idle = [await asyncio.open_connection(host, int(port)) for _ in range(60)]
            try:
                await others_are_served(status)
                async with asyncio.timeout(PATIENCE_SECONDS):
                    assert await idle[0][0].read() == b""
                await client.post("/v1/campaigns/c:cancel", json={})
                assert (await events.rest())[-1].data["campaign"]["state"] == "CANCELLED"
            finally:
                for _, writer in idle:
                    writer.close()


async def test_a_request_too_many_is_refused_in_the_form_of_all_errors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nobody idle can make room: 503, the reason, and when to come back."""
    monkeypatch.setattr(http_server, "MAX_CONNECTIONS", 2)
    async with serving(tmp_path) as status, calling(status.url) as client:
        await client.post("/v1/campaigns", json={"campaignId": "c"})
        async with watching(client, "/v1/campaigns/c:watch") as events:
            assert await events.next() is not None
            async with calling(status.url) as other:
                refused = await other.get("/v1/campaigns")
    assert (refused.status_code, reason_of(refused)) == (503, "TOO_MANY_CONNECTIONS")
    assert refused.headers["retry-after"] == "1"
    assert refused.headers["connection"] == "close"


async def test_who_hangs_up_is_no_failure_of_the_service(status: Status) -> None:
    """A client that goes away before its answer begins counts with 499, and not with 500."""
    host, _, port = status.url.removeprefix("http://").rpartition(":")
    _, writer = await asyncio.open_connection(host, int(port))
    writer.write(POST + b'content-length: 100\r\n\r\n{"campaign')
    await writer.drain()

    async def counted(name: str) -> bool:
        async with calling(status.url) as client:
            return name in (await client.get("/metrics")).text

    async def begun() -> bool:
        return await counted("closeout_http_requests_open 2.0")

    async def ended() -> bool:
        return await counted('code="499",method="POST",route="/v1/campaigns"')

    await eventually(begun, what="the request")
    writer.close()
    await eventually(ended, what="the end of the request")
    assert not await counted('code="500"')


async def test_what_is_no_http_is_refused_in_the_form_of_all_errors(
    status: Status, capfd: pytest.CaptureFixture[str]
) -> None:
    """A Status in JSON, and no line in the log, which anybody could fill."""
    capfd.readouterr()
    head, _, body = (await ask(status, b"GET / HTTP/1.1\r\n\r\n")).partition(b"\r\n\r\n")
    assert b"content-type: application/json" in head.lower()
    assert json.loads(body)["details"][0]["reason"] == "INVALID_REQUEST"
    upgrade = b"upgrade: websocket\r\nconnection: upgrade, close\r\n\r\n"
    await ask(status, GET.removesuffix(b"\r\n") + upgrade)
    assert "HTTP request" not in (said := "".join(capfd.readouterr()))
    assert "pgrade" not in said
