"""COPY of PostgreSQL, for which SQLAlchemy has no words.

The text of the rows goes beside the statement, in an option of its execution, and is given
to the driver where SQLAlchemy would execute the statement. So a failure of it is one like
any other: wrapped, and the end of its connection.

The server waits for the rows of a COPY without a limit of time, with the locks of its
transaction held. A process that stands still meanwhile, such as a paused container, would
hold them until it goes on, so whoever waits for a lock in vain ends what stands still.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
import structlog

if TYPE_CHECKING:
    from collections.abc import Iterable

log = structlog.get_logger()

#: A COPY whose rows come this much later than it began is ended, seconds; as long as a
#: transaction may be idle.
STALLED_SECONDS = 60
_LINES = "closeout_copy_lines"
_END_STALLED = sa.text(
    # A list of its own: no other connection may be ended, in whatever order it is read.
    "WITH stalled AS MATERIALIZED (SELECT pid FROM pg_stat_activity"
    " WHERE datname = current_database() AND usename = current_user"
    " AND application_name = current_setting('application_name')"
    " AND state = 'active' AND wait_event = 'ClientRead' AND query LIKE 'COPY %'"
    " AND query_start < clock_timestamp() - make_interval(secs => :seconds))"
    " SELECT pid FROM stalled WHERE pg_terminate_backend(pid)"
)


def copy_in(connection: sa.Connection, statement: str, lines: str) -> int:
    """Add rows to a table by one COPY; return how many.

    Args:
        connection: of an engine that :mod:`.postgresql` made, in a write transaction.
        statement: ``COPY ... FROM STDIN``, in the format of text.
        lines: the rows.

    Raises:
        IntegrityError: one of them is there already; nothing of the transaction stays.
    """
    options = {_LINES: lines}
    return connection.exec_driver_sql(statement, execution_options=options).rowcount


def execute(cursor: Any, statement: str, parameters: Any, context: Any) -> bool:  # noqa: ARG001
    """Execute a statement of :func:`copy_in`; return whether it was one.

    An engine has it as its listener of ``do_execute``.
    """
    lines = context.execution_options.get(_LINES)
    if lines is None:
        return False
    with cursor.copy(statement) as copy:
        copy.write(lines)
    return True


def end_stalled(connection: sa.Connection) -> None:
    """End connections of other instances of this service that are in the middle of a COPY.

    Only those that have waited for its rows for :data:`STALLED_SECONDS`; nothing of their
    transactions stays.
    """
    ended: Iterable[int] = connection.scalars(_END_STALLED, {"seconds": STALLED_SECONDS})
    for pid in ended:
        log.warning(
            "stalled_copy_ended",
            backend=pid,
            seconds=STALLED_SECONDS,
            reason="another instance stood still while it held a lock",
        )
