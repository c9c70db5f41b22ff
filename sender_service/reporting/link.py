"""Whether the status service answers for an organisation: shown, and logged once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from sender_service.campaigns.status_problems import KEY_SETTING

if TYPE_CHECKING:
    from collections.abc import Callable

    from sender_service.campaigns.directory import Directory

log = structlog.get_logger()


class Link:
    """How the stream of an organisation stands.

    Args:
        directory: the campaigns at work.
        organisation: whose stream it is.
        unreported: counts the outcomes that are not acknowledged, for the log.
    """

    def __init__(
        self, directory: Directory, organisation: str, unreported: Callable[[], int]
    ) -> None:
        self._directory = directory
        self._organisation = organisation
        self._unreported = unreported

    def connected(self) -> None:
        """Note that the status service answers."""
        if self._directory.status_problems.regained(self._organisation):
            log.info(
                "status_stream_restored",
                organisation=self._organisation,
                unreported_results=self._unreported(),
            )

    def disconnected(self, reason: str) -> None:
        """Note that the stream broke. What is being sent goes on."""
        if self._directory.status_problems.lost(self._organisation, reason):
            log.warning(
                "status_stream_disconnected",
                organisation=self._organisation,
                reason=reason,
                unreported_results=self._unreported(),
            )

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
