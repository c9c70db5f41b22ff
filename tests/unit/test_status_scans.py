"""What the last pass over all organisations found, for each of them."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

from status_service.campaigns.scans import Scan, ScanCounts, Scans

_NOW = datetime(2026, 11, 26, tzinfo=UTC)


def mended(organisation: str, *, repaired: bool) -> Any:
    """Return what was found of a campaign that was looked at closely."""
    return SimpleNamespace(campaign=SimpleNamespace(organisation=organisation), repaired=repaired)


def test_s13_each_organisation_has_its_own_numbers() -> None:
    """One in which nothing is wrong has zeros, and one without open campaigns has none."""
    scans = Scans()
    assert scans.latest("ours") is None
    scans.note(
        Scan(
            open={"ours": 7, "theirs": 2},
            attention={"ours": 3},
            mended=[mended("ours", repaired=True), mended("ours", repaired=False)],
            noticed=[],
            now=_NOW,
        )
    )
    assert scans.latest("ours") == ScanCounts(7, 1, 3, _NOW)
    assert scans.latest("theirs") == ScanCounts(2, 0, 0, _NOW)
    assert scans.latest("others") is None
    scans.note(Scan(open={"theirs": 1}, attention={}, mended=[], noticed=[], now=_NOW))
    assert scans.latest("ours") is None
