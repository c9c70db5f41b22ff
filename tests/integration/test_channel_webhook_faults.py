"""A webhook that can't be used: what is wrong, which setting to correct, and what a check sees."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import trustme

from providers.held_port import HeldPort
from providers.http_provider import HttpProvider
from sender_service.channels.contract import Answer, Fault, Handover, Message, Reply, TextContent
from sender_service.channels.errors import ChannelNotConfiguredError
from sender_service.channels.webhook.channel import WebhookChannel
from sender_service.channels.webhook.settings import WebhookSettings
from sender_service.domain import ProblemKind

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SECONDS = 20.0
POSTING = "after the request went out, before the server answered"


@asynccontextmanager
async def channel(url: str, **settings: Any) -> AsyncIterator[WebhookChannel]:
    """Yield a channel to the address."""
    values = {"url": url, "timeout_seconds": SECONDS} | settings
    webhook = WebhookChannel.from_settings(WebhookSettings(**values))
    try:
        yield webhook
    finally:
        await webhook.close()


async def send(
    webhook: WebhookChannel, name: str, handover: Handover | None = None, *, attempt: int = 1
) -> Reply:
    """Post one message."""
    template = webhook.compile(TextContent(text="Hi"))
    message = Message("spring", 1, name, "", {}, f"{name:0>32}", attempt)
    return await webhook.send(template, message, handover or Handover())


def fault_of(reply: Reply) -> Fault:
    """Return the fault of a reply, which no message is tried by and no Python shows through."""
    assert reply.answer is Answer.PROVIDER_FAULT
    assert reply.fault is not None
    for text in (reply.fault.summary, reply.detail):
        assert text
        assert "_ssl" not in text
        assert "Errno" not in text
        assert "{" not in text
    return reply.fault


def server_tls(authority: trustme.CA, name: str) -> ssl.SSLContext:
    """Return what the provider shows."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(name).configure_cert(context)
    return context


async def test_a_message_is_in_doubt_from_its_first_byte() -> None:
    """The handover says so to who cancels, and the lost answer says how far it came."""
    async with HttpProvider() as provider, channel(provider.url, timeout_seconds=3.0) as webhook:
        handover = Handover()
        task = asyncio.create_task(send(webhook, "hang+x", handover))
        async with asyncio.timeout(SECONDS):
            while not provider.posted:  # noqa: ASYNC110 - the server has no event for it
                await asyncio.sleep(0.01)
        assert (handover.begun, handover.stage) == (True, POSTING)
        reply = await task
    assert (reply.answer, reply.fault) == (Answer.LOST, None)
    assert reply.detail == f"no answer within 3 s, {POSTING}"


async def test_a_message_that_never_left_is_not_in_doubt() -> None:
    """A server that never answers the connection has nothing."""

    async def listen_only(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(listen_only, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        async with channel(f"https://127.0.0.1:{port}/", timeout_seconds=2.0) as webhook:
            handover = Handover()
            fault = fault_of(await send(webhook, "ann", handover))
            checked = Handover()
            reply = await webhook.check(checked)
    assert not handover.begun
    assert handover.stage == "before there was a connection"
    assert fault.summary == f"port {port} of 127.0.0.1 took no connection within 2 s"
    assert checked.stage == "before TLS was agreed"
    assert fault_of(reply).summary == ("127.0.0.1 did not answer within 2 s, before TLS was agreed")


async def test_a_server_that_is_down() -> None:
    """Messages and checks say the same, and nobody is asked: it may come back."""
    with HeldPort() as held:
        async with channel(f"http://127.0.0.1:{held.port}/") as webhook:
            for reply in (await send(webhook, "ann"), await webhook.check()):
                fault = fault_of(reply)
                assert fault.summary == f"127.0.0.1 refuses connections on port {held.port}"
                assert (fault.setting, fault.needs_attention) == ("[webhook] url", False)
                assert fault.kind is ProblemKind.PROVIDER_UNREACHABLE


async def test_a_name_that_no_server_can_have() -> None:
    """Nothing but the setting can cure it."""
    host = "a" * 64 + ".example"
    async with channel(f"http://{host}/") as webhook:
        for reply in (await send(webhook, "ann"), await webhook.check()):
            fault = fault_of(reply)
            assert fault.summary == f"there is no server named {host}"
            assert fault.needs_attention


@pytest.mark.parametrize("is_known", [True, False])
async def test_a_certificate_that_can_not_be_trusted(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
    is_known: bool,  # noqa: FBT001 - a parameter
) -> None:
    """Messages and checks say what is wrong with it."""
    authority = trustme.CA()
    path = tmp_path_factory.mktemp("tls") / "authority.pem"
    authority.cert_pem.write_to_path(str(path))
    tls = server_tls(authority, "other.example")
    if is_known:
        context = ssl.create_default_context(cafile=str(path))
        monkeypatch.setattr(ssl, "create_default_context", lambda *_, **__: context)
        monkeypatch.setattr("aiohttp.connector._SSL_CONTEXT_VERIFIED", context)
    async with HttpProvider(ssl_context=tls) as provider, channel(provider.url) as webhook:
        for reply in (await send(webhook, "ann"), await webhook.check()):
            fault = fault_of(reply)
            assert fault.needs_attention
            if is_known:
                assert "is for another name than 127.0.0.1" in fault.summary
            else:
                assert "signed by nobody that the sender trusts" in fault.summary
                assert "SSL_CERT_FILE" in fault.setting
        assert not provider.posted


async def test_tls_to_a_port_that_speaks_none() -> None:
    """Messages and checks name the remedy."""
    async with (
        HttpProvider() as provider,
        channel(provider.url.replace("http:", "https:")) as webhook,
    ):
        for reply in (await send(webhook, "ann"), await webhook.check()):
            fault = fault_of(reply)
            assert "does not speak TLS; correct the port in webhook.url" in fault.summary
            assert fault.needs_attention


async def test_a_check_without_a_health_address_only_connects() -> None:
    """Nothing is posted."""
    async with HttpProvider() as provider, channel(provider.url) as webhook:
        assert (await webhook.check()).answer is Answer.ACCEPTED
        assert not provider.posted
        assert not provider.asked


async def test_a_check_gets_the_health_address_with_the_authorization() -> None:
    """2xx is well, everything else is not, and no message begins."""
    async with HttpProvider() as provider:
        settings = {"health_url": provider.health_url, "authorization": "Bearer t0ken"}
        async with channel(provider.url, **settings) as webhook:
            handover = Handover()
            assert (await webhook.check(handover)).answer is Answer.ACCEPTED
            assert not handover.begun
            provider.steps["health"] = "401"
            fault = fault_of(await webhook.check())
            assert fault.summary == "127.0.0.1 refuses the sender's authorization"
            assert (fault.setting, fault.needs_attention) == ("[webhook] authorization", True)
            provider.steps["health"] = "503"
            fault = fault_of(await webhook.check())
            assert fault.kind is ProblemKind.PROVIDER_DEFERS
            assert fault.summary == "the health address of 127.0.0.1 answers 503 for now"
        assert [headers["Authorization"] for headers in provider.asked] == ["Bearer t0ken"] * 3
        assert not provider.posted


@pytest.mark.parametrize("said", ["hang", "cut"])
async def test_a_check_of_a_silent_server_ends_in_time(said: str) -> None:
    """The stage shows while it runs; the reply has it too."""
    async with HttpProvider(steps={"health": said}) as provider:
        settings = {"health_url": provider.health_url, "timeout_seconds": 3.0}
        async with channel(provider.url, **settings) as webhook:
            handover = Handover()
            fault = fault_of(await webhook.check(handover))
    assert handover.stage == "before the health address answered"
    assert not handover.begun
    assert fault.kind is ProblemKind.PROVIDER_UNREACHABLE
    assert "before the health address answered" in fault.summary


@pytest.mark.parametrize(
    ("status", "alone"),
    [("404", Answer.REFUSED), ("403", Answer.REFUSED), ("429", Answer.DEFERRED)],
)
async def test_one_odd_recipient_holds_up_no_campaign(status: str, alone: Answer) -> None:
    """A receiver that says 404 of one user takes all others: the status is about this one."""
    async with HttpProvider() as provider, channel(provider.url) as webhook:
        odd = f"refuse{status}+x"
        for _ in range(3):  # nothing else was taken: it may well be the path
            assert (await send(webhook, odd)).answer is Answer.PROVIDER_FAULT
        assert (await send(webhook, "other")).answer is Answer.ACCEPTED
        for attempt in (1, 2):  # the path may have broken just now
            reply = await send(webhook, odd, attempt=attempt)
            assert (reply.answer, reply.code, reply.fault) == (Answer.DEFERRED, status, None)
        assert (await send(webhook, odd, attempt=3)).answer is alone
        assert (await send(webhook, f"refuse{status}+y")).answer is Answer.PROVIDER_FAULT
        assert (await send(webhook, "another")).answer is Answer.ACCEPTED
        # The receiver is known to say so of one user; the rate that it limits is everyone's.
        known = Answer.DEFERRED if alone is Answer.REFUSED else Answer.PROVIDER_FAULT
        assert (await send(webhook, f"refuse{status}+z")).answer is known
        # It may be the last one of its campaign, so that nobody else is left to be taken.
        known = alone if alone is Answer.REFUSED else Answer.PROVIDER_FAULT
        assert (await send(webhook, f"refuse{status}+z", attempt=3)).answer is known


async def test_a_refused_authorization_is_never_about_one_message() -> None:
    """The header is the same for all."""
    async with HttpProvider() as provider, channel(provider.url) as webhook:
        assert (await send(webhook, "refuse401+x")).answer is Answer.PROVIDER_FAULT
        assert (await send(webhook, "other")).answer is Answer.ACCEPTED
        assert (await send(webhook, "refuse401+x")).answer is Answer.PROVIDER_FAULT


async def test_a_service_that_says_when_it_is_back_holds_everything_up() -> None:
    """503 with Retry-After is no try of a message, and the wait is in the reply."""
    async with HttpProvider(retry_after="90") as provider, channel(provider.url) as webhook:
        reply = await send(webhook, "defer503+x")
    assert fault_of(reply).kind is ProblemKind.PROVIDER_DEFERS
    assert reply.retry_after_seconds == 90


@pytest.mark.parametrize(
    ("url", "text"),
    [("x.example", "webhook.health_url is not"), ("https://a:b@x.example/", "webhook.health_url")],
)
def test_a_health_address_that_can_not_be_asked(url: str, text: str) -> None:
    """It is an error when the channel is built."""
    with pytest.raises(ChannelNotConfiguredError, match=text):
        WebhookChannel(WebhookSettings(url="https://x.example/", health_url=url))
