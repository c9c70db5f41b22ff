"""Bugs of the pages: who may look, what other sites may do, what an open page shows."""

from __future__ import annotations

from mutants.mutant import Edit, Mutant

_GATE = "status_service/dashboard/gate.py"
_SESSIONS = "status_service/dashboard/sessions.py"
_SECURITY = "status_service/dashboard/security.py"
_STREAMS = "status_service/dashboard/streams.py"
_FORMS = "status_service/dashboard/forms.py"
_DELEGATIONS = "status_service/access/delegations.py"
_LINK = "status_service/dashboard/sender_link.py"
_RESEND = "status_service/dashboard/resend_page.py"
_CHART = "status_service/dashboard/chart.py"

_SESSION_TESTS = "tests/integration/test_dashboard_sessions.py"
_PAGE_TESTS = "tests/integration/test_dashboard_pages.py"
_DELEGATION_TESTS = "tests/integration/test_status_delegations.py"
_FAULT_TESTS = "tests/integration/test_dashboard_sender_faults.py"
_SENDER_TESTS = "tests/integration/test_dashboard_sender.py"

DASHBOARD_BUGS = (
    Mutant(
        name="page-scope-unchecked",
        invariant="API",
        bug="A page asks who is signed in, and not what the key allows.",
        seen="OWASP A01, broken access control",
        edits=(Edit(_GATE, "    require(visit.caller, Scope(page.scope))\n", ""),),
        test=f"{_SESSION_TESTS}::test_a_scope_that_is_missing_is_named",
    ),
    Mutant(
        name="session-outlives-its-hour",
        invariant="API",
        bug="A session is looked up, and nobody asks when it was used last.",
        seen="OWASP session management, idle timeout",
        edits=(
            Edit(
                _SESSIONS,
                "now < row.expire_time and now - row.seen_time < IDLE",
                "now < row.expire_time",
            ),
        ),
        test=f"{_SESSION_TESTS}::test_a_session_ends_by_itself_and_with_its_key",
    ),
    Mutant(
        name="host-of-others-served",
        invariant="API",
        bug="Before the first key, pages answer to any name that leads to this machine.",
        seen="DNS rebinding, as in CVE-2018-5702",
        edits=(
            Edit(
                _GATE,
                "        board.only_this_machine\n        and not",
                "        not True\n        and not",
            ),
        ),
        test=f"{_SESSION_TESTS}::test_before_the_first_key_only_this_machine_is_served",
    ),
    Mutant(
        name="sign-in-leads-anywhere",
        invariant="API",
        bug="After sign-in, the page that the address names is gone to, wherever it is.",
        seen="CWE-601, open redirect",
        edits=(
            Edit(
                _SECURITY,
                '    is_ours = path.startswith("/") and not path.startswith("//")\n',
                "    is_ours = bool(path)\n",
            ),
        ),
        test=f"{_SESSION_TESTS}::test_sign_in_leads_back_within_this_site",
    ),
    Mutant(
        name="stream-outlives-its-session",
        invariant="API",
        bug="An open page goes on although its key was revoked.",
        seen="CWE-613, insufficient session expiration",
        edits=(
            Edit(
                _STREAMS,
                "if not await is_still_admitted(visit, Scope.READ):",
                "if visit is None:",
            ),
        ),
        test=f"{_PAGE_TESTS}::test_a_stream_ends_with_its_session",
    ),
    Mutant(
        name="form-length-believed",
        invariant="API",
        bug="A form in chunks has no end, since only its head was asked how long it is.",
        seen="CWE-770, allocation without limits",
        edits=(Edit(_FORMS, "        elif size > _DISCARDED_BYTES:\n            break\n", ""),),
        test="tests/integration/test_dashboard_hostile.py::test_a_form_without_end_is_cut",
    ),
    Mutant(
        name="stream-answered-with-sign-in",
        invariant="API",
        bug="An open page whose session is over gets sign-in in place of events, and tries on.",
        seen="EventSource, which takes another media type for a broken stream",
        edits=(
            Edit(
                _GATE, "        if page.if_signed_out is not None:\n", "        if page is None:\n"
            ),
        ),
        test=(
            "tests/integration/test_dashboard_hostile.py"
            "::test_a_stream_after_the_session_says_so_as_a_stream"
        ),
    ),
    Mutant(
        name="chart-invents-a-slope",
        invariant="API",
        bug="A gap between two samples is filled as if results had come all along.",
        seen="Grafana, option `connect null values`",
        edits=(
            Edit(
                _CHART,
                "max(samples[index].sample_time, following.sample_time - usual)",
                "samples[index].sample_time",
            ),
        ),
        test="tests/unit/test_dashboard_chart.py::test_a_gap_is_one",
    ),
    Mutant(
        name="delegation-without-end",
        invariant="API",
        bug="What a page showed a sender is good for ever to whoever has it.",
        seen="RFC 6819, 5.1.5.3, short expiration time",
        edits=(Edit(_DELEGATIONS, "if found.expire_time <= found.now:", "if not found.scopes:"),),
        test=f"{_DELEGATION_TESTS}::test_it_ends_after_a_minute",
    ),
    Mutant(
        name="delegation-outlives-its-key",
        invariant="API",
        bug="A key is revoked, and what its session showed a sender goes on.",
        seen="RFC 7009, tokens based on a revoked grant",
        edits=(Edit(_DELEGATIONS, "            check_valid(found.key, found.now)\n", ""),),
        test=f"{_DELEGATION_TESTS}::test_it_ends_with_its_key",
    ),
    Mutant(
        name="delegation-with-every-scope",
        invariant="API",
        bug="A page shows a sender all that its key allows, in place of what it needs.",
        seen="CWE-250, unnecessary privileges",
        edits=(
            Edit(
                _DELEGATIONS,
                "(caller.key_id, scopes & caller.scopes & MOST_SCOPES)",
                "(caller.key_id, caller.scopes)",
            ),
        ),
        test=f"{_DELEGATION_TESTS}::test_a_sender_learns_the_key_of_the_session",
    ),
    Mutant(
        name="questions-without-turns",
        invariant="API",
        bug="Every question of a page is a call at once, so a sender that hangs holds many.",
        seen="thundering herd",
        edits=(
            Edit(_LINK, "asyncio.timeout(_READ_SECONDS), turn:", "asyncio.timeout(_READ_SECONDS):"),
        ),
        test=f"{_FAULT_TESTS}::test_a_sender_that_hangs_is_asked_once",
    ),
    Mutant(
        name="resend-of-other-numbers",
        invariant="API",
        bug="A resend goes to as many people as there are by now, whatever its page said.",
        seen="time of check to time of use, CWE-367",
        edits=(
            Edit(
                _RESEND,
                'changes.whole_number(form.get("people", "")) != found.people',
                "not form",
            ),
        ),
        test=f"{_SENDER_TESTS}::test_a_forged_form_sends_nothing",
    ),
)
