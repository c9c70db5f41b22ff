"""What tells that the status service lost results."""

from __future__ import annotations

import pytest

from sender_service.domain import State
from sender_service.reporting.reconciliation import Told


@pytest.mark.parametrize("finished", [False, True])
@pytest.mark.parametrize("acknowledged", [0, 10])
@pytest.mark.parametrize("state", [None, State.DRAFT])
def test_a_campaign_that_is_not_sealed_is_lost(
    state: State | None, acknowledged: int, *, finished: bool
) -> None:
    """Every campaign at work was sealed once: this store is older than that."""
    told = Told(state, 0)
    assert not told.is_sealed
    assert told.lacks(acknowledged=acknowledged, finished=finished)


@pytest.mark.parametrize("state", sorted(set(State) - {State.DRAFT}))
def test_fewer_results_than_were_acknowledged_are_a_loss(state: State) -> None:
    """In whatever state: each acknowledged outcome was one result."""
    for finished in (False, True):
        assert Told(state, 9).lacks(acknowledged=10, finished=finished)


@pytest.mark.parametrize("state", sorted(set(State) - {State.DRAFT}))
@pytest.mark.parametrize("processed", [10, 11])
def test_as_many_or_more_results_are_no_loss(state: State, processed: int) -> None:
    """More come from other reporters, or were stored and their acknowledgement lost."""
    told = Told(state, processed)
    assert told.is_sealed
    assert not told.lacks(acknowledged=10, finished=False)


@pytest.mark.parametrize("state", sorted(set(State) - {State.DRAFT}))
def test_a_finished_campaign_has_ended_there(state: State) -> None:
    """Whatever others reported, one that ended here must have ended there."""
    assert Told(state, 10).lacks(acknowledged=10, finished=True) is not state.is_terminal
