"""The channel that prints: one line on standard output for each message."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any, ClassVar

from sender_service.channels.contract import Answer, Fault, Reply, RetryPolicy
from sender_service.channels.email.addresses import check_printable
from sender_service.channels.errors import TemplateError
from sender_service.channels.rendering.texts import console_texts
from sender_service.channels.replies import render_error
from sender_service.domain import ProblemKind
from service_runtime.settings import Section

if TYPE_CHECKING:
    from sender_service.channels.contract import Content, Handover, Message
    from sender_service.channels.rendering.content import CompiledContent, Rendered
    from sender_service.channels.rendering.json_document import JsonDocument

#: How much of a text is shown.
_SHOWN_CHARACTERS = 200


class ConsoleSettings(Section):
    """The table ``[console]``: nothing to set."""


class ConsoleChannel:
    """Prints what a recipient would get, for a first try without any provider."""

    name: ClassVar[str] = "console"
    settings_model: ClassVar[type[Section]] = ConsoleSettings
    at_least_once: ClassVar[bool] = False
    template_maker: ClassVar[str] = "sender_service.channels.rendering.texts:console_texts"
    max_in_flight: ClassVar[int] = 64
    retry: ClassVar[RetryPolicy] = RetryPolicy()

    def __init__(self) -> None:
        self.concurrency = 1
        self.timeout_seconds = 30.0
        self.provider = "standard output"

    @classmethod
    def from_settings(cls, settings: Any) -> ConsoleChannel:  # noqa: ARG003 - there are none
        """Build it."""
        return cls()

    def check_address(self, address: str) -> str:
        """Return the address without spaces around it; anything printable will do.

        Raises:
            InvalidAddressError: it is empty, too long, or can't be printed.
        """
        return check_printable(address)

    def compile(self, content: Content) -> CompiledContent | JsonDocument:
        """Compile the templates.

        Raises:
            TemplateError: a template is broken; it says which, line and column.
            InvalidContentError: there is no content, or neither text nor HTML.
        """
        return console_texts(content)

    async def send(
        self, template: CompiledContent | JsonDocument, message: Message, handover: Handover
    ) -> Reply:
        """Print the message; it is ACCEPTED once it is written.

        PROVIDER_FAULT where standard output is closed.
        """
        try:
            rendered = template.render(message)
        except TemplateError as error:
            return render_error(error)
        line = f"{message.campaign_id} {message.sequence} to {message.address}: {_shown(rendered)}"
        handover.begin("while it was printed")
        try:
            # A pipe nobody reads must not hold up the loop.
            await asyncio.to_thread(_print, " ".join(line.split()))
        except OSError as error:
            return _closed(error)
        return Reply(Answer.ACCEPTED)

    async def check(self, handover: Handover | None = None) -> Reply:  # noqa: ARG002
        """Accept, unless standard output is closed."""
        try:
            await asyncio.to_thread(sys.stdout.flush)
        except (OSError, ValueError) as error:
            return _closed(error)
        return Reply(Answer.ACCEPTED)

    def silence(self, stage: str, seconds: float) -> Fault:
        """Return that the channel takes longer than it ever should."""
        summary = f"standard output takes nothing for {seconds:g} s, {stage}"
        return Fault(ProblemKind.PROVIDER_UNREACHABLE, summary)

    async def close(self) -> None:
        """Close nothing: standard output belongs to the process."""


def _closed(error: Exception) -> Reply:
    fault = Fault(
        ProblemKind.PROVIDER_UNREACHABLE,
        "the sender's standard output is closed",
        needs_attention=True,
    )
    return Reply(Answer.PROVIDER_FAULT, code="console_closed", detail=str(error), fault=fault)


def _shown(rendered: Rendered | str) -> str:
    if isinstance(rendered, str):
        return rendered[:_SHOWN_CHARACTERS]
    subject = f"{rendered.subject} | " if rendered.subject else ""
    return f"{subject}{rendered.text[:_SHOWN_CHARACTERS]}"


def _print(line: str) -> None:
    encoding = sys.stdout.encoding or "utf-8"
    printable = "".join(c if c.isprintable() else "\ufffd" for c in line)
    sys.stdout.write(printable.encode(encoding, "replace").decode(encoding) + "\n")
    sys.stdout.flush()
