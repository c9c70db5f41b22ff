"""The real sender service, whose commits hang once the file ``hang`` is in its folder."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from sqlalchemy.engine.default import DefaultDialect

from sender_service import __main__ as sender_main

#: The file that makes it hang, and the one that says that it does.
HANG, HANGS = "hang", "hangs"
_FOREVER_SECONDS = 3_600.0


def main() -> int:
    """Run the service in this folder; return the exit code of the process."""
    commit = DefaultDialect.do_commit

    def committing(dialect: DefaultDialect, connection: Any) -> None:
        if Path(HANG).exists():
            Path(HANGS).touch()
            time.sleep(_FOREVER_SECONDS)
        commit(dialect, connection)

    DefaultDialect.do_commit = committing  # type: ignore[method-assign]
    return sender_main.main()
