"""What a forked command starts by ``python -m`` is forked as well.

``closeout up`` starts services, and other commands have services check their settings: each
a new interpreter that imports for a second. A fork of the command has imported everything.
It has the process id, folder, session, descriptors, environment and signals that the new
interpreter would have. What a test says of these command lines needs a command that was
``started``.
"""

from __future__ import annotations

import contextlib
import gc
import os
import runpy
import signal
import subprocess
import sys
import time
import traceback
import warnings
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import Any, NoReturn

import psutil

#: How commands run a module; its name and its arguments follow.
_PYTHON = (sys.executable, "-P", "-m")
#: What an interpreter ignores from its start.
_IGNORED = (signal.SIGPIPE, signal.SIGXFSZ)


def fork_children() -> None:
    """Fork what this process starts by ``python -P -m`` from now on."""
    subprocess.Popen = _Child  # type: ignore[misc]


def open_streams() -> None:
    """Open the standard streams as an interpreter does from its start: on what they are now."""
    options = {"encoding": "utf-8", "closefd": False}
    sys.stdin = open(0, **options)  # noqa: SIM115 - to the end
    sys.stdout = open(1, "w", **options)  # noqa: SIM115 - to the end
    sys.stderr = open(2, "w", buffering=1, errors="backslashreplace", **options)  # noqa: SIM115


class _Child(subprocess.Popen[bytes]):
    """A child that is forked where it can be."""

    def __init__(self, command: Sequence[str], **options: Any) -> None:
        # gRPC has threads once it was used, and what is forked then would lack them.
        alone = psutil.Process().num_threads() == len(sys._current_frames())
        if alone and tuple(command[:3]) == _PYTHON:
            environment, kept = options.get("env") or os.environ, options.get("pass_fds", ())
            # Runs where the child would become another program.
            options["preexec_fn"] = partial(
                _become, command[3], list(command[4:]), dict(environment), kept
            )
        super().__init__(command, **options)


def _become(
    module: str, words: list[str], environment: Mapping[str, str], kept: Collection[int]
) -> NoReturn:
    """Do in this process what ``python -P -m MODULE WORDS...`` would do, and end it."""
    code: object = 1
    try:
        gc.enable()  # which is off around a fork
        _forget_signals()
        _close_all_but({0, 1, 2, *kept})
        os.environ.clear()
        os.environ.update(environment)
        time.tzset()
        open_streams()
        sys.argv[1:] = words
        # A module that was imported before it is run.
        warnings.filterwarnings("ignore", ".* found in sys.modules", RuntimeWarning)
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as end:
        code = 0 if end.code is None else end.code
    except BaseException:  # noqa: BLE001 - as the interpreter would print it
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 1)


def _forget_signals() -> None:
    """Do on signals what an interpreter does from its start."""
    signal.set_wakeup_fd(-1)
    for number in signal.valid_signals():
        if callable(signal.getsignal(number)):
            signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in _IGNORED:
        signal.signal(number, signal.SIG_IGN)


def _close_all_but(kept: Collection[int]) -> None:
    for number in map(int, os.listdir("/dev/fd")):  # noqa: PTH208 - numbers
        if number not in kept:
            with contextlib.suppress(OSError):  # that of the list itself
                os.close(number)
