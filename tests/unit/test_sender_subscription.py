"""Where a campaign is on the stream: every pair of state and event."""

from __future__ import annotations

import itertools

import pytest

from sender_service.reporting.subscription import (
    Event,
    ImpossibleEventError,
    Subscription,
    after,
)

S, E = Subscription, Event

#: Every pair that leads somewhere else; a new stream is tested below.
CHANGES = {
    (S.UNSUBSCRIBED, E.REQUESTED): S.REQUESTED,
    (S.REQUESTED, E.ANSWERED): S.ADMITTED,
    (S.REQUESTED, E.REJECTED): S.HELD,
    (S.REQUESTED, E.LOSS_FOUND): S.REPLAYING,
    (S.ADMITTED, E.REJECTED): S.HELD,
    (S.ADMITTED, E.LOSS_FOUND): S.REPLAYING,
    (S.HELD, E.HOLD_OVER): S.UNSUBSCRIBED,
    (S.REPLAYING, E.BROUGHT_BACK): S.ADMITTED,
    (S.REPLAYING, E.SEAL_REQUESTED): S.RESEALING,
    (S.RESEALING, E.SEALED): S.UNSUBSCRIBED,
    (S.RESEALING, E.SEAL_DID_NOT_HELP): S.HELD,
}
#: Events that come from outside of the stream, and may be late.
LATE = {E.SEALED, E.SEAL_DID_NOT_HELP}
PAIRS = sorted(
    itertools.product(S, set(E) - {E.STREAM_BEGAN}), key=lambda pair: [part.name for part in pair]
)


@pytest.mark.parametrize(("state", "event"), PAIRS, ids=lambda part: part.name.lower())
def test_a_state_knows_its_events_and_no_others(state: Subscription, event: Event) -> None:
    """A pair leads somewhere, is ignored since it comes late, or is a defect."""
    if (state, event) in CHANGES:
        assert after(state, event) is CHANGES[state, event]
    elif event in LATE:
        assert after(state, event) is state
    else:
        with pytest.raises(ImpossibleEventError, match=f"{event.name} in state {state.name}"):
            after(state, event)


@pytest.mark.parametrize("state", Subscription)
def test_a_new_stream_begins_from_the_start(state: Subscription) -> None:
    """S17: whatever a campaign waited for, its state is asked for at once."""
    assert after(state, Event.STREAM_BEGAN) is Subscription.UNSUBSCRIBED


@pytest.mark.parametrize("state", Subscription)
def test_results_go_out_again_from_every_state(state: Subscription) -> None:
    """L4: from each state some events lead to ADMITTED; none is a dead end."""
    reached = {state}
    while True:
        more = {to for (source, _), to in CHANGES.items() if source in reached} - reached
        if not more:
            break
        reached |= more
    assert Subscription.ADMITTED in reached
