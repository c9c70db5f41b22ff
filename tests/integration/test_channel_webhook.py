"""The webhook channel against a server that does what each recipient's address says."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import time
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any

import pytest

from providers.held_port import HeldPort
from providers.http_provider import HttpProvider
from sender_service.channels.contract import (
    Answer,
    EmailContent,
    Handover,
    JsonContent,
    Message,
    NoContent,
    Reply,
    TextContent,
)
from sender_service.channels.errors import ChannelNotConfiguredError, InvalidContentError
from sender_service.channels.webhook.channel import WebhookChannel
from sender_service.channels.webhook.settings import WebhookSettings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

KEY = "0123456789abcdef0123456789abcdef"
SECONDS = 20.0


@asynccontextmanager
async def channel(url: str, **settings: Any) -> AsyncIterator[WebhookChannel]:
    """Yield a channel to the address."""
    values = {"url": url, "timeout_seconds": SECONDS} | settings
    webhook = WebhookChannel.from_settings(WebhookSettings(**values))
    try:
        yield webhook
    finally:
        await webhook.close()


async def send(webhook: WebhookChannel, address: str, attempt: int = 1, **fields: Any) -> Reply:
    """Send one message of a small campaign."""
    template = webhook.compile(
        EmailContent(subject="Hi {{ name }}", text="Dear {{ name }}", html="<p>{{ name }}</p>")
    )
    return await webhook.send(
        template, Message("spring", 7, address, "k-7", fields, KEY, attempt=attempt), Handover()
    )


async def test_message_is_posted_as_json_with_its_key() -> None:
    """The server gets the whole message and the key that marks a second try."""
    async with HttpProvider() as provider, channel(provider.url) as webhook:
        reply = await send(webhook, "ann", attempt=2, name="Zoë & Co", points=3)
    assert reply == Reply(Answer.ACCEPTED, code="200", provider_message_id="m-1")
    (posted,) = provider.posted
    assert posted.json == {
        "campaign_id": "spring",
        "sequence": 7,
        "address": "ann",
        "recipient_key": "k-7",
        "subject": "Hi Zoë & Co",
        "text": "Dear Zoë & Co",
        "html": "<p>Zoë &amp; Co</p>",
        "fields": {"name": "Zoë & Co", "points": 3},
        "attempt": 2,
    }
    assert posted.headers["Idempotency-Key"] == KEY
    assert posted.headers["Content-Type"] == "application/json"
    assert "Authorization" not in posted.headers
    assert "Webhook-Signature" not in posted.headers


async def test_a_text_is_posted_as_the_envelope_with_text_alone() -> None:
    """Neither a subject nor HTML is there."""
    async with HttpProvider() as provider, channel(provider.url) as webhook:
        template = webhook.compile(TextContent(text="Hi {{ name }}"))
        await webhook.send(
            template, Message("spring", 7, "ann", "k-7", {"name": "Zoë"}, KEY), Handover()
        )
    (posted,) = provider.posted
    assert posted.json == {
        "campaign_id": "spring",
        "sequence": 7,
        "address": "ann",
        "recipient_key": "k-7",
        "text": "Hi Zoë",
        "fields": {"name": "Zoë"},
        "attempt": 1,
    }


async def test_a_document_is_posted_as_it_is() -> None:
    """Any service can be posted to: nothing of ours is in the body, and it is signed as it is."""
    async with (
        HttpProvider() as provider,
        channel(provider.url, secret="s") as webhook,  # noqa: S106 - a test's own
    ):
        source = '{"address": {{ address | json }}, "to": {{ name | json }}}'
        template = webhook.compile(JsonContent(json=source))
        reply = await webhook.send(
            template, Message("spring", 7, "ann", "k-7", {"name": 'Zoë "Z"'}, KEY), Handover()
        )
    assert reply.answer is Answer.ACCEPTED
    (posted,) = provider.posted
    assert posted.json == {"address": "ann", "to": 'Zoë "Z"'}
    assert posted.headers["Content-Type"] == "application/json"
    signed = f"{KEY}.{posted.headers['Webhook-Timestamp']}.".encode() + posted.body
    digest = hmac.digest(b"s", signed, hashlib.sha256)
    expected = f"v1,{base64.b64encode(digest).decode()}"
    assert posted.headers["Webhook-Signature"] == expected


async def test_a_document_that_is_no_json_once_rendered_is_not_posted() -> None:
    """The message fails; the server never sees a broken body."""
    async with HttpProvider() as provider, channel(provider.url) as webhook:
        template = webhook.compile(JsonContent(json='{"to": {{ name }}}'))
        reply = await webhook.send(
            template, Message("spring", 7, "ann", "", {"name": "Zoë"}, KEY), Handover()
        )
    assert (reply.answer, reply.code) == (Answer.REFUSED, "render_error")
    assert provider.posted == []


@pytest.mark.parametrize(
    ("script", "answer", "code"),
    [
        ("refuse400", Answer.REFUSED, "400"),
        ("refuse422", Answer.REFUSED, "422"),
        ("defer408", Answer.DEFERRED, "408"),
        ("defer425", Answer.DEFERRED, "425"),
        ("defer500", Answer.DEFERRED, "500"),
        ("defer503", Answer.DEFERRED, "503"),
        # A gateway speaks; the receiver behind it may have acted.
        ("defer502", Answer.LOST, "502"),
        ("defer504", Answer.LOST, "504"),
        # The settings are wrong, not the message, or the server asks to wait.
        ("refuse401", Answer.PROVIDER_FAULT, "401"),
        ("refuse403", Answer.PROVIDER_FAULT, "403"),
        ("refuse404", Answer.PROVIDER_FAULT, "404"),
        ("redirect", Answer.PROVIDER_FAULT, "302"),
        ("defer429", Answer.PROVIDER_FAULT, "429"),
        ("cut", Answer.LOST, "connection_lost"),
        ("drop-after-data", Answer.LOST, "connection_lost"),
        # The status was there, only the text was not.
        ("half", Answer.ACCEPTED, "200"),
    ],
)
async def test_answer_means_what_the_server_did(script: str, answer: Answer, code: str) -> None:
    """Each way to end a message has its meaning, and the next message is not touched by it."""
    async with HttpProvider() as provider, channel(provider.url, connections=1) as webhook:
        first = await send(webhook, "before")
        reply = await send(webhook, f"{script}+x")
        after = await send(webhook, "after")
        took = [entry.recipient for entry in provider.ledger.accepted]
    assert (reply.answer, reply.code) == (answer, code)
    assert first.answer is after.answer is Answer.ACCEPTED
    assert took.count(f"{script}+x") == (script in ("half", "drop-after-data"))


async def test_no_answer_in_time_is_lost() -> None:
    """Silence after the message was posted says nothing about it."""
    async with (
        HttpProvider() as provider,
        channel(provider.url, timeout_seconds=3.0) as webhook,
    ):
        reply = await send(webhook, "hang+x")
    assert (reply.answer, reply.code) == (Answer.LOST, "timeout")


async def test_server_that_does_not_answer_the_connection_is_unreachable() -> None:
    """Time that is up before there is a connection is no try of the message."""

    async def listen_only(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(listen_only, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        # TLS to a server that says nothing never comes to a connection.
        async with channel(f"https://127.0.0.1:{port}/", timeout_seconds=0.5) as webhook:
            reply = await send(webhook, "ann")
    assert (reply.answer, reply.code) == (Answer.PROVIDER_FAULT, "timeout")


async def test_server_that_is_down_is_unreachable_until_it_returns() -> None:
    """Nothing is lost or refused while the server is away."""
    with HeldPort() as held:
        async with HttpProvider(port=held.port) as provider:
            url = provider.url
        async with channel(url) as webhook:
            assert (await send(webhook, "ann")).answer is Answer.PROVIDER_FAULT
            async with HttpProvider(port=held.port):
                assert (await send(webhook, "ann")).answer is Answer.ACCEPTED


async def asked_by(header: str) -> float | None:
    """Return the seconds that the channel makes of a Retry-After."""
    async with (
        HttpProvider(retry_after=header) as provider,
        channel(provider.url) as webhook,
    ):
        return (await send(webhook, "defer429+x")).retry_after_seconds


@pytest.mark.parametrize("seconds", [0, 7])
async def test_retry_after_in_seconds_is_kept(seconds: int) -> None:
    """A server may ask to be left alone for some seconds."""
    assert await asked_by(str(seconds)) == seconds


@pytest.mark.parametrize(("hours", "least", "most"), [(24, 80000, 86400), (-24, 0, 0)])
async def test_retry_after_as_a_date_is_kept(hours: int, least: int, most: int) -> None:
    """A server may ask to be left alone until a time; one that is over asks for nothing."""
    due = datetime.now(UTC) + timedelta(hours=hours)
    wait = await asked_by(format_datetime(due, usegmt=True))
    assert wait is not None
    assert least <= wait <= most


async def test_retry_after_without_a_zone_is_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    """A date is of UTC, wherever the sender runs."""
    monkeypatch.setenv("TZ", "Asia/Kathmandu")
    time.tzset()
    try:
        due = datetime.now(UTC) + timedelta(hours=24)
        wait = await asked_by(due.strftime("%a, %d %b %Y %H:%M:%S -0000"))
    finally:
        monkeypatch.undo()
        time.tzset()
    assert wait is not None
    assert 80_000 <= wait <= 86_400


@pytest.mark.parametrize("header", ["", "soon", "-1", "1e9", "²", "Wed, 99 Foo"])
async def test_retry_after_that_says_nothing_is_none(header: str) -> None:
    """What can't be read as a time is passed over."""
    async with (
        HttpProvider(retry_after=header) as provider,
        channel(provider.url) as webhook,
    ):
        reply = await send(webhook, "defer503+x")
    assert (reply.answer, reply.retry_after_seconds) == (Answer.DEFERRED, None)


@pytest.mark.parametrize(
    ("answer", "message_id"),
    [
        ('{"id": "abc"}', "abc"),
        ('{"message_id": 12}', "12"),
        ('{"id": null, "message_id": "abc"}', "abc"),
        (json.dumps({"id": "x" * 300}), "x" * 255),
        ('{"id": "a\\nb"}', ""),
        ('{"id": true}', ""),
        ('["id"]', ""),
        ("queued", ""),
        ("[" * 5000, ""),
        ('{"id": "' + "x" * 100_000 + '"}', ""),
    ],
)
async def test_provider_message_id(answer: str, message_id: str) -> None:
    """The id is taken where the answer has one, and no answer can do harm."""
    async with HttpProvider(answer=answer) as provider, channel(provider.url) as webhook:
        reply = await send(webhook, "ann")
        assert (await send(webhook, "bo")).answer is Answer.ACCEPTED
    assert (reply.answer, reply.provider_message_id) == (Answer.ACCEPTED, message_id)


@pytest.mark.parametrize(
    ("secret", "key"),
    [("a secret", b"a secret"), ("whsec_" + base64.b64encode(b"key").decode(), b"key")],
)
async def test_signature_proves_the_body_and_the_time(secret: str, key: bytes) -> None:
    """Who knows the secret can check id, time and body; it is never sent itself."""
    async with HttpProvider() as provider, channel(provider.url, secret=secret) as webhook:
        await send(webhook, "ann")
    (posted,) = provider.posted
    timestamp = posted.headers["Webhook-Timestamp"]
    signed = f"{KEY}.{timestamp}.".encode() + posted.body
    digest = base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
    assert posted.headers["Webhook-Signature"] == f"v1,{digest}"
    assert posted.headers["Webhook-Id"] == KEY
    assert secret not in str(posted.headers)


async def test_authorization_is_sent() -> None:
    """The header of the settings goes with every message, and into no text."""
    settings = WebhookSettings(url="http://x.example", authorization="Bearer t0ken")
    assert "t0ken" not in repr(settings)
    async with (
        HttpProvider() as provider,
        channel(provider.url, authorization="Bearer t0ken") as webhook,
    ):
        await send(webhook, "ann")
    assert provider.posted[0].headers["Authorization"] == "Bearer t0ken"


async def test_messages_at_once() -> None:
    """Many messages at once all arrive."""
    async with HttpProvider() as provider, channel(provider.url, connections=8) as webhook:
        replies = await asyncio.gather(*(send(webhook, f"ok{number}") for number in range(100)))
    assert {reply.answer for reply in replies} == {Answer.ACCEPTED}
    assert len({entry.recipient for entry in provider.ledger.accepted}) == 100


async def test_cancelled_send_leaves_the_channel_whole() -> None:
    """An answer still under way is never taken for that of the next message."""
    async with HttpProvider() as provider, channel(provider.url, connections=1) as webhook:
        task = asyncio.create_task(send(webhook, "hang+x"))
        async with asyncio.timeout(SECONDS):
            while not provider.posted:  # noqa: ASYNC110 - the server has no event for it
                await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        reply = await send(webhook, "after")
    assert (reply.answer, reply.provider_message_id) == (Answer.ACCEPTED, "m-1")


@pytest.mark.parametrize(
    "fields",
    [{"points": float("nan")}, {"points": {1, 2}}, {"points": datetime(2026, 1, 1, tzinfo=UTC)}],
)
async def test_field_that_json_cannot_hold_fails_its_message(fields: dict[str, Any]) -> None:
    """One odd field fails one message, and nothing is posted."""
    async with HttpProvider() as provider, channel(provider.url) as webhook:
        reply = await send(webhook, "ann", **fields)
    assert (reply.answer, reply.code) == (Answer.REFUSED, "render_error")
    assert not provider.posted


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({}, "CLOSEOUT_WEBHOOK_URL"),
        ({"url": "x.example/hook"}, "webhook.url"),
        ({"url": "ftp://x.example/"}, "webhook.url"),
        ({"url": "https://"}, "webhook.url"),
        ({"url": "https://x.example:99999/"}, "webhook.url"),
        ({"url": "https://x.example/a b"}, "webhook.url"),
        ({"url": "https://ann:secret@x.example/"}, "webhook.authorization"),
        ({"url": "https://x.example", "authorization": "a\r\nX-Evil: b"}, "webhook.authorization"),
        ({"url": "https://x.example", "secret": "whsec_no base64!"}, "webhook.secret"),
    ],
)
def test_settings_that_cannot_work_are_named(settings: dict[str, Any], text: str) -> None:
    """A missing or wrong setting is an error when the channel is built; the text has no secret."""
    with pytest.raises(ChannelNotConfiguredError, match=text) as caught:
        WebhookChannel.from_settings(WebhookSettings(**settings))
    assert "secret@" not in str(caught.value)
    assert "no base64" not in str(caught.value)


def test_content_is_checked() -> None:
    """A campaign without text and HTML, or without any content, says nothing."""
    webhook = WebhookChannel.from_settings(WebhookSettings(url="http://x.example"))
    with pytest.raises(InvalidContentError):
        webhook.compile(EmailContent(subject="Hi"))
    with pytest.raises(InvalidContentError, match="body: channel webhook takes"):
        webhook.compile(NoContent())
