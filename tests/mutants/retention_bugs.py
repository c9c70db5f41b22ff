"""Bugs of what is deleted, erased and kept no longer, and of what has ended."""

from __future__ import annotations

from mutants.mutant import Edit, Mutant

_STATUS = "tests/integration/test_status_retention.py"
_SENDER = "tests/integration/test_sender_retention.py"
_ENDED = "tests/integration/test_sender_ended.py"
_OURS = "Closeout itself, in a draft of this call"
_RECONCILIATION = "sender_service/reporting/reconciliation.py"

RETENTION_BUGS = (
    Mutant(
        name="deleted-id-given-again",
        invariant="API",
        bug="The id of a deleted campaign is given to another one, which gets its late results.",
        seen=_OURS,
        edits=(
            Edit(
                "status_service/campaigns/registration.py",
                "if deleted.find(connection, key) is not None:",
                "if False:",
            ),
        ),
        test=f"{_STATUS}::test_a_deleted_campaign_is_gone_and_its_id_stays_taken",
    ),
    Mutant(
        name="open-campaign-deleted",
        invariant="API",
        bug="A campaign that is being sent can be deleted.",
        seen=_OURS,
        edits=(
            Edit(
                "status_service/retention/deletion.py",
                "if not State(campaign.state).is_terminal:",
                "if False:",
            ),
        ),
        test=f"{_STATUS}::test_only_what_has_ended_is_deleted_and_only_as_it_was_read",
    ),
    Mutant(
        name="deleted-campaign-reported-for-ever",
        invariant="API",
        bug="A sender waits for ever for a campaign that somebody deleted.",
        seen=_OURS,
        edits=(Edit(_RECONCILIATION, "if rejection.reason in _UNWANTED:", "if False:"),),
        test=f"{_SENDER}::test_a_campaign_deleted_under_its_sender_ends_and_never_comes_back",
    ),
    Mutant(
        name="late-result-after-removal",
        invariant="API",
        bug="A late result of a campaign whose results were removed counts as a new one.",
        seen=_OURS,
        edits=(
            Edit(
                "status_service/recording/refusals.py",
                "if campaign.results_remove_time is not None:",
                "if False:",
            ),
        ),
        test=f"{_STATUS}::test_results_kept_no_longer_are_said_to_be_so",
    ),
    Mutant(
        name="removed-is-missing",
        invariant="API",
        bug="Results that were removed are listed as missing.",
        seen=_OURS,
        edits=(
            Edit(
                "status_service/recording/deleted.py",
                "if campaign.results_remove_time is not None:",
                "if False:",
            ),
        ),
        test=f"{_STATUS}::test_results_kept_no_longer_are_said_to_be_so",
    ),
    Mutant(
        name="removed-at-once",
        invariant="B1",
        bug="All results of a campaign are removed in one transaction.",
        seen=_OURS,
        edits=(
            Edit(
                "status_service/retention/removal.py",
                "end = begin + most - 1",
                "end = begin + most * 1_000 - 1",
            ),
        ),
        test=f"{_STATUS}::test_b1_removal_goes_in_small_transactions_and_on_after_a_crash",
    ),
    Mutant(
        name="longer-address-erased",
        invariant="API",
        bug="Erasing an address damages longer ones that have it in them.",
        seen=_OURS,
        edits=(
            Edit(
                "status_service/retention/erasure.py",
                'rf"(?<![\\w.+-]){re.escape(address)}(?![\\w-]|\\.\\w)"',
                "re.escape(address)",
            ),
        ),
        test=f"{_STATUS}::test_an_address_is_erased_from_results_and_counted",
    ),
    Mutant(
        name="ended-listened-to",
        invariant="B3",
        bug="A stream goes on listening to all campaigns that have ended.",
        seen="Closeout itself, before streams let go of them",
        edits=(
            Edit(
                "status_service/grpc_api/result_stream.py",
                "_ENDED_KEPT = 1",
                "_ENDED_KEPT = 1_000",
            ),
        ),
        test="tests/unit/test_status_order.py"
        "::test_b3_a_stream_lets_go_of_campaigns_that_have_ended",
    ),
    Mutant(
        name="all-ended-requested",
        invariant="B3",
        bug="Each new stream requests every campaign that ended within replay_days.",
        seen="Closeout itself, before it asked about the last ones",
        edits=(Edit(_RECONCILIATION, "limit=self._block,", "limit=None,"),),
        test=f"{_ENDED}::test_b3_a_reconnect_costs_the_same_however_many_campaigns_have_ended",
    ),
    Mutant(
        name="only-the-last-block-restored",
        invariant="S7",
        bug="Of many ended campaigns that a restore lost, only the last ones come back.",
        seen=_OURS,
        edits=(Edit(_RECONCILIATION, "if self._block_lacks:", "if False:"),),
        test=f"{_ENDED}::test_b3_catching_up_after_a_restore_is_linear",
    ),
)
