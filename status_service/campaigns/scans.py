"""What the reconcile pass found last, kept in memory: a page shows it and never scans for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from status_service.campaigns.open_campaigns import Noticed
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


class Scan(NamedTuple):
    """What a pass over all open campaigns found.

    Attributes:
        open: how many there were, by organisation.
        attention: how many of them need a person, by organisation.
        mended: what was found of those that looked full.
        noticed: those that want a look.
        now: the database's time.
    """

    open: Mapping[str, int]
    attention: Mapping[str, int]
    mended: Sequence[Finding]
    noticed: Sequence[Noticed]
    now: datetime


class Scans:
    """The last pass over all organisations."""

    def __init__(self) -> None:
        self._latest: dict[str, ScanCounts] = {}

    def note(self, scan: Scan) -> None:
        """Replace what is known by what a pass found in all organisations."""
        self._latest = {
            organisation: ScanCounts(
                number,
                sum(found.repaired for found in scan.mended if _is_of(found, organisation)),
                scan.attention.get(organisation, 0),
                scan.now,
            )
            for organisation, number in scan.open.items()
        }

    def latest(self, organisation: str) -> ScanCounts | None:
        """Return what the last pass found in an organisation; None: no open campaign."""
        return self._latest.get(organisation)


def _is_of(found: Finding, organisation: str) -> bool:
    return bool(found.campaign.organisation == organisation)
