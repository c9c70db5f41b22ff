"""``closeout``, and ``python -m closeout_cli``: the exit code is the answer to scripts."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

#: As in ``closeout_cli.failures``, which may not be imported yet.
_INTERRUPTED = 130


def main(words: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Args:
        words: the arguments; by default those of the process.
    """
    # gRPC remarks on connections on standard error, between our own lines. It reads
    # the variable while it is imported.
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    try:
        # Inside: Ctrl-C may come while they are imported, which takes a while.
        from closeout_cli import streams  # noqa: PLC0415 - see above
        from closeout_cli.entry import execute  # noqa: PLC0415 - see above

        streams.prepare()
        return execute(words)
    except KeyboardInterrupt:
        return _INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
