"""What is printed to an output that has not every sign."""

from __future__ import annotations

import errno
import io
import json
import sys

import pytest

from closeout_cli import screen, streams


def ascii_output(monkeypatch: pytest.MonkeyPatch) -> io.BytesIO:
    """Let standard output take ASCII only, as in an old locale."""
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    streams.prepare()
    return raw


def test_a_sign_that_can_not_be_printed_is_a_question_mark(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A name is shown as far as the output can."""
    printed = ascii_output(monkeypatch)
    screen.line("Zo\N{LATIN SMALL LETTER E WITH DIAERESIS}")
    screen.row("\N{SNOWMAN}", 1)
    assert printed.getvalue() == b"Zo?\n?\t1\n"


def test_json_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """JSON has a way to write every sign in ASCII."""
    printed = ascii_output(monkeypatch)
    screen.print_json({"name": "\N{SNOWMAN}"})
    assert json.loads(printed.getvalue()) == {"name": "\N{SNOWMAN}"}


def test_an_error_of_a_file_is_not_one_of_the_output() -> None:
    """A file has a name, and its own message."""
    full = OSError(errno.ENOSPC, "No space left on device")
    assert streams.trouble(full) == "can't print to standard output: No space left on device"
    assert streams.trouble(OSError(errno.ENOSPC, "full", "x.csv")) is None
    assert streams.trouble(OSError(errno.ENOENT, "no such file")) is None
