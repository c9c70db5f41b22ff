"""Ask whether the status service is there, when nothing was said for a while."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sender_service.domain import State
from sender_service.reporting.relay_queue import Frame
from sender_service.reporting.relayed_campaign import RelayedCampaign

if TYPE_CHECKING:
    from sender_service.campaigns.directory import Directory

#: Probes that may be lost before nothing is sent any more, about.
_PROBES_A_HOLD: Final = 4


class Probe:
    """The frames that tell a quiet stream from one whose other end is gone.

    A stream that has nothing to report is silent at both ends, and a connection can stand
    while nobody works behind it. An empty frame is answered by whoever would announce a
    pause, and by nobody else. Only while something is SENDING: nothing else could be held.

    Args:
        directory: the campaigns at work.
        organisation: whose stream it is.
        hold_after_seconds: after so long without an answer nothing is sent; None: never, so
            nothing is asked.
    """

    def __init__(
        self, directory: Directory, organisation: str, *, hold_after_seconds: float | None
    ) -> None:
        self._directory = directory
        self._organisation = organisation
        self._quiet_seconds = (
            None if hold_after_seconds is None else hold_after_seconds / _PROBES_A_HOLD
        )
        self._next = 0.0

    def heard(self, now: float) -> None:
        """Note that the status service answered at ``now``, monotonic seconds."""
        if self._quiet_seconds is not None:
            self._next = now + self._quiet_seconds

    def next_time(self) -> float | None:
        """Return when it is to be asked; None: never."""
        return None if self._quiet_seconds is None else self._next

    def next_frame(self, now: float) -> Frame | None:
        """Return the frame that asks; None if it is not time, or nothing is SENDING."""
        if self._quiet_seconds is None or now < self._next:
            return None
        self.heard(now)  # or it would be asked at once again
        for active in self._directory.of(self._organisation):
            if active.state is State.SENDING:
                asked = RelayedCampaign(active.number, active.campaign_id)
                return Frame(asked, None, is_probe=True)
        return None
