"""Make the blocking clients from the asyncio ones.

The two differ in a few words, so those are replaced in the source and ruff lays the
result out. What differs in more than words (the channel, the stream of results) is
written by hand in ``closeout/aio`` and ``closeout/sync``, under the same names.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

#: The modules that are made, by their names in ``closeout/aio`` and ``closeout/sync``.
MODULES = ("access.py", "campaign_reader.py", "events.py", "sender.py", "status.py")

#: Words of code and of docstrings, and their blocking form.
_WORDS = {
    r"\b(?:async|await) ": "",
    r"\baclosing\b": "closing",
    r"\baio\b": "sync",
    r"\bAsyncGenerator\[(.+?), None\]": r"Generator[\1, None, None]",
    r"\bAsync(Generator|Iterator)\b": r"\1",
}
_HEADER = "# Made from closeout/aio/{name} by generate.py: edit that file and run make protos.\n"


def blocking(source: Path) -> str:
    """Return the blocking form of an asyncio module, laid out by the rules of the project.

    Raises:
        subprocess.CalledProcessError: ruff refused the result; it said why.
    """
    code = source.read_text()
    for word, form in _WORDS.items():
        code = re.sub(word, form, code)
    # Names moved in the order of imports, and a blocking loop can be a "yield from".
    code = _ruff(["check", "--fix-only", "--unsafe-fixes", "--select", "I,UP028"], source, code)
    return _HEADER.format(name=source.name) + _ruff(["format"], source, code)


def _ruff(arguments: list[str], source: Path, code: str) -> str:
    done = subprocess.run(  # noqa: S603 - our own interpreter, our own arguments
        [sys.executable, "-m", "ruff", *arguments, "--quiet", f"--stdin-filename={source}", "-"],
        input=code,
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    return done.stdout
