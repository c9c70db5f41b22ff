"""What holds the senders of campaigns up, for whom an actor acted, and completions by force."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

if TYPE_CHECKING:
    from alembic.operations import Operations

revision = "0003"
down_revision = "0002"

#: So far, a result that force recorded is known by its code alone.
_COUNT_FORCED = """
UPDATE transitions SET forced = (
    SELECT count(*) FROM results
    WHERE results.campaign = transitions.campaign AND code = 'forced' AND attempt = 0
)
WHERE cause = 'MANUAL' AND to_state = 'COMPLETED'
"""


def upgrade(op: Operations) -> None:
    """Give campaigns that are registered already no problems; count what force recorded."""
    op.add_column("campaigns", sa.Column("problems", sa.Text, nullable=False, server_default="[]"))
    for name in ("problems_revision", "revision_before_problems"):
        op.add_column(
            "campaigns", sa.Column(name, sa.BigInteger, nullable=False, server_default="0")
        )
    op.add_column(
        "transitions", sa.Column("on_behalf_of", sa.Text, nullable=False, server_default="")
    )
    op.add_column(
        "transitions", sa.Column("forced", sa.BigInteger, nullable=False, server_default="0")
    )
    op.get_bind().exec_driver_sql(_COUNT_FORCED)
