"""Bugs of transactions of one campaign that overlap, and of results that are copied first."""

from __future__ import annotations

from mutants.mutant import Edit, Mutant

_AHEAD = "status_service/recording/ahead.py"
_WRITER = "status_service/recording/group_commit.py"
_RECORDER = "status_service/recording/recorder.py"
_MERGING = "status_service/recording/merge.py"

_COPIED = "tests/integration/test_postgresql_copied_ahead.py"
_WRITERS = "tests/integration/test_postgresql_writers.py"

AHEAD_BUGS = (
    Mutant(
        name="copied-means-accepted",
        invariant="S2",
        bug="Results that were copied before the lock stay, whatever became of their campaign.",
        seen="own: PostgreSQL copies results before it locks their campaign",
        edits=(Edit(_AHEAD, "            or any(receipt.error for _, receipt in reported)\n", ""),),
        test=f"{_COPIED}::test_s2_a_campaign_that_changed_meanwhile_keeps_nothing_of_a_copy",
    ),
    Mutant(
        name="copied-for-another-campaign",
        invariant="S1",
        bug="Results that were copied count for the campaign that has taken the place of theirs.",
        seen="own: PostgreSQL copies results before it locks their campaign",
        edits=(Edit(_AHEAD, "            or campaign.campaign != self.campaign\n", ""),),
        test=f"{_COPIED}::test_s2_a_campaign_that_changed_meanwhile_keeps_nothing_of_a_copy",
    ),
    Mutant(
        name="copied-and-full-uncounted",
        invariant="S3",
        bug="Results that fill a campaign only because others came meanwhile complete it by its"
        " counters, and nobody counts.",
        seen="own: PostgreSQL copies results before it locks their campaign",
        edits=(
            Edit(
                _AHEAD,
                "            or counting.is_filled(campaign, self.merged.deltas)\n",
                "",
            ),
        ),
        test=f"{_COPIED}::test_s3_what_would_fill_a_campaign_is_counted_first",
    ),
    Mutant(
        name="copied-twice",
        invariant="S2",
        bug="A message that a batch has twice is copied as if it were new each time.",
        seen="own: PostgreSQL copies results before it locks their campaign",
        edits=(Edit(_MERGING, " and len(set(sequences)) == len(sequences)", ""),),
        test=f"{_COPIED}::test_s2_what_is_not_all_new_is_recorded_in_order",
    ),
    Mutant(
        name="copy-and-lock-in-a-circle",
        invariant="L5",
        bug="Who copied results waits for a lock as long as anybody, and its holder for the"
        " results: the database ends one of them after a second.",
        seen="own: PostgreSQL copies results before it locks their campaign",
        edits=(Edit(_AHEAD, '"100ms"', '"10s"'),),
        test=f"{_COPIED}::test_l5_a_copy_and_a_lock_never_wait_for_each_other",
    ),
    Mutant(
        name="short-wait-is-busy",
        invariant="L5",
        bug="A campaign is busy after the tenth of a second for which a copy waits for its lock.",
        seen="own: PostgreSQL copies results before it locks their campaign",
        edits=(
            Edit(
                _RECORDER,
                "                if copy_ahead:\n"
                "                    copy_ahead = False\n"
                "                    continue\n",
                "                copy_ahead = False\n",
            ),
        ),
        test=f"{_WRITERS}::test_l5_a_copy_that_waited_for_a_lock_in_vain_waits_in_order",
    ),
    Mutant(
        name="older-problems-last",
        invariant="API",
        bug="A transaction with problems overtakes the one before it, which has older ones.",
        seen="own: two transactions of one campaign are under way at once",
        edits=(
            Edit(
                _WRITER,
                "if before is not None and _have_problems(batch):",
                "if False:",
            ),
        ),
        test=f"{_WRITERS}::test_a_transaction_with_problems_waits_for_the_one_before",
    ),
    Mutant(
        name="held-rows-hold-up-all",
        invariant="L5",
        bug="Of a batch in which others hold a result, all campaigns are refused.",
        seen="Closeout itself: such a batch was tried for ever",
        edits=(Edit(_WRITER, "        if len(campaigns) > 1:\n", "        if False:\n"),),
        test=f"{_WRITERS}::test_l5_results_that_others_hold_hold_up_no_other_campaign",
    ),
)
