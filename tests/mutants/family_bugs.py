"""Bugs of families and resends: people who get a campaign twice, or never."""

from __future__ import annotations

from mutants.mutant import Edit, Mutant

_FREEZES = "sender_service/store/freezes.py"
_SHARDS = "sender_service/store/shards.py"
_RACE_TESTS = "tests/integration/test_sender_family_races.py"
_OMISSION_TESTS = "tests/integration/test_sender_omissions.py"

FAMILY_BUGS = (
    Mutant(
        name="look-is-not-checked",
        invariant="API",
        bug="Two campaigns started at once each look before the other one is frozen.",
        seen="time of check to time of use, CWE-367",
        edits=(
            Edit(
                _FREEZES,
                "(look.freezes + 1, look.total) != (freezes, row.total)",
                "look.total != row.total",
            ),
        ),
        test=f"{_RACE_TESTS}::test_a_freeze_between_look_and_freeze_is_noticed",
    ),
    Mutant(
        name="late-people-are-not-looked-at",
        invariant="API",
        bug="Who is uploaded during the look gets the campaign twice.",
        seen="time of check to time of use, CWE-367",
        edits=(
            Edit(
                _FREEZES,
                "(look.freezes + 1, look.total) != (freezes, row.total)",
                "look.freezes + 1 != freezes",
            ),
        ),
        test=f"{_RACE_TESTS}::test_people_who_come_between_look_and_freeze_are_looked_at",
    ),
    Mutant(
        name="left-out-is-in-doubt",
        invariant="API",
        bug="Who is left out of a campaign is UNKNOWN after a crash.",
        seen="Closeout itself, in a draft of this rule",
        edits=(
            Edit(
                _SHARDS,
                "    omissions.end(connection, lease.campaign, lease.shard, skipped, row)\n",
                "",
            ),
            Edit(
                _SHARDS,
                "                journaled=row.journaled + len(skipped),\n"
                "                intent_through",
                "                intent_through",
            ),
        ),
        test=f"{_OMISSION_TESTS}::test_a_takeover_gives_up_only_what_a_provider_may_have",
    ),
    Mutant(
        name="copy-is-not-finished",
        invariant="API",
        bug="A resend that is repeated after a break stops at the people it has by then.",
        seen="Closeout itself, in a draft of this call",
        edits=(
            Edit(
                "sender_service/campaigns/resend.py",
                "            new = replace(new, campaign_id=existing.campaign_id)\n"
                "        await finish_copy(self._store, organisation, new.campaign_id)\n",
                "            new = replace(new, campaign_id=existing.campaign_id)\n"
                "        if existing is None:\n"
                "            await finish_copy(self._store, organisation, new.campaign_id)\n",
            ),
        ),
        test="tests/integration/test_sender_resend_copies.py::test_a_copy_that_broke_off_goes_on_where_it_was",
    ),
)
