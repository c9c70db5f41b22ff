"""Bugs of what holds a sender up: shown too long, not at all, or in the way of results."""

from __future__ import annotations

from mutants.mutant import Edit, Mutant

_PROBLEMS = "tests/integration/test_status_problems.py"
_REPORTS = "tests/unit/test_sender_problem_reports.py"

PROBLEM_BUGS = (
    Mutant(
        name="problems-outlive-the-campaign",
        invariant="API",
        bug="A campaign that is completed goes on showing what held its sender up.",
        seen="an easy slip",
        edits=(
            Edit(
                "status_service/recording/completion.py",
                "                (full, NO_PROBLEMS),\n",
                "                (sa.false(), NO_PROBLEMS),\n",
            ),
        ),
        test=f"{_PROBLEMS}::test_a_campaign_that_ended_has_no_problems",
    ),
    Mutant(
        name="problems-are-progress",
        invariant="API",
        bug="A report of a problem counts as a new result, so that nothing is ever stalled.",
        seen="an easy slip",
        edits=(
            Edit(
                "status_service/recording/problems.py",
                "        revision=campaigns.c.revision + 1,",
                "        revision=campaigns.c.revision + 1, progress_time=campaigns.c.create_time,",
            ),
        ),
        test=f"{_PROBLEMS}::test_problems_come_without_results_in_every_state_that_goes_on",
    ),
    Mutant(
        name="no-problem-is-not-reported",
        invariant="API",
        bug="An empty list of problems is left out, so what a former process reported stays.",
        seen="an easy slip",
        edits=(
            Edit(
                "sender_service/reporting/frame_writer.py",
                "        if problems is not None:\n",
                "        if problems:\n",
            ),
        ),
        test="tests/integration/test_sender_problems.py"
        "::test_a_restart_of_the_sender_clears_what_it_reported_before",
    ),
    Mutant(
        name="problems-hold-results-up",
        invariant="L3",
        bug="A campaign whose problems are rejected is held back with its results.",
        seen="an easy slip",
        edits=(
            Edit(
                "sender_service/reporting/relay_queue.py",
                "                    acknowledged.unheard[campaign] = number\n",
                "                    acknowledged.rejected[campaign] = number\n",
            ),
        ),
        test=f"{_REPORTS}::test_a_rejection_leaves_the_campaign_where_it_is",
    ),
)
