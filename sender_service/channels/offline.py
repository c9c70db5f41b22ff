"""A campaign's content without a sender: checked, and rendered for one recipient.

No service, no settings and no network are needed, so a caller can check and preview a
campaign before there is anything to send it with. What is checked and shown is what the
channel of the sender checks and renders.

::

    content = compile_content("smtp", body)
    for unknown in content.unknown_variables(["first_name", "city"]):
        print(unknown)  # subject:1:7: the recipients have no field frist_name; ...
    print(content.render(pb.Recipient(address="ann@shop.example")))

Bodies and recipients are messages of ``closeout.sender.v1``. A template that takes long is
compiled and rendered in a process of its own, within the limits of the sender: callers with
an event loop call from a thread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from sender_service.channels.contract import (
    MAX_CONTENT_BYTES,
    JsonContent,
    Message,
    NoContent,
    content_to_json,
)
from sender_service.channels.email.addresses import check_email, check_printable
from sender_service.channels.email.mime import mime_template
from sender_service.channels.errors import (
    ChannelError,
    InvalidAddressError,
    InvalidContentError,
    TemplateError,
)
from sender_service.channels.from_wire import content_of, fields_of
from sender_service.channels.rendering import limits
from sender_service.channels.rendering.bounded import is_short, rendering_request
from sender_service.channels.rendering.content import CompiledContent, content_variables
from sender_service.channels.rendering.field_check import (
    ALWAYS,
    UnknownVariable,
    empty_variables,
    unknown_variables,
)
from sender_service.channels.rendering.json_document import JsonDocument
from sender_service.channels.rendering.limits import OverBudgetError
from sender_service.channels.rendering.preview import Preview
from sender_service.channels.rendering.templates import variables_of
from sender_service.channels.rendering.unrendered import UnrenderedContent
from sender_service.channels.rendering.worker_process import (
    WorkerProcess,
    WorkerUnavailableError,
    value_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from closeout.sender.v1 import sender_pb2 as pb
    from sender_service.channels.contract import Content, EmailContent, TextContent
    from sender_service.channels.rendering.frames import Frame

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
    if body is not None and body.ByteSize() > MAX_CONTENT_BYTES:
        size = f"{body.ByteSize():,} bytes of content; at most {MAX_CONTENT_BYTES:,}"
        raise InvalidContentError("body", f"{size}: make it shorter")
    return OfflineContent(channel, content_of(body))


class OfflineContent:
    """A campaign's content, compiled by :func:`compile_content`."""

    def __init__(self, channel: str, content: Content) -> None:
        self._channel = channel
        self._stored = content_to_json(content).encode()
        if not is_short(self._stored) and channel != "null":
            # It may take longer than anybody waits: this ends within limits.
            self._elsewhere({"op": "compile", "maker": self._maker})
        with limits.light():
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
        message = _message(recipient, campaign_id)
        try:
            return self._compiled.readable(message)
        except OverBudgetError:
            request = rendering_request("readable", self._maker, message)
            preview: Preview = value_of(self._elsewhere(request))
            return preview

    @property
    def _maker(self) -> str:
        return f"{__name__}:{'mime_template' if self._channel == 'smtp' else 'readable_texts'}"

    def _elsewhere(self, request: dict[str, Any]) -> Frame:
        worker = WorkerProcess()
        try:
            return worker.call(request, self._stored)
        except WorkerUnavailableError as error:
            raise TemplateError("", f"{error}; try again") from error
        finally:
            worker.close()
            worker.reap()


def _compiled(channel: str, content: Content) -> _Compiled:
    match content:
        case _ if channel == "null":
            return UnrenderedContent(content)
        case _ if channel == "smtp":
            return mime_template(content)
        case NoContent():
            raise InvalidContentError.of_kind(channel, content.kind, takes="email, text or json")
        case _:
            return readable_texts(content)


def readable_texts(content: EmailContent | TextContent | JsonContent) -> _Compiled:
    """Compile what channels other than ``smtp`` show of a content."""
    return JsonDocument(content) if isinstance(content, JsonContent) else CompiledContent(content)


def _message(recipient: pb.Recipient, campaign_id: str) -> Message:
    return Message(
        campaign_id=campaign_id,
        sequence=1,
        address=recipient.address,
        recipient_key=recipient.recipient_key,
        fields=fields_of(recipient.fields),
        idempotency_key="",
    )
