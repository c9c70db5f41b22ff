"""How many results a transaction may have, so that it does not last long. Pure code."""

from __future__ import annotations

#: Smaller transactions say more of what a transaction costs than of what a result costs.
_TELLING_RESULTS = 1_000
#: A small transaction costs nearly as much as this one, and the disk waits for each.
_FEWEST_RESULTS = 1_000
#: How much a transaction counts beside those before it.
_WEIGHT = 0.2


class Pace:
    """What a result takes, by the transactions of late."""

    def __init__(self) -> None:
        self._seconds_each: float | None = None

    def note(self, results: int, seconds: float) -> None:
        """Take a transaction of ``results`` into account that took ``seconds``."""
        if results < _TELLING_RESULTS:
            return
        each = seconds / results
        before = each if self._seconds_each is None else self._seconds_each
        self._seconds_each = before + _WEIGHT * (each - before)

    def results_within(self, seconds: float) -> int | None:
        """Return how many results about ``seconds`` are enough for; None: nobody knows yet."""
        if not self._seconds_each:
            return None
        return max(_FEWEST_RESULTS, round(seconds / self._seconds_each))
