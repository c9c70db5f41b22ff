"""A campaign as e-mail: its bytes are laid out once and filled in for each recipient.

Building a message object for each recipient would be the slowest step of sending, so the
parts that are the same for all are rendered once.
"""

from __future__ import annotations

import base64
import binascii
import functools
import hashlib
import time
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import TYPE_CHECKING

from sender_service.channels.contract import EmailContent
from sender_service.channels.email import headers
from sender_service.channels.email.addresses import Mailbox, wire_address
from sender_service.channels.errors import (
    InvalidAddressError,
    InvalidContentError,
    TemplateError,
    UnsafeHeaderError,
)
from sender_service.channels.rendering.content import CompiledContent, Rendered
from sender_service.channels.rendering.header_text import one_line
from sender_service.channels.rendering.preview import Preview

if TYPE_CHECKING:
    from sender_service.channels.contract import Content, Message
    from sender_service.channels.email.addresses import WireAddress

_ASCII = bytes(range(128))
#: Quoted-printable stays readable; from one byte in four that it must quote, base64 is
#: the shorter by far.
_BASE64_FROM = 4


def mime_template(content: Content) -> MimeTemplate:
    """Compile and check the e-mail of a campaign.

    Raises:
        TemplateError: a template is broken; it says which, line and column.
        InvalidContentError: a field is missing or wrong, or it is no e-mail.
    """
    if not isinstance(content, EmailContent):
        raise InvalidContentError.of_kind("smtp", content.kind, takes="email")
    return MimeTemplate(content)


class MimeTemplate:
    """The e-mail of one campaign.

    Args:
        content: what it says.

    Raises:
        TemplateError: a template is broken; it says which, line and column.
        InvalidContentError: a field is missing or wrong.
    """

    def __init__(self, content: EmailContent) -> None:
        self._content = CompiledContent(content)
        if not content.subject.strip():
            raise InvalidContentError("subject", "an e-mail needs a subject")
        self._from = _mailbox("from", content.from_)
        #: The envelope's sender.
        self.sender = self._from.address.address
        self._domain = self.sender.rpartition("@")[2].encode("ascii")
        fixed = b"From: " + headers.mailbox(self._from) + b"\r\n"
        self._reply_to = _mailbox("reply_to", content.reply_to) if content.reply_to else None
        if self._reply_to:
            fixed += b"Reply-To: " + headers.mailbox(self._reply_to) + b"\r\n"
        self._extra = content.headers
        fixed += headers.extra_fields(content.headers) + b"MIME-Version: 1.0\r\n"
        self._fixed = fixed
        # Neither encoding of a body can contain "=_" (RFC 2045, section 6.7).
        self._boundary = b"=_" + hashlib.sha256(fixed).hexdigest()[:24].encode("ascii")
        self._unsubscribe = bool(content.list_unsubscribe)
        self._has_html = bool(content.html)
        text, html = self._content.text, self._content.html
        self._text_part = (
            _part(b"plain", self._content.render_text({}, "")) if text.is_constant else None
        )
        self._html_part = _part(b"html", html.source) if html.is_constant else None

    def render(self, message: Message, to: WireAddress) -> bytes:
        """Return the e-mail for one recipient.

        Raises:
            TemplateError: it can't be rendered with these fields.
            UnsafeHeaderError: a value can't stand in a header.
        """
        rendered = self._content.render(message)
        unsubscribe = (
            headers.list_unsubscribe(rendered.list_unsubscribe) if self._unsubscribe else b""
        )
        return b"".join(
            (
                b"Date: ",
                _date(int(time.time())),
                b"\r\nTo: ",
                to.address.encode("utf-8"),
                b"\r\nSubject: ",
                headers.unstructured(rendered.subject),
                b"\r\nMessage-ID: <",
                message.idempotency_key.encode("ascii"),
                b"@",
                self._domain,
                b">\r\n",
                unsubscribe,
                self._fixed,
                self._body(rendered),
            )
        )

    def prepared(self, message: Message) -> bytes:
        """Return what :meth:`render` returns; a rendering process calls this.

        Raises:
            TemplateError: it can't be rendered with these fields.
            UnsafeHeaderError: a value can't stand in a header.
            InvalidAddressError: the address can't be sent to.
        """
        return self.render(message, wire_address(message.address))

    def _body(self, rendered: Rendered) -> bytes:
        text = self._text_part or _part(b"plain", rendered.text)
        if not self._has_html:
            return text
        html = self._html_part or _part(b"html", rendered.html)
        boundary = self._boundary
        return b"".join(
            (
                b'Content-Type: multipart/alternative; boundary="',
                boundary,
                b'"\r\n\r\n--',
                boundary,
                b"\r\n",
                text,
                b"\r\n--",
                boundary,
                b"\r\n",
                html,
                b"\r\n--",
                boundary,
                b"--\r\n",
            )
        )

    def readable(self, message: Message) -> Preview:
        """Return what the recipient would see, for people, with all headers of the campaign.

        Raises:
            TemplateError: it can't be rendered with these fields.
        """
        rendered = self._content.render(message)
        subject = one_line(rendered.subject)
        shown = [
            ("From", _shown(self._from)),
            ("To", message.address),
            ("Reply-To", _shown(self._reply_to) if self._reply_to else ""),
            ("Subject", subject),
            *((name, one_line(value)) for name, value in self._extra.items()),
            *self._shown_unsubscribe(rendered),
        ]
        return Preview(
            headers=tuple((name, value) for name, value in shown if value),
            subject=subject,
            text=rendered.text,
            html=rendered.html,
        )

    def preview(self, message: Message) -> str:
        """Return what the recipient would see, readable.

        Raises:
            TemplateError: it can't be rendered with these fields.
        """
        return str(self.readable(message))

    def _shown_unsubscribe(self, rendered: Rendered) -> list[tuple[str, str]]:
        if not self._unsubscribe:
            return []
        try:
            fields = headers.list_unsubscribe(rendered.list_unsubscribe).decode("ascii")
        except UnsafeHeaderError as error:
            raise TemplateError("list_unsubscribe", str(error)) from error
        unfolded = fields.replace("\r\n ", " ").splitlines()
        return [(name, value) for name, _, value in (line.partition(": ") for line in unfolded)]


def _shown(box: Mailbox) -> str:
    name = one_line(box.name)
    return f"{name} <{box.address.address}>" if name else box.address.address


def _mailbox(field: str, text: str) -> Mailbox:
    try:
        box = Mailbox.parse(text)
    except InvalidAddressError as error:
        raise InvalidContentError(field, str(error)) from error
    if box.address.needs_smtputf8:
        # It would shut out every recipient whose server has no SMTPUTF8.
        raise InvalidContentError(field, "the part before the @ must be ASCII")
    return box


def _part(subtype: bytes, text: str) -> bytes:
    """Return a body of this type with the fields that describe it."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if not text.endswith("\n"):
        text += "\n"
    data = text.replace("\n", "\r\n").encode("utf-8", "replace")
    # In UTF-8 every other byte of a character needs quoting as well.
    if len(data.translate(None, _ASCII)) * _BASE64_FROM > len(data):
        encoding, body = b"base64", base64.encodebytes(data).replace(b"\n", b"\r\n")
    else:
        encoding, body = b"quoted-printable", binascii.b2a_qp(data)
    return b"Content-Type: text/%b; charset=utf-8\r\nContent-Transfer-Encoding: %b\r\n\r\n%b" % (
        subtype,
        encoding,
        body,
    )


@functools.lru_cache(maxsize=2)
def _date(second: int) -> bytes:
    return format_datetime(datetime.fromtimestamp(second, UTC)).encode("ascii")
