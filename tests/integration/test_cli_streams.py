"""Whatever the output is connected to, a command ends with one line and a known code."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import signal
import sys
from typing import TYPE_CHECKING

import pytest

from integration.cli_support import PATIENCE_SECONDS, clean_environment, started

if TYPE_CHECKING:
    from pathlib import Path

#: Commands that print without a service.
PRINTING = ["--version", "--help", "results --help"]


async def in_shell(
    command: str, folder: Path, **variables: str | None
) -> tuple[int | None, str, str]:
    """Run ``closeout`` with redirections; return its exit code, output and errors."""
    environment = {**clean_environment(), **variables}
    process = await asyncio.create_subprocess_exec(
        *("bash", "-c", f"{shlex.quote(sys.executable)} -m closeout_cli {command}"),
        cwd=folder,
        env={name: value for name, value in environment.items() if value is not None},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(PATIENCE_SECONDS):
        out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


@pytest.mark.parametrize("words", PRINTING)
async def test_a_full_disk_is_one_line(words: str, tmp_path: Path) -> None:
    """What can't be written is a failure, and no traceback."""
    line = "closeout: can't print to standard output: No space left on device\n"
    assert await in_shell(f"{words} > /dev/full", tmp_path) == (1, "", line)


@pytest.mark.parametrize("words", PRINTING)
async def test_a_closed_output_is_one_line(words: str, tmp_path: Path) -> None:
    """The shell closed it: the command says so."""
    code, out, err = await in_shell(f"{words} >&-", tmp_path)
    assert (code, out) == (1, "")
    assert err.startswith("closeout: can't print: standard output is closed; ")
    assert err.count("\n") == 1


async def test_a_full_disk_is_an_object_in_json(tmp_path: Path) -> None:
    """A script that reads JSON gets this failure as JSON too."""
    code, _, err = await in_shell("list --json --help > /dev/full", tmp_path)
    assert code == 1
    assert json.loads(err)["error"]["reason"] == "OUTPUT_FAILED"


async def test_a_closed_error_output_changes_no_exit_code(tmp_path: Path) -> None:
    """Nobody reads the message; the answer to scripts stays."""
    assert await in_shell("lst 2>&-", tmp_path) == (2, "", "")
    assert await in_shell("lst 2>/dev/full", tmp_path) == (2, "", "")
    assert await in_shell("list --status-address 127.0.0.1:1 2>&- >&-", tmp_path) == (5, "", "")
    code, out, _ = await in_shell("--version 2>&- <&-", tmp_path)
    assert (code, out.startswith("closeout ")) == (0, True)


async def test_a_reader_who_left_gets_no_message(tmp_path: Path) -> None:
    """As with head: nothing is said about it."""
    command = "--help | true; echo ${PIPESTATUS[0]} >&2"
    _, out, err = await in_shell(command, tmp_path)
    assert out == ""
    assert err in {"0\n", "1\n"}, "a reader that leaves later than we print is no failure"


async def test_signs_that_the_output_has_not_are_replaced(tmp_path: Path) -> None:
    """An old terminal shows a question mark where it has no sign."""
    words = "pause \N{SNOWMAN} --status-address 127.0.0.1:1"
    for name in ("status-address", "no-such-option-\N{SNOWMAN}"):
        code, out, err = await in_shell(
            f"{words} --{name} \N{SNOWMAN}:1", tmp_path, PYTHONIOENCODING="ascii"
        )
        assert (code in {2, 5}, out) == (True, "")
        assert err.startswith("closeout: ")
        assert err.count("\n") == 1
        assert err.isascii()


async def test_no_home_is_no_failure(tmp_path: Path) -> None:
    """Services and cron jobs often have none."""
    code, out, err = await in_shell("--version", tmp_path, HOME=None)
    assert (code, err) == (0, "")
    assert out.startswith("closeout ")


async def test_an_interrupt_while_it_starts_is_silent(tmp_path: Path) -> None:
    """Ctrl-C while modules are imported ends with 130 and prints nothing."""
    (tmp_path / "sitecustomize.py").write_text(
        "import os, signal, sys\n"
        "class Interrupting:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'typer':\n"
        "            signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "            os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Interrupting())\n"
    )
    paths = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    environment = {**clean_environment(), "PYTHONPATH": paths}
    async with started("--version", folder=tmp_path, environment=environment) as process:
        out, err = await process.communicate()
    assert (process.returncode, out, err) == (128 + signal.SIGINT, b"", b"")
