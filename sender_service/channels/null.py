"""The channel that accepts everything and sends nothing, for benchmarks and dry runs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, ClassVar

from sender_service.channels.contract import Answer, Fault, Reply, RetryPolicy
from sender_service.channels.errors import InvalidAddressError
from sender_service.channels.rendering.unrendered import UnrenderedContent
from sender_service.domain import ProblemKind
from service_runtime.settings import Section

if TYPE_CHECKING:
    from sender_service.channels.contract import Content, Handover, Message, Template

_MAX_ADDRESS_CHARACTERS = 320
_ACCEPTED = Reply(Answer.ACCEPTED, code="250")


class NullSettings(Section):
    """The table ``[null]``: nothing to set."""


class NullChannel:
    """Accepts every message at once and renders none."""

    name: ClassVar[str] = "null"
    settings_model: ClassVar[type[Section]] = NullSettings
    at_least_once: ClassVar[bool] = False
    max_in_flight: ClassVar[int] = 1000
    retry: ClassVar[RetryPolicy] = RetryPolicy()

    def __init__(self) -> None:
        self.concurrency = 1000
        self.timeout_seconds = 1.0
        self.provider = "nobody"

    @classmethod
    def from_settings(cls, settings: Any) -> NullChannel:  # noqa: ARG003 - there are none
        """Build it."""
        return cls()

    def check_address(self, address: str) -> str:
        """Return the address as it is, without spaces around it.

        Raises:
            InvalidAddressError: it is empty or longer than 320 characters.
        """
        address = address.strip()
        if not 0 < len(address) <= _MAX_ADDRESS_CHARACTERS:
            raise InvalidAddressError(
                f"an address has 1 to {_MAX_ADDRESS_CHARACTERS} characters, not {len(address)}"
            )
        return address

    def compile(self, content: Content) -> Template:
        """Keep the content; nothing in it is checked."""
        return UnrenderedContent(content)

    async def send(
        self,
        template: Template,  # noqa: ARG002 - by design
        message: Message,  # noqa: ARG002
        handover: Handover,
    ) -> Reply:
        """Accept the message."""
        handover.begin("after it was accepted")
        # A channel that never yields would keep the loop from everything else.
        await asyncio.sleep(0)
        return _ACCEPTED

    async def check(self, handover: Handover | None = None) -> Reply:  # noqa: ARG002
        """Accept: there is no provider that could refuse."""
        return _ACCEPTED

    def silence(self, stage: str, seconds: float) -> Fault:
        """Return that the channel takes longer than it ever should."""
        summary = f"nobody answers for {seconds:g} s, {stage}"
        return Fault(ProblemKind.PROVIDER_UNREACHABLE, summary)

    async def close(self) -> None:
        """Close nothing."""
