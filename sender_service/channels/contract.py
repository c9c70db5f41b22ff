"""Ways to hand a message to a provider.

A channel is found by an entry point in the group ``closeout.channels``, whose
value is a class with the shape of :class:`Channel`; another package can add one.
The delivery loop knows channels through this protocol alone.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeAlias

from sender_service.channels.errors import InvalidContentError
from sender_service.domain import RetryPolicy
from sender_service.verdicts import Answer, Fault, Reply

if TYPE_CHECKING:
    from collections.abc import Mapping

    from service_runtime.settings import Section

__all__ = [
    "ENTRY_POINT_GROUP",
    "MAX_CONTENT_BYTES",
    "Answer",
    "Channel",
    "Content",
    "EmailContent",
    "Fault",
    "Handover",
    "JsonContent",
    "Message",
    "NoContent",
    "Reply",
    "RetryPolicy",
    "Template",
    "TextContent",
    "content_from_json",
    "content_to_json",
]

#: All of a campaign's content together, bytes.
MAX_CONTENT_BYTES = 256 * 1024
#: Group of the entry points.
ENTRY_POINT_GROUP = "closeout.channels"


@dataclass(frozen=True, slots=True)
class EmailContent:
    """An e-mail; ``EmailContent`` of the contract field by field.

    ``subject``, ``text``, ``html`` and ``list_unsubscribe`` are Liquid templates.
    """

    kind: ClassVar[str] = "email"

    subject: str = ""
    text: str = ""
    html: str = ""
    from_: str = ""
    reply_to: str = ""
    list_unsubscribe: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TextContent:
    """A plain text, a Liquid template."""

    kind: ClassVar[str] = "text"

    text: str = ""


@dataclass(frozen=True, slots=True)
class JsonContent:
    """A JSON document, a Liquid template."""

    kind: ClassVar[str] = "json"

    json: str = ""


@dataclass(frozen=True, slots=True)
class NoContent:
    """Nothing; only the channel ``null`` needs no more."""

    kind: ClassVar[str] = "none"


Content: TypeAlias = EmailContent | TextContent | JsonContent | NoContent

_KINDS: dict[str, type[Content]] = {
    kind.kind: kind for kind in (EmailContent, TextContent, JsonContent, NoContent)
}


def content_to_json(content: Content) -> str:
    """Return the content as it is stored: a JSON object with its ``kind``, keys sorted."""
    return json.dumps({"kind": content.kind, **dataclasses.asdict(content)}, sort_keys=True)


def content_from_json(stored: str) -> Content:
    """Return the content that :func:`content_to_json` wrote.

    Raises:
        InvalidContentError: it is of a kind that this version does not know.
    """
    fields = json.loads(stored)
    kind = fields.pop("kind", "")
    if kind not in _KINDS:
        raise InvalidContentError("body", f"content of the unknown kind {kind!r}")
    return _KINDS[kind](**fields)


@dataclass(frozen=True, slots=True)
class Message:
    """One message on its way to one recipient.

    Attributes:
        campaign_id: the campaign.
        sequence: the message's number in it.
        address: as ``check_address`` returned it.
        recipient_key: the caller's id of the recipient; may be empty.
        fields: what the templates may use.
        idempotency_key: the same for every try of this message, by any instance;
            32 hexadecimal digits.
        attempt: which try this is, from 1.
    """

    campaign_id: str
    sequence: int
    address: str
    recipient_key: str
    fields: Mapping[str, Any]
    idempotency_key: str
    attempt: int = 1


@dataclass(slots=True)
class Handover:
    """Whether a provider could have a message, known also to who cancels the call.

    One for each call of ``send``; ``check`` sets the stage alone. A message whose call ends
    early, by a stop, a broken connection or a timeout, is in doubt only if ``begun``;
    before that nobody has it.

    Attributes:
        begun: True from the moment at which the provider could have accepted the message:
            the end of its data for SMTP, the first byte of the request for HTTP.
        stage: how far the call has come, kept true while it goes on: a clause that follows
            "stopped", as in "before the server greeted".
    """

    begun: bool = False
    stage: str = "before there was a connection"

    def begin(self, stage: str) -> None:
        """Note that the provider could accept the message from now on.

        Call it directly before the bytes go out, with no ``await`` between.
        """
        self.begun = True
        self.stage = stage


class Template(Protocol):
    """The content of one campaign, compiled once for all its messages."""

    def preview(self, message: Message) -> str:
        """Return what the recipient would get, readable.

        Raises:
            TemplateError: it can't be rendered for this message.
        """


class Channel(Protocol):
    """A provider behind one connection pool, shared by all campaigns on it.

    A class may also have ``template_maker``, as ``module:function``: a function that makes
    of the content alone what ``compile`` makes. What may take long is then compiled and
    rendered in a process of its own, where the module is imported. ``prepared(message)`` of
    the template returns there what its ``render`` returns for the message: bytes, a text
    or a ``Rendered``. ``send`` gets a
    :class:`~sender_service.channels.rendering.bounded.ReadyTemplate` in place of the
    template then.
    """

    #: The name campaigns choose it by; also its entry point and its settings table.
    name: ClassVar[str]
    #: Its table of settings. Every field has a default, so that a sender that does
    #: not use the channel starts.
    settings_model: ClassVar[type[Section]]
    #: True where a second try is the better error (webhooks): the default guarantee.
    at_least_once: ClassVar[bool]
    #: How many messages of one campaign may be in the provider's hands at once, and
    #: so in doubt after a crash, where the campaign does not say.
    max_in_flight: ClassVar[int]
    #: When a message that the provider defers is tried again, where the campaign does
    #: not say. Its deadline does not count: that is the campaign's or the sender's.
    retry: ClassVar[RetryPolicy]
    #: How many calls run at once, over all campaigns.
    concurrency: int
    #: After this long, seconds, ``send`` and ``check`` have returned.
    timeout_seconds: float
    #: Which provider and account, for people: "smtp.example.com:587". Campaigns of one
    #: channel share it, and so does what is known of it.
    provider: str

    @classmethod
    def from_settings(cls, settings: Any) -> Channel:
        """Build it from an instance of ``settings_model``; connects nothing.

        Raises:
            ChannelNotConfiguredError: a setting it can't do without is missing.
        """

    def check_address(self, address: str) -> str:
        """Return the address in the form it is sent to and deduplicated by.

        Raises:
            InvalidAddressError: the channel can't send to it; the text says why.
        """

    def compile(self, content: Content) -> Template:
        """Compile and check a campaign's content.

        Raises:
            TemplateError: a template is broken; it says which, line and column.
            InvalidContentError: a field is missing or wrong, or, with the field
                ``body``, the channel does not take this kind of content.
        """

    async def send(self, template: Any, message: Message, handover: Handover) -> Reply:
        """Hand one message over. Never raises for what a provider or a template does.

        ``template`` is what ``compile`` of this channel returned.

        Bounded by ``timeout_seconds``. When cancelled, ``handover`` says whether the
        provider could have the message.
        """

    async def check(self, handover: Handover | None = None) -> Reply:
        """Reach the provider and log in, without sending anything.

        Bounded by ``timeout_seconds``. ACCEPTED: a message may be sent now. Otherwise
        PROVIDER_FAULT, with what is wrong. Never raises for what a provider does.

        ``handover.stage`` says how far it has come, also while it runs; it never begins.
        """

    def silence(self, stage: str, seconds: float) -> Fault:
        """Return what to suspect of a provider that does not answer.

        Args:
            stage: how far a call of ``send`` or ``check`` has come, as its handover says.
            seconds: for how long it has waited there.
        """

    async def close(self) -> None:
        """Close the connections."""
