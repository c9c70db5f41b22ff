"""What is wrong with a campaign's content, address or channel, before anything is sent."""

from __future__ import annotations


class ChannelError(Exception):
    """Base of the errors a channel raises; the text is for people."""


def bare(error: Exception) -> Exception:
    """Return an error without its frames and causes, which keep a template for long."""
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)


class InvalidAddressError(ChannelError):
    """The channel can't send to this address."""


class InvalidContentError(ChannelError):
    """A field of the content is missing or wrong.

    Args:
        field: the name of the field within its kind of content, as in ``subject``;
            ``body`` where the kind itself is wrong.
        message: what is wrong.
    """

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field
        self.message = message

    @classmethod
    def of_kind(cls, channel: str, kind: str, *, takes: str) -> InvalidContentError:
        """Return the error for content of a kind that a channel does not take.

        Args:
            channel: the name of the channel.
            kind: the kind of the content.
            takes: the kinds that the channel takes, for people.
        """
        found = "there is none" if kind == "none" else f"not {kind}"
        return cls("body", f"channel {channel} takes {takes}; {found}")


class TemplateError(ChannelError):
    """A template can't be compiled or rendered.

    Args:
        field: which template, as in ``html``; empty: not known.
        message: what is wrong.
        line: where, from 1; 0 if not known.
        column: where in the line, from 1; 0 if not known.
    """

    def __init__(self, field: str, message: str, *, line: int = 0, column: int = 0) -> None:
        place = f" at line {line}, column {column}" if line else ""
        which = f"template {field}" if field else "the templates"
        super().__init__(f"{which}{place}: {message}")
        self.field = field
        #: What is wrong, without the place.
        self.problem = message
        self.line = line
        self.column = column


class TemplateLimitError(TemplateError):
    """A template takes more time or memory, or makes more, than a template may."""


class UnsafeHeaderError(ChannelError):
    """A rendered value can't stand in a header."""


class ChannelNotConfiguredError(ChannelError):
    """The channel is installed, but a setting it can't do without is missing."""
