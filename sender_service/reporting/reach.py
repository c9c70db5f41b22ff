"""Whether the status service can be reported to, and since when it can't."""

from __future__ import annotations

from datetime import UTC, datetime

import structlog

log = structlog.get_logger()


class Reach:
    """What is known of the way to the status service; a loss is logged once.

    Attributes:
        trouble: why it can't be reported to; empty: it can.
        trouble_time: since when.
        answered: whether anything was answered on the present stream.
    """

    def __init__(self) -> None:
        self.trouble = ""
        self.trouble_time: datetime | None = None
        self.answered = False

    def begin(self) -> None:
        """Note that a stream begins."""
        self.answered = False

    def lost(self, why: str, unreported: int) -> None:
        """Note that a stream broke, with so many results unreported."""
        if not self.trouble:
            log.warning("reporter_lost", reason=why, unreported_results=unreported)
            self.trouble_time = datetime.now(UTC)
        self.trouble = why

    def regained(self, unreported: int) -> None:
        """Note that the status service answers, with so many results unreported."""
        self.answered = True
        if self.trouble:
            log.info("reporter_regained", unreported_results=unreported)
            self.trouble = ""
            self.trouble_time = None
