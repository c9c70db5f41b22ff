"""Results into PostgreSQL: whole columns as array literals, one statement for all rows.

A statement takes 65,535 parameters at most, and the driver looks at each. An array
is one; as a literal it is put together by a handful of calls that loop in C.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

#: No text has it: a request with one is refused.
_NUL = "\x00"


def array(parts: Iterable[str]) -> str:
    """Return the literal of an array of what :func:`integers` or :func:`texts` returned."""
    return "{" + ",".join(parts) + "}"


def integers(values: Sequence[int | None]) -> str:
    """Return the elements of an array of integers, None as NULL."""
    if len(set(values)) == 1:  # as outcomes and attempts often are
        return ",".join([str(values[0])] * len(values)).replace("None", "NULL")
    return ",".join(map(str, values)).replace("None", "NULL")


def texts(values: Iterable[str]) -> str:
    """Return the elements of an array of texts; none of them has a NUL character."""
    joined = _NUL.join(values).replace("\\", "\\\\").replace('"', '\\"')
    return '"' + joined.replace(_NUL, '","') + '"'
