"""What answers of a mail server mean that are about the recipient, the message, or the moment."""

from __future__ import annotations

from sender_service.channels.contract import Answer
from sender_service.channels.email import faults
from sender_service.channels.email.steps import Step
from sender_service.channels.email.verdict_row import FROM_MAIL, NAMED, Row, holds_all
from sender_service.channels.replies import Verdict

_REFUSED = Verdict(Answer.REFUSED)
_DEFERRED = Verdict(Answer.DEFERRED)

RECIPIENT_ROWS: tuple[Row, ...] = (
    # From RCPT on: what is said about the recipient.
    Row(
        NAMED,
        "4..",
        "450 4.2.1 The user you are trying to contact is receiving mail too quickly",
        _DEFERRED,
        enhanced=r"4\.[12]\.\d+",
    ),
    Row(
        NAMED,
        "4..",
        "432 4.3.2 STOREDRV.Deliver; recipient thread limit exceeded",
        _DEFERRED,
        text="recipient thread limit",
    ),
    # From MAIL on: the server can't take mail now.
    Row(
        FROM_MAIL,
        "4..",
        "452 4.3.1 Insufficient system storage",
        holds_all(faults.WAIT),
        enhanced=r"4\.3\.[12]|4\.7\.2\d",
        why="4.3.1 and 4.3.2 are about the whole server, 4.7.2x about the sender's rate or domain.",
    ),
    Row(
        FROM_MAIL,
        "4..",
        "450 4.7.1 Error: too much mail from 192.0.2.1",
        holds_all(faults.WAIT),
        text=r"too (much|many|fast|frequent)\w* (mail|messages|e-?mails|connect\w*|recipients from)"
        r"|insufficient system|server (is )?(too )?busy|client host rejected|exceeded the rate",
    ),
    Row((Step.MAIL,), "4..", "451 4.3.0 Temporary failure", holds_all(faults.WAIT)),
    Row(
        (Step.MAIL,),
        "5..",
        "550 5.7.1 Not from you",
        holds_all(faults.SENDER_REFUSED),
        why="MAIL names nobody but the sender.",
    ),
    # The recipient, or this one message.
    Row(
        (Step.RCPT,),
        "552",
        "552 Too many recipients",
        _DEFERRED,
        text="too many recipients",
        why="RFC 5321, section 4.5.3.1.10: it means 452.",
    ),
    Row(
        NAMED,
        "5[25]2",
        "552 5.2.2 The mailbox is full",
        _REFUSED,
        why="A mailbox that is full for a while is 452 4.2.2. A server that says 552 of one"
        " recipient means it: a try within hours would fail as well.",
    ),
    Row(NAMED, "4..", "450 4.7.1 Not now", _DEFERRED, why="450, 451, 452: it may pass later."),
    Row(
        NAMED,
        "5..",
        "550 5.1.1 No such user here",
        _REFUSED,
        why="Also 5.7.1 for spam or a recipient's own rule: the others may well take theirs.",
    ),
)
