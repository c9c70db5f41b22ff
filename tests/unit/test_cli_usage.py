"""Wrong command lines and settings: one line on standard error, exit code 2."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from closeout.errors import (
    BY_CODE,
    ClientError,
    DeadlineExceededError,
    InvalidArgumentError,
    NotFoundError,
    UnavailableError,
)
from closeout_cli import addresses, audit, campaigns, failures, fix, result_lines
from closeout_cli.__main__ import main
from closeout_cli.failures import CommandError, report


def printed(capsys: pytest.CaptureFixture[str]) -> str:
    """Return what was printed, without colours: some environments ask for them."""
    return re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["lst"], "No such command 'lst'. Did you mean 'list'? (see closeout --help)"),
        (["status"], "Missing argument 'ID' (see closeout status --help)"),
        (["send", "x.toml"], "Missing option '--recipients' (see closeout send --help)"),
        (["list", "--state", "foo"], "'foo' is not one of 'draft'"),
        (["list", "--jsno"], "No such option: --jsno"),
        (["fix", "--stall-threshold", "soon"], "'soon' is not a duration"),
        (["results", "x", "--missing", "--csv", "--outcome", "failed"], "use either --missing or"),
        (["mark-complete", "x", "--force"], "--force needs a --reason"),
        (["send", "none.toml", "--recipients", "none.csv"], "none.toml: No such file"),
        (["list", "--label", "x"], "'x' is not a label, as in list=newsletter"),
    ],
)
def test_a_wrong_command_line_is_one_line(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The line says what is wrong and where help is; nothing is printed for a script."""
    assert main(words) == failures.USAGE
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert err.startswith("closeout: ")
    assert err.count("\n") == 1


def test_help_lists_commands_and_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever writes a script finds the exit codes in the help."""
    assert main(["--help"]) == failures.OK
    text = printed(capsys)
    for command in ("up", "send", "demo", "list", "watch", "fix", "mark-complete"):
        assert f" {command} " in text
    for code, meaning in failures.MEANINGS.items():
        assert f"{code}  {meaning}" in text


def test_the_documents_list_the_exit_codes_and_the_columns() -> None:
    """docs/command-line.md says what the command does."""
    text = (Path(__file__).parents[2] / "docs" / "command-line.md").read_text(encoding="utf-8")
    for code, meaning in failures.MEANINGS.items():
        assert f"\n| {code} | {meaning} |\n" in text
    shown = result_lines.Form(missing=False, recipients=True).shown
    tables = {
        "list": campaigns._COLUMNS,
        "fix": fix._COLUMNS,
        "results": [result_lines._COLUMNS[name] for name in shown],
        "transitions": audit._COLUMNS,
    }
    for command, columns in tables.items():
        going = sorted(columns, key=lambda column: -column.drop)
        names = ", ".join(column.heading for column in going if column.drop)
        assert f"\n| `{command}` | {names} |\n" in text


def test_without_a_command_the_help_comes(capsys: pytest.CaptureFixture[str]) -> None:
    """A bare call shows the commands, and is no success for a script."""
    assert main([]) == failures.USAGE
    assert "Usage: closeout" in printed(capsys)


@pytest.mark.parametrize(
    "command",
    [
        "up",
        "send",
        "resend",
        "demo",
        "list",
        "status",
        "watch",
        "results",
        "explain",
        "transitions",
        "pause",
        "resume",
        "cancel",
        "mark-complete",
        "fix",
    ],
)
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each command has a help text."""
    assert main([command, "--help"]) == failures.OK
    assert f"Usage: closeout {command}" in printed(capsys)


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """`closeout --version` names the program and its version."""
    assert main(["--version"]) == failures.OK
    version = capsys.readouterr().out.removeprefix("closeout ").strip()
    assert main(["--version", "--json"]) == failures.OK
    assert json.loads(capsys.readouterr().out) == {"version": version}


@pytest.mark.parametrize("kind", list(BY_CODE.values()))
def test_every_failure_has_an_exit_code_and_one_line(
    kind: type[ClientError], capsys: pytest.CaptureFixture[str]
) -> None:
    """A failure of a call is never a traceback, and never success."""
    expected = {
        NotFoundError: failures.NOT_FOUND,
        InvalidArgumentError: failures.USAGE,
        UnavailableError: failures.UNREACHABLE,
        DeadlineExceededError: failures.UNREACHABLE,
    }.get(kind, failures.FAILED)
    assert report(kind("first\nsecond\x1b[2J")) == expected
    assert capsys.readouterr().err == "closeout: first second[2J\n"


def test_the_place_of_an_error_is_shown_below(capsys: pytest.CaptureFixture[str]) -> None:
    """Lines that show the place follow as they are."""
    assert report(CommandError("x", exit_code=3, more=("  here", "  ^"))) == 3
    assert capsys.readouterr().err == "closeout: x\n  here\n  ^\n"


def test_addresses_come_from_the_services_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The environment wins over the file, the file over the defaults."""
    monkeypatch.chdir(tmp_path)
    for name in ("SENDER_STATUS_ADDRESS", "STATUS_LISTEN", "SENDER_LISTEN", "CONFIG"):
        monkeypatch.delenv(f"CLOSEOUT_{name}", raising=False)
    assert addresses.status_address() == "127.0.0.1:20051"
    assert addresses.sender_address() == "127.0.0.1:20052"
    (tmp_path / "closeout.toml").write_text('[status]\nlisten = "a:1"\n[sender]\nlisten = "b:2"\n')
    assert addresses.status_address() == "a:1"
    assert addresses.sender_address() == "b:2"
    monkeypatch.setenv("CLOSEOUT_STATUS_LISTEN", "c:3")
    assert addresses.status_address() == "c:3"
    monkeypatch.setenv("CLOSEOUT_SENDER_STATUS_ADDRESS", "d:4")
    assert addresses.status_address() == "d:4"


def test_a_broken_settings_file_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A settings file that can't be read is an error of one line, not ignored."""
    path = tmp_path / "broken.toml"
    path.write_text("[status\n")
    monkeypatch.delenv("CLOSEOUT_SENDER_STATUS_ADDRESS", raising=False)
    monkeypatch.delenv("CLOSEOUT_STATUS_LISTEN", raising=False)
    monkeypatch.setenv("CLOSEOUT_CONFIG", str(path))
    assert main(["list"]) == failures.USAGE
    assert f"settings file {path}" in capsys.readouterr().err
