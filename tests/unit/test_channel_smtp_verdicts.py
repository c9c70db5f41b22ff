"""What each answer of a mail server means: every row of the table, and answers of real servers."""

from __future__ import annotations

import pytest

from sender_service.channels.contract import Answer, Fault
from sender_service.channels.email import faults
from sender_service.channels.email.steps import Step
from sender_service.channels.email.verdict_row import NAMED
from sender_service.channels.email.verdict_table import TABLE
from sender_service.channels.email.verdicts import asked_wait_seconds, row_of, verdict_of
from sender_service.domain import ProblemKind

GREETING, EHLO, TLS, LOGIN = Step.GREETING, Step.EHLO, Step.TLS, Step.LOGIN
MAIL, RCPT, DATA, DOT = Step.MAIL, Step.RCPT, Step.DATA, Step.MESSAGE
REFUSED, DEFERRED = Answer.REFUSED, Answer.DEFERRED

#: Answers, and what they mean: for the message, or a fault of the provider as a whole.
ANSWERS: list[tuple[Step, str, Answer | Fault]] = [
    # The service ends, whatever was asked.
    (GREETING, "421 Too many concurrent SMTP connections; please try again later", faults.WAIT),
    (EHLO, "421 4.7.0 Try again later, closing connection.", faults.WAIT),
    (LOGIN, "421 4.7.0 Too many failed logins", faults.WAIT),
    (MAIL, "421 4.4.5 Server busy, try again later.", faults.WAIT),
    (RCPT, "421 4.7.28 Gmail has detected an unusual rate of mail", faults.WAIT),
    (DATA, "421 4.3.2 Service not available", faults.WAIT),
    (DOT, "421 4.3.0 Temporary System Problem. Try again later.", faults.WAIT),
    # Before a message.
    (GREETING, "450 4.3.2 System not accepting network messages", faults.WAIT),
    (GREETING, "554 5.7.1 You are listed", faults.TURNED_AWAY),
    (GREETING, "554 No SMTP service here", faults.TURNED_AWAY),
    (EHLO, "451 4.7.1 Try again later", faults.WAIT),
    (EHLO, "501 5.5.4 Invalid domain name", faults.NAME_REFUSED),
    (TLS, "454 4.7.0 TLS not available due to local problem", faults.TLS_LATER),
    (TLS, "502 5.5.1 Command not implemented", faults.NO_TLS),
    (LOGIN, "538 5.7.11 Encryption required for requested mechanism", faults.TLS_NEEDED),
    (LOGIN, "530 5.7.0 Must issue a STARTTLS command first", faults.TLS_NEEDED),
    (LOGIN, "451 5.7.3 STARTTLS is required to send mail", faults.TLS_NEEDED),
    (LOGIN, "451 Authentication failed: Maximum credits exceeded", faults.LIMIT),
    (LOGIN, "454 4.7.0 Temporary authentication failure", faults.LOGIN_LATER),
    (LOGIN, "454 4.7.0 Cannot authenticate due to temporary system problem", faults.LOGIN_LATER),
    (LOGIN, "534 5.7.9 Application-specific password required", faults.APP_PASSWORD),
    (
        LOGIN,
        "535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled",
        faults.LOGIN_DISABLED,
    ),
    (LOGIN, "503 5.5.1 AUTH command used when not advertised", faults.NO_LOGIN),
    (LOGIN, "535 5.7.8 Username and Password not accepted", faults.LOGIN_REFUSED),
    (LOGIN, "535 Authentication Credentials Invalid", faults.LOGIN_REFUSED),
    (LOGIN, "535 Incorrect authentication data", faults.LOGIN_REFUSED),
    (LOGIN, "525 5.7.1 Unauthorized IP address", faults.LOGIN_REFUSED),
    # The sender as a whole: limits.
    (MAIL, "550 5.4.5 Daily user sending quota exceeded.", faults.LIMIT),
    (RCPT, "550 5.4.5 Daily SMTP relay limit exceeded for customer.", faults.LIMIT),
    (RCPT, "450 4.2.1 Peak SMTP relay limit exceeded for customer.", faults.LIMIT),
    (DOT, "454 Throttling failure: Maximum sending rate exceeded.", faults.LIMIT),
    (DOT, "454 Throttling failure: Daily message quota exceeded.", faults.LIMIT),
    (RCPT, "550 Domain x.example has exceeded the max emails per hour (9/8)", faults.LIMIT),
    (DOT, "554 5.2.2 mailbox full; SubmissionQuotaExceededException", faults.LIMIT),
    (DOT, "550 5.4.5 Enough", faults.LIMIT),
    (DOT, "451 4.4.5 System congestion", faults.LIMIT),
    (RCPT, "550 5.1.90 You have reached your daily limit for message recipients", faults.LIMIT),
    (RCPT, "550 5.1.90 Your message can't be sent", faults.LIMIT),
    # The sender as a whole: relaying and login.
    (RCPT, "554 5.7.1 <ann@x.example>: Relay access denied", faults.RELAY_REFUSED),
    (RCPT, "454 4.7.1 <ann@x.example>: Relay access denied", faults.RELAY_REFUSED),
    (RCPT, "550 5.7.1 Relaying denied. Proper authentication required.", faults.RELAY_REFUSED),
    (RCPT, "550 relay not permitted", faults.RELAY_REFUSED),
    (RCPT, "550 5.7.54 SMTP; Unable to relay recipient in this domain", faults.RELAY_REFUSED),
    (RCPT, "550 5.7.64 TenantAttribution; Relay Access Denied", faults.RELAY_REFUSED),
    (RCPT, "553 Sender is not allowed to relay emails", faults.RELAY_REFUSED),
    (DOT, "550 5.7.0 Mail relay denied [192.0.2.1].", faults.RELAY_REFUSED),
    (MAIL, "550 5.7.1 Invalid credentials for relay [192.0.2.1].", faults.RELAY_REFUSED),
    (MAIL, "530 5.7.0 Must issue a STARTTLS command first.", faults.TLS_NEEDED),
    (MAIL, "451 5.7.3 STARTTLS is required to send mail", faults.TLS_NEEDED),
    (RCPT, "538 5.7.11 Not like this", faults.TLS_NEEDED),
    (MAIL, "535 5.7.8 Bad credentials", faults.LOGIN_REFUSED),
    (MAIL, "530 5.7.57 Client not authenticated to send mail", faults.LOGIN_NEEDED),
    (MAIL, "530 5.5.1 Authentication Required", faults.LOGIN_NEEDED),
    (MAIL, "530 Authentication required", faults.LOGIN_NEEDED),
    (MAIL, "550 Unauthenticated senders not allowed", faults.LOGIN_NEEDED),
    (RCPT, "550 5.7.0 Authentication required", faults.LOGIN_NEEDED),
    (RCPT, "553 5.7.1 <a@x.example>: Sender address rejected: not logged in", faults.LOGIN_NEEDED),
    (MAIL, "503 5.5.4 Error: send AUTH command first; need AUTH", faults.LOGIN_NEEDED),
    (RCPT, "550 5.7.3 Not now", faults.LOGIN_NEEDED),
    (RCPT, "550 5.7.8 Not now", faults.LOGIN_NEEDED),
    (DOT, "550 5.7.9 Not now", faults.LOGIN_NEEDED),
    (DOT, "550 5.7.57 Client", faults.LOGIN_NEEDED),
    (RCPT, "550 5.7.64 TenantAttribution", faults.LOGIN_NEEDED),
    # The sender as a whole: account, domain, IP address, name.
    (DOT, "550 5.1.8 Access denied, bad outbound sender", faults.ACCOUNT_BLOCKED),
    (DOT, "554 Message rejected: Sending paused for this account.", faults.ACCOUNT_BLOCKED),
    (MAIL, "502 5.7.0 Your SMTP account is not yet activated.", faults.ACCOUNT_BLOCKED),
    (DOT, "550 5.7.705 Access denied, tenant has exceeded threshold", faults.ACCOUNT_BLOCKED),
    (DOT, "550 5.7.708 Access denied, traffic not accepted from this IP", faults.ACCOUNT_BLOCKED),
    (DOT, "550 5.7.750 Service unavailable. Client blocked", faults.ACCOUNT_BLOCKED),
    (DOT, "550 5.7.26 Unauthenticated email from x.example", faults.DOMAIN_UNPROVEN),
    (RCPT, "550 5.7.25 The IP address sending this has no PTR record", faults.DOMAIN_UNPROVEN),
    (DOT, "550 5.7.27 SPF has not passed", faults.DOMAIN_UNPROVEN),
    (DOT, "550 5.7.515 Access denied, sending domain does not meet", faults.DOMAIN_UNPROVEN),
    (DOT, "550 5.7.509 Access denied, sending domain does not pass", faults.DOMAIN_UNPROVEN),
    (DOT, "550 5.7.1 Email rejected per DMARC policy for x.example", faults.DOMAIN_UNPROVEN),
    (DOT, "550 5.7.606 Access denied, banned sending IP [192.0.2.1]", faults.ADDRESS_BLOCKED),
    (DOT, "550 5.7.28 Mail from your IP", faults.ADDRESS_BLOCKED),
    (
        RCPT,
        "554 5.7.1 Service unavailable; Client host [192.0.2.1] blocked using zen.spamhaus.org",
        faults.ADDRESS_BLOCKED,
    ),
    (RCPT, "554 5.7.1 <x[192.0.2.1]>: Client host rejected: Access denied", faults.ADDRESS_BLOCKED),
    (RCPT, "504 5.5.2 <x>: Helo command rejected: need fully-qualified", faults.NAME_REFUSED),
    # The sender as a whole: its address.
    (RCPT, "450 4.1.8 <a@x>: Sender address rejected: Domain not found", faults.SENDER_UNKNOWN),
    (MAIL, "451 4.1.8 Domain of sender address a@x does not resolve", faults.SENDER_UNKNOWN),
    (MAIL, "553 5.1.8 Domain of sender address a@x does not exist", faults.SENDER_REFUSED),
    (
        RCPT,
        "553 5.7.1 <a@x.example>: Sender address rejected: not owned by user ann",
        faults.SENDER_REFUSED,
    ),
    (RCPT, "550 5.7.1 <a@x>: Sender address rejected: Access denied", faults.SENDER_REFUSED),
    (DOT, "554 Message rejected: Email address is not verified.", faults.SENDER_REFUSED),
    (DOT, "550 The from address does not match a verified Sender Identity.", faults.SENDER_REFUSED),
    (DOT, "550 5.7.60 Client has no permissions to send as this sender", faults.SENDER_REFUSED),
    (DOT, "554 5.2.252 SendAsDenied; ann not allowed to send as bo", faults.SENDER_REFUSED),
    (RCPT, "550 Sender verify failed", faults.SENDER_REFUSED),
    (DOT, "550 5.7.60 Client", faults.SENDER_REFUSED),
    (DOT, "403 You are not authorized to send from that email address", faults.SENDER_UNKNOWN),
    (MAIL, "550 5.7.1 Not from you", faults.SENDER_REFUSED),
    (MAIL, "501 5.1.7 Bad sender address syntax", faults.SENDER_REFUSED),
    (MAIL, "550 Requested action not taken", faults.SENDER_REFUSED),
    # The server as a whole can't take mail now.
    (MAIL, "452 4.3.1 Insufficient system storage", faults.WAIT),
    (RCPT, "452 4.3.1 Insufficient system resources", faults.WAIT),
    (RCPT, "450 4.3.2 Service currently unavailable", faults.WAIT),
    (DOT, "432 4.3.2 Concurrent connections limit exceeded", faults.WAIT),
    (RCPT, "450 4.7.28 Unusual rate of mail", faults.WAIT),
    (DOT, "450 4.7.26 Unauthenticated email", faults.WAIT),
    (RCPT, "450 4.7.1 Error: too much mail from 192.0.2.1", faults.WAIT),
    (RCPT, "450 4.7.1 Error: too many recipients from 192.0.2.1", faults.WAIT),
    (RCPT, "450 4.7.1 Client host rejected: cannot find your hostname", faults.WAIT),
    (MAIL, "451 Temporary service failure", faults.WAIT),
    (MAIL, "450 4.7.1 Not now", faults.WAIT),
    # The recipient, or this one message.
    (RCPT, "450 4.2.0 <ann@x.example>: Recipient address rejected: Greylisted", DEFERRED),
    (RCPT, "451 4.7.1 Greylisting in action, please come back in 00:04:59", DEFERRED),
    (RCPT, "450 4.2.1 The user you are trying to contact is receiving mail too quickly", DEFERRED),
    (RCPT, "432 4.3.2 STOREDRV.Deliver; recipient thread limit exceeded", DEFERRED),
    (RCPT, "452 4.2.2 The recipient's inbox is out of storage space", DEFERRED),
    (RCPT, "452 4.5.3 Too many recipients", DEFERRED),
    (RCPT, "552 Too many recipients", DEFERRED),
    (RCPT, "451 4.3.0 <ann@x.example>: Temporary lookup failure", DEFERRED),
    (RCPT, "450 mailbox unavailable", DEFERRED),
    (DOT, "451 4.3.0 Error: queue file write error", DEFERRED),
    (DOT, "451 Temporary local problem - please try later", DEFERRED),
    (RCPT, "451 4.7.1 Sender address rejected: Greylisted for 5 minutes", DEFERRED),
    (RCPT, "452 4.2.2 Quota exceeded (mailbox for user is full)", DEFERRED),
    (RCPT, "452 Mailbox limit exceeded", DEFERRED),
    (RCPT, "452 4.2.2 The user has exceeded the storage limit", DEFERRED),
    (DOT, "552 5.2.2 Quota exceeded (mailbox for user is full)", REFUSED),
    (RCPT, "550 5.2.2 Mailbox quota exceeded", REFUSED),
    (RCPT, "550 5.7.1 RESOLVER.RST.AuthRequired; authentication required", REFUSED),
    (RCPT, "550 5.1.10 RESOLVER.ADR.RecipientNotFound; not found", REFUSED),
    (RCPT, "550 5.7.1 You are not allowed to send to this group", REFUSED),
    (RCPT, "550 5.7.1 not authorized to send mail to the recipient", REFUSED),
    (DOT, "554 5.7.1 encrypted attachments are not allowed here", REFUSED),
    (DOT, "550 5.7.30 REQUIRETLS support required", REFUSED),
    (RCPT, "552 5.2.2 The recipient's inbox is out of storage space", REFUSED),
    (RCPT, "552 Requested mail action aborted: exceeded storage allocation", REFUSED),
    (RCPT, "522 5.2.2 mailbox full", REFUSED),
    (DOT, "552 5.2.3 Your message exceeded the size limits", REFUSED),
    (DOT, "552 5.3.4 Message size exceeds fixed limit", REFUSED),
    (DOT, "552 Message is too long.", REFUSED),
    (DOT, "552 5.7.0 This message was blocked for its content", REFUSED),
    (RCPT, "550 5.1.1 No such user here", REFUSED),
    (RCPT, "550 5.1.1 <ann@x.example>: Recipient address rejected: User unknown", REFUSED),
    (RCPT, "550 5.4.1 Recipient address rejected: Access denied.", REFUSED),
    (RCPT, "550 5.2.1 The email account that you tried to reach is disabled.", REFUSED),
    (RCPT, "550 5.7.134 SenderNotAuthenticatedForMailbox; authentication required", REFUSED),
    (RCPT, "550 5.7.1 Access denied", REFUSED),
    (RCPT, "550 Administrative prohibition", REFUSED),
    (DOT, "550 5.7.1 Our system has detected that this message is likely spam", REFUSED),
    (DOT, "554 5.7.1 Message content rejected", REFUSED),
    (DATA, "554 5.5.1 Error: no valid recipients", REFUSED),
    (RCPT, "553 5.1.3 The recipient address is not a valid RFC 5321 address", REFUSED),
]  # fmt: skip


def parts(line: str) -> tuple[int, str]:
    """Return status and text, as the client of the channel gives them."""
    return int(line[:3]), line[4:]


@pytest.mark.parametrize(("step", "line", "meaning"), ANSWERS)
def test_answer_has_its_meaning(step: Step, line: str, meaning: Answer | Fault) -> None:
    """A fault of the provider is nobody's try; everything else is about the message."""
    verdict = verdict_of(step, *parts(line))
    if isinstance(meaning, Answer):
        assert (verdict.answer, verdict.fault) == (meaning, None)
    else:
        assert (verdict.answer, verdict.fault) == (Answer.PROVIDER_FAULT, meaning)
        # A server that takes all others has something against this one: it is tried later.
        in_a_message = step in (Step.MAIL, *NAMED)
        assert (verdict.alone is Answer.DEFERRED) == (in_a_message or parts(line)[0] == 421)


def test_every_row_has_an_answer_here() -> None:
    """No row is without a test of its meaning, or hidden by an earlier one."""
    hit = [row_of(step, *parts(line)) for step, line, _ in ANSWERS]
    assert [row.example for row in TABLE if row not in hit] == []


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.example)
def test_the_example_of_a_row_is_judged_by_it(row: object) -> None:
    """What the document shows of a row is true, at each of its steps."""
    found = next(each for each in TABLE if each is row)
    for step in found.steps:
        assert row_of(step, *parts(found.example)) is found


@pytest.mark.parametrize(
    "fault", [value for value in vars(faults).values() if isinstance(value, Fault)]
)
def test_a_fault_says_who_can_end_it(fault: Fault) -> None:
    """What is refused needs a person; what is deferred passes by itself."""
    assert fault.kind in (ProblemKind.PROVIDER_REFUSES, ProblemKind.PROVIDER_DEFERS)
    assert fault.needs_attention == (fault.kind is ProblemKind.PROVIDER_REFUSES)
    # Who must act finds a setting, or the summary says whom to ask.
    assert fault.setting or not fault.needs_attention or "server" in fault.summary


def test_settings_that_a_person_corrects_are_named() -> None:
    """Each refusal leads to the settings it is about."""
    assert faults.LOGIN_REFUSED.setting == "[smtp] username, password"
    assert faults.LOGIN_NEEDED.setting == "[smtp] username, password"
    assert faults.RELAY_REFUSED.setting == "[smtp] username, password"
    assert faults.APP_PASSWORD.setting == "[smtp] password"
    assert faults.TLS_NEEDED.setting == faults.NO_TLS.setting == "[smtp] security"
    assert faults.NAME_REFUSED.setting == "[smtp] local_hostname"
    assert faults.SENDER_REFUSED.setting == "content.from of the campaign, or [smtp] username"


@pytest.mark.parametrize("step", NAMED)
def test_an_answer_that_smtp_does_not_know_is_tried_again(step: Step) -> None:
    """354 to RCPT accepts nothing and refuses nothing."""
    assert verdict_of(step, 354, "go ahead").answer is Answer.DEFERRED


def test_an_answer_over_several_lines_is_read_as_one() -> None:
    """Words and the code count wherever the lines break."""
    text = "5.7.1 <ann@x.example>: Relay\n5.7.1 access denied"
    assert verdict_of(RCPT, 554, "5.7.1 relay access\ndenied").fault == faults.RELAY_REFUSED
    assert verdict_of(RCPT, 554, text).answer is Answer.REFUSED  # the code breaks the words
    assert verdict_of(RCPT, 550, "5.7.26 not\n5.7.26 proven").fault == faults.DOMAIN_UNPROVEN


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("4.7.1 Try again in 30 seconds", 30),
        ("4.7.1 Greylisted for 300 seconds", 300),
        ("Greylisting in action, please come back in 00:04:59", 299),
        ("please come back in 01:02:03", 3723),
        ("please try again in 5 minutes", 300),
        ("Too many messages, retry after 2 hours", 7200),
        ("4.2.0 Greylisted, try again in 10 min.", 600),
        ("wait 90s before the next try", 90),
        ("try again later", None),
        ("try again later. See RFC 5321 section 4", None),
        ("4.7.1 Try again later [192.0.2.17 myhost]", None),
        ("retry in 250 ms", None),
        ("", None),
    ],
)
def test_the_wait_that_a_server_asks_for(text: str, seconds: float | None) -> None:
    """Seconds, minutes, hours or a clock, where the text asks to come back."""
    assert asked_wait_seconds(text) == seconds


@pytest.mark.parametrize(
    ("step", "clause"),
    [
        (Step.GREETING, "before the server greeted"),
        (Step.RCPT, "before the server answered RCPT"),
        (Step.MESSAGE, "after the message's data was sent, before the server answered"),
    ],
)
def test_a_step_that_is_not_answered_says_how_far_it_came(step: Step, clause: str) -> None:
    """By what stands for it, or by the command of SMTP."""
    assert step.clause == clause
