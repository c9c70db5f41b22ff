"""What a call did to a campaign, by its rows before and afterwards."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from status_service.campaigns.types import Changed
from status_service.domain import State


def changed(before: Any, **after: Any) -> Changed:
    """Return a change from one row, or none, to another."""
    row: Any = SimpleNamespace(**after)
    return Changed(row, transitioned=True, before=before and SimpleNamespace(**before))


@pytest.mark.parametrize(
    ("before", "after", "recorded"), [(None, 4, 0), (4, 4, 0), (4, 5, 1), (4, 9, 5), (4, 3, 0)]
)
def test_as_many_are_unknown_by_a_change_as_were_not_before(
    before: int | None, after: int, recorded: int
) -> None:
    """None where the call registered it, or where results of others came meanwhile."""
    row = None if before is None else {"unknown": before}
    assert changed(row, unknown=after).recorded_unknown == recorded


def test_a_change_without_a_new_revision_is_no_news() -> None:
    """To be registered is."""
    assert changed(None, revision=1).is_news
    assert changed({"revision": 1}, revision=2).is_news
    assert not changed({"revision": 2}, revision=2).is_news


def test_only_a_completed_campaign_is_completed() -> None:
    """Whatever it was before, and a new one was nothing."""
    for state in State:
        change = changed({"state": State.SENDING.value}, state=state.value)
        assert change.completed is (state is State.COMPLETED)
        assert change.state_before is State.SENDING
    assert changed(None, state=State.DRAFT.value).state_before is None
