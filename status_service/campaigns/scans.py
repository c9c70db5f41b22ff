"""What the reconcile pass found last, kept in memory: a page shows it and never scans for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from status_service.campaigns.repair import Finding


class ScanCounts(NamedTuple):
    """What a pass found in one organisation.

    Attributes:
        open_campaigns: how many campaigns were open.
        repaired: how many of them it repaired.
        attention: how many need a person.
        scan_time: when, by the database's clock.
    """

    open_campaigns: int
    repaired: int
    attention: int
    scan_time: datetime


class Scans:
    """The last pass over all organisations."""

    def __init__(self) -> None:
        self._latest: dict[str, ScanCounts] = {}

    def note(self, findings: Iterable[Finding]) -> None:
        """Replace what is known by what a pass found in all organisations."""
        latest: dict[str, ScanCounts] = {}
        for found in findings:
            organisation = found.campaign.organisation
            before = latest.get(organisation, ScanCounts(0, 0, 0, found.now))
            latest[organisation] = ScanCounts(
                before.open_campaigns + found.is_open,
                before.repaired + found.repaired,
                before.attention + found.needs_attention,
                max(before.scan_time, found.now),
            )
        self._latest = latest

    def latest(self, organisation: str) -> ScanCounts | None:
        """Return what the last pass found in an organisation; None: no open campaign."""
        return self._latest.get(organisation)
