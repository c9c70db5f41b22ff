"""What shows that the status service lost results."""

from __future__ import annotations

import pytest

from sender_service.domain import State
from sender_service.reporting import reconciliation
from sender_service.reporting.frame_writer import FRAMES_IN_FLIGHT
from sender_service.reporting.reconciliation import Standing


@pytest.mark.parametrize("ended", [False, True])
@pytest.mark.parametrize("acknowledged", [0, 10])
@pytest.mark.parametrize("state", [None, State.DRAFT])
def test_a_campaign_that_is_not_sealed_is_lost(
    state: State | None, acknowledged: int, *, ended: bool
) -> None:
    """Every campaign at work was sealed once: this store is older than that."""
    standing = Standing(state, 1, 0)
    assert not standing.is_sealed
    assert standing.lacks(acknowledged=acknowledged, ended=ended)


@pytest.mark.parametrize("state", sorted(set(State) - {State.DRAFT}))
def test_fewer_results_than_were_acknowledged_are_a_loss(state: State) -> None:
    """In whatever state: each acknowledged outcome was one result."""
    for ended in (False, True):
        assert Standing(state, 1, 9).lacks(acknowledged=10, ended=ended)


@pytest.mark.parametrize("state", sorted(set(State) - {State.DRAFT}))
@pytest.mark.parametrize("processed", [10, 11])
def test_as_many_or_more_results_are_no_loss(state: State, processed: int) -> None:
    """More come from other reporters, or were stored and their acknowledgement lost."""
    standing = Standing(state, 1, processed)
    assert standing.is_sealed
    assert not standing.lacks(acknowledged=10, ended=False)


@pytest.mark.parametrize("state", sorted(set(State) - {State.DRAFT}))
def test_a_finished_campaign_has_ended_there(state: State) -> None:
    """Whatever others reported, one that ended here must have ended there."""
    assert Standing(state, 1, 10).lacks(acknowledged=10, ended=True) is not state.is_terminal


def test_the_first_block_is_more_than_twice_what_a_stream_has_in_flight() -> None:
    """Frames that are under way can have ended so many campaigns, and none of them is missed."""
    assert reconciliation.FIRST_BLOCK > 2 * FRAMES_IN_FLIGHT
    assert reconciliation.FIRST_BLOCK.bit_count() == 1, "blocks that double are powers of two"
