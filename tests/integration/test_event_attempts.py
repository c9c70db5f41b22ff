"""One try to deliver an event: what receivers, names and proxies of any kind make of it."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from integration.status_support import eventually
from status_service.events import destination
from status_service.events.answer import Answer
from status_service.events.attempt import http_courier
from status_service.events.resolver import CheckedResolver
from status_service.events.signature import new_secret

_SECRET = new_secret()


@asynccontextmanager
async def _answering(
    *parts: bytes, forever: bytes = b"", tls: ssl.SSLContext | None = None
) -> AsyncIterator[str]:
    """Answer each connection with parts, and then with something for ever, or with silence."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            for part in parts:
                writer.write(part)
                await writer.drain()
            while forever:
                writer.write(forever)
                await writer.drain()
            await reader.read()
        except (OSError, asyncio.IncompleteReadError):
            return
        finally:
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=tls)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


async def _deliver(url: str, *, timeout_seconds: float = 5.0, allow_private: bool = True) -> Answer:
    async with http_courier(allow_private=allow_private, timeout_seconds=timeout_seconds) as sends:
        return await sends.deliver(url, _SECRET, event_id="e", body="{}")


async def test_an_answer_of_any_bytes_is_a_short_text_that_every_database_stores() -> None:
    """No NUL, no escape, no half character, 500 bytes at most."""
    body = "\0\x1b[31m€\u202e".encode() + b"\xff" + "€".encode() * 300
    head = f"HTTP/1.1 503 no\r\ncontent-length: {len(body)}\r\n\r\n".encode()
    async with _answering(head, body) as address:
        answer = await _deliver(f"http://{address}/")
    assert not answer.delivered
    assert answer.text.startswith("503")
    assert answer.text.isprintable()
    assert 400 < len(answer.text.encode()) <= 500


@pytest.mark.parametrize(
    ("parts", "forever"),
    [
        ((b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n",), b""),
        ((b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n",), b"x" * 65_536),
        ((b"HTTP/1.1 204 OK\r\ncontent-encoding: gzip\r\n\r\n",), b""),
    ],
    ids=["no body", "endless body", "no content"],
)
async def test_the_status_decides_whatever_becomes_of_the_text(
    parts: tuple[bytes, ...], forever: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A receiver that said 2xx has the event; it is not sent to it for a day."""
    monkeypatch.setattr("status_service.events.attempt._TEXT_SECONDS", 0.2)
    async with _answering(*parts, forever=forever) as address:
        answer = await _deliver(f"http://{address}/")
    assert answer.delivered, answer


@pytest.mark.parametrize(
    ("parts", "forever", "said"),
    [
        ((), b"", "no answer within 0.5 s"),
        ((b"HTTP/1.1 200 OK\r\n",), b"", "no answer within 0.5 s"),
        ((b"HTTP/1.1 100 Continue\r\n\r\n",), b"", "no answer within 0.5 s"),
        ((b"HTTP/1.1 200 OK\r\nx: ",), b"y" * 65_536, ""),
        ((b"SSH-2.0-OpenSSH\r\n",), b"", ""),
        ((b"HTTP/1.1 99999 no\r\n\r\n",), b"", ""),
        ((b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",), b"", ""),
    ],
    ids=["silence", "half a head", "continue", "endless head", "no http", "no status", "broken"],
)
async def test_what_is_no_answer_is_a_failure_with_a_reason(
    parts: tuple[bytes, ...], forever: bytes, said: str
) -> None:
    """In time, and with a text."""
    async with asyncio.timeout(20), _answering(*parts, forever=forever) as address:
        answer = await _deliver(f"http://{address}/", timeout_seconds=0.5)
    assert not answer.delivered
    assert answer.text
    assert said in answer.text


async def test_tls_that_can_not_be_trusted_is_a_failure() -> None:
    """What is no TLS at all, too."""
    async with _answering(b"HTTP/1.1 200 OK\r\n\r\n") as address:
        answer = await _deliver(f"https://{address}/", timeout_seconds=2)
    assert not answer.delivered
    assert answer.text


async def test_a_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """It could reach what this service must not."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", "")
    async with _answering(b"HTTP/1.1 204 OK\r\n\r\n") as address:
        assert (await _deliver(f"http://{address}/")).delivered


_Resolve = Callable[..., list[Any]]


def _infos(*addresses: str) -> list[Any]:
    return [
        (
            socket.AF_INET6 if ":" in address else socket.AF_INET,
            socket.SOCK_STREAM,
            6,
            "",
            (address, 443, 0, 0) if ":" in address else (address, 443),
        )
        for address in addresses
    ]


@pytest.mark.parametrize(
    "private",
    [
        "127.0.0.1",
        "10.0.0.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",  # noqa: S104 - refused
        "224.0.0.1",
        "255.255.255.255",
        "::1",
        "::",
        "::7f00:1",
        "::ffff:10.0.0.1",
        "64:ff9b::a00:1",
        "64:ff9b:1::1",
        "2002:a00:1::1",
        "fe80::1",
        "fd00::1",
        "ff02::1",
    ],
)
async def test_each_connection_looks_at_all_addresses(
    private: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that was public at first and private then, or both at once, is refused."""
    answers = [_infos("93.184.215.14"), _infos(private), _infos("2606:2800:21f::1", private)]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_named: answers.pop(0))
    resolver = CheckedResolver(allow_private=False)
    assert [one["host"] for one in await resolver.resolve("two.example", 443)] == ["93.184.215.14"]
    for _ in range(2):
        with pytest.raises(destination.DestinationRefusedError, match="private network"):
            await resolver.resolve("two.example", 443)


async def test_names_whose_servers_hang_hold_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many tries wait for one, it has one thread; other names are answered."""
    released, asked = threading.Event(), []

    def answer(host: str, *_args: object, **_named: object) -> list[Any]:
        asked.append(host)
        if host.startswith("hang"):
            released.wait(20)
        return _infos("93.184.215.14")

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    resolver = CheckedResolver(allow_private=False)
    waiting = [
        asyncio.create_task(resolver.resolve(f"hang{number % 20}.example", 443))
        for number in range(100)
    ]
    try:
        async with asyncio.timeout(10):
            await resolver.resolve("other.example", 443)
        for task in waiting[:50]:
            task.cancel()

        async def all_asked() -> bool:
            return len(asked) == 21

        await eventually(all_asked, what="each name is asked for once")
    finally:
        released.set()
        await asyncio.gather(*waiting, return_exceptions=True)
    assert len(asked) == 21
    assert sum(not task.cancelled() for task in waiting) == 50
