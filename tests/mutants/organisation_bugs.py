"""Bugs of a sender with many organisations: one sees another, or nobody is asked."""

from __future__ import annotations

from mutants.mutant import Edit, Mutant

ORGANISATION_BUGS = (
    Mutant(
        name="refused-key-goes-on-sending",
        invariant="S17",
        bug="While the status service refuses the sender's key, what was SENDING is sent on.",
        seen="Closeout itself, while the sender learned to have a key",
        edits=(
            Edit(
                "sender_service/reporting/link.py",
                "        self._directory.forget_states(self._organisation)\n"
                "        if self._directory.status_problems.refused(",
                "        if self._directory.status_problems.refused(",
            ),
        ),
        test=(
            "tests/integration/test_sender_service_key.py"
            "::test_sending_stops_while_the_senders_key_is_refused"
        ),
    ),
    Mutant(
        name="unreachable-means-allowed",
        invariant="S13",
        bug="Everybody is served while nobody can be asked who calls.",
        seen="a fail-open check, as in CWE-636",
        edits=(
            Edit(
                "sender_service/access/asking.py",
                "        if await self._met_keys.ever():\n",
                "        if False:\n",
            ),
        ),
        test=(
            "tests/unit/test_sender_asking.py::test_a_caller_who_was_never_known_is_refused_at_once"
        ),
    ),
    Mutant(
        name="state-by-id-alone",
        invariant="S13",
        bug="A state is taken for the first campaign with its id, whosever that is.",
        seen="Closeout itself, before a sender served organisations",
        edits=(
            Edit(
                "sender_service/campaigns/directory.py",
                "        active = self._by_id.get(organisation, {}).get(campaign_id)\n"
                "        return active if",
                "        active = next(\n"
                "            (found[campaign_id] for found in self._by_id.values()"
                " if campaign_id in found), None\n"
                "        )\n"
                "        return active if",
            ),
        ),
        test=(
            "tests/unit/test_sender_directory.py"
            "::test_s13_a_state_concerns_the_campaign_of_its_organisation_alone"
        ),
    ),
)
