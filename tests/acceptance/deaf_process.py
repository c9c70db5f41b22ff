"""A process whose main thread notices no signal, as if it came just before a call that hangs."""

from __future__ import annotations

import os
import signal
import sys
import time

from service_runtime import process

#: The variable that says how long its stop may take, seconds.
GRACE_SECONDS = "CLOSEOUT_DEAF_GRACE_SECONDS"
_FOREVER_SECONDS = 3_600.0


def main() -> int:
    """Run the process; return its exit code."""
    return process.run(_main)


async def _main() -> None:
    process.stop_signal(float(os.environ[GRACE_SECONDS]))
    # Another thread gets it, whose call does not end by it.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    sys.stdout.write("deaf to signals\n")
    sys.stdout.flush()
    time.sleep(_FOREVER_SECONDS)  # noqa: ASYNC251 - the loop hangs
