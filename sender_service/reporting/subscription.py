"""Where one campaign is on the stream of results: states, events, and the table of both.

::

    UNSUBSCRIBED ─ requested ▶ REQUESTED ─ answered ▶ ADMITTED
         ▲                     │    │                 │    │
         │                     │    └─ loss found ────┼─▶ REPLAYING ─ brought back ▶ ADMITTED
         │                  rejected              rejected     └─ seal requested ▶ RESEALING
         └─ hold over ─ HELD ◀─┴───────────────────────┘                              │
         │               ▲───────────────────────────────── seal did not help ────────┤
         └───────────────────────────────────────────────────────────────── sealed ───┘

A new stream brings every campaign back to UNSUBSCRIBED.
"""

from __future__ import annotations

import enum
from typing import Final


class Subscription(enum.Enum):
    """Where a campaign is on the present stream."""

    #: The campaign's state is to be requested. Left when the frame for that is taken to
    #: be sent.
    UNSUBSCRIBED = "unsubscribed"
    #: The answer to that frame is awaited, and nothing goes out. Left when it comes.
    REQUESTED = "requested"
    #: Results go out.
    ADMITTED = "admitted"
    #: The status service rejected something; nothing goes out. Left after a while.
    HELD = "held"
    #: The status service lost results, or the campaign; the outbox is being counted as
    #: unreported, and nothing goes out. Left when that is stored.
    REPLAYING = "replaying"
    #: The campaign is being sealed again; nothing goes out. Left when that is over.
    RESEALING = "resealing"


class Event(enum.Enum):
    """What happens to a campaign on a stream."""

    #: A new stream begins.
    STREAM_BEGAN = "stream_began"
    #: The frame that requests the state is taken to be sent.
    REQUESTED = "requested"
    #: The answer shows that nothing is lost.
    ANSWERED = "answered"
    #: The frame that requests the state is rejected, or one with results.
    REJECTED = "rejected"
    #: The wait after a rejection is over.
    HOLD_OVER = "hold_over"
    #: An answer or a rejection shows that the status service lost something.
    LOSS_FOUND = "loss_found"
    #: The outbox counts as unreported, and the campaign has its seal.
    BROUGHT_BACK = "brought_back"
    #: The outbox counts as unreported, and a new seal is requested from delivery.
    SEAL_REQUESTED = "seal_requested"
    #: The campaign has a new seal.
    SEALED = "sealed"
    #: The try to seal it failed, or an earlier new seal did not help.
    SEAL_DID_NOT_HELP = "seal_did_not_help"


class ImpossibleEventError(Exception):
    """A state does not know this event: a defect."""


_ALL: Final = frozenset(Subscription)

#: Where each event leads from each state. A state that is not named does not know the
#: event, unless IGNORED names it.
TRANSITIONS: Final[dict[Event, dict[Subscription, Subscription]]] = {
    Event.STREAM_BEGAN: dict.fromkeys(_ALL, Subscription.UNSUBSCRIBED),
    Event.REQUESTED: {Subscription.UNSUBSCRIBED: Subscription.REQUESTED},
    Event.ANSWERED: {Subscription.REQUESTED: Subscription.ADMITTED},
    Event.REJECTED: {
        Subscription.REQUESTED: Subscription.HELD,
        Subscription.ADMITTED: Subscription.HELD,
    },
    Event.HOLD_OVER: {Subscription.HELD: Subscription.UNSUBSCRIBED},
    Event.LOSS_FOUND: {
        Subscription.REQUESTED: Subscription.REPLAYING,
        Subscription.ADMITTED: Subscription.REPLAYING,
    },
    Event.BROUGHT_BACK: {Subscription.REPLAYING: Subscription.ADMITTED},
    Event.SEAL_REQUESTED: {Subscription.REPLAYING: Subscription.RESEALING},
    Event.SEALED: {Subscription.RESEALING: Subscription.UNSUBSCRIBED},
    Event.SEAL_DID_NOT_HELP: {Subscription.RESEALING: Subscription.HELD},
}

#: The states that an event leaves as they are.
IGNORED: Final[dict[Event, frozenset[Subscription]]] = {
    # The stream of the request is gone, and the new one requests the state anyway.
    Event.SEALED: _ALL - {Subscription.RESEALING},
    Event.SEAL_DID_NOT_HELP: _ALL - {Subscription.RESEALING},
}


def after(state: Subscription, event: Event) -> Subscription:
    """Return the state that an event leads to, the same one where it is ignored.

    Raises:
        ImpossibleEventError: the state does not know the event.
    """
    if state in IGNORED.get(event, ()):
        return state
    try:
        return TRANSITIONS[event][state]
    except KeyError:
        raise ImpossibleEventError(f"{event.name} in state {state.name}") from None
