"""Which frames go into the next transaction: streams take turns. Pure code.

Frames of a stream stay in their order. Streams get about as many results each into a
transaction, so a full stream stands before nobody. What reports little does not even wait
for a transaction of the others: what such streams have goes first, in a short one, and the
next one is for all, and shorter than it would be without them. So it is where another writer
of the process has them, since its transactions wait for the same processors and disk.
"""

from __future__ import annotations

import heapq
from collections import deque
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

Entry = TypeVar("Entry")

#: The queue counts a frame of more results as several.
RESULTS_A_PLACE = 500
#: What a frame costs besides its results, in results.
_FRAME_COST = 50
#: A stream reports little if it has an eighth of what the busiest one has, or less, and of
#: what a transaction may have.
_LITTLE = 8
#: Others are waited for where they have less than a quarter of such a transaction.
_SHORT = 4
#: A stream is forgotten a few transactions after its last frame.
_FORGOTTEN = 0.1


class _Lane(Generic[Entry]):
    """The frames of one stream that wait.

    Attributes:
        entries: they and how many results each has.
        waiting: how many results that are.
        places: how many places they take.
        recent: how many results were taken lately: those of the last transaction, half of
            those of the one before, and so on.
        part: how many it has of a transaction, where it has any: the average of late.
        turns: how many transactions it had a part in.
    """

    __slots__ = ("entries", "part", "places", "recent", "turns", "waiting")

    def __init__(self) -> None:
        self.entries: deque[tuple[Entry, int]] = deque()
        self.waiting = 0
        self.places = 0
        self.recent = 0.0
        self.part = 0.0
        self.turns = 0

    @property
    def load(self) -> float:
        return self.waiting + self.recent

    @property
    def reports_at_most(self) -> float:
        """How many results it has; who reported much until a moment ago still counts so."""
        return self.waiting + max(self.recent, self.part)


class Turns(Generic[Entry]):
    """Frames that wait, by the stream that brought them.

    Args:
        batch_results: at most so many results are taken at once, though always one frame.
        company: the turns of all writers of the process; these add themselves.
    """

    def __init__(self, *, batch_results: int, company: list[Turns[Entry]] | None = None) -> None:
        self._batch_results = batch_results
        self._company = [] if company is None else company
        self._company.append(self)
        self._lanes: dict[Hashable, _Lane[Entry]] = {}  # the next to have its turn first
        self._short_before = False
        #: How many places the frames take, and how many results they have.
        self.places = 0
        self.results = 0
        #: How many streams have frames that wait.
        self.streams = 0

    def places_of(self, stream: Hashable) -> int:
        """Return how many places the frames of one stream take."""
        lane = self._lanes.get(stream)
        return 0 if lane is None else lane.places

    def put(self, stream: Hashable, entry: Entry, results: int) -> None:
        """Add a frame behind the others of its stream."""
        lane = self._lanes.setdefault(stream, _Lane())
        self.streams += not lane.entries
        lane.entries.append((entry, results))
        lane.waiting += results
        lane.places += _places(results)
        self.places += _places(results)
        self.results += results

    def take(self, *, beside_little: int | None = None) -> Sequence[Entry]:
        """Return the frames of the next transaction; none if nothing waits.

        Args:
            beside_little: at most so many results while streams report little beside others,
                here or in the company; None: half of what a transaction may have.
        """
        if not self._lanes:
            return []
        half = self._batch_results // 2
        beside = half if beside_little is None else min(half, beside_little)
        little = self._reporting_little()
        first = [stream for stream in little if self._lanes[stream].entries]
        others = sum(lane.waiting for stream, lane in self._lanes.items() if stream not in little)
        short = bool(first) and not self._short_before and others * _SHORT >= self._batch_results
        self._short_before = short
        shared = bool(little) or self._is_beside_little()
        batch, taken = self._shared_out(
            first if short else [stream for stream, lane in self._lanes.items() if lane.entries],
            # Who reports little comes again soon.
            beside if shared and not short else self._batch_results,
        )
        self.note(taken)
        return batch

    def note(self, taken: Mapping[Hashable, int]) -> None:
        """Take a transaction into account, by how many results of each stream it has."""
        for stream, lane in tuple(self._lanes.items()):
            lane.recent = lane.recent / 2 + taken.get(stream, 0)
            if stream in taken:  # behind those that had no turn
                lane.part = (lane.part + taken[stream]) / 2 if lane.turns else taken[stream]
                lane.turns += 1
                self._lanes[stream] = self._lanes.pop(stream)
            elif not lane.entries and lane.recent < _FORGOTTEN:
                del self._lanes[stream]

    def _is_beside_little(self) -> bool:
        """Return whether streams of another writer report little beside those of this one.

        Its own transactions count for them as well, or one that has ended would never be
        forgotten.
        """
        most = self._most_of_little()
        found = False
        for other in self._company:
            if other is not self:
                found |= bool(other.reporting_at_most(most))
                other.note({})
        return found

    def _most_of_little(self) -> float:
        busiest = max(lane.load for lane in self._lanes.values())
        return min(busiest, self._batch_results) / _LITTLE

    def _reporting_little(self) -> set[Hashable]:
        """Return the streams that report little beside others that report much."""
        return self.reporting_at_most(self._most_of_little())

    def reporting_at_most(self, most: float) -> set[Hashable]:
        """Return the streams that have at most so many results, and come again and again."""
        return {
            stream
            for stream, lane in self._lanes.items()
            # A call has one turn and does not come again.
            if lane.reports_at_most <= most and (lane.entries or lane.turns > 1)
        }

    def _shared_out(
        self, streams: Sequence[Hashable], most: int
    ) -> tuple[Sequence[Entry], dict[Hashable, int]]:
        """Take frame by frame from the stream that has the fewest results in the batch.

        Returns:
            The frames, and how many results of each stream they have.
        """
        batch: list[Entry] = []
        taken: dict[Hashable, int] = {}
        results_taken = 0
        waiting = [(0, turn, stream) for turn, stream in enumerate(streams)]  # a heap already
        while waiting and (not batch or results_taken < most):
            cost, turn, stream = waiting[0]
            lane = self._lanes[stream]
            entry, results = lane.entries.popleft()
            batch.append(entry)
            lane.waiting -= results
            results_taken += results
            taken[stream] = taken.get(stream, 0) + results
            lane.places -= _places(results)
            self.places -= _places(results)
            self.results -= results
            self.streams -= not lane.entries
            if lane.entries:
                heapq.heapreplace(waiting, (cost + results + _FRAME_COST, turn, stream))
            else:
                heapq.heappop(waiting)
        return batch, taken


def _places(results: int) -> int:
    """Return how many places a frame takes, however few results it has."""
    return max(1, -(-results // RESULTS_A_PLACE))
