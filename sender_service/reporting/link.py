"""Whether the status service answers for an organisation: shown, logged once, and obeyed."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import structlog

from sender_service.campaigns.status_problems import KEY_SETTING

if TYPE_CHECKING:
    from collections.abc import Callable

    from sender_service.campaigns.directory import Directory

log = structlog.get_logger()


def steady_seconds() -> float:
    """Return seconds since an arbitrary moment; on Linux they pass while the machine sleeps."""
    if sys.platform == "linux":
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()


class Link:
    """How the stream of an organisation stands.

    Args:
        directory: the campaigns at work.
        organisation: whose stream it is.
        unreported: counts the outcomes that are not acknowledged, for the log.
        hold_after_seconds: once nothing was heard for so long, nothing is sent; None: sending
            goes on.
        clock: returns seconds, also those of a machine that sleeps.
    """

    def __init__(
        self,
        directory: Directory,
        organisation: str,
        unreported: Callable[[], int],
        *,
        hold_after_seconds: float | None = None,
        clock: Callable[[], float] = steady_seconds,
    ) -> None:
        self._directory = directory
        self._organisation = organisation
        self._unreported = unreported
        self._hold_after_seconds = hold_after_seconds
        self._clock = clock
        self._heard_at: float | None = None

    def heard(self) -> None:
        """Note that the status service answers: it would have announced a pause."""
        self._heard_at = self._clock()
        was_held = self._organisation in self._directory.status_problems.held
        if self._directory.status_problems.regained(self._organisation):
            log.info(
                "status_stream_restored",
                organisation=self._organisation,
                unreported_results=self._unreported(),
                was_held=was_held,
            )

    def disconnected(self, reason: str) -> None:
        """Note that the stream broke. What is being sent goes on, for a while."""
        held = not self._directory.sends(self._organisation)
        if self._lost(reason, held=held):
            log.warning(
                "status_stream_disconnected",
                organisation=self._organisation,
                reason=reason,
                unreported_results=self._unreported(),
                hold_after_seconds=self._hold_after_seconds,
            )

    def hold_if_unheard(self) -> bool:
        """Send nothing more if nothing was heard for too long; True: that begins now.

        It is what was heard that counts, not that a connection stands. The states are
        forgotten, as at a restart: each campaign goes on when a stream has brought its own.
        """
        if self._hold_after_seconds is None or self._heard_at is None:
            return False
        unheard = self._clock() - self._heard_at
        if unheard < self._hold_after_seconds or not self._directory.sends(self._organisation):
            return False
        before = self._directory.status_problems.of(self._organisation)
        reason = f"no answer for {unheard:.0f} s" if before is None else before.detail
        self._directory.forget_states(self._organisation)
        self._lost(reason, held=True)
        log.error(
            "sending_held",
            organisation=self._organisation,
            reason=reason,
            unheard_seconds=round(unheard, 1),
            unreported_results=self._unreported(),
            setting="[sender] hold_after_seconds",
            action="nothing is sent until the status service answers; it goes on by itself",
        )
        return True

    def refused(self, reason: str) -> None:
        """Send nothing of the organisation while the status service refuses the sender's key.

        It could not be paused meanwhile: no state would reach the sender. Results are kept.
        """
        self._directory.forget_states(self._organisation)
        if self._directory.status_problems.refused(self._organisation, reason):
            log.error(
                "status_service_refuses",
                organisation=self._organisation,
                reason=reason,
                setting=KEY_SETTING,
                unreported_results=self._unreported(),
                action="nothing is sent meanwhile, and results are kept; it goes on by itself",
            )

    def _lost(self, reason: str, *, held: bool) -> bool:
        return self._directory.status_problems.lost(
            self._organisation, reason, hold_after_seconds=self._hold_after_seconds, held=held
        )
