"""``python -m closeout_cli.settings_checks MODULE... [--start]``: several services check settings.

In one process: most of the time of a check goes into what both services import. Prints one
object of JSON: for each module, the lines of ``python -m MODULE --check`` that say what is
wrong; none if nothing is.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import sys
import traceback
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(words: Sequence[str]) -> int:
    """Print what the checks of all modules say, and return 0.

    Args:
        words: the modules, then options for the check of each.
    """
    options = [word for word in words if word.startswith("-")]
    modules = [word for word in words if not word.startswith("-")]
    answers = {module: _problems(module, ["--check", *options]) for module in modules}
    sys.stdout.write(json.dumps(answers))
    return 0


def _problems(module: str, words: list[str]) -> list[str]:
    """Return the lines about what is wrong."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = importlib.import_module(f"{module}.__main__").main(words)
        except Exception:  # noqa: BLE001 - what is wrong, in the words of Python
            traceback.print_exc()
            code = 1
    if code == 0:
        return []
    lines = [*out.getvalue().splitlines(), *err.getvalue().splitlines()]
    return [line for line in lines if line.strip()] or [
        f"`python -m {module} --check` ended with exit code {code}; run it by itself"
    ]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
