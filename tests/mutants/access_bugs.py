"""Bugs of the check of callers: who is let in, for whom, and how long."""

from __future__ import annotations

from mutants.mutant import Edit, Mutant

_ACCESS = "status_service/access/key_access.py"
_WALK = "tests/integration/test_access_walk.py"
_KEYS = "tests/integration/test_status_keys.py"
_CALLS = "tests/integration/test_status_key_calls.py"

ACCESS_BUGS = (
    Mutant(
        name="secret-is-not-compared",
        invariant="S13",
        bug="The id of a key is enough: its secret is not looked at.",
        seen="an easy slip",
        edits=(
            Edit(
                "status_service/access/keys.py",
                "return hmac.compare_digest(self.secret_hash, stored_hash)",
                "return hmac.compare_digest(stored_hash, stored_hash) and any(stored_hash)",
            ),
        ),
        test=f"{_WALK}::test_no_call_is_answered_without_a_right_key",
    ),
    Mutant(
        name="anybody-names-an-organisation",
        invariant="S13",
        bug="A plain key acts for the organisation that its metadata names.",
        seen="an easy slip",
        edits=(
            Edit(
                _ACCESS,
                "        if Scope.SERVICE not in key.scopes:\n",
                "        if not key.scopes:\n",
            ),
        ),
        test=f"{_WALK}::test_only_a_service_acts_for_another_organisation",
    ),
    Mutant(
        name="admin-makes-a-service",
        invariant="S13",
        bug="An administrator of one organisation makes a key that acts for all others.",
        seen="an easy slip",
        edits=(
            Edit(
                "status_service/access/key_service.py",
                "    if Scope.SERVICE in scopes:\n",
                "    if not scopes:\n",
            ),
        ),
        test=f"{_CALLS}::test_an_admin_makes_no_key_of_a_service",
    ),
    Mutant(
        name="streams-outlive-their-key",
        invariant="S13",
        bug="A stream is checked when it begins, and never again.",
        seen="an easy slip",
        edits=(
            Edit(
                "service_runtime/access_interceptor.py",
                "{stream}, timeout=self._recheck_seconds",
                "{stream}, timeout=None",
            ),
        ),
        test=f"{_KEYS}::test_a_stream_ends_when_its_key_is_revoked",
    ),
    Mutant(
        name="everybody-learns-of-the-end",
        invariant="S13",
        bug="Who guesses an id learns whether there was such a key.",
        seen="an easy slip",
        edits=(
            Edit(
                _ACCESS,
                "        if not presented.matches(_NO_SECRET if found is None"
                " else found.secret_hash):\n",
                "        if found is not None:\n"
                "            self._check_valid(found)\n"
                "        if not presented.matches(_NO_SECRET if found is None"
                " else found.secret_hash):\n",
            ),
        ),
        test=f"{_WALK}::test_no_call_is_answered_without_a_right_key",
    ),
    Mutant(
        name="revoked-is-remembered",
        invariant="API",
        bug="A key that was revoked here goes on for as long as it is remembered.",
        seen="an easy slip",
        edits=(
            Edit(
                _ACCESS,
                "        self._found.forget(key_id)\n",
                "        self._found.fresh(key_id)\n",
            ),
        ),
        test=f"{_CALLS}::test_a_revoked_key_is_refused_at_once",
    ),
    Mutant(
        name="door-opens-again",
        invariant="S13",
        bug="When all keys are revoked, everybody is served again without one.",
        seen="an easy slip",
        edits=(
            Edit(
                "status_service/access/key_store.py",
                "sa.exists().select_from(keys)",
                "sa.exists().select_from(keys).where(keys.c.revoke_time.is_(None))",
            ),
            Edit(
                "status_service/access/found_keys.py",
                "        if self._keys_exist or self._clock()",
                "        if self._clock()",
            ),
            Edit(
                "status_service/access/found_keys.py",
                "        if await self._store.read(key_store.exist):\n"
                "            self._keys_exist = True\n",
                "        self._keys_exist = await self._store.read(key_store.exist)\n",
            ),
        ),
        test=f"{_KEYS}::test_the_first_key_closes_the_door_for_good",
    ),
    Mutant(
        name="first-key-is-nobody",
        invariant="S13",
        bug="Who has the first key is served as default while the service remembers no key.",
        seen="Closeout itself, before its first release with keys",
        edits=(
            Edit(
                _ACCESS,
                "return await self._found.read(presented.key_id) is not None",
                "return self._found.remembered(presented.key_id) is not None",
            ),
        ),
        test=f"{_KEYS}::test_who_has_the_first_key_is_served_by_it_at_once",
    ),
)
