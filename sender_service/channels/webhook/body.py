"""The body of a webhook request: an envelope around the rendered texts, or the document itself."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Protocol

from sender_service.channels.contract import EmailContent, JsonContent, NoContent
from sender_service.channels.errors import InvalidContentError, TemplateError
from sender_service.channels.rendering.content import CompiledContent
from sender_service.channels.rendering.json_document import JsonDocument

if TYPE_CHECKING:
    from sender_service.channels.contract import Content, Message, TextContent


_CHANNEL = "webhook"


class Body(Protocol):
    """What is posted for each message of one campaign."""

    def render(self, message: Message) -> bytes:
        """Return the body of the request.

        Raises:
            TemplateError: it can't be rendered with these fields.
        """

    def preview(self, message: Message) -> str:
        """Return what the recipient gets, readable.

        Raises:
            TemplateError: it can't be rendered with these fields.
        """


def body_of(content: Content) -> Body:
    """Return the body that content of its kind is posted as.

    Args:
        content: the campaign's.

    Raises:
        TemplateError: a template is broken; it says which, line and column.
        InvalidContentError: there is no content, or neither text nor HTML.
    """
    match content:
        case JsonContent():
            return DocumentBody(content)
        case NoContent():
            raise InvalidContentError.of_kind(_CHANNEL, content.kind, takes="email, text or json")
        case _:
            return EnvelopeBody(content)


class EnvelopeBody:
    """An envelope with the message's own data: who, which, and the rendered texts.

    An e-mail has ``subject``, ``text`` and ``html`` in it, a text ``text`` alone.

    Args:
        content: the content.

    Raises:
        TemplateError: a template is broken; it says which, line and column.
        InvalidContentError: there is neither text nor HTML.
    """

    def __init__(self, content: EmailContent | TextContent) -> None:
        self._content = CompiledContent(content)
        self._is_email = isinstance(content, EmailContent)

    def render(self, message: Message) -> bytes:
        """Return the envelope as JSON.

        Raises:
            TemplateError: it can't be rendered with these fields.
        """
        rendered = self._content.render(message)
        texts = {"text": rendered.text}
        if self._is_email:
            texts = {"subject": rendered.subject, "text": rendered.text, "html": rendered.html}
        envelope = {
            "campaign_id": message.campaign_id,
            "sequence": message.sequence,
            "address": message.address,
            "recipient_key": message.recipient_key,
            **texts,
            "fields": dict(message.fields),
            "attempt": message.attempt,
        }
        try:
            return json.dumps(envelope, allow_nan=False).encode("ascii")
        except (TypeError, ValueError) as error:
            raise TemplateError("fields", f"can't be written as JSON: {error}") from error

    def prepared(self, message: Message) -> bytes:
        """Return what :meth:`render` returns; a rendering process calls this.

        Raises:
            TemplateError: it can't be rendered with these fields.
        """
        return self.render(message)

    def preview(self, message: Message) -> str:
        """Return the rendered texts, readable.

        Raises:
            TemplateError: it can't be rendered with these fields.
        """
        return self._content.preview(message)


class DocumentBody:
    """The rendered document, and nothing around it, so that any service can be posted to.

    Args:
        content: the document.

    Raises:
        TemplateError: the template is broken, or is the same for everyone and no JSON.
    """

    def __init__(self, content: JsonContent) -> None:
        self._document = JsonDocument(content)

    def render(self, message: Message) -> bytes:
        """Return the document in UTF-8.

        Raises:
            TemplateError: it can't be rendered with these fields, or is no JSON then.
        """
        return self._document.render(message).encode()

    def prepared(self, message: Message) -> bytes:
        """Return what :meth:`render` returns; a rendering process calls this.

        Raises:
            TemplateError: it can't be rendered with these fields, or is no JSON then.
        """
        return self.render(message)

    def preview(self, message: Message) -> str:
        """Return the document with the address it goes to.

        Raises:
            TemplateError: it can't be rendered with these fields, or is no JSON then.
        """
        return self._document.preview(message)
