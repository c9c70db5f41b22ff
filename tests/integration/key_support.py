"""Keys in a database by hand, and calls that are made with them."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Iterable
from datetime import timedelta

from integration.databases import Database
from service_runtime.caller import Scope
from status_service.access.keys import NewKey, compose, generate

#: What a call is made with: the argument ``metadata`` of gRPC.
Metadata = tuple[tuple[str, str], ...]

EVERY_SCOPE = tuple(Scope)


def make_key(
    database: Database,
    *,
    organisation: str = "default",
    name: str = "tester",
    scopes: Iterable[Scope] = EVERY_SCOPE,
    expires_in: timedelta | None = None,
    revoked: bool = False,
) -> NewKey:
    """Store a key by hand, which a service on this database knows within its memory's time."""
    key = generate()
    now = int(time.time() * 1_000_000)
    expiry = None if expires_in is None else now + expires_in // timedelta(microseconds=1)
    with database.by_hand() as connection:
        connection.execute(
            "INSERT INTO keys (key_id, organisation, name, scopes, secret_hash, creator,"
            " create_time, expire_time, revoke_time) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                key.key_id,
                organisation,
                name,
                " ".join(sorted(scopes)),
                key.secret_hash,
                "tests",
                now,
                expiry,
                now if revoked else None,
            ),
        )
    return key


def credentials(key: NewKey | str, organization: str = "") -> Metadata:
    """Return the metadata of a call with a key, for an organisation if one is named."""
    text = key if isinstance(key, str) else key.text
    sent: Metadata = (("authorization", f"Bearer {text}"),)
    return (*sent, ("closeout-organization", organization)) if organization else sent


def other_secret(key: NewKey) -> str:
    """Return a whole key with the id of ``key`` and another secret."""
    return compose(key.key_id, "0" * 43)


def delegated(
    database: Database, key: NewKey, *, scopes: str = "read write", ends: int = 2**52
) -> str:
    """Return what another instance shows a sender for a session of a key.

    Args:
        database: of the service.
        key: of the session.
        scopes: what it allows, with blanks between.
        ends: when it ends, microseconds since 1970.
    """
    secret = secrets.token_urlsafe(32)
    with database.by_hand() as connection:
        connection.execute(
            "INSERT INTO delegations (delegation, key_id, scopes, expire_time) VALUES (?, ?, ?, ?)",
            (hashlib.sha256(secret.encode()).hexdigest(), key.key_id, scopes, ends),
        )
    return f"closeout_via_{secret}"
