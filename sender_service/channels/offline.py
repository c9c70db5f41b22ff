"""A campaign's content without a sender: checked, and rendered for one recipient.

No service, no settings and no network are needed, so a caller can check and preview a
campaign before there is anything to send it with. What is checked and shown is what the
channel of the sender checks and renders.

::

    content = compile_content("smtp", body)
    for unknown in content.unknown_variables(["first_name", "city"]):
        print(unknown)  # subject:1:7: the recipients have no field frist_name; ...
    print(content.render(pb.Recipient(address="ann@shop.example")))

Bodies and recipients are messages of ``closeout.sender.v1``. A template may take long to
render, here as in the sender: callers with an event loop call from a thread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeAlias

from sender_service.channels.contract import EmailContent, JsonContent, Message, NoContent
from sender_service.channels.email.addresses import check_email, check_printable
from sender_service.channels.email.mime import MimeTemplate
from sender_service.channels.errors import (
    ChannelError,
    InvalidAddressError,
    InvalidContentError,
    TemplateError,
)
from sender_service.channels.from_wire import content_of, fields_of
from sender_service.channels.rendering.content import CompiledContent, content_variables
from sender_service.channels.rendering.field_check import (
    ALWAYS,
    UnknownVariable,
    empty_variables,
    unknown_variables,
)
from sender_service.channels.rendering.json_document import JsonDocument
from sender_service.channels.rendering.preview import Preview
from sender_service.channels.rendering.templates import variables_of
from sender_service.channels.rendering.unrendered import UnrenderedContent

if TYPE_CHECKING:
    from collections.abc import Iterable

    from closeout.sender.v1 import sender_pb2 as pb
    from sender_service.channels.contract import Content

    Body: TypeAlias = pb.EmailContent | pb.TextContent | pb.JsonContent | None

__all__ = [
    "ALWAYS",
    "CHANNELS",
    "ChannelError",
    "InvalidAddressError",
    "InvalidContentError",
    "OfflineContent",
    "Preview",
    "TemplateError",
    "UnknownVariable",
    "compile_content",
]

#: The channels whose content can be compiled here; those of other packages can't.
CHANNELS = ("console", "null", "smtp", "webhook")


class _Compiled(Protocol):
    def readable(self, message: Message) -> Preview: ...


def compile_content(channel: str, body: Body) -> OfflineContent:
    """Compile a campaign's content as its channel does.

    Args:
        channel: one of CHANNELS.
        body: the content, as CreateCampaign takes it; None: there is none.

    Raises:
        TemplateError: a template is broken; it has ``field``, ``line`` and ``column``.
        InvalidContentError: a field is missing or wrong, or, with the field ``body``, the
            channel does not take this kind of content.
        ValueError: the channel is none of CHANNELS.
    """
    if channel not in CHANNELS:
        raise ValueError(f"content of channel {channel} can't be compiled without its sender")
    return OfflineContent(channel, content_of(body))


class OfflineContent:
    """A campaign's content, compiled by :func:`compile_content`."""

    def __init__(self, channel: str, content: Content) -> None:
        self._channel = channel
        self._compiled = _compiled(channel, content)
        self._variables = content_variables(content)
        #: The names of all variables that the templates do not set themselves, in order.
        self.variables = tuple(dict.fromkeys(use.name for use in self._variables))

    def unknown_variables(
        self, fields: Iterable[str], *, provided_for: bool = False
    ) -> tuple[UnknownVariable, ...]:
        """Return the variables that are no field of the recipients.

        Each is there once for each template, with the place of its first use, and ``str``
        of it is a line for people.

        Args:
            fields: the fields that recipients have; those of ALWAYS need not be named.
            provided_for: False: the variables that the sender refuses. True: those that it
                takes, because the templates have a default or a condition for a missing
                value wherever they use them: worth a hint, since all recipients get that.
        """
        return unknown_variables(self._variables, fields, provided_for=provided_for)

    def empty_variables(self, recipient: pb.Recipient) -> tuple[str, ...]:
        """Return the variables that leave a gap in the message of a recipient, in order.

        Their value is missing, empty or nothing but spaces, and the templates have neither
        a default nor a condition for that.
        """
        return empty_variables(self._variables, variables_of(_message(recipient, "preview")))

    def check_address(self, address: str) -> str:
        """Return the address in the form it is sent to.

        Raises:
            InvalidAddressError: the channel can't send to it; the text says why.
        """
        check = check_email if self._channel == "smtp" else check_printable
        return check(address)

    def render(self, recipient: pb.Recipient, *, campaign_id: str = "preview") -> Preview:
        """Return the message of one recipient, with all its headers.

        The address is not checked: without one, the preview is of the content alone.

        Raises:
            TemplateError: it can't be rendered with the fields of the recipient.
        """
        return self._compiled.readable(_message(recipient, campaign_id))


def _compiled(channel: str, content: Content) -> _Compiled:
    match content:
        case _ if channel == "null":
            return UnrenderedContent(content)
        case EmailContent() if channel == "smtp":
            return MimeTemplate(content)
        case _ if channel == "smtp":
            raise InvalidContentError.of_kind(channel, content.kind, takes="email")
        case JsonContent():
            return JsonDocument(content)
        case NoContent():
            raise InvalidContentError.of_kind(channel, content.kind, takes="email, text or json")
        case _:
            return CompiledContent(content)


def _message(recipient: pb.Recipient, campaign_id: str) -> Message:
    return Message(
        campaign_id=campaign_id,
        sequence=1,
        address=recipient.address,
        recipient_key=recipient.recipient_key,
        fields=fields_of(recipient.fields),
        idempotency_key="",
    )
