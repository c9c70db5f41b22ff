"""Watch one stream: it has to bring acknowledgements, and how each campaign stands."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from sender_service.campaigns.directory import Directory
    from sender_service.reporting.frame_writer import FrameWriter

log = structlog.get_logger()

#: A stream without an acknowledgement for so long is abandoned, seconds.
_ACKNOWLEDGE_SECONDS = 30.0
_WATCH_SECONDS = 1.0
#: How long a campaign is sent on a new stream that has not brought its state, and how often
#: that is looked at; together at most a second.
_CONFIRM_SECONDS, _CONFIRM_LOOK_SECONDS = 0.75, 0.25


class StreamBrokenError(Exception):
    """The stream can't be used any more; the text gives the reason."""


class StreamWatch:
    """Ends a stream that is of no use, and what is sent without the status service's word.

    Args:
        writer: knows what was written and acknowledged.
        directory: has the states.
        organisation: whose stream it is.
    """

    def __init__(self, writer: FrameWriter, directory: Directory, organisation: str) -> None:
        self._writer = writer
        self._directory = directory
        self._organisation = organisation
        self._given_up = ""

    def begin_stream(self) -> None:
        """Watch a new stream."""
        self._given_up = ""

    def give_up(self, reason: str) -> None:
        """Take nothing more from the stream: only a new one brings every state again."""
        self._given_up = reason

    def check(self) -> None:
        """Check that the stream still counts.

        Raises:
            StreamBrokenError: it was given up.
        """
        if self._given_up:
            raise StreamBrokenError(self._given_up)

    async def run(self) -> None:
        """Watch until cancelled.

        A pause may have been confirmed while there was no stream, and the service killed
        before it could announce it. So what is sent needs its state again within a second of
        the connection.

        Raises:
            StreamBrokenError: the stream was given up, or frames in flight were not
                acknowledged for too long.
        """
        confirmed = False
        while True:
            await asyncio.sleep(_WATCH_SECONDS if confirmed else _CONFIRM_LOOK_SECONDS)
            self.check()
            silent = self._writer.silent_seconds
            if silent > _ACKNOWLEDGE_SECONDS:
                raise StreamBrokenError(f"no acknowledgement for {silent:.0f} s")
            if not confirmed and self._writer.connected_seconds >= _CONFIRM_SECONDS:
                confirmed = True
                self._hold_unconfirmed()

    def _hold_unconfirmed(self) -> None:
        campaigns = self._directory.forget_unconfirmed(self._organisation)
        if campaigns:
            log.warning(
                "campaign_states_awaited",
                organisation=self._organisation,
                campaigns=campaigns,
                action="nothing of them is sent until the status service has said their states",
            )
