"""Bugs of the status service under load: many streams, many watchers."""

from __future__ import annotations

from mutants.mutant import Edit, Mutant

_STORED = "status_service/recording/stored_outcomes.py"

_LAYOUT = "tests/unit/test_status_stored_outcomes.py"

LOAD_BUGS = (
    Mutant(
        name="stretch-ends-early",
        invariant="S2",
        bug="Of frames that overlap, the end of the longer one is not looked up: what is stored"
        " there counts as new.",
        seen="own: results of several streams are looked up in stretches",
        edits=(
            Edit(
                _STORED,
                "        self.last = max(self.last, last)\n",
                "        self.last = last\n",
            ),
        ),
        test=f"{_LAYOUT}::test_s2_every_sequence_is_looked_up_once",
    ),
)
