"""Merges reported results with those that are stored: the higher outcome stays."""

from __future__ import annotations

from collections import Counter
from itertools import chain
from operator import eq
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from status_service.domain import Counters
from status_service.recording.result_columns import ResultColumns

if TYPE_CHECKING:
    from collections.abc import Sequence

    from status_service.recording.result_columns import ResultRow
    from status_service.recording.types import Frame, FrameReceipt

#: Frames of one campaign that can be applied, each with its receipt.
Accepted: TypeAlias = "Sequence[tuple[Frame, FrameReceipt]]"


class Merged(NamedTuple):
    """What is to be stored of a campaign.

    Attributes:
        changed: the results to insert, or to replace lower ones with; each message
            once.
        deltas: what that adds to the counters.
        all_new: no result of them is stored.
        replaced: the messages among ``changed`` that have a lower result stored.
    """

    changed: Sequence[ResultColumns]
    deltas: Counters
    all_new: bool
    replaced: Sequence[int] = ()

    @property
    def recorded(self) -> Counters:
        """How many results of each outcome are stored by that."""
        if self.all_new:
            return self.deltas
        stored = chain.from_iterable(part.outcome for part in self.changed)
        return Counters.of(Counter(stored))


def sequences_of(accepted: Accepted) -> list[int]:
    """Return the messages that results were reported of, in order, repeated ones too."""
    return list(chain.from_iterable(frame.results.sequence for frame, _ in accepted))


def merge(accepted: Accepted, stored: dict[int, int]) -> Merged:
    """Return what is to be stored, and write into each receipt what became of its frame.

    Args:
        accepted: the frames, the first to come first.
        stored: outcomes by sequence, of those of the results that are stored; others may
            be among them.
    """
    if all_are_new(accepted, stored):
        receive_new(accepted)
        return new_results(accepted)
    return _one_by_one(accepted, stored)


def all_are_new(accepted: Accepted, stored: dict[int, int]) -> bool:
    """Return whether each result is of another message, and none of them is stored."""
    sequences = sequences_of(accepted)
    return stored.keys().isdisjoint(sequences) and len(set(sequences)) == len(sequences)


def receive_new(accepted: Accepted) -> None:
    """Write into the receipts of frames that all their results are new."""
    for frame, receipt in accepted:
        receipt.new = frame.results.size


def new_results(accepted: Accepted) -> Merged:
    """Return what is to be stored of frames whose results are all new."""
    deltas = Counter(chain.from_iterable(frame.results.outcome for frame, _ in accepted))
    changed = [frame.results for frame, _ in accepted if frame.results.size]
    return Merged(changed, Counters.of(deltas), all_new=True)


def _one_by_one(accepted: Accepted, stored_before: dict[int, int]) -> Merged:
    stored = dict(stored_before)
    changed: dict[int, ResultRow] = {}
    deltas: Counter[int] = Counter()
    for frame, receipt in accepted:
        results = frame.results
        if all(map(eq, map(stored.get, results.sequence), results.outcome)):
            receipt.duplicate = results.size  # sent again, as after a lost acknowledgement
            continue
        for row in results.rows():
            sequence, outcome = row[0], row[1]
            before = stored.get(sequence)
            if before is None:
                receipt.new += 1
            elif outcome > before:
                receipt.raised += 1
                deltas[before] -= 1
            else:
                receipt.duplicate += 1
                continue
            stored[sequence] = outcome
            changed[sequence] = row
            deltas[outcome] += 1
    parts = [ResultColumns.of(changed.values())] if changed else []
    replaced = [sequence for sequence in changed if sequence in stored_before]
    return Merged(parts, Counters.of(deltas), all_new=False, replaced=replaced)
