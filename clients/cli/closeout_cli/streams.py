"""Standard output and standard error of the process, whatever they are connected to.

A closed one, a full disk and an encoding without the signs we print are no reason for
a traceback.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import TextIO

#: What writing to a stream fails with. Errors of files have a file name as well.
_WRITING = frozenset({errno.EBADF, errno.EFBIG, errno.EIO, errno.ENOSPC, errno.EPIPE, errno.EDQUOT})


class _Closed(io.TextIOBase):
    """A stream that the shell closed: ``>&-``."""

    encoding = "utf-8"

    def write(self, _text: str, /) -> int:
        """Refuse.

        Raises:
            OSError: always.
        """
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))


def prepare() -> None:
    """Make both streams usable: a sign that one can't encode is printed as ``?``."""
    # Sockets must not get the numbers of closed streams: others print there.
    for number in (0, 1, 2):
        with contextlib.suppress(OSError):
            if _is_closed(number):
                os.open(os.devnull, os.O_RDONLY)
    if sys.stdout is None:
        sys.stdout = _Closed()
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115 - to the end
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _is_closed(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError as error:
        return error.errno == errno.EBADF
    return False


def trouble(error: OSError) -> str | None:
    """Return what is wrong with standard output; nothing if the error is of something else."""
    if error.errno not in _WRITING or error.filename is not None:
        return None
    if error.errno == errno.EBADF:
        return "can't print: standard output is closed; leave out the >&- or print to a file"
    return f"can't print to standard output: {error.strerror}"


def finish() -> OSError | None:
    """Write what is still in the buffers; return the error if standard output fails.

    The interpreter would do it later, with a traceback. Nobody can be informed where
    standard error fails.
    """
    failures: list[OSError | None] = []
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError as error:
            failures.append(error)
            _discard(stream)
        else:
            failures.append(None)
    return failures[0]


def _discard(stream: TextIO) -> None:
    """Let the rest of a stream vanish, so that its end brings no second failure."""
    with contextlib.suppress(OSError, ValueError):  # it has no number: nothing is left to write
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
