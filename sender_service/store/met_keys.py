"""That the sender once met a key: a row in ``meta`` that is never deleted."""

from __future__ import annotations

import sqlalchemy as sa

from sender_service.store.schema import meta

_NAME = "met_keys"


def read(connection: sa.Connection) -> bool:
    """Return whether it was noted."""
    found = connection.execute(sa.select(meta.c.value).where(meta.c.name == _NAME))
    return found.one_or_none() is not None


def note(connection: sa.Connection) -> None:
    """Note it, for good."""
    if not read(connection):
        connection.execute(sa.insert(meta).values(name=_NAME, value="yes"))
