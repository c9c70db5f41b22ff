"""What a count on a snapshot says, and whether it holds when the campaign is locked later."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa

from status_service.domain import Counters, State
from status_service.recording.counting import Count, count_by_number
from status_service.schema import campaigns, metadata

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


def test_there_is_no_count_of_a_campaign_that_can_not_be_filled() -> None:
    """One that was taken out by hand meanwhile, or put back into what it was before its start."""
    engine = sa.create_engine("sqlite://")
    with engine.begin() as connection:
        metadata.create_all(connection)
        for number, state, total in ((1, State.SENDING, 5), (2, State.DRAFT, None)):
            connection.execute(
                sa.insert(campaigns).values(
                    campaign=number,
                    organisation="default",
                    campaign_id=f"c{number}",
                    state=state,
                    total=total,
                    create_time=datetime(2026, 1, 1, tzinfo=UTC),
                )
            )
        found = [count_by_number(connection, number) for number in (1, 2, 3)]
    engine.dispose()
    assert found == [Count(1, Counters(), Counters(), None), None, None]
