"""Count what a run over a shard did, for its caller and for the log."""

from __future__ import annotations

import enum
import time
from collections import Counter
from typing import TYPE_CHECKING

import structlog

from sender_service.delivery.tally import Tally
from sender_service.domain import Outcome

if TYPE_CHECKING:
    from sender_service.store.batch import Batch

log = structlog.get_logger()

#: "batch sent" is logged at most this often, seconds.
_LOG_SECONDS = 1.0
_NAMES = {outcome.value: outcome.name.lower() for outcome in reversed(Outcome)}
_DEFERRED = "deferred"


class Ended(enum.Enum):
    """Why a run of a shard ended."""

    #: Nothing is left to dispatch now: everything is done, or waits for a later try.
    IDLE = "idle"
    #: It may not send any more; what was not handed over is requeued.
    STOPPED = "stopped"
    #: The provider takes no messages; likewise.
    HELD = "held"
    #: The shard belongs to another claim.
    LEASE_LOST = "lease_lost"


class ShardReport:
    """What one run did.

    Attributes:
        ended: why it ended.
        counts: how many messages have each outcome, by name, and are ``deferred``.

    Args:
        campaign_id: the campaign, for the log.
        shard: the shard, for the log.
        tally: counts what runs over all shards write down; absent: nobody looks.
    """

    def __init__(self, campaign_id: str, shard: int, tally: Tally | None = None) -> None:
        self._tally = tally or Tally()
        self._campaign_id = campaign_id
        self._shard = shard
        self._logged: Counter[str] = Counter()
        self._log_time = time.monotonic()
        self.ended = Ended.IDLE
        self.counts: Counter[str] = Counter()

    def note(self, batch: Batch) -> None:
        """Count what a commit wrote down, and log it now and then."""
        self._tally.written(batch)
        for row in batch.outcomes:
            self.counts[_NAMES[row[1]]] += 1
        # A delay of 0 marks a message that was requeued without a try.
        self.counts[_DEFERRED] += sum(row[2] > 0 for row in batch.deferrals)
        if time.monotonic() - self._log_time >= _LOG_SECONDS:
            self.log()

    def log(self) -> None:
        """Log what was not logged yet."""
        new = self.counts - self._logged
        if not new:
            return
        now = time.monotonic()
        log.info(
            "batch_sent",
            campaign_id=self._campaign_id,
            shard=self._shard,
            **{name: new[name] for name in (*_NAMES.values(), _DEFERRED)},
            seconds=round(now - self._log_time, 3),
        )
        self._logged = self.counts.copy()
        self._log_time = now
