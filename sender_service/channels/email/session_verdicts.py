"""What answers of a mail server mean that come before a message, or end the service."""

from __future__ import annotations

from sender_service.channels.email import faults
from sender_service.channels.email.steps import Step
from sender_service.channels.email.verdict_row import FROM_MAIL, Row, holds_all, holds_session

_ANY_STEP = (Step.GREETING, Step.EHLO, Step.TLS, Step.LOGIN, *FROM_MAIL)

#: That the sender must use TLS, in the words of the servers.
TLS_WORDS = "starttls|must use tls|tls (is )?required|encryption (is )?(required|needed)"
#: That the sender has sent as much as it may. A mailbox has a quota and limits too, so the
#: words are those of sending.
LIMIT_WORDS = (
    r"(daily|hourly|sending|message|relay|e-?mail) quota|submissionquota"
    r"|(daily|hourly|sending|relay|submission) \w* ?limit|limit exceeded for customer"
    r"|max(imum)? (sending rate|credits)|credits exceeded|throttl|rate limit|max emails per"
    r"|(reached|exceeded) your [\w ]*limit"
)

SESSION_ROWS: tuple[Row, ...] = (
    # Whatever was asked.
    Row(
        _ANY_STEP,
        "421",
        "421 4.7.28 Gmail has detected an unusual rate of mail. Please try again later",
        holds_all(faults.WAIT),
        why="421 is about the service and ends the connection. A new connection is tried first.",
    ),
    # Before a message.
    Row(
        (Step.GREETING,),
        "4..",
        "450 4.3.2 System not accepting messages",
        holds_session(faults.WAIT),
    ),
    Row(
        (Step.GREETING,),
        "5..",
        "554 5.7.1 You are not welcome here",
        holds_session(faults.TURNED_AWAY),
        why="The server knows no more than the sender's IP address.",
    ),
    Row((Step.EHLO,), "4..", "451 4.7.1 Try again later", holds_session(faults.WAIT)),
    Row(
        (Step.EHLO,),
        "5..",
        "550 5.7.1 Helo command rejected: invalid name",
        holds_session(faults.NAME_REFUSED),
    ),
    Row(
        (Step.TLS,),
        "4..",
        "454 4.7.0 TLS not available due to temporary reason",
        holds_session(faults.TLS_LATER),
    ),
    Row((Step.TLS,), "5..", "502 5.5.1 Command not implemented", holds_session(faults.NO_TLS)),
    Row(
        (Step.LOGIN,),
        "[45]..",
        "538 5.7.11 Encryption required for requested authentication mechanism",
        holds_session(faults.TLS_NEEDED),
        text=TLS_WORDS,
    ),
    Row(
        (Step.LOGIN,),
        "[45]..",
        "451 Authentication failed: Maximum credits exceeded",
        holds_session(faults.LIMIT),
        text=LIMIT_WORDS,
    ),
    Row(
        (Step.LOGIN,),
        "4..",
        "454 4.7.0 Temporary authentication failure",
        holds_session(faults.LOGIN_LATER),
    ),
    Row(
        (Step.LOGIN,),
        "53[45]",
        "534 5.7.9 Application-specific password required",
        holds_session(faults.APP_PASSWORD),
        text="application.specific|app(lication)? password",
    ),
    Row(
        (Step.LOGIN,),
        "5..",
        "535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled",
        holds_session(faults.LOGIN_DISABLED),
        text="disabled|not (enabled|allowed)",
    ),
    Row(
        (Step.LOGIN,),
        "50[234]",
        "503 5.5.1 AUTH command used when not advertised",
        holds_session(faults.NO_LOGIN),
    ),
    Row(
        (Step.LOGIN,),
        "5..",
        "535 5.7.8 Username and Password not accepted",
        holds_session(faults.LOGIN_REFUSED),
    ),
)
