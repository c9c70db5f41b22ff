"""What becomes of one try to deliver one event."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from datetime import timedelta

#: How long a receiver may take to answer, seconds.
TIMEOUT_SECONDS = 10.0


class Answer(NamedTuple):
    """What became of a try.

    Attributes:
        delivered: the receiver has the event.
        text: what it said, or why nothing came, for people.
        asked: how long it asks to wait (Retry-After), if it does.
    """

    delivered: bool
    text: str
    asked: timedelta | None = None
