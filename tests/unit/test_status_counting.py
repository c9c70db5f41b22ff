"""Whether a count on a snapshot still holds when the campaign is locked later."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from status_service.domain import Counters
from status_service.recording.counting import Count

_SENT, _MORE = Counters(sent=5), Counters(sent=6)


def locked(revision: int, counters: Counters) -> Any:
    """Return the row of a campaign as it was locked."""
    return SimpleNamespace(
        revision=revision,
        sent=counters.sent,
        failed=counters.failed,
        skipped=counters.skipped,
        unknown=counters.unknown,
    )


@pytest.mark.parametrize(
    ("counted", "revision", "counters", "holds"),
    [
        (_SENT, 7, _SENT, True),
        (_SENT, 8, _MORE, True),
        (_SENT, 6, _SENT, False),
        (_SENT, 7, _MORE, False),
        (_MORE, 7, _SENT, True),
        (_MORE, 8, _SENT, False),
        (_MORE, 7, _MORE, False),
    ],
    ids=[
        "unchanged",
        "right and changed by results",
        "restored from a backup",
        "changed by hand",
        "wrong and unchanged",
        "wrong and changed",
        "wrong and mended by hand",
    ],
)
def test_s3_a_count_holds_while_it_says_what_the_counters_lack(
    counted: Counters, revision: int, counters: Counters, *, holds: bool
) -> None:
    """Right counters stay right whatever is stored; wrong ones are known while nothing changes."""
    known = Count(7, _SENT, counted, None)
    assert known.holds(locked(revision, counters)) is holds


def test_the_drift_is_what_the_counters_lack() -> None:
    """None where they are right."""
    assert Count(7, _SENT, _MORE, None).drift == Counters(sent=1)
    assert Count(7, _SENT, _SENT, None).drift == Counters()
