"""Bugs of a sender that does not hear what the status service has confirmed."""

from __future__ import annotations

from mutants.mutant import Edit, Mutant

_LINK_TESTS = "tests/unit/test_sender_link.py"

OBEDIENCE_BUGS = (
    Mutant(
        name="unheard-goes-on",
        invariant="S17",
        bug="While the status service is away, a sender sends on for as long as that lasts.",
        seen="Closeout itself, until it was killed right after it had confirmed a pause",
        edits=(
            Edit(
                "sender_service/reporting/link.py",
                "        self._directory.forget_states(self._organisation)\n"
                "        self._lost(reason, held=True)\n",
                "        self._lost(reason, held=True)\n",
            ),
        ),
        test=f"{_LINK_TESTS}::test_it_holds_when_the_time_is_over_and_not_before",
    ),
    Mutant(
        name="connected-is-heard",
        invariant="S17",
        bug="A status service counts as reached while its connection stands, though it is silent.",
        seen="a liveness check by TCP, as of a process that was stopped",
        edits=(
            Edit(
                "sender_service/reporting/link.py",
                "        if self._hold_after_seconds is None or self._heard_at is None:\n",
                "        if self._directory.status_problems.of(self._organisation) is None:\n"
                "            return False\n"
                "        if self._hold_after_seconds is None or self._heard_at is None:\n",
            ),
        ),
        test=f"{_LINK_TESTS}::test_what_is_heard_begins_the_time_anew",
    ),
    Mutant(
        name="quiet-is-gone",
        invariant="L6",
        bug="A sender holds because nothing was to be reported, beside a healthy status service.",
        seen="a liveness check by traffic alone",
        edits=(
            Edit(
                "sender_service/reporting/frame_writer.py",
                "            if frame is None and not self._queue.in_flight:\n"
                "                frame = self._probe.next_frame(now)\n",
                "",
            ),
        ),
        test="tests/integration/test_sender_obedience.py::test_a_quiet_stream_is_reached",
    ),
    Mutant(
        name="old-state-counts-on-a-new-stream",
        invariant="S17",
        bug="A campaign is sent on by its old state however long a new stream is silent about it.",
        seen="Closeout itself, before a new stream had a second to confirm the states",
        edits=(
            Edit(
                "sender_service/campaigns/active_campaign.py",
                "        return self.state is State.SENDING and not self._on_stream\n",
                "        return False\n",
            ),
        ),
        test=f"{_LINK_TESTS}::test_only_what_a_new_stream_has_confirmed_is_sent",
    ),
)
