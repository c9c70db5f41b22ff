"""What answers of a mail server mean that are about the sender as a whole, by their words."""

from __future__ import annotations

from sender_service.channels.contract import Answer
from sender_service.channels.email import faults
from sender_service.channels.email.session_verdicts import LIMIT_WORDS, TLS_WORDS
from sender_service.channels.email.verdict_row import FROM_MAIL, NAMED, Row, holds_all
from sender_service.channels.replies import Verdict

_REFUSED = Verdict(Answer.REFUSED)
_RELAY = (
    r"relay\w*( access)? (is )?(denied|not (permitted|allowed)|prohibited|refused)|unable to relay"
    r"|(not|never) (permitted|allowed|authori[sz]ed) to relay|(cannot|can't|not) relay"
    r"|credentials for relay|relay access"
)
_LOGIN = (
    r"authentication (is )?(required|needed)|not (yet )?authenticated|must authenticate"
    r"|unauthenticated senders|not logged in|log ?in first|need auth|auth(entication)? first"
    r"|turn on smtp authentication"
)
_SENDER = (
    r"sender (address )?(was |is )?(rejected|refused|denied|not allowed|unknown|blocked)"
    r"|sender verif|not owned by user|send ?as\b"
    r"|not (allowed|authori[sz]ed) to (send|use)(?! [\w ]*\bto\b)"
    r"|from address|(verified|sender) (sender|identity)|email address is not verified"
    r"|domain of sender|bad sender"
)
_ADDRESS = (
    r"client host (rejected|\[?\S* ?blocked)|blocked using|spamhaus|black ?list|block ?list"
    r"|banned sending ip|(poor|low|bad) reputation|(from|of) your ip|your ip address"
)

SENDER_ROWS: tuple[Row, ...] = (
    # What only sounds like the sender.
    Row(
        NAMED,
        "4..",
        "451 4.7.1 Greylisted, please try again in 300 seconds",
        Verdict(Answer.DEFERRED),
        text="gr[ae]ylist",
        why="Each pair of sender and recipient is taken at its second try.",
    ),
    Row(
        NAMED,
        "5..",
        "550 5.7.1 RESOLVER.RST.AuthRequired; authentication required",
        _REFUSED,
        text=r"resolver\.(rst|adr)",
        why="Exchange says it of a recipient that takes mail of known senders only.",
    ),
    # From MAIL on: what is said about the sender, by its words.
    Row(
        NAMED,
        "[45]..",
        "550 5.7.134 SenderNotAuthenticatedForMailbox; authentication required",
        _REFUSED,
        enhanced=r"5\.7\.(12\d|13[0-8])",
        why="This mailbox takes mail of known senders only; others of the server take it.",
    ),
    Row(
        NAMED,
        "5..",
        "552 5.3.4 Message size exceeds fixed limit",
        _REFUSED,
        text=r"(message|content|e-?mail)\b.{0,20} (size|too (large|big|long))",
        why="Other messages are smaller.",
    ),
    Row(
        FROM_MAIL,
        "[45]..",
        "550 5.4.5 Daily SMTP relay limit exceeded for customer",
        holds_all(faults.LIMIT),
        text=LIMIT_WORDS,
        why="A limit ends by itself, also where the server says 5xx.",
    ),
    Row(FROM_MAIL, "[45]..", "550 5.4.5 Quota", holds_all(faults.LIMIT), enhanced=r"[45]\.4\.5"),
    Row(
        FROM_MAIL,
        "[45]..",
        "550 5.1.90 Your message can't be sent",
        holds_all(faults.LIMIT),
        enhanced=r"5\.1\.90",
    ),
    Row(
        FROM_MAIL,
        "[45]..",
        "454 4.7.1 <ann@x.example>: Relay access denied",
        holds_all(faults.RELAY_REFUSED),
        text=_RELAY,
        why="Postfix says it with 454 too; no wait ends it.",
    ),
    Row(
        FROM_MAIL,
        "[45]..",
        "530 5.7.0 Must issue a STARTTLS command first",
        holds_all(faults.TLS_NEEDED),
        text=TLS_WORDS,
    ),
    Row(FROM_MAIL, "538", "538 5.7.11 Not so", holds_all(faults.TLS_NEEDED)),
    Row(FROM_MAIL, "53[45]", "535 5.7.8 Bad credentials", holds_all(faults.LOGIN_REFUSED)),
    Row(FROM_MAIL, "530", "530 5.7.57 Client not authenticated", holds_all(faults.LOGIN_NEEDED)),
    Row(
        FROM_MAIL,
        "[45]..",
        "550 5.7.1 Authentication required",
        holds_all(faults.LOGIN_NEEDED),
        text=_LOGIN,
    ),
    Row(
        FROM_MAIL,
        "5..",
        "550 5.7.64 TenantAttribution",
        holds_all(faults.LOGIN_NEEDED),
        enhanced=r"5\.7\.([389]|57|64)",
    ),
    Row(
        FROM_MAIL,
        "5..",
        "550 5.1.8 Access denied, bad outbound sender",
        holds_all(faults.ACCOUNT_BLOCKED),
        text=r"bad outbound sender|your (\w+ )?account|sending paused|tenant (has )?exceeded",
    ),
    Row(
        FROM_MAIL,
        "5..",
        "550 5.7.708 Access denied, traffic not accepted from this IP",
        holds_all(faults.ACCOUNT_BLOCKED),
        enhanced=r"5\.7\.(50[1-3]|7[0-4]\d|750)",
    ),
    Row(
        FROM_MAIL,
        "5..",
        "550 5.7.26 Unauthenticated email from x.example is not accepted due to DMARC policy",
        holds_all(faults.DOMAIN_UNPROVEN),
        enhanced=r"5\.7\.(2[0-79]|509|515)",
        why="RFC 7372 and its kin: the proof of the sender's domain failed.",
    ),
    Row(
        FROM_MAIL,
        "5..",
        "550 5.7.1 Email rejected per DMARC policy for x.example",
        holds_all(faults.DOMAIN_UNPROVEN),
        text=r"\b(dmarc|dkim|spf)\b",
    ),
    Row(
        FROM_MAIL,
        "5..",
        "550 5.7.606 Access denied, banned sending IP [192.0.2.1]",
        holds_all(faults.ADDRESS_BLOCKED),
        enhanced=r"5\.7\.(28|508|511|60[6-9]|6[1-4]\d)",
    ),
    Row(
        FROM_MAIL,
        "5..",
        "554 5.7.1 Service unavailable; Client host [192.0.2.1] blocked using zen.spamhaus.org",
        holds_all(faults.ADDRESS_BLOCKED),
        text=_ADDRESS,
    ),
    Row(
        FROM_MAIL,
        "5..",
        "504 5.5.2 <sender>: Helo command rejected: need fully-qualified hostname",
        holds_all(faults.NAME_REFUSED),
        text="helo command rejected|invalid helo|bad helo",
        why="Postfix says it at RCPT.",
    ),
    Row(
        FROM_MAIL,
        "4..",
        "450 4.1.8 <news@x.example>: Sender address rejected: Domain not found",
        holds_all(faults.SENDER_UNKNOWN),
        text=_SENDER,
    ),
    Row(
        FROM_MAIL,
        "5..",
        "553 5.7.1 <news@x.example>: Sender address rejected: not owned by user ann",
        holds_all(faults.SENDER_REFUSED),
        text=_SENDER,
    ),
    Row(
        FROM_MAIL,
        "5..",
        "550 5.7.60 Client does not have permissions to send",
        holds_all(faults.SENDER_REFUSED),
        enhanced=r"5\.7\.(60|512)|5\.1\.[78]|5\.2\.252",
    ),
)
