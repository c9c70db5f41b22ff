"""How long what is refused waits."""

from __future__ import annotations

import time
from typing import Any, cast

from sender_service.reporting.rejections import Refusals
from sender_service.reporting.relay_queue import Backlog
from sender_service.store.outbox import ShardKey, ShardProgress


def test_frames_refused_together_make_one_wait() -> None:
    """Sixteen frames in flight are one refusal: the wait is the first, not the longest."""
    backlog = Backlog(10)
    backlog.add(1, [ShardProgress(ShardKey(1, 1), 160, 0)])
    nothing = cast("Any", None)  # neither a store nor a recovery has a part in it
    refusals = Refusals(nothing, backlog, nothing)
    began = time.monotonic()
    for _ in range(16):
        refusals.hold(1)
    until = backlog.held_until(began)
    assert until is not None
    # However slow the machine, at most a second wait can have begun after the first.
    assert until - time.monotonic() <= 2.0
