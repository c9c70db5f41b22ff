"""An e-mail or a text, compiled, and what one recipient gets of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sender_service.channels.contract import EmailContent, JsonContent, NoContent, TextContent
from sender_service.channels.errors import InvalidContentError
from sender_service.channels.rendering.derived_text import DerivedText
from sender_service.channels.rendering.header_text import one_line
from sender_service.channels.rendering.preview import Preview
from sender_service.channels.rendering.templates import LiquidTemplate, variables_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sender_service.channels.contract import Content, Message
    from sender_service.channels.rendering.variables import Variable


@dataclass(frozen=True, slots=True)
class Rendered:
    """What one recipient gets; what the campaign does not have is empty."""

    subject: str
    text: str
    html: str
    list_unsubscribe: str


class CompiledContent:
    """The templates of one campaign.

    They may use the recipient's fields, and ``address``, ``recipient_key`` and
    ``campaign_id``, which come before fields of the same name.

    Args:
        content: an e-mail, whose text is derived from ``html`` when ``text`` is empty,
            or a text.

    Raises:
        TemplateError: a template is broken; it says which, line and column.
        InvalidContentError: there is neither text nor HTML.
    """

    def __init__(self, content: EmailContent | TextContent) -> None:
        if isinstance(content, TextContent):
            content = EmailContent(text=content.text)
        if not content.text and not content.html:
            raise InvalidContentError("text", "give a text, HTML, or both")
        self.subject = LiquidTemplate("subject", content.subject)
        self.html = LiquidTemplate("html", content.html, escape=True)
        self.text: LiquidTemplate | DerivedText = (
            LiquidTemplate("text", content.text) if content.text else DerivedText(self.html)
        )
        self.list_unsubscribe = LiquidTemplate("list_unsubscribe", content.list_unsubscribe)

    def render(self, message: Message) -> Rendered:
        """Return what the recipient of ``message`` gets.

        Raises:
            TemplateError: it can't be rendered with these fields.
        """
        variables = variables_of(message)
        html = self.html.render(variables)
        return Rendered(
            subject=self.subject.render(variables),
            text=self.render_text(variables, html),
            html=html,
            list_unsubscribe=self.list_unsubscribe.render(variables),
        )

    def prepared(self, message: Message) -> Rendered:
        """Return what :meth:`render` returns; a rendering process calls this.

        Raises:
            TemplateError: it can't be rendered with these fields.
        """
        return self.render(message)

    def render_text(self, variables: Mapping[str, Any], html: str) -> str:
        """Return the text for ``variables``, with which ``html`` was rendered.

        Raises:
            TemplateError: it can't be rendered with these variables.
        """
        if isinstance(self.text, DerivedText):
            return self.text.render(variables, html)
        return self.text.render(variables)

    def readable(self, message: Message) -> Preview:
        """Return what the recipient of ``message`` gets, for people.

        Raises:
            TemplateError: it can't be rendered with these fields.
        """
        rendered = self.render(message)
        headers = {
            "To": message.address,
            "Subject": one_line(rendered.subject),
            "List-Unsubscribe": one_line(rendered.list_unsubscribe),
        }
        return Preview(
            headers=tuple((name, value) for name, value in headers.items() if value),
            subject=headers["Subject"],
            text=rendered.text,
            html=rendered.html,
        )

    def preview(self, message: Message) -> str:
        """Return what the recipient of ``message`` gets, readable.

        Raises:
            TemplateError: it can't be rendered with these fields.
        """
        return str(self.readable(message))


def content_variables(content: Content) -> tuple[Variable, ...]:
    """Return every use of a variable in a content, whatever channel it is for.

    Raises:
        TemplateError: a template is broken; it says which, line and column.
    """
    match content:
        case NoContent():
            sources = {}
        case JsonContent(json=document):
            sources = {"json": document}
        case TextContent(text=text):
            sources = {"text": text}
        case EmailContent():
            sources = {
                "subject": content.subject,
                "text": content.text,
                "html": content.html,
                "list_unsubscribe": content.list_unsubscribe,
            }
    return tuple(
        variable
        for field, source in sources.items()
        for variable in LiquidTemplate(field, source).variables()
    )
