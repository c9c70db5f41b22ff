"""What results come to beside those that are stored, against the rule spelt out."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from status_service.domain import Counters, Outcome
from status_service.recording.merge import Merged, merge
from status_service.recording.result_columns import ResultColumns
from status_service.recording.types import CampaignKey, Frame, FrameReceipt

_KEY = CampaignKey("default", "a")
_sequences, _outcomes = st.integers(1, 8), st.sampled_from([outcome.value for outcome in Outcome])
_frames = st.lists(st.lists(st.tuples(_sequences, _outcomes), max_size=6), max_size=5)


def _merged(
    frames: list[list[tuple[int, int]]], stored: dict[int, int]
) -> tuple[Merged, list[FrameReceipt]]:
    accepted = [
        (
            Frame(
                _KEY,
                "tester",
                ResultColumns.of(
                    (sequence, outcome, place, "", "", "", None)
                    for place, (sequence, outcome) in enumerate(results)
                ),
            ),
            FrameReceipt(),
        )
        for results in frames
    ]
    return merge(accepted, stored), [receipt for _, receipt in accepted]


@given(frames=_frames, stored=st.dictionaries(_sequences, _outcomes))
def test_s2_the_highest_outcome_stays_and_each_result_is_counted_once(
    frames: list[list[tuple[int, int]]], stored: dict[int, int]
) -> None:
    """Rows, deltas and receipts are those of taking one result after another."""
    after = dict(stored)
    counts = []
    for results in frames:
        new = raised = duplicate = 0
        for sequence, outcome in results:
            before = after.get(sequence)
            new += before is None
            raised += before is not None and outcome > before
            duplicate += before is not None and outcome <= before
            after[sequence] = max(outcome, before or 0)
        counts.append((new, raised, duplicate))
    merged, receipts = _merged(frames, stored)
    assert [(one.new, one.raised, one.duplicate) for one in receipts] == counts
    rows = [row for part in merged.changed for row in part.rows()]
    changed = {sequence: outcome for sequence, outcome, *_ in rows}
    assert len(changed) == len(rows)
    assert changed == {key: one for key, one in after.items() if stored.get(key) != one}
    assert merged.deltas == _counted(after).minus(_counted(stored))
    reported = {sequence for results in frames for sequence, _ in results}
    assert not merged.all_new or reported.isdisjoint(stored)


def _counted(outcomes: dict[int, int]) -> Counters:
    every = list(outcomes.values())
    return Counters.of({outcome: every.count(outcome) for outcome in Outcome})


def test_a_raised_result_brings_all_its_fields() -> None:
    """What replaces a lower outcome is the row it came in, the attempt with it."""
    merged, _ = _merged([[(1, Outcome.FAILED)], [(2, Outcome.SENT), (1, Outcome.SENT)]], {})
    assert [row for part in merged.changed for row in part.rows()] == [
        (1, Outcome.SENT, 1, "", "", "", None),
        (2, Outcome.SENT, 0, "", "", "", None),
    ]


def test_what_is_all_new_is_stored_as_it_came() -> None:
    """The frames' own columns are stored, so what was made of them ahead is used."""
    merged, _ = _merged([[(1, Outcome.SENT)], [], [(2, Outcome.SENT)]], {})
    assert merged.all_new
    assert [part.sequence for part in merged.changed] == [(1,), (2,)]
