"""TLS and mutual TLS: every kind of client and HTTP, and what is refused with which words."""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
import warnings
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives import serialization

import closeout
import closeout.aio
from closeout import Tls
from integration.status_support import results, status_settings
from integration.tls_support import Authority, replace
from service_runtime.errors import StartupError
from service_runtime.running import Running
from status_service.server import running
from unit.fake_services import InThreads


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture(params=["asyncio", "blocking"])
def kind(request: pytest.FixtureRequest) -> str:
    """Return the kind of client."""
    return str(request.param)


@contextlib.asynccontextmanager
async def client_of(kind: str, address: str, **options: Any) -> AsyncIterator[Any]:
    """Yield a client of the status service, of either kind, to be awaited."""
    if kind == "asyncio":
        async with closeout.aio.StatusClient(address, **options) as client:
            yield client
    else:
        with closeout.StatusClient(address, **options) as blocking:
            yield InThreads(blocking)


def serving(folder: Path, **changed: Any) -> contextlib.AbstractAsyncContextManager[Running]:
    return running(status_settings(folder, **changed))


async def use(client: Any) -> None:
    """Make calls of several kinds."""
    await client.create_campaign(campaign_id="c")
    await client.start_campaign(campaign_id="c", total=2)
    assert (await client.report(results([1]), campaign_id="c")).new_results == 1
    assert (await anext(aiter(client.watch_campaign(campaign_id="c")))).campaign_id == "c"


def http_context(tls: Tls) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=tls.ca_file)
    if tls.certificate_file:
        context.load_cert_chain(tls.certificate_file, tls.key_file)
    return context


async def http_status(service: Running, tls: Tls, **changed: Any) -> int:
    """Return the status of a request that nothing answers: 404 has come all the way."""
    context = http_context(tls)
    for name, value in changed.items():
        setattr(context, name, value)
    async with httpx.AsyncClient(verify=context) as http:
        url = f"{service.http_scheme}://{service.http_address}/no-such-page"
        return (await http.get(url)).status_code


async def test_a_service_with_a_certificate_speaks_tls(
    tmp_path: Path, authority: Authority, kind: str
) -> None:
    """On gRPC and HTTP, to clients that know its authority; names and addresses both do."""
    issued = authority.issue("server")
    tls = Tls(ca_file=authority.ca_file)
    async with serving(tmp_path, **issued.settings()) as service:
        for address in (service.address, f"localhost:{service.port}"):
            async with client_of(kind, address, tls=tls, api_key="k") as client:
                await client.list_campaigns().aclose()
        async with client_of(kind, service.address, tls=tls) as client:
            await use(client)
        assert service.http_scheme == "https"
        assert await http_status(service, tls) == 404


async def test_mutual_tls_takes_clients_with_a_certificate(
    tmp_path: Path, authority: Authority, kind: str
) -> None:
    """One that the authority of clients has signed, on gRPC and HTTP."""
    clients = Authority(tmp_path, "clients")
    shown = clients.issue("client", "operator@example.com")
    tls = Tls(authority.ca_file, shown.certificate, shown.key)
    settings = authority.issue("server").settings(client_ca=clients)
    async with serving(tmp_path, **settings) as service:
        async with client_of(kind, service.address, tls=tls) as client:
            await use(client)
        assert await http_status(service, tls) == 404


async def test_mutual_tls_refuses_clients_without_one(
    tmp_path: Path, authority: Authority, kind: str
) -> None:
    """No certificate, or one of another authority: UNAVAILABLE with a remedy, and no HTTP."""
    clients, others = Authority(tmp_path, "clients"), Authority(tmp_path, "others")
    other = others.issue("other", "somebody@example.com")
    settings = authority.issue("server").settings(client_ca=clients)
    async with serving(tmp_path, **settings) as service:
        for tls in (Tls(authority.ca_file), Tls(authority.ca_file, other.certificate, other.key)):
            async with client_of(kind, service.address, tls=tls) as client:
                with pytest.raises(closeout.UnavailableError, match="CLOSEOUT_TLS_CERTIFICATE"):
                    await client.get_campaign(campaign_id="c")
            with pytest.raises(httpx.TransportError):
                await http_status(service, tls)


@pytest.mark.parametrize(
    ("identities", "days", "remedy"),
    [
        (("elsewhere.example",), 90, "call it by a name that its certificate has"),
        ((), 90, "CLOSEOUT_TLS_CA_FILE"),
    ],
    ids=["another name", "another authority"],
)
async def test_a_client_refuses_a_certificate_that_is_not_of_its_service(  # noqa: PLR0917
    tmp_path: Path,
    authority: Authority,
    kind: str,
    identities: tuple[str, ...],
    days: float,
    remedy: str,
) -> None:
    """UNAVAILABLE, with what to do."""
    other = Authority(tmp_path, "other")
    issued = authority.issue("server", *identities, days=days)
    tls = Tls(authority.ca_file if identities else other.ca_file)
    async with (
        serving(tmp_path, **issued.settings()) as service,
        client_of(kind, service.address, tls=tls) as client,
    ):
        with pytest.raises(closeout.UnavailableError, match=remedy):
            await client.get_campaign(campaign_id="c")


async def test_plain_and_tls_do_not_meet(tmp_path: Path, authority: Authority, kind: str) -> None:
    """Either way round the client says which of the two the service speaks."""
    tls = Tls(authority.ca_file)
    async with (
        serving(tmp_path, **authority.issue("server").settings()) as service,
        client_of(kind, service.address) as client,
    ):
        with pytest.raises(closeout.UnavailableError, match="may speak TLS only"):
            await client.get_campaign(campaign_id="c")
        async with httpx.AsyncClient() as http:
            with pytest.raises(httpx.TransportError):
                await http.get(f"http://{service.http_address}/")
    async with (
        serving(tmp_path) as service,
        client_of(kind, service.address, tls=tls) as client,
    ):
        with pytest.raises(closeout.UnavailableError, match="speaks no TLS"):
            await client.get_campaign(campaign_id="c")


async def test_tls_before_1_2_is_refused(tmp_path: Path, authority: Authority) -> None:
    """By gRPC and HTTP; the same connection with 1.2 is taken."""
    context = ssl.create_default_context(cafile=authority.ca_file)
    old = ssl.create_default_context(cafile=authority.ca_file)
    old.set_ciphers("DEFAULT:@SECLEVEL=0")
    with warnings.catch_warnings(action="ignore"):
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    for each in (context, old):
        each.set_alpn_protocols(["h2", "http/1.1"])
    async with serving(tmp_path, **authority.issue("server").settings()) as service:
        for port in (service.port, int(service.http_address.rpartition(":")[2])):
            with pytest.raises((ssl.SSLError, ConnectionError)):
                await _handshake(port, old)
            assert await _handshake(port, context) == "TLSv1.2"


async def _handshake(port: int, context: ssl.SSLContext) -> str | None:
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    version: str | None = writer.get_extra_info("ssl_object").version()
    writer.transport.abort()  # HTTP would wait for the end of TLS, gRPC for a frame
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return version


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ("missing", r"CLOSEOUT_STATUS_TLS_KEY_FILE: .+server\.key: No such file"),
        ("not fitting", r"CLOSEOUT_STATUS_TLS_KEY_FILE: .+is not the key of the first cert"),
        ("with a passphrase", r"CLOSEOUT_STATUS_TLS_KEY_FILE: .+has a passphrase"),
        ("no key", r"CLOSEOUT_STATUS_TLS_KEY_FILE: .+has no private key in PEM"),
        ("no certificate", r"CLOSEOUT_STATUS_TLS_CERTIFICATE_FILE: .+has no certificate in PEM"),
        ("a folder", r"CLOSEOUT_STATUS_TLS_CERTIFICATE_FILE: .+Is a directory"),
        ("no authority", r"CLOSEOUT_STATUS_TLS_CLIENT_CA_FILE: .+has no certificate in PEM"),
        ("expired", r"CLOSEOUT_STATUS_TLS_CERTIFICATE_FILE: .+ended at 20.+renew it"),
        ("not yet", r"CLOSEOUT_STATUS_TLS_CERTIFICATE_FILE: .+begins at 20.+clock"),
    ],
)
async def test_a_service_does_not_start_with_wrong_files(
    tmp_path: Path, authority: Authority, wrong: str, says: str
) -> None:
    """The text names the file, the setting and what to do."""
    days, begun = {"expired": (-1.0, 2.0), "not yet": (9.0, -1.0)}.get(wrong, (90.0, 1.0))
    issued = authority.issue("server", days=days, begun=begun)
    other = authority.issue("other")
    client_ca = None
    match wrong:
        case "missing":
            issued.key.unlink()
        case "not fitting":
            issued.key = other.key
        case "with a passphrase":
            replace(issued.key, _with_a_passphrase(issued.key.read_bytes()))
        case "no key":
            issued.key = other.certificate
        case "no certificate":
            issued.certificate = other.key
        case "a folder":
            issued.certificate = tmp_path
        case "no authority":
            client_ca = authority
            authority.ca_file = other.key
    with pytest.raises(StartupError, match=says):
        async with serving(tmp_path, **issued.settings(client_ca=client_ca)):
            pass


def _with_a_passphrase(key: bytes) -> bytes:
    return serialization.load_pem_private_key(key, password=None).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )


async def test_a_service_names_a_file_that_it_may_not_read(
    tmp_path: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And says who has to be able to read it."""
    issued = authority.issue("server")
    if os.geteuid() == 0:  # whom no mode stops
        reading = Path.read_bytes

        def refused(path: Path) -> bytes:
            if path == issued.key:
                raise PermissionError(13, "Permission denied")
            return reading(path)

        monkeypatch.setattr(Path, "read_bytes", refused)
    else:
        issued.key.chmod(0)
    with pytest.raises(StartupError, match=r"TLS_KEY_FILE.+let the user of the service read it"):
        async with serving(tmp_path, **issued.settings()):
            pass


@pytest.mark.parametrize("wrong", ["missing", "not fitting", "no authority", "half"])
async def test_a_client_is_not_made_with_wrong_files(
    tmp_path: Path, authority: Authority, kind: str, wrong: str
) -> None:
    """A ValueError that names them."""
    issued, other = authority.issue("client", "a@b.example"), authority.issue("other")
    tls = {
        "missing": Tls(tmp_path / "nothing.pem"),
        "not fitting": Tls(authority.ca_file, issued.certificate, other.key),
        "no authority": Tls(other.key),
        "half": Tls(authority.ca_file, issued.certificate),
    }[wrong]
    with pytest.raises(ValueError, match=r"tls: .*(ca_file|certificate_file)"):
        async with client_of(kind, "127.0.0.1:1", tls=tls):
            pass
