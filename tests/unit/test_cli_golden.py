"""Every screen of the command, sign by sign, as files in ``tests/golden``.

``make golden`` writes the files again; read the difference before you commit it.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from closeout_cli import words
from closeout_cli.__main__ import main
from closeout_cli.app import app
from closeout_cli.watch_views import BarView
from unit import scripted_events, scripted_keys
from unit import scripted_screens as scripted

GOLDEN = Path(__file__).parents[1] / "golden"
#: Set by ``make golden``.
RENEW = bool(os.environ.get("CLOSEOUT_TESTS_RENEW_GOLDEN"))

#: How a screen is looked at: columns (0: not on a terminal), colours, JSON.
FORMS = {
    "80": (80, False, False),
    "80-colour": (80, True, False),
    "120": (120, False, False),
    "piped": (0, False, False),
    "json": (0, False, True),
}
SCREENS = {
    "list": ["list"],
    "list-stuck": ["list", "--stuck"],
    "list-none": ["list", "--state", "draft", "--limit", "0", "--label", "a=b"],
    "status-sending": ["status", "welcome-424c39ce"],
    "status-problem": ["status", scripted.LONG_ID],
    "status-known-to-the-sender": ["status", "paused"],
    "status-scheduled": ["status", "new-year"],
    "status-without-results": ["status", "stopped"],
    "explain-problem": ["explain", scripted.LONG_ID],
    "explain-known-to-the-sender": ["explain", "paused"],
    "explain-sending": ["explain", "welcome-424c39ce"],
    "explain-done": ["explain", "done"],
    "fix": ["fix"],
    "fix-dry-run": ["fix", "--dry-run"],
    "check": ["check"],
    "check-attention": ["check", "--stalled-for", "1h"],
    "check-option": ["check", "--stalled-for", "soon"],
    "check-unreachable": ["check", "--status-address", "127.0.0.1:1"],
    "health": ["health", "--status-http", "127.0.0.1:1", "--sender-http", "127.0.0.1:1"],
    "results": ["results", "done"],
    "results-failed": ["results", "done", "--outcome", "failed", "--no-recipients"],
    "results-ranges": ["results", scripted.LONG_ID, "--missing"],
    "transitions": ["transitions", scripted.LONG_ID],
    "keys-list": ["keys", "list"],
    "keys-create": ["keys", "create", "--name", "reporter", "--scope", "report"],
    "keys-revoke": ["keys", "revoke", scripted_keys.KEY_ID, "--yes"],
    "keys-rotate": ["keys", "rotate", scripted_keys.KEY_ID],
    "error-key-not-found": ["keys", "revoke", "nokeynokey22", "--yes"],
    "events-list": ["events", "list"],
    "events-dead": ["events", "list", "--dead"],
    "events-replay": ["events", "replay", scripted_events.SUBSCRIPTION_ID],
    "events-subscribe": ["events", "subscribe", "https://example.com/closeout"],
    "events-subscriptions": ["events", "subscriptions"],
    "events-unsubscribe": ["events", "unsubscribe", scripted_events.SUBSCRIPTION_ID, "--yes"],
    "error-subscription-not-found": ["events", "replay", "nope"],
    "error-not-found": ["status", "nope"],
    "error-command": ["lst"],
    "error-option": ["results", "done", "--csv", "--missing", "--outcome", "failed"],
    "error-unreachable": ["pause", "done", "--status-address", "127.0.0.1:1"],
}


def paths_of(command: Any, *path: str) -> Iterator[list[str]]:
    """Yield the words of a command, and of those below it."""
    yield list(path)
    for name, inner in getattr(command, "commands", {}).items():
        yield from paths_of(inner, *path, name)


COMMANDS = list(paths_of(typer.main.get_command(app)))


@pytest.fixture(scope="module")
def services() -> Iterator[scripted.Addresses]:
    """Both services with fixed answers."""
    with scripted.serving() as addresses:
        yield addresses


@pytest.fixture
def fixed_time(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let it be the same moment, in the same zone."""
    monkeypatch.setattr(words, "now", lambda: scripted.NOW)
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def look(monkeypatch: pytest.MonkeyPatch, *, columns: int, colours: bool) -> None:
    """Let standard output be a terminal, or none."""
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "COLORTERM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", str(columns or 80))
    monkeypatch.setenv("LINES", "50")
    if columns:
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
        if not colours:
            monkeypatch.setenv("NO_COLOR", "1")
    else:
        # It asks for colours; it makes no terminal.
        monkeypatch.setenv("FORCE_COLOR", "1")


def compare(name: str, text: str) -> None:
    """Compare with the golden file, or write it."""
    path = GOLDEN / name
    if RENEW:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert path.is_file(), f"no {path.name}; `make golden` writes it"
    assert text == path.read_text(encoding="utf-8"), f"{path.name} differs; see `make golden`"


@pytest.mark.usefixtures("fixed_time")
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", SCREENS)
def test_a_screen_is_as_its_golden_file(
    name: str,
    form: str,
    services: scripted.Addresses,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Output, errors and exit code; ids are whole, and no line is wider than the terminal."""
    columns, colours, as_json = FORMS[form]
    look(monkeypatch, columns=columns, colours=colours)
    monkeypatch.setenv("CLOSEOUT_SENDER_STATUS_ADDRESS", services.status)
    monkeypatch.setenv("CLOSEOUT_SENDER_LISTEN", services.sender)
    code = main([*SCREENS[name], *(["--json"] if as_json else [])])
    out, err = capsys.readouterr()
    for address, usual in ((services.status, "20051"), (services.sender, "20052")):
        out = out.replace(address, f"127.0.0.1:{usual}")
        err = err.replace(address, f"127.0.0.1:{usual}")
    compare(f"{name}.{form}.txt", f"{out}--- standard error\n{err}--- exit code {code}\n")
    escapes = re.findall(r"\x1b\[[0-9;]*m", out)
    assert bool(escapes) <= colours or all(code in {"\x1b[0m", "\x1b[1m"} for code in escapes)
    # What a monitoring system reads is one line, however long.
    for line in out.splitlines() if columns and SCREENS[name][0] != "check" else ():
        assert words_wide(re.sub(r"\x1b\[[0-9;]*m", "", line)) <= columns


def words_wide(line: str) -> int:
    """Return how many columns a line has."""
    from rich.cells import cell_len  # noqa: PLC0415 - only here

    return cell_len(line)


@pytest.mark.parametrize("columns", [80, 120])
@pytest.mark.parametrize("command", COMMANDS, ids="-".join)
def test_a_help_page_is_as_its_golden_file(
    command: list[str],
    columns: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Paragraphs are whole, cells are wide enough, and nothing is wider than the terminal."""
    look(monkeypatch, columns=columns, colours=False)
    assert main([*command, "--help"]) == 0
    out = capsys.readouterr().out
    compare(f"help/{'-'.join(command) or 'closeout'}.{columns}.txt", out)
    assert max(map(len, out.splitlines())) <= columns
    assert not re.search(r"<\w+>|\{\w", out)


@pytest.mark.usefixtures("fixed_time")
@pytest.mark.parametrize("form", ["80", "120", "piped", "json"])
@pytest.mark.parametrize("campaign_id", ["done", "spring-jp", "stopped"])
def test_the_end_of_watching_is_as_its_golden_file(
    campaign_id: str,
    form: str,
    services: scripted.Addresses,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The state, the counters, what to do next, and the exit code."""
    columns, colours, as_json = FORMS[form]
    look(monkeypatch, columns=columns, colours=colours)
    if columns:
        (found,) = (one for one in scripted.campaigns() if one.campaign_id == campaign_id)
        BarView().end(found)
        code: Any = "-"
    else:
        address = ["--status-address", services.status, "--sender-address", services.sender]
        code = main(["watch", campaign_id, *address, *(["--json"] if as_json else [])])
    out, err = capsys.readouterr()
    text = f"{out}--- standard error\n{err}--- exit code {code}\n"
    compare(f"watch-{campaign_id}.{form}.txt", text)
