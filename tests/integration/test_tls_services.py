"""Both services with TLS, and what channels promise without it: retries, several addresses."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pydantic
import pytest

import closeout
import closeout.aio
from closeout import Tls
from closeout.sender.v1 import sender_pb2
from closeout.status.v1 import status_pb2
from closeout.status.v1.status_pb2_grpc import add_StatusServiceServicer_to_server
from integration import sender_support
from integration.status_support import PATIENCE_SECONDS, status_settings
from integration.tls_support import Authority, Issued
from sender_service import server as sender_server
from sender_service.settings import SenderSettings, Settings
from service_runtime.errors import StartupError
from status_service.server import running as status_running
from unit.fake_services import InThreads, Status

_KEY = "closeout_abcdefghijkl_notAKeyOfAnybody"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.mark.parametrize("mutual", [False, True], ids=["tls", "mutual tls"])
async def test_a_campaign_goes_its_whole_way_by_tls(
    tmp_path: Path,
    authority: Authority,
    mutual: bool,  # noqa: FBT001
) -> None:
    """From the client to the sender, to the provider, and back by the stream of results."""
    server = authority.issue("server")
    mine = authority.issue("mine", "sender@example.com")
    tls = mine.of_client() if mutual else Tls(authority.ca_file)
    files = server.settings(client_ca=authority if mutual else None)
    channel = sender_support.ScriptedChannel()
    channels = {"scripted": sender_support.channel_class(channel)}
    async with contextlib.AsyncExitStack() as stack:
        status = await stack.enter_async_context(status_running(status_settings(tmp_path, **files)))
        settings = SenderSettings(
            listen="127.0.0.1:0",
            http_listen="127.0.0.1:0",
            database_url=f"sqlite:///{tmp_path}/sender.db",
            status_address=status.address,
            status_api_key=pydantic.SecretStr(_KEY),
            status_tls_ca_file=str(tls.ca_file),
            status_tls_certificate_file=str(tls.certificate_file),
            status_tls_key_file=str(tls.key_file),
            grace_seconds=2,
            **files,
        )
        sender = await stack.enter_async_context(
            sender_server.running(Settings(sender=settings), channels=channels)
        )
        assert sender.http_scheme == "https"
        sending = await stack.enter_async_context(
            closeout.aio.SenderClient(sender.address, tls=tls, api_key=_KEY)
        )
        watching = await stack.enter_async_context(
            closeout.aio.StatusClient(status.address, tls=tls, api_key=_KEY)
        )
        made = await sending.create_campaign(
            campaign_id="c", channel="scripted", body=sender_pb2.TextContent(text="hello")
        )
        recipients = [sender_pb2.Recipient(address=f"{n}@example.com") for n in range(3)]
        await sending.upload_recipients(
            campaign_id=made.campaign_id, upload_id="u", batches=[recipients]
        )
        await sending.start_campaign(campaign_id="c")
        async with asyncio.timeout(PATIENCE_SECONDS):
            async for campaign in watching.watch_campaign(campaign_id="c"):
                last = campaign
        assert (last.state, last.sent) == (status_pb2.Campaign.COMPLETED, 3)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"status_address": "192.0.2.1:20051"}, "status_address: the key would go to 192.0.2.1"),
        ({"status_api_key_file": "key"}, r"\[sender\] status_api_key and .+ are both set; set one"),
        ({"status_tls_ca_file": "missing.pem"}, "ca_file missing.pem: No such file"),
        ({"status_tls_key_file": "k"}, "certificate_file and key_file go together"),
        ({"status_tls": False, "status_tls_ca_file": "ca.pem"}, r"\[sender\] status_tls is off"),
    ],
)
def test_the_sender_does_not_start_with_a_key_or_tls_that_can_not_be_meant(
    changed: dict[str, Any], says: str
) -> None:
    """The text names the setting, and not the key."""
    sender = SenderSettings(status_api_key=pydantic.SecretStr(_KEY), **changed)
    with pytest.raises(StartupError, match=says) as caught:
        sender_server.status_options(sender)
    assert _KEY not in str(caught.value)


def test_the_sender_sends_its_key_in_plain_text_where_a_setting_says_so() -> None:
    """And without TLS to this machine, and with TLS anywhere."""
    key = pydantic.SecretStr(_KEY)
    for changed in (
        {"status_tls": False, "status_address": "192.0.2.1:20051"},
        {"status_tls": True, "status_address": "192.0.2.1:20051"},
        {},
    ):
        sender = SenderSettings(status_api_key=key, **changed)  # type: ignore[arg-type]
        options = sender_server.status_options(sender)
        assert callable(options["api_key"])
        assert options["api_key"]() == _KEY
        assert _KEY not in repr(options)
    assert sender_server.status_options(SenderSettings())["api_key"] == ""


@contextlib.asynccontextmanager
async def fake_service(issued: Issued) -> AsyncIterator[tuple[int, Status]]:
    """Serve the fake status service by TLS; yield its port."""
    service, server = Status(), grpc.aio.server()
    add_StatusServiceServicer_to_server(service, server)
    pair = (issued.key.read_bytes(), issued.certificate.read_bytes())
    port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([pair]))
    await server.start()
    try:
        yield port, service
    finally:
        await server.stop(None)


@pytest.mark.parametrize("kind", ["asyncio", "blocking"])
async def test_a_client_refuses_a_certificate_that_has_ended(
    authority: Authority, kind: str
) -> None:
    """Of a service that does not look at it itself; the text says where to renew it."""
    issued = authority.issue("server", days=-1, begun=2)
    async with fake_service(issued) as (port, _):
        made: Any = (closeout.aio if kind == "asyncio" else closeout).StatusClient(
            f"127.0.0.1:{port}", tls=Tls(authority.ca_file)
        )
        client = made if kind == "asyncio" else InThreads(made)
        with pytest.raises(closeout.UnavailableError, match="has ended: renew it there"):
            await client.get_campaign(campaign_id="known")
        await client.close()


@pytest.mark.parametrize("kind", ["asyncio", "blocking"])
async def test_tries_and_the_turn_of_addresses_are_the_same_with_tls(
    authority: Authority, kind: str
) -> None:
    """A call that finds a service unavailable is repeated; of two addresses both are used."""
    issued = authority.issue("server")
    async with fake_service(issued) as (first, one), fake_service(issued) as (second, other):
        made: Any = (closeout.aio if kind == "asyncio" else closeout).StatusClient(
            f"127.0.0.1:{first},127.0.0.1:{second}", tls=Tls(authority.ca_file), api_key=_KEY
        )
        client = made if kind == "asyncio" else InThreads(made)
        one.failures = other.failures = 1
        assert (await client.create_campaign(campaign_id="c")).created
        assert len(one.requests) + len(other.requests) >= 2
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not (one.deadlines and other.deadlines):
                await client.get_campaign(campaign_id="known")
        await client.close()
