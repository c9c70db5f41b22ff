"""Measure e-mails rendered a second: by prepared bytes, and by ``EmailMessage``."""

from __future__ import annotations

import time
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate
from typing import TYPE_CHECKING, NamedTuple

from sender_service.channels.contract import EmailContent, Message
from sender_service.channels.email.addresses import wire_address
from sender_service.channels.email.mime import MimeTemplate

if TYPE_CHECKING:
    from collections.abc import Callable

_TEXT = "Dear {name},\n\n" + "this is a line of the newsletter, as long as lines are.\n" * 10
_HTML = "<p>Dear {name},</p>" + "<p>this is a paragraph of the newsletter.</p>" * 10


class RenderingFigures(NamedTuple):
    """Messages a second: Closeout's, and those of the standard library."""

    rate: float
    email_message_rate: float


def measure(messages: int) -> RenderingFigures:
    """Render ``messages`` e-mails of text and HTML in both ways, in one thread."""
    template = MimeTemplate(
        EmailContent(
            subject="Hello {{ name }}",
            text=_TEXT.format(name="{{ name }}"),
            html=_HTML.format(name="{{ name }}"),
            from_="News <news@example.com>",
        )
    )

    def ours(number: int) -> bytes:
        address = f"person{number}@example.com"
        fields = {"name": f"Person {number}"}
        message = Message("bench", number, address, "", fields, f"{number:032x}")
        return template.render(message, wire_address(address))

    return RenderingFigures(_rate(ours, messages), _rate(_email_message, messages))


def _email_message(number: int) -> bytes:
    name = f"Person {number}"
    message = EmailMessage(policy=SMTP)
    message["From"] = "News <news@example.com>"
    message["To"] = f"person{number}@example.com"
    message["Subject"] = f"Hello {name}"
    message["Date"] = formatdate()
    message["Message-ID"] = f"<{number:032x}@example.com>"
    message.set_content(_TEXT.format(name=name))
    message.add_alternative(_HTML.format(name=name), subtype="html")
    return message.as_bytes()


def _rate(render: Callable[[int], bytes], messages: int) -> float:
    begin = time.perf_counter()
    for number in range(messages):
        render(number)
    return messages / (time.perf_counter() - begin)
