"""A mail server that can't be used: the reply says what is wrong, and which setting to correct."""

from __future__ import annotations

import asyncio
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme

from providers.held_port import HeldPort
from providers.smtp_provider import SteppedProvider
from sender_service.channels.contract import Answer, Fault, Reply
from sender_service.channels.email import faults
from sender_service.channels.email.settings import SmtpSettings
from sender_service.channels.email.smtp import SmtpChannel
from sender_service.channels.errors import ChannelNotConfiguredError
from sender_service.domain import ProblemKind

AUTHORITY = trustme.CA()
LONG_AGO = datetime.now(UTC) - timedelta(days=20)
CERTIFICATES = {
    "right": AUTHORITY.issue_cert("localhost", "127.0.0.1"),
    "other name": AUTHORITY.issue_cert("mail.other.example"),
    "expired": AUTHORITY.issue_cert(
        "localhost", not_before=LONG_AGO, not_after=LONG_AGO + timedelta(days=1)
    ),
    "not yet": AUTHORITY.issue_cert(
        "localhost",
        not_before=datetime.now(UTC) + timedelta(days=1),
        not_after=datetime.now(UTC) + timedelta(days=2),
    ),
    "unknown issuer": trustme.CA().issue_cert("localhost"),
}
LOGIN = ("ann", "correct horse")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the file of the authority that vouches for the provider."""
    path = tmp_path_factory.mktemp("tls") / "authority.pem"
    AUTHORITY.cert_pem.write_to_path(str(path))
    return path


def server_tls(certificate: str = "right") -> ssl.SSLContext:
    """Return what the provider shows."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    CERTIFICATES[certificate].configure_cert(context)
    return context


async def check(port: int, **settings: Any) -> Reply:
    """Check a server on this machine with these settings."""
    values = {"host": "localhost", "port": port, "timeout_seconds": 20.0} | settings
    smtp = SmtpChannel.from_settings(SmtpSettings(**values))
    try:
        return await smtp.check()
    finally:
        await smtp.close()


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


async def test_a_wrong_password() -> None:
    """The login is named, the password never; one check is one failed login."""
    async with SteppedProvider(login=LOGIN) as provider:
        reply = await check(provider.port, username="ann", password="battery")  # noqa: S106
        assert [line for line in provider.seen if line.startswith("auth")] == ["auth ann"]
    fault = fault_of(reply)
    assert reply.code == "535"
    assert fault.summary == "the mail server refuses the login of ann"
    assert (fault.kind, fault.setting, fault.needs_attention) == (
        ProblemKind.PROVIDER_REFUSES,
        "[smtp] username, password",
        True,
    )
    assert reply.detail == "5.7.8 Error: authentication failed"
    assert "battery" not in repr(reply)


@pytest.mark.parametrize(
    ("said", "fault"),
    [
        ("454 4.7.0 Temporary authentication failure", faults.LOGIN_LATER),
        ("421 4.7.0 Too many failed logins, try again in 2 minutes", faults.WAIT),
    ],
)
async def test_a_login_that_passes_later(said: str, fault: Fault) -> None:
    """The server can't check logins now, and no setting is wrong."""
    async with SteppedProvider({"auth": said}, login=LOGIN) as provider:
        reply = await check(provider.port, username=LOGIN[0], password=LOGIN[1])
    assert (fault_of(reply), reply.code) == (fault, said[:3])
    assert reply.retry_after_seconds == (120 if said.startswith("421") else None)


async def test_a_server_without_logins() -> None:
    """A user name is of no use there."""
    async with SteppedProvider() as provider:
        reply = await check(provider.port, username="ann", password="x")  # noqa: S106
        fault = fault_of(reply)
        assert fault.summary.startswith(f"port {provider.port} of localhost offers no login")
    assert (fault.setting, fault.needs_attention) == ("[smtp] security, port, username", True)


def test_a_user_name_without_a_password() -> None:
    """The channel isn't built, and the text names both settings."""
    with pytest.raises(ChannelNotConfiguredError, match=r"smtp\.username .* smtp\.password"):
        SmtpChannel.from_settings(SmtpSettings(host="x.example", username="ann"))


@pytest.mark.parametrize("security", ["starttls", "tls"])
@pytest.mark.parametrize(
    ("certificate", "summary", "setting"),
    [
        ("unknown issuer", "signed by nobody that the sender trusts", "ca_file"),
        ("expired", "has expired", "verify_certificates"),
        ("not yet", "is not valid yet", "verify_certificates"),
        ("other name", "is for another name than localhost", "host"),
    ],
)
async def test_a_certificate_that_can_not_be_trusted(
    authority: Path, security: str, certificate: str, summary: str, setting: str
) -> None:
    """What is wrong with it is said, and which setting is about it."""
    tls = server_tls(certificate)
    async with SteppedProvider(tls=tls, tls_from_start=security == "tls") as provider:
        reply = await check(provider.port, security=security, ca_file=authority)
    fault = fault_of(reply)
    assert summary in fault.summary
    assert "certificate" in fault.summary
    assert setting in fault.setting
    assert (fault.kind, fault.needs_attention) == (ProblemKind.PROVIDER_UNREACHABLE, True)


async def test_tls_to_a_port_that_speaks_none() -> None:
    """A plain server answers the client's TLS with its greeting."""
    async with SteppedProvider() as provider:
        fault = fault_of(await check(provider.port, security="tls"))
        assert fault.summary == (
            f"port {provider.port} of localhost does not speak TLS;"
            " set smtp.security to starttls or none, or use port 465"
        )
    assert (fault.setting, fault.needs_attention) == ("[smtp] security, port", True)


@pytest.mark.parametrize("security", ["none", "starttls"])
async def test_a_plain_client_at_a_tls_port(security: str) -> None:
    """Such a port waits for the client, as the client waits for the greeting."""
    async with SteppedProvider(tls=server_tls(), tls_from_start=True) as provider:
        reply = await check(provider.port, security=security, timeout_seconds=2.0)
        fault = fault_of(reply)
        assert fault.summary == (
            f"localhost did not greet within 2 s; if {provider.port} is a TLS port,"
            " set smtp.security to tls"
        )
    assert (reply.code, fault.setting) == ("timeout", "[smtp] security")


async def test_silence_while_tls_is_agreed() -> None:
    """With TLS from the start, the stage is that of TLS until there is TLS."""
    tls = server_tls()
    async with (
        SteppedProvider({"tls": "hang"}, tls=tls, tls_from_start=True) as before_tls,
        SteppedProvider({"greeting": "hang"}, tls=tls, tls_from_start=True) as before_greeting,
        SteppedProvider({"starttls": "hang"}, tls=tls) as before_starttls,
    ):
        silences = await asyncio.gather(
            check(before_tls.port, security="tls", timeout_seconds=3.0),
            check(
                before_greeting.port,
                security="tls",
                timeout_seconds=3.0,
                verify_certificates=False,
            ),
            check(before_starttls.port, security="starttls", timeout_seconds=3.0),
        )
    said = "localhost did not answer within 3 s, before TLS was agreed"
    assert fault_of(silences[0]).summary == said
    assert fault_of(silences[1]).summary == "localhost did not greet within 3 s"
    assert silences[2].detail == "no answer within 3 s, before TLS was agreed"


async def test_silence_while_logging_in() -> None:
    """The stage is that of the login."""
    async with SteppedProvider({"auth": "hang"}, login=LOGIN) as provider:
        reply = await check(
            provider.port, username=LOGIN[0], password=LOGIN[1], timeout_seconds=2.0
        )
    assert fault_of(reply).summary == (
        "localhost did not answer within 2 s, before the login was answered"
    )


async def test_a_server_that_wants_tls_first() -> None:
    """The remedy is the setting of the connection, not the login."""
    said = "530 5.7.0 Must issue a STARTTLS command first"
    async with SteppedProvider({"auth": said}, login=LOGIN) as provider:
        reply = await check(provider.port, username=LOGIN[0], password=LOGIN[1])
    assert fault_of(reply) == faults.TLS_NEEDED
    assert "starttls" in faults.TLS_NEEDED.summary


async def test_a_server_without_starttls() -> None:
    """Nothing is sent in the clear unless the setting says so."""
    async with SteppedProvider() as provider:
        reply = await check(provider.port, security="starttls")
    fault = fault_of(reply)
    assert reply.code == "no_starttls"
    assert "set smtp.security to tls for a TLS port, or to none" in fault.summary
    assert (fault.setting, fault.needs_attention) == ("[smtp] security", True)


async def test_a_refused_connection() -> None:
    """A server that is down may come back by itself."""
    with HeldPort() as held:
        fault = fault_of(await check(held.port, security="none"))
        assert fault.summary == f"localhost refuses connections on port {held.port}"
    assert (fault.setting, fault.needs_attention) == ("[smtp] host, port", False)


async def test_a_name_that_no_server_can_have() -> None:
    """Nothing but the setting can cure it."""
    host = "a" * 64 + ".example"
    fault = fault_of(await check(25, host=host))
    assert fault.summary == f"there is no server named {host}"
    assert (fault.setting, fault.needs_attention) == ("[smtp] host, port", True)


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"hello\r\n"])
async def test_a_server_of_another_kind(answer: bytes) -> None:
    """A port that does not speak SMTP is the wrong one."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await reader.read()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        fault = fault_of(await check(port, host="127.0.0.1"))
    assert fault.summary == f"port {port} of 127.0.0.1 does not speak SMTP"
    assert fault.needs_attention
