"""What is wrong with a campaign's content, address or channel, before anything is sent."""

from __future__ import annotations


class ChannelError(Exception):
    """Base of the errors a channel raises; the text is for people."""


class InvalidAddressError(ChannelError):
    """The channel can't send to this address."""


class InvalidContentError(ChannelError):
    """A field of the content is missing or wrong.

    Args:
        field: the name of the field, as in ``subject``.
        message: what is wrong.
    """

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field


class TemplateError(ChannelError):
    """A template can't be compiled or rendered.

    Args:
        field: which template, as in ``html``.
        message: what is wrong.
        line: where, from 1; 0 if not known.
        column: where in the line, from 1; 0 if not known.
    """

    def __init__(self, field: str, message: str, *, line: int = 0, column: int = 0) -> None:
        place = f" at line {line}, column {column}" if line else ""
        super().__init__(f"template {field}{place}: {message}")
        self.field = field
        self.line = line
        self.column = column


class ChannelNotConfiguredError(ChannelError):
    """The channel is installed, but a setting it can't do without is missing."""
