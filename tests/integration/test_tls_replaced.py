"""Certificates are replaced while services and clients run, and no call fails."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from logging.handlers import BufferingHandler
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from structlog.testing import capture_logs

import closeout
import closeout.aio
import closeout.tls
from closeout import Tls
from closeout.status.v1 import status_pb2
from integration.status_support import PATIENCE_SECONDS, results, status_settings
from integration.tls_support import Authority, replace
from service_runtime import tls as server_tls
from service_runtime.certificate_files import CertificateFiles
from service_runtime.certificate_pair import Pair
from service_runtime.running import Running
from status_service.server import running
from unit.fake_services import InThreads


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


async def until(check: Callable[[], Any]) -> None:
    """Wait until a check, which runs in a thread, holds."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not await asyncio.to_thread(check):  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(0.05)


def serial_of(path: Path) -> int:
    return x509.load_pem_x509_certificate(path.read_bytes()).serial_number


#: What a client says first, so that it learns whether it is taken.
_FIRST_WORDS = {
    "h2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0",
    "http/1.1": b"GET / HTTP/1.0\r\n\r\n",
}


def served_serial(address: str, tls: Tls) -> int | None:
    """Return the serial number of the certificate that a new client gets; None: it is refused."""
    context = ssl.create_default_context(cafile=tls.ca_file)
    if tls.certificate_file:
        context.load_cert_chain(tls.certificate_file, tls.key_file)
    context.set_alpn_protocols(list(_FIRST_WORDS))
    host, _, port = address.rpartition(":")
    try:
        with (
            socket.create_connection((host, int(port)), timeout=PATIENCE_SECONDS) as plain,
            context.wrap_socket(plain, server_hostname=host) as secured,
        ):
            found = secured.getpeercert(binary_form=True)
            secured.sendall(_FIRST_WORDS[secured.selected_alpn_protocol() or ""])
            if not secured.recv(1):
                return None
    except (ssl.SSLError, ConnectionError):
        return None
    assert found is not None
    return x509.load_der_x509_certificate(found).serial_number


async def taken(service: Running, certificate: Path, tls: Tls) -> None:
    """Wait until both ports of a service take a client and serve a certificate."""
    expected = serial_of(certificate)
    for address in (service.address, service.http_address):
        await until(lambda address=address: served_serial(address, tls) == expected)


async def refused(service: Running, tls: Tls) -> None:
    """Wait until neither port of a service takes a client."""
    for address in (service.address, service.http_address):
        await until(lambda address=address: served_serial(address, tls) is None)


class Load:
    """Calls without end: unary ones, and a stream of results that never breaks."""

    def __init__(self) -> None:
        self.calls = 0
        self.frames = 0

    async def more(self) -> None:
        """Wait until a few more calls and frames have been answered."""
        calls, frames = self.calls + 5, self.frames + 5
        async with asyncio.timeout(PATIENCE_SECONDS):
            while self.calls < calls or self.frames < frames:  # noqa: ASYNC110 - two threads
                await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def loaded(kind: str, address: str, tls: Tls) -> AsyncIterator[Load]:
    """Call while the block runs; a call that fails fails the test."""
    load = Load()
    async with closeout.aio.StatusClient(address, tls=tls) as preparing:
        await preparing.create_campaign(campaign_id="c")
        await preparing.start_campaign(campaign_id="c", total=1_000_000)
    made: Any = (closeout.aio if kind == "asyncio" else closeout).StatusClient(address, tls=tls)
    client = made if kind == "asyncio" else InThreads(made)
    ending = asyncio.Event()

    async def call() -> None:
        while not ending.is_set():
            assert (await client.get_campaign(campaign_id="c")).campaign_id == "c"
            load.calls += 1

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(call())
        tasks.create_task(_stream(kind, client, load, ending))
        try:
            yield load
            await load.more()
        finally:
            ending.set()
    await client.close()


async def _stream(kind: str, client: Any, load: Load, ending: asyncio.Event) -> None:
    def frame(number: int) -> status_pb2.ReportResultsRequest:
        return status_pb2.ReportResultsRequest(
            frame=number, campaign_id="c", results=results([number])
        )

    if kind == "asyncio":
        stream = client.report_results()
        while not ending.is_set():
            await stream.write(frame(load.frames + 1))
            answer = await stream.read()
            while not answer.acked_through:
                answer = await stream.read()
            load.frames = answer.acked_through
        await stream.done_writing()
        return

    def frames() -> Any:
        while not ending.is_set():
            number = load.frames + 1
            yield frame(number)
            while load.frames < number and not ending.is_set():
                time.sleep(0.01)

    async for answer in client.report_results(frames=frames()):
        load.frames = max(load.frames, answer.acked_through)


@pytest.mark.parametrize("kind", ["asyncio", "blocking"])
async def test_no_call_fails_while_certificates_are_replaced(
    tmp_path: Path, authority: Authority, kind: str
) -> None:
    """That of the service, that of the client, and both authorities, one after the other."""
    clients = Authority(tmp_path, "clients")
    server = authority.issue("server")
    mine = clients.issue("mine", "operator@example.com")
    trusted = tmp_path / "trusted.pem"
    replace(trusted, authority.ca_file.read_bytes())
    tls = Tls(trusted, mine.certificate, mine.key)
    settings = status_settings(tmp_path, **server.settings(client_ca=clients))
    async with running(settings) as service, loaded(kind, service.address, tls) as load:
        await load.more()
        for _ in range(3):
            authority.issue("server")
            await taken(service, server.certificate, tls)
            await load.more()
        # A new authority of services: known to the client first, then used.
        next_authority = Authority(tmp_path, "next")
        replace(trusted, authority.ca_file.read_bytes() + next_authority.ca_file.read_bytes())
        next_authority.issue("server")
        await taken(service, server.certificate, tls)
        replace(trusted, next_authority.ca_file.read_bytes())
        await load.more()
        # A new authority of clients: known to the service first, then used.
        next_clients = Authority(tmp_path, "next-clients")
        old = clients.issue("old", "operator@example.com")
        replace(clients.ca_file, clients.ca.cert_pem.bytes() + next_clients.ca_file.read_bytes())
        probe = next_clients.issue("probe", "probe@example.com")
        await taken(service, server.certificate, Tls(trusted, probe.certificate, probe.key))
        next_clients.issue("mine", "operator@example.com")
        await load.more()
        replace(clients.ca_file, next_clients.ca_file.read_bytes())
        await refused(service, Tls(trusted, old.certificate, old.key))
        await load.more()


@dataclass
class Looks:
    """How often services looked at their files."""

    count: int = 0


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> Looks:
    """Let services look often, and count it."""
    looks = Looks()
    renewed = CertificateFiles.renewed

    def counted(files: CertificateFiles) -> Pair | None:
        looks.count += 1
        return renewed(files)

    monkeypatch.setattr(CertificateFiles, "renewed", counted)
    monkeypatch.setattr(server_tls, "LOOK_SECONDS", 0.02)
    return looks


async def test_files_that_can_not_be_used_change_nothing(
    tmp_path: Path, authority: Authority, looks: Looks
) -> None:
    """The pair before them stays in use on both ports, and the log says once what is wrong."""
    server = authority.issue("server")
    tls = Tls(authority.ca_file)
    async with running(status_settings(tmp_path, **server.settings())) as service:
        first = serial_of(server.certificate)
        key = server.key.read_bytes()
        for wrong in (b"nothing", None):
            with capture_logs() as logs:
                if wrong is None:
                    server.key.unlink()
                else:
                    replace(server.key, wrong)
                await until(lambda: any(line["event"] == "certificate_refused" for line in logs))
                for address in (service.address, service.http_address):
                    assert await asyncio.to_thread(served_serial, address, tls) == first
                seen = looks.count
                await until(lambda seen=seen: looks.count > seen + 3)
            (line,) = [line for line in logs if line["event"] == "certificate_refused"]
            assert line["setting"] == "[status] tls_key_file"
            assert str(server.key) in line["reason"]
        replace(server.key, key)
        authority.issue("server")
        await taken(service, server.certificate, tls)


async def test_files_of_a_client_that_can_not_be_used_change_nothing(
    tmp_path: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes on with the connection that it has, and says so; better files are taken."""
    clients = Authority(tmp_path, "clients")
    mine = clients.issue("mine", "operator@example.com")
    settings = status_settings(tmp_path, **authority.issue("server").settings(client_ca=clients))
    tls = Tls(authority.ca_file, mine.certificate, mine.key)
    async with (
        running(settings) as service,
        closeout.aio.StatusClient(service.address, tls=tls) as client,
    ):
        line = client._channel._line  # type: ignore[attr-defined]
        # Of no tree: other tests set levels of the others.
        said = logging.Logger("said")  # noqa: LOG001
        records = BufferingHandler(1_000)
        said.addHandler(records)
        monkeypatch.setattr(closeout.tls, "log", said)
        replace(mine.key, b"nothing")
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not records.buffer:
                await client.list_campaigns().aclose()
                assert [each async for each in client.list_campaigns()] == []
        assert "can't be used: tls: certificate_file" in records.buffer[0].getMessage()
        assert client._channel._line is line  # type: ignore[attr-defined]
        clients.issue("mine", "operator@example.com")
        async with asyncio.timeout(PATIENCE_SECONDS):
            while client._channel._line is line:  # type: ignore[attr-defined]
                assert [each async for each in client.list_campaigns()] == []
        await until(lambda: not client._channel._retired)  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", ["asyncio", "blocking"])
async def test_the_old_connection_is_closed_after_its_calls(
    tmp_path: Path, authority: Authority, kind: str
) -> None:
    """A watch goes on on it, and when that ends nothing is left of it."""
    settings = status_settings(tmp_path, **authority.issue("server").settings())
    tls = Tls(authority.ca_file)
    async with running(settings) as service:
        made: Any = (closeout.aio if kind == "asyncio" else closeout).StatusClient(
            service.address, tls=tls
        )
        client = made if kind == "asyncio" else InThreads(made)
        await client.create_campaign(campaign_id="c")
        old = made._channel._line
        watch = client.watch_campaign(campaign_id="c")
        await anext(watch)
        replace(authority.ca_file, authority.ca_file.read_bytes())
        async with asyncio.timeout(PATIENCE_SECONDS):
            while made._channel._line is old:
                await client.get_campaign(campaign_id="c")
        await client.start_campaign(campaign_id="c", total=5)
        assert (await anext(watch)).total == 5  # on the old one
        assert made._channel._retired == {old}
        await watch.aclose()
        await until(lambda: not made._channel._retired and old.calls == 0)
        await client.get_campaign(campaign_id="c")
        await client.close()


async def test_a_certificate_that_ends_soon_is_logged_once(
    authority: Authority, looks: Looks
) -> None:
    """With the days that are left; a longer one ends that, and metrics can ask for the end."""
    server = authority.issue("server", days=13.5)
    tls = server_tls.ServerTls("status", server_tls.TlsSettings(**server.settings()))
    with capture_logs() as logs:
        following = asyncio.create_task(tls.follow())
        await until(lambda: logs)
        await until(lambda: looks.count > 3)
        (line,) = logs
        assert (line["event"], line["days_left"]) == ("certificate_ends_soon", 13)
        end = tls.certificate_end()
        assert end is not None
        assert timedelta(days=13) < end - datetime.now(UTC) < timedelta(days=14)
        authority.issue("server", days=60)
        await until(lambda: tls.certificate_end() != end)
        authority.issue("server", days=-0.5)
        await until(lambda: logs[-1]["event"] == "certificate_refused")
        following.cancel()
    assert [line["event"] for line in logs] == [
        "certificate_ends_soon",
        "certificate_replaced",
        "certificate_refused",
    ]
    off = server_tls.ServerTls("status", server_tls.TlsSettings())
    assert (off.on, off.certificate_end(), off.of_grpc(), off.of_http()) == (False, *[None] * 3)
    await off.follow()
