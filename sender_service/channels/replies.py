"""Replies that several channels give, and the rows of their tables of verdicts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sender_service.channels.contract import Answer, Fault, Reply
from sender_service.channels.errors import TemplateLimitError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sender_service.channels.errors import TemplateError

_MAX_DETAIL_CHARACTERS = 500


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an answer of a provider means.

    Attributes:
        answer: for the message.
        fault: with PROVIDER_FAULT, what is wrong with the provider as a whole. Its summary
            may name ``{host}``, ``{port}`` and ``{username}``.
        alone: with PROVIDER_FAULT, what the answer means instead where the provider has
            taken other messages since it first gave it; None: the same.
    """

    answer: Answer
    fault: Fault | None = None
    alone: Answer | None = None

    @property
    def kind(self) -> str:
        """Which answer it is for :class:`~sender_service.channels.odd_ones.OddOnes`."""
        return self.fault.summary if self.fault and self.fault.needs_attention else ""

    def reply(
        self,
        code: str,
        said: str,
        *,
        names: Mapping[str, object],
        is_odd: bool = False,
        retry_after_seconds: float | None = None,
    ) -> Reply:
        """Return the reply.

        Args:
            code: the provider's code.
            said: its own words.
            names: what the summary of a fault may name.
            is_odd: the provider has taken other messages since.
            retry_after_seconds: how long it asked to be left alone.
        """
        words = detail(said)
        if self.fault is None or (is_odd and self.alone is not None):
            answer = self.answer if self.fault is None else self.alone or self.answer
            return Reply(answer, code=code, detail=words, retry_after_seconds=retry_after_seconds)
        return Reply(
            Answer.PROVIDER_FAULT,
            code=code,
            detail=words,
            retry_after_seconds=retry_after_seconds,
            fault=named(self.fault, names),
        )


def named(fault: Fault, names: Mapping[str, object]) -> Fault:
    """Return a fault with the names that its summary asks for."""
    return replace(fault, summary=fault.summary.format_map(names))


def detail(text: object) -> str:
    """Return a text as a reply may carry it: one line, printable, bounded."""
    line = " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())
    if len(line) <= _MAX_DETAIL_CHARACTERS:
        return line
    return line[: _MAX_DETAIL_CHARACTERS - 1] + "\u2026"


def render_error(error: TemplateError) -> Reply:
    """Return the reply for a message whose template can't be rendered, or goes beyond a limit."""
    code = "render_limit" if isinstance(error, TemplateLimitError) else "render_error"
    return Reply(Answer.REFUSED, code=code, detail=detail(error))
