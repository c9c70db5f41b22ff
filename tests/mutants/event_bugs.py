"""Bugs of events and of HTTP: order, identity, destination, signature, checks of a request."""

from __future__ import annotations

from mutants.mutant import Edit, Mutant

_QUEUE = "status_service/events/queue.py"
_ATTEMPT = "status_service/events/attempt.py"
_SIGNATURE = "status_service/events/signature.py"
_DESTINATION = "status_service/events/destination.py"
_SUBSCRIPTIONS = "status_service/events/subscriptions.py"
_CALLS = "status_service/http_api/calls.py"
_JSON_FORM = "status_service/http_api/json_form.py"
_TRANSCODER = "status_service/http_api/transcoder.py"
_KEYS = "status_service/access/key_service.py"

_EVENT_TESTS = "tests/integration/test_status_events.py"
_QUEUE_TESTS = "tests/integration/test_event_queue.py"
_HTTP_TESTS = "tests/integration/test_status_http.py"

EVENT_BUGS = (
    Mutant(
        name="events-overtake-each-other",
        invariant="API",
        bug="An event is tried although an earlier one of its campaign is not delivered.",
        seen="stripe and GitHub webhooks, which promise no order",
        edits=(Edit(_QUEUE, "            sa.not_(behind),\n", ""),),
        test=f"{_QUEUE_TESTS}::test_of_a_campaign_the_oldest_alone_is_tried",
    ),
    Mutant(
        name="event-id-of-each-try",
        invariant="API",
        bug="Each try of an event has another id, so that no receiver can leave out repetitions.",
        seen="an easy slip",
        edits=(
            Edit(
                _SIGNATURE,
                '        "webhook-id": event_id,',
                '        "webhook-id": new_secret(),',
            ),
        ),
        test=f"{_EVENT_TESTS}::test_a_completed_campaign_is_announced_with_a_signature",
    ),
    Mutant(
        name="signature-without-its-time",
        invariant="API",
        bug="The time of a try is not signed, so that an old delivery can be replayed for ever.",
        seen="Standard Webhooks, on replay attacks",
        edits=(Edit(_SIGNATURE, 'f"{event_id}.{timestamp}."', 'f"{event_id}."'),),
        test=f"{_EVENT_TESTS}::test_a_completed_campaign_is_announced_with_a_signature",
    ),
    Mutant(
        name="private-inside-ipv6",
        invariant="API",
        bug="An address of a private network passes as an IPv6 address that maps it.",
        seen="server-side request forgery, as in CVE-2024-24806",
        edits=(
            Edit(_DESTINATION, "        if inner is not None:\n", "        if inner is None:\n"),
            Edit(_DESTINATION, "            found = inner\n", "            return True\n"),
            Edit(
                _DESTINATION,
                "return not found.is_global or found.is_multicast or found.is_reserved",
                'return "." in str(found) and not found.is_global',
            ),
        ),
        test=f"{_EVENT_TESTS}::test_an_address_of_a_private_network_is_refused",
    ),
    Mutant(
        name="redirects-are-followed",
        invariant="API",
        bug="A receiver redirects an event to an address that nobody checked.",
        seen="server-side request forgery by redirects, OWASP A10",
        edits=(Edit(_ATTEMPT, "allow_redirects=False", "allow_redirects=True"),),
        test=f"{_EVENT_TESTS}::test_a_redirect_is_not_followed_and_what_is_dead_can_be_replayed",
    ),
    Mutant(
        name="dead-letter-counts-as-delivered",
        invariant="API",
        bug="A delivery that is given up is written down as delivered, and nobody replays it.",
        seen="an easy slip",
        edits=(Edit(_QUEUE, '"DEAD" if ended', '"DELIVERED" if ended'),),
        test=f"{_EVENT_TESTS}::test_a_redirect_is_not_followed_and_what_is_dead_can_be_replayed",
    ),
    Mutant(
        name="request-id-hides-content",
        invariant="API",
        bug="A subscription with a known request id and another URL is answered as if made.",
        seen="Closeout itself, before the fields were compared",
        edits=(
            Edit(
                _SUBSCRIPTIONS,
                "                if getattr(known, name) != value:\n",
                "                if getattr(known, name) != value and not name:\n",
            ),
        ),
        test=f"{_EVENT_TESTS}::test_a_request_id_stands_for_one_content",
    ),
    Mutant(
        name="if-match-unread",
        invariant="API",
        bug="A change over HTTP is made whatever the revision of If-Match.",
        seen="lost updates, as RFC 9110 has them",
        edits=(Edit(_CALLS, "    message.revision = expected\n", ""),),
        test=f"{_HTTP_TESTS}::test_if_match_is_the_revision_that_a_campaign_must_have",
    ),
    Mutant(
        name="body-of-any-size",
        invariant="API",
        bug="A body over HTTP is read into memory however large it is.",
        seen="OWASP API4, unrestricted resource consumption",
        edits=(
            Edit(_CALLS, "        if size <= MAX_MESSAGE_BYTES:\n", "        if size:\n"),
            Edit(
                _CALLS,
                "    if size > MAX_MESSAGE_BYTES:\n        raise too_large\n",
                "",
            ),
        ),
        test=f"{_HTTP_TESTS}::test_a_body_is_json_of_at_most_4_mib",
    ),
    Mutant(
        name="unknown-field-taken",
        invariant="API",
        bug="A field that a call does not have is ignored, such as a misspelt revision.",
        seen="grpc-gateway, which ignores unknown query parameters",
        edits=(
            Edit(_JSON_FORM, '            yield path, "unknown field"\n', "            continue\n"),
        ),
        test="tests/unit/test_http_json.py::test_all_wrong_fields_are_named_at_once",
    ),
    Mutant(
        name="http-key-unchecked",
        invariant="API",
        bug="A call over HTTP is answered without the check of its caller.",
        seen="OWASP API2, broken authentication",
        edits=(
            Edit(
                _TRANSCODER,
                "    guarded = check.guard(behaviour, rule.full_method, lasting=lasting)\n",
                "    guarded = behaviour\n",
            ),
        ),
        test="tests/integration/test_status_http_servicers.py::"
        "test_nobody_calls_without_a_key_of_the_right_scope",
    ),
    Mutant(
        name="successor-lives-as-long-as-the-rest",
        invariant="API",
        bug="A rotation that is repeated takes the overlap for the life of the key.",
        seen="Closeout itself, before the life of a key was stored",
        edits=(
            Edit(
                _KEYS,
                "            expire_time = None if old.life is None"
                " else now + timedelta(microseconds=old.life)\n",
                "            stop = old.expire_time\n"
                "            expire_time = now + (stop - old.create_time) if stop else None\n",
            ),
        ),
        test="tests/integration/test_status_key_calls.py::test_a_rotation_is_safe_to_repeat",
    ),
)
