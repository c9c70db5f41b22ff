"""Content that is never rendered: what the channel ``null`` takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sender_service.channels.contract import EmailContent, JsonContent, TextContent
from sender_service.channels.rendering.preview import Preview

if TYPE_CHECKING:
    from sender_service.channels.contract import Content, Message


class UnrenderedContent:
    """Content that is shown as it is written; nothing in it is checked.

    Args:
        content: any.
    """

    def __init__(self, content: Content) -> None:
        self._content = content

    def readable(self, message: Message) -> Preview:
        """Return the content as it is written."""
        to = (("To", message.address),) if message.address else ()
        match self._content:
            case EmailContent(subject=subject, text=text, html=html):
                headers = (*to, ("Subject", subject))
                return Preview(headers, subject=subject, text=text, html="" if text else html)
            case TextContent(text=text):
                return Preview(to, text=text)
            case JsonContent(json=document):
                return Preview(to, document=document)
        return Preview(to)

    def preview(self, message: Message) -> str:
        """Return the content as it is written, readable."""
        return str(self.readable(message))
