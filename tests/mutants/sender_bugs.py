"""Bugs of the sender service: sent twice, never sent, forgotten, disobedient."""

from __future__ import annotations

from mutants.mutant import Edit, Mutant
from mutants.organisation_bugs import ORGANISATION_BUGS

_LEASES = "sender_service/store/leases.py"
_SHARDS = "sender_service/store/shards.py"
_HANDOVER = "sender_service/delivery/dispatch.py"
_REPORTER = "sender_service/reporting/result_stream.py"
_GATEWAY = "sender_service/campaigns/status_gateway.py"
_INTAKE = "sender_service/store/recipients.py"
_TRANSACTION = "sender_service/channels/email/transaction.py"

_SHARDS_TESTS = "tests/integration/test_sender_shards.py"
_DELIVERY_TESTS = "tests/integration/test_sender_delivery.py"
_RESTART_TESTS = "tests/integration/test_sender_restarts.py"
_ORDER_TESTS = "tests/integration/test_sender_order.py"
_INTAKE_TESTS = "tests/integration/test_sender_intake.py"
_SMTP_TESTS = "tests/integration/test_channel_smtp.py"

TWICE_BUGS = (
    Mutant(
        name="intent-after-the-call",
        invariant="S10",
        bug="Messages are handed over before the intent that covers them is committed.",
        seen="chatwoot/chatwoot #15451",
        edits=(
            Edit(
                _SHARDS,
                "                intent_through=intent_through,\n"
                "                lease_expire_time=None if released",
                "                intent_through=position.intent_through,\n"
                "                lease_expire_time=None if released",
            ),
        ),
        test=f"{_SHARDS_TESTS}::test_the_window_bounds_doubt_at_every_commit",
    ),
    Mutant(
        name="unfenced-writes",
        invariant="S9",
        bug="Who lost a shard to a later claim goes on writing to it.",
        seen="mautic/mautic #1737",
        edits=(Edit(_SHARDS, "            shards.c.epoch == self.epoch,\n", ""),),
        test=f"{_SHARDS_TESTS}::test_s9_an_old_epoch_changes_nothing",
    ),
    Mutant(
        name="doubt-is-sent-again",
        invariant="S10",
        bug="After a crash an at-most-once campaign sends again what was in flight.",
        seen="knadh/listmonk #2313, postalserver/postal #2222",
        edits=(
            Edit(
                _LEASES,
                "    if guarantee is Guarantee.AT_LEAST_ONCE:\n",
                "    if guarantee in Guarantee:\n",
            ),
        ),
        test=f"{_SHARDS_TESTS}::test_takeover_at_most_once_gives_up_what_is_in_doubt",
    ),
    Mutant(
        name="timeout-after-data-is-retried",
        invariant="S10",
        bug="Silence after the message went out counts as a failure, and it is sent again.",
        seen="hexclave/hexclave #1030, SinergiaCRM #438",
        edits=(
            Edit(
                _TRANSACTION,
                "Answer.LOST if self.handover.begun else Answer.DEFERRED\n",
                "Answer.DEFERRED\n",
            ),
        ),
        test=f"{_SMTP_TESTS}::test_no_answer_in_time",
    ),
    Mutant(
        name="key-of-the-attempt",
        invariant="S12",
        bug="A second try has another idempotency key, so the provider takes it for new.",
        seen="Notifuse `email_queue_postgres.go`",
        edits=(
            Edit(
                _HANDOVER,
                "        plan.keys.key(message.sequence),\n",
                '        f"{plan.keys.key(message.sequence)}-{message.attempts + 1}",\n',
            ),
        ),
        test=f"{_DELIVERY_TESTS}::test_s11_a_lost_answer_is_tried_again_with_the_same_key",
    ),
    Mutant(
        name="upload-counts-twice",
        invariant="S1",
        bug="An upload that is repeated after a break is counted a second time.",
        seen="mailcoach-support #248",
        edits=(
            Edit(_INTAKE, "    new = rows[before.next_row - first_row :]\n", "    new = rows\n"),
        ),
        test=f"{_INTAKE_TESTS}::test_a_repeated_upload_goes_on_where_it_was",
    ),
    Mutant(
        name="audience-is-not-frozen",
        invariant="S3",
        bug="Recipients who come after the start are taken, beyond the sealed total.",
        seen="useplunk/plunk #348, putyourlightson/craft-campaign #505",
        edits=(
            Edit(
                _INTAKE,
                "    if campaign.phase != Phase.COLLECTING:\n",
                "    if campaign.phase == Phase.FINISHED:\n",
            ),
        ),
        test=f"{_INTAKE_TESTS}::test_a_frozen_audience_takes_nothing_new",
    ),
)

NEVER_BUGS = (
    Mutant(
        name="checkpoint-at-fetch",
        invariant="L3",
        bug="What was fetched counts as done: after a crash it gets no result, and waits for ever.",
        seen="knadh/listmonk #3022, PR #3222",
        edits=(
            Edit(
                _LEASES,
                "    if below_intent - shard.journaled - not_tried == 0:\n",
                "    if below_intent >= 0:\n",
            ),
        ),
        test=f"{_SHARDS_TESTS}::test_takeover_at_least_once_tries_again",
    ),
    Mutant(
        name="reported-before-acknowledged",
        invariant="S7",
        bug="Outcomes count as reported once they are written to the stream.",
        seen="novuhq/novu #12119",
        edits=(
            Edit(
                _REPORTER,
                "        writer = asyncio.create_task(self._writer.write(call))\n",
                "        sent = self._queue.sent\n\n"
                "        def counted(number, frame):\n"
                "            sent(number, frame)\n"
                "            if frame.page is not None:\n"
                "                through = {frame.page.key: frame.page.through}\n"
                "                self._acknowledgements.add(through)\n\n"
                "        self._queue.sent = counted\n"
                "        writer = asyncio.create_task(self._writer.write(call))\n",
            ),
        ),
        test=f"{_RESTART_TESTS}::test_s7_what_was_not_acknowledged_is_reported_after_a_restart",
    ),
    Mutant(
        name="end-of-stream-is-done",
        invariant="S7",
        bug="The end of a stream is taken for the acknowledgement of all that was sent on it.",
        seen="TryGhost/Ghost #30230",
        edits=(
            Edit(
                _REPORTER,
                "        self._queue.begin_stream()\n",
                "        ended = self._queue.acknowledge(2**62, ())\n"
                "        self._acknowledgements.add(ended.reported)\n"
                "        self._queue.begin_stream()\n",
            ),
        ),
        test=f"{_RESTART_TESTS}::test_a_broken_stream_is_replayed",
    ),
    Mutant(
        name="restored-store-is-not-noticed",
        invariant="S7",
        bug="After the status service lost results with its store, nobody reports them again.",
        seen="patroni #1412",
        edits=(
            Edit(
                "sender_service/reporting/acknowledgements.py",
                "                self._replaced.add(organisation)\n",
                "                self._replaced.discard(organisation)\n",
            ),
        ),
        test=f"{_RESTART_TESTS}::test_a_replaced_store_gets_everything_again",
    ),
    Mutant(
        name="one-defect-stops-the-campaign",
        invariant="L3",
        bug="An exception over one message ends the work on all that follow it.",
        seen="mettle/sendportal #154, spatie/Mailcoach #30",
        edits=(
            Edit(
                _HANDOVER,
                "    except Exception as error:",
                "    except SystemError as error:",
            ),
        ),
        test=f"{_DELIVERY_TESTS}::test_an_exception_out_of_a_channel_is_in_doubt",
    ),
    Mutant(
        name="defect-fills-the-log",
        invariant="API",
        bug="A channel that fails writes a line of the log, with its stack, for each message.",
        seen="Closeout itself, before these lines were one a second",
        edits=(
            Edit(
                _HANDOVER,
                "    plan.defects.add_defect(\n",
                "    plan.defects._logged_at = None\n    plan.defects.add_defect(\n",
            ),
        ),
        test=f"{_DELIVERY_TESTS}::test_a_defect_of_a_channel_does_not_fill_the_log",
    ),
    Mutant(
        name="failed-worker-is-waited-for",
        invariant="L3",
        bug="A worker that fails with the last message in flight leaves its run waiting for ever.",
        seen="Closeout itself, before a failure woke its run",
        edits=(
            Edit(
                "sender_service/delivery/shard_delivery.py",
                "finished == self._commits.in_doubt or self._failure:",
                "finished == self._commits.in_doubt:",
            ),
        ),
        test=f"{_DELIVERY_TESTS}::test_l3_a_defect_of_the_run_itself_ends_it",
    ),
    Mutant(
        name="throttling-is-permanent",
        invariant="API",
        bug="A mail server's 4xx, which asks for another try, fails the message.",
        seen="knadh/listmonk #2663, #2971",
        edits=(
            Edit(
                "sender_service/channels/email/recipient_verdicts.py",
                "_DEFERRED = Verdict(Answer.DEFERRED)\n",
                "_DEFERRED = Verdict(Answer.REFUSED)\n",
            ),
        ),
        test=f"{_SMTP_TESTS}::test_deferred_message_is_accepted_at_the_second_try",
    ),
    Mutant(
        name="doubt-is-cancelled",
        invariant="S10",
        bug="A cancel calls a message that may have arrived one that was never sent.",
        seen="twentyhq/twenty #24437",
        edits=(
            Edit(
                "sender_service/store/abandonment.py",
                "sa.case((deferrals.c.lost, Outcome.UNKNOWN.value), else_=ending.outcome.value)",
                "sa.literal(ending.outcome.value)",
            ),
        ),
        test=f"{_SHARDS_TESTS}::test_closing_ends_everything_that_has_no_outcome",
    ),
    Mutant(
        name="heartbeat-as-long-as-the-lease",
        invariant="L2",
        bug="A lease as short as a heartbeat is accepted, so who lives is taken for dead.",
        seen="apache/airflow #7927, #12103, #16573, #27657",
        edits=(
            Edit(
                "sender_service/settings.py",
                "self.lease_seconds < _LEASE_HEARTBEATS * self.heartbeat_seconds",
                "self.lease_seconds < self.heartbeat_seconds",
            ),
        ),
        test="tests/unit/test_sender_requests.py::test_a_lease_must_outlive_two_lost_heartbeats",
    ),
)

ORDER_BUGS = (
    Mutant(
        name="answer-sets-the-state",
        invariant="S17",
        bug="The answer of StartCampaign sets a state that the stream has renewed meanwhile.",
        seen="Closeout itself, before only the stream set states",
        edits=(
            Edit(_GATEWAY, "_TIMEOUT_SECONDS = 10.0\n", "_TIMEOUT_SECONDS = 10.0\nANSWERS = {}\n"),
            Edit(
                _GATEWAY,
                "    return response.transitioned\n",
                "    name = status_pb2.Campaign.State.Name(response.campaign.state)\n"
                "    ANSWERS[row.campaign] = State(name)\n"
                "    return response.transitioned\n",
            ),
            Edit(
                "sender_service/campaigns/service.py",
                "        return Started(row.total, transitioned=started, left_out=row.left_out)\n",
                "        active.state = status_gateway.ANSWERS[row.campaign]\n"
                "        active.wake()\n"
                "        return Started(row.total, transitioned=started, left_out=row.left_out)\n",
            ),
        ),
        test=f"{_ORDER_TESTS}::test_s17_a_cancel_is_not_undone_by_an_older_answer",
    ),
    Mutant(
        name="revision-is-not-compared",
        invariant="S16",
        bug="The state that came last counts, although a newer one came before.",
        seen="Closeout itself, before states had a revision",
        edits=(
            Edit(
                "sender_service/campaigns/active_campaign.py",
                "        if self._on_stream and revision <= self.revision:\n",
                "        if self._on_stream and revision == self.revision:\n",
            ),
        ),
        test=f"{_ORDER_TESTS}::test_s16_an_older_state_on_a_stream_changes_nothing",
    ),
)

SENDER_BUGS = TWICE_BUGS + NEVER_BUGS + ORDER_BUGS + ORGANISATION_BUGS
