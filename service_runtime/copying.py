"""COPY of PostgreSQL, for which SQLAlchemy has no words.

The text of the rows goes beside the statement, in an option of its execution, and is given
to the driver where SQLAlchemy would execute the statement. So a failure of it is one like
any other: wrapped, and the end of its connection.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import sqlalchemy as sa

_LINES = "closeout_copy_lines"


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
