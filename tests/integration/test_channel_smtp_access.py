"""How the SMTP channel comes to trust a server, and a server to trust it."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import pytest
import trustme

from providers.smtp_provider import SmtpProvider, scripted
from sender_service.channels.contract import Answer, EmailContent, Handover, Message, Reply
from sender_service.channels.email.settings import Security, SmtpSettings
from sender_service.channels.email.smtp import SmtpChannel
from sender_service.channels.errors import ChannelNotConfiguredError

AUTHORITY = trustme.CA()
IDENTITY = AUTHORITY.issue_cert("localhost", "127.0.0.1")
LOGIN = ("ann", "correct horse")
WRONG = "battery staple"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the file of the authority that vouches for the provider."""
    path = tmp_path_factory.mktemp("tls") / "authority.pem"
    AUTHORITY.cert_pem.write_to_path(str(path))
    return path


def server_tls() -> ssl.SSLContext:
    """Return what the provider shows to prove it is localhost."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    IDENTITY.configure_cert(context)
    return context


async def send_through(provider: SmtpProvider, **settings: Any) -> Reply:
    """Send one message with these settings."""
    values = {"host": "127.0.0.1", "port": provider.port, "timeout_seconds": 20.0} | settings
    smtp = SmtpChannel.from_settings(SmtpSettings(**values))
    try:
        template = smtp.compile(EmailContent(subject="Hi", text="x", from_="news@shop.example"))
        message = Message("c", 1, "ann@shop.example", "", {}, "0" * 32)
        return await smtp.send(template, message, Handover())
    finally:
        await smtp.close()


async def test_starttls_with_a_certificate_that_is_trusted(authority: Path) -> None:
    """A message goes out encrypted to a server that proves its name."""
    async with scripted(tls=server_tls()) as provider:
        reply = await send_through(provider, security="starttls", ca_file=authority)
    assert reply.answer is Answer.ACCEPTED


async def test_tls_from_the_start(authority: Path) -> None:
    """TLS may also begin with the connection."""
    async with scripted(tls=server_tls(), tls_from_start=True) as provider:
        reply = await send_through(provider, security="tls", host="localhost", ca_file=authority)
    assert reply.answer is Answer.ACCEPTED


@pytest.mark.parametrize("security", ["starttls", "tls"])
async def test_certificate_nobody_vouches_for_is_not_trusted(security: str) -> None:
    """Without trust nothing is sent, and the reply has the reason."""
    async with scripted(tls=server_tls(), tls_from_start=security == "tls") as provider:
        reply = await send_through(provider, security=security)
        assert not provider.ledger.accepted
    assert (reply.answer, reply.code) == (Answer.PROVIDER_FAULT, "connect_failed")
    assert "certificate" in reply.detail.lower()


async def test_verification_can_be_switched_off() -> None:
    """Who says so in the settings trusts any certificate."""
    async with scripted(tls=server_tls()) as provider:
        reply = await send_through(provider, security="starttls", verify_certificates=False)
    assert reply.answer is Answer.ACCEPTED


async def test_server_without_starttls_gets_nothing() -> None:
    """A message that was to be encrypted is never sent in the clear."""
    async with scripted() as provider:
        reply = await send_through(provider, security="starttls")
        assert not provider.ledger.accepted
    assert (reply.answer, reply.code) == (Answer.PROVIDER_FAULT, "no_starttls")
    assert "smtp.security" in reply.detail


@pytest.mark.parametrize("from_start", [True, False])
async def test_login(authority: Path, from_start: bool) -> None:  # noqa: FBT001
    """The user name and the password of the settings are given to the server."""
    tls = server_tls()
    async with scripted(tls=tls, tls_from_start=from_start, login=LOGIN) as provider:
        reply = await send_through(
            provider,
            security="tls" if from_start else "starttls",
            ca_file=authority,
            username=LOGIN[0],
            password=LOGIN[1],
        )
    assert reply.answer is Answer.ACCEPTED


async def test_refused_login_is_unreachable_and_keeps_the_password(authority: Path) -> None:
    """A wrong password fails no message, and stands in no text."""
    async with scripted(tls=server_tls(), login=LOGIN) as provider:
        reply = await send_through(
            provider,
            security="starttls",
            ca_file=authority,
            username=LOGIN[0],
            password=WRONG,
        )
    assert (reply.answer, reply.code) == (Answer.PROVIDER_FAULT, "535")
    assert "battery" not in reply.detail


async def test_missing_login_is_unreachable(authority: Path) -> None:
    """A server that asks for a login at MAIL refuses us, not the message."""
    async with scripted(tls=server_tls(), login=LOGIN) as provider:
        reply = await send_through(provider, security="starttls", ca_file=authority)
    assert (reply.answer, reply.code) == (Answer.PROVIDER_FAULT, "530")


@pytest.mark.parametrize(
    ("settings", "security", "port"),
    [
        ({"host": "127.0.0.1"}, Security.NONE, 25),
        ({"host": "localhost"}, Security.NONE, 25),
        ({"host": "::1", "port": 1025}, Security.NONE, 1025),
        ({"host": "mail.shop.example"}, Security.STARTTLS, 587),
        ({"host": "192.0.2.1", "port": 25}, Security.STARTTLS, 25),
        ({"host": "mail.shop.example", "port": 465}, Security.TLS, 465),
        ({"host": "mail.shop.example", "security": "tls"}, Security.TLS, 465),
        ({"host": "mail.shop.example", "security": "none"}, Security.NONE, 25),
        ({"host": "127.0.0.1", "security": "starttls"}, Security.STARTTLS, 587),
    ],
)
def test_security_and_port_by_default(
    settings: dict[str, Any], security: Security, port: int
) -> None:
    """By default only a server on this machine gets an unencrypted connection."""
    chosen = SmtpSettings(**settings)
    assert (chosen.effective_security, chosen.effective_port) == (security, port)


def test_ca_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """A wrong path is an error when the channel is built."""
    settings = SmtpSettings(host="mail.shop.example", ca_file=tmp_path / "none.pem")
    with pytest.raises(ChannelNotConfiguredError, match=r"smtp\.ca_file"):
        SmtpChannel.from_settings(settings)


def test_password_is_not_in_the_text_of_the_settings() -> None:
    """Settings can be logged."""
    assert "horse" not in repr(SmtpSettings(password=LOGIN[1]))
