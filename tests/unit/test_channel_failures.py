"""Why a provider can't be reached: from an exception to what people read and correct."""

from __future__ import annotations

import errno
import socket
import ssl
from dataclasses import replace

import aiosmtplib
import pytest

from sender_service.channels.contract import Answer, Reply
from sender_service.channels.email.failures import Server, failure, hung_up, refusal, silence
from sender_service.channels.email.settings import SmtpSettings
from sender_service.channels.email.steps import Step
from sender_service.channels.network_faults import network_reply, words
from sender_service.channels.odd_ones import OddOnes
from sender_service.domain import ProblemKind

HOST = "mail.x.example"
SERVER = Server.from_settings(SmtpSettings(host="mail.x.example"))
PLACE = SERVER.place
ADDRESS, TRUST, TLS = "[smtp] host, port", "[smtp] ca_file, verify_certificates", "[smtp] security"
LOGIN = "[smtp] username, password"


def certificate_error(number: int, message: str) -> ssl.SSLCertVerificationError:
    """Return the error of a certificate, as the ssl module makes it."""
    error = ssl.SSLCertVerificationError(1, f"[SSL: CERTIFICATE_VERIFY_FAILED] {message}")
    error.reason = "CERTIFICATE_VERIFY_FAILED"
    error.verify_code, error.verify_message = number, message
    return error


def tls_error(reason: str) -> ssl.SSLError:
    """Return an error of TLS, as the ssl module makes it."""
    error = ssl.SSLError(1, f"[SSL: {reason}] {reason.lower().replace('_', ' ')} (_ssl.c:992)")
    error.reason = reason
    return error


ERRORS = [
    (socket.gaierror(socket.EAI_NONAME, "Name not known"), "no server named", ADDRESS, 1),
    (UnicodeError("label too long"), "no server named", ADDRESS, 1),
    (
        socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"),
        "can't be looked up now",
        ADDRESS,
        0,
    ),
    (ConnectionRefusedError(111, "Refused"), "refuses connections on port 587", ADDRESS, 0),
    (OSError(errno.EHOSTUNREACH, "No route to host"), "the network has no way to", ADDRESS, 0),
    (OSError(errno.ENETUNREACH, "Network is unreachable"), "the network has no way to", ADDRESS, 0),
    (OSError(errno.ETIMEDOUT, "Connection timed out"), "does not answer on port 587", ADDRESS, 0),
    (ConnectionResetError(104, "Connection reset by peer"), "hung up on port 587", ADDRESS, 0),
    (BrokenPipeError(32, "Broken pipe"), "hung up on port 587", ADDRESS, 0),
    (certificate_error(10, "certificate has expired"), "has expired", TRUST, 1),
    (certificate_error(9, "certificate is not yet valid"), "not valid yet", TRUST, 1),
    (certificate_error(18, "self-signed certificate"), "nobody that the sender trusts", TRUST, 1),
    (certificate_error(19, "self-signed certificate in chain"), "nobody that", TRUST, 1),
    (certificate_error(20, "unable to get local issuer"), "nobody that", TRUST, 1),
    (certificate_error(62, "Hostname mismatch"), "another name than mail.x.example", ADDRESS, 1),
    (certificate_error(64, "IP address mismatch"), "another name than mail.x.example", ADDRESS, 1),
    (certificate_error(23, "certificate revoked"), "can't be trusted", TRUST, 1),
    (tls_error("WRONG_VERSION_NUMBER"), "does not speak TLS; set smtp.security to", TLS, 1),
    (tls_error("RECORD_LAYER_FAILURE"), "does not speak TLS; set smtp.security to", TLS, 1),
    (tls_error("UNSUPPORTED_PROTOCOL"), "find no TLS that both speak", TLS, 1),
    (tls_error("SSLV3_ALERT_HANDSHAKE_FAILURE"), "find no TLS that both speak", TLS, 1),
    (ssl.SSLEOFError(8, "EOF occurred in violation of protocol"), "hung up while TLS", TLS, 0),
]  # fmt: skip


@pytest.mark.parametrize(("error", "summary", "setting", "needs_attention"), ERRORS)
def test_an_error_of_the_network_is_a_fault(
    error: Exception, summary: str, setting: str, needs_attention: int
) -> None:
    """Directly or as a cause; the summary is for people, and a person is asked only if needed."""
    wrapped = aiosmtplib.SMTPConnectError("Error connecting")
    wrapped.__cause__ = error
    for raised in (error, wrapped):
        reply = network_reply(raised, PLACE)
        assert reply is not None
        assert reply.fault is not None
        assert summary in reply.fault.summary
        assert setting in reply.fault.setting
        assert reply.fault.needs_attention == bool(needs_attention)
        assert reply.fault.kind is ProblemKind.PROVIDER_UNREACHABLE
        assert (reply.answer, reply.code) == (Answer.PROVIDER_FAULT, "connect_failed")
        for text in (reply.fault.summary, reply.detail):
            assert "Errno" not in text
            assert "_ssl" not in text
            assert "[SSL" not in text


def test_an_error_of_another_kind_is_none_of_the_network() -> None:
    """It is left to who knows it."""
    assert network_reply(aiosmtplib.SMTPException("odd"), PLACE) is None


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ECONNREFUSED, "Connect call failed ('::1', 25)"), "Connection refused"),
        (socket.gaierror(socket.EAI_NONAME, "Name not known"), "Name not known"),
        (OSError("nothing but words"), "nothing but words"),
        (tls_error("WRONG_VERSION_NUMBER"), "wrong version number"),
        (certificate_error(10, "certificate has expired"), "certificate has expired"),
        (aiosmtplib.SMTPException("[Errno -2] Name not known"), "Name not known"),
    ],
)
def test_words_are_without_python(error: Exception, said: str) -> None:
    """Numbers and source lines of the interpreter say nothing to a reader."""
    assert words(error) == said


def fault_words(reply: Reply) -> tuple[str, str, bool]:
    """Return what people see of a reply."""
    assert reply.fault is not None
    return reply.fault.summary, reply.fault.setting, reply.fault.needs_attention


@pytest.mark.parametrize(
    ("step", "summary", "setting"),
    [
        (Step.CONNECT, f"port 587 of {HOST} took no connection within 30 s", ADDRESS),
        (
            Step.GREETING,
            f"{HOST} did not greet within 30 s; if 587 is a TLS port, set smtp.security to tls",
            TLS,
        ),
        (Step.EHLO, f"{HOST} did not answer within 30 s, before the server answered EHLO", ADDRESS),
        (Step.TLS, f"{HOST} did not answer within 30 s, before TLS was agreed", ADDRESS),
        (Step.LOGIN, f"{HOST} did not answer within 30 s, before the login was answered", LOGIN),
        (Step.MAIL, f"{HOST} did not answer within 30 s, before the server answered MAIL", ADDRESS),
    ],
)  # fmt: skip
def test_silence_depends_on_its_stage(step: Step, summary: str, setting: str) -> None:
    """It may pass by itself, so nobody is asked."""
    reply = silence(SERVER, step.clause)
    assert fault_words(reply) == (summary, setting, False)
    assert (reply.code, reply.detail) == ("timeout", f"no answer within 30 s, {step.clause}")


def test_port_465_is_known_to_be_for_tls() -> None:
    """A server that awaits TLS there says nothing until a person corrects the setting."""
    server = Server.from_settings(
        SmtpSettings(host="mail.x.example", port=465, security="starttls")  # type: ignore[arg-type]
    )
    summary = (
        "mail.x.example did not greet within 30 s; 465 is a TLS port; set smtp.security to tls"
    )
    assert fault_words(silence(server, Step.GREETING.clause)) == (summary, TLS, True)
    assert "465 is a TLS port" in hung_up(server, Step.GREETING).summary
    at_home = Server.from_settings(SmtpSettings(host="mail.x.example", port=465))
    assert fault_words(silence(at_home, Step.GREETING.clause)) == (
        "mail.x.example did not greet within 30 s",
        ADDRESS,
        False,
    )


@pytest.mark.parametrize(
    ("step", "error", "summary", "needs_attention"),
    [
        (
            Step.GREETING,
            aiosmtplib.SMTPConnectError("Unexpected EOF received"),
            "mail.x.example hung up before the server greeted; if 587 is a TLS port,",
            False,
        ),
        (
            Step.LOGIN,
            aiosmtplib.SMTPServerDisconnected("Connection lost"),
            "mail.x.example hung up before the login was answered",
            False,
        ),
        (
            Step.LOGIN,
            aiosmtplib.SMTPException("No suitable authentication method found."),
            "port 587 of mail.x.example offers no login that the sender knows",
            True,
        ),
        (
            Step.GREETING,
            aiosmtplib.SMTPResponseException(-1, "Malformed SMTP response line: HTTP/1.1 400"),
            "port 587 of mail.x.example does not speak SMTP",
            True,
        ),
        (
            Step.GREETING,
            aiosmtplib.SMTPConnectResponseError(250, "hello"),
            "port 587 of mail.x.example does not speak SMTP",
            True,
        ),
        (
            Step.EHLO,
            aiosmtplib.SMTPException("odd"),
            "the conversation with mail.x.example failed before the server answered EHLO",
            False,
        ),
    ],
)
def test_every_failure_before_a_message_has_its_words(
    step: Step,
    error: Exception,
    summary: str,
    needs_attention: bool,  # noqa: FBT001
) -> None:
    """What is no error of the network depends on the step."""
    reply = failure(SERVER, step, error)
    said, _, attention = fault_words(reply)
    assert said.startswith(summary)
    assert attention == needs_attention
    assert reply.answer is Answer.PROVIDER_FAULT


@pytest.mark.parametrize("step", [Step.EHLO, Step.MAIL])
def test_an_answer_that_smtp_does_not_know_is_no_smtp(step: Step) -> None:
    """Before there is a recipient, no message is tried by it."""
    summary = "port 587 of mail.x.example does not speak SMTP"
    assert fault_words(refusal(SERVER, step, 354, "go ahead"))[0] == summary
    assert refusal(SERVER, Step.RCPT, 354, "go ahead").answer is Answer.DEFERRED


def test_a_login_without_a_name_is_the_senders() -> None:
    """A server may ask for one where the settings have none."""
    nobody = replace(SERVER, username="")
    reply = failure(nobody, Step.LOGIN, aiosmtplib.SMTPAuthenticationError(535, "5.7.8 no"))
    assert fault_words(reply)[0] == "the mail server refuses the login of the sender"


def test_only_a_message_that_others_pass_is_odd() -> None:
    """One fact counts: the provider has taken another since it first faulted this one."""
    odd_ones = OddOnes()
    assert not odd_ones.is_odd("c1", "a")
    assert not odd_ones.is_odd("c1", "a")
    odd_ones.taken("c1", "b")
    assert odd_ones.is_odd("c1", "a")
    assert not odd_ones.is_odd("c1", "c")
    odd_ones.taken("c1", "a")
    assert not odd_ones.is_odd("c1", "a")


def test_an_answer_that_odd_ones_get_is_known_from_then_on() -> None:
    """The next odd one holds up nothing, unless the provider takes nobody any more."""
    odd_ones = OddOnes()
    assert not odd_ones.is_odd("c1", "a", kind="404")
    odd_ones.taken("c1", "x")
    assert odd_ones.is_odd("c1", "a", kind="404")
    assert not odd_ones.is_odd("c1", "b", kind="404")  # nothing was taken since
    odd_ones.taken("c1", "y")
    assert odd_ones.is_odd("c1", "c", kind="404")
    assert odd_ones.is_odd("c1", "c", kind="404")  # the same one, tried again
    assert not odd_ones.is_odd("c1", "d", kind="403")  # another answer
    assert not odd_ones.is_odd("c1", "e", kind="404")
    odd_ones.taken("c1", "z")
    assert odd_ones.is_odd("c1", "b", kind="404")
    assert not odd_ones.is_odd("c1", "f")  # one that everyone gets by turns


def test_what_is_taken_of_other_campaigns_makes_none_odd() -> None:
    """The provider may refuse a campaign as a whole, as for its sender address."""
    odd_ones = OddOnes()
    assert not odd_ones.is_odd("c1", "a", kind="553")
    odd_ones.taken("c2", "x")
    assert not odd_ones.is_odd("c1", "a", kind="553")
    assert not odd_ones.is_odd("c2", "y", kind="553")
    odd_ones.taken("c2", "z")
    assert odd_ones.is_odd("c2", "y", kind="553")
    assert not odd_ones.is_odd("c1", "b", kind="553")  # it was never taken
    odd_ones.taken("c1", "c")
    assert odd_ones.is_odd("c1", "d", kind="553")


def test_odd_ones_are_forgotten_when_there_are_too_many() -> None:
    """Memory is bounded; the oldest is the first to go."""
    odd_ones = OddOnes()
    odd_ones.is_odd("c1", "first")
    odd_ones.taken("c1", "other")
    for number in range(10_000):
        odd_ones.is_odd("c1", f"key {number}")
    assert not odd_ones.is_odd("c1", "first")
