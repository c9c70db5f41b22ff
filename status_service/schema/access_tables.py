"""Keys, and what stands for one for a while."""

from __future__ import annotations

import sqlalchemy as sa

from service_runtime.database_time import UtcTime
from status_service.schema.columns import Key, metadata

#: Who may call: docs/access.md. A row is never deleted: while there is one, nobody is served
#: without a key. ``scopes`` are names with blanks between, in the order of the alphabet.
keys = sa.Table(
    "keys",
    metadata,
    sa.Column("key", Key, primary_key=True),
    sa.Column("key_id", sa.Text, nullable=False, unique=True),
    sa.Column("organisation", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("scopes", sa.Text, nullable=False),
    # SHA-256: the secret has 256 random bits, so a slow hash would add nothing.
    sa.Column("secret_hash", sa.LargeBinary, nullable=False),
    sa.Column("creator", sa.Text, nullable=False),
    sa.Column("create_time", UtcTime, nullable=False),
    sa.Column("expire_time", UtcTime),
    sa.Column("revoke_time", UtcTime),
    # Written at most once a minute.
    sa.Column("last_use_time", UtcTime),
    # Microseconds it was made for; NULL: for ever. A rotation shortens expire_time alone.
    sa.Column("life", sa.BigInteger),
    sa.CheckConstraint("length(secret_hash) = 32", name="secret_hash_is_sha256"),
    sa.Index("keys_by_age", "organisation", "key"),
)

#: One row for each session of pages, by the SHA-256 of its cookie. ``note`` is a text that
#: is kept with it for a while.
sessions = sa.Table(
    "sessions",
    metadata,
    sa.Column("session", sa.Text, primary_key=True),
    sa.Column("key_id", sa.Text, nullable=False),
    sa.Column("organisation", sa.Text, nullable=False),
    sa.Column("create_time", UtcTime, nullable=False),
    sa.Column("seen_time", UtcTime, nullable=False),
    sa.Column("expire_time", UtcTime, nullable=False),
    sa.Column("note", sa.Text, nullable=False, server_default=""),
    sa.Column("note_time", UtcTime),
)

#: What a page shows a sender in place of a key, by the SHA-256 of its secret: see
#: access/delegations.py. A row stands for a minute, and is deleted after it.
delegations = sa.Table(
    "delegations",
    metadata,
    sa.Column("delegation", sa.Text, primary_key=True),
    sa.Column("key_id", sa.Text, nullable=False),
    sa.Column("scopes", sa.Text, nullable=False),
    sa.Column("expire_time", UtcTime, nullable=False),
    sa.Index("delegations_by_end", "expire_time"),
)
