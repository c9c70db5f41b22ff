"""Bugs of the sender service beside a provider that fails."""

from __future__ import annotations

from mutants.mutant import Edit, Mutant

_SHARD = "sender_service/delivery/shard_workers.py"
_GATE = "sender_service/delivery/gate.py"
_HANDOVER_TESTS = "tests/integration/test_sender_handovers.py"
_UNFAIR_TESTS = "tests/integration/test_sender_unfair_providers.py"
_OUTAGE_TESTS = "tests/integration/test_sender_outages.py"

OUTAGE_BUGS = (
    Mutant(
        name="stop-waits-for-the-silent",
        invariant="S10",
        bug="A stop waits for calls whose message nobody has yet, until its grace is over.",
        seen="Closeout itself, before channels said how far a message has come",
        edits=(
            Edit(
                _SHARD,
                "            if not handover.begun and not worker.cancelling():\n",
                "            if handover.begun and not worker.cancelling():\n",
            ),
        ),
        test=f"{_HANDOVER_TESTS}::test_a_stop_hands_back_calls_that_have_not_begun",
    ),
    Mutant(
        name="stopped-is-unknown",
        invariant="S10",
        bug="A message whose data was never sent ends as UNKNOWN when the sender is stopped.",
        seen="Closeout itself, before channels said how far a message has come",
        edits=(Edit(_SHARD, "            if handover.begun:\n", "            if handover:\n"),),
        test=f"{_HANDOVER_TESTS}::test_a_cancelled_run_leaves_nothing_unsaid",
    ),
    Mutant(
        name="window-before-the-first-answer",
        invariant="S10",
        bug="A new process hands a whole window to a server that then says nothing.",
        seen="Closeout itself, before a new process probed its providers",
        edits=(
            Edit(
                "sender_service/delivery/circuit_breaker.py",
                "        state: Breaker = Breaker.HALF_OPEN,\n",
                "        state: Breaker = Breaker.CLOSED,\n",
            ),
        ),
        test="tests/integration/test_sender_provider_checks.py"
        "::test_a_kill_beside_a_silent_provider_leaves_one_message_in_doubt",
    ),
    Mutant(
        name="everybody-probes",
        invariant="S18",
        bug="Each campaign of a dead provider probes it with a message of its own.",
        seen="Closeout itself, before campaigns shared a circuit breaker",
        edits=(
            Edit(
                _GATE,
                "not breaker.checked or self.shared.probing is not None or before_us",
                "not breaker.checked or before_us",
            ),
        ),
        test="tests/unit/test_sender_gate.py::test_one_campaign_probes_at_a_time",
    ),
    Mutant(
        name="refusals-are-verdicts",
        invariant="S18",
        bug="A relay that refuses its customer turns a whole audience into FAILED.",
        seen="Closeout itself, before the first refusals of a campaign were held",
        edits=(
            Edit(
                "sender_service/delivery/trial.py",
                "        if self.is_over:\n            return Refusal.FINAL\n",
                "        if self._enough:\n            return Refusal.FINAL\n",
            ),
        ),
        test=f"{_OUTAGE_TESTS}::test_the_first_refusals_of_a_campaign_are_no_verdict",
    ),
    Mutant(
        name="throttling-spends-tries",
        invariant="S18",
        bug="Messages spend their tries while the provider defers everybody.",
        seen="Closeout itself, before deferrals opened a circuit breaker",
        edits=(
            Edit(
                _GATE,
                "        if not breaker.note(deferred=True):\n",
                "        if breaker.note(deferred=True) or True:\n",
            ),
        ),
        test=f"{_OUTAGE_TESTS}::test_no_try_is_spent_while_most_messages_are_deferred",
    ),
    Mutant(
        name="silence-in-the-middle",
        invariant="S10",
        bug="A provider that stops answering in mid-campaign turns everybody into UNKNOWN.",
        seen="Closeout itself, before lost answers opened a closed circuit breaker",
        edits=(
            Edit(
                _GATE,
                "                if self._lost_in_a_row >= _LOST_IN_A_ROW:\n",
                "                if self._lost_in_a_row < 0:\n",
            ),
        ),
        test=f"{_UNFAIR_TESTS}::test_a_provider_that_falls_silent_in_the_middle_costs_few_people",
    ),
    Mutant(
        name="refused-for-ever",
        invariant="L3",
        bug="Refused people are tried again for ever where all others are left out.",
        seen="Closeout itself, before a campaign knew that it had nobody else to try",
        edits=(Edit(_GATE, "        self._trial.run_out()\n", "        return\n"),),
        test=f"{_UNFAIR_TESTS}::test_l3_refused_people_end_where_all_others_are_left_out",
    ),
    Mutant(
        name="probes-go-round",
        invariant="L5",
        bug="The probes of a provider go round the messages that it refused before.",
        seen="Closeout itself, before every other probe was a message never tried",
        edits=(
            Edit(
                _GATE,
                "        return self._probing and self._probes % 2 == 1\n",
                "        return False\n",
            ),
        ),
        test=f"{_UNFAIR_TESTS}::test_dead_addresses_at_the_top_hold_up_no_other",
    ),
    Mutant(
        name="deadline-by-the-wall-clock",
        invariant="S18",
        bug="A machine that sleeps for days, or a clock set forward, fails who waits.",
        seen="Closeout itself, before an outage was measured by a steady clock",
        edits=(
            Edit(
                "sender_service/delivery/outage.py",
                "        self._since += self._drift()\n",
                "        self._drift()\n",
            ),
        ),
        test="tests/unit/test_sender_gate.py::test_a_clock_that_is_set_moves_no_deadline",
    ),
)
