"""Options that every command takes, before or after its name; and failures as JSON."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from typing import Any

import pytest
import typer

from closeout.errors import BY_CODE, ClientError, FailedPreconditionError, NotFoundError
from closeout_cli import failures, options, output_mode, screen
from closeout_cli.__main__ import main
from closeout_cli.app import app
from closeout_cli.failures import CommandError, report, say

NOBODY = "127.0.0.1:1"


def paths_of(command: Any, *path: str) -> Iterator[list[str]]:
    """Yield the words of each command below a group, and of its own commands."""
    for name, inner in getattr(command, "commands", {}).items():
        yield [*path, name]
        yield from paths_of(inner, *path, name)


COMMANDS = list(paths_of(typer.main.get_command(app)))


def error_of(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """Return the one error that was printed as JSON, and nothing else."""
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    found: dict[str, Any] = json.loads(line)["error"]
    assert list(found) == ["code", "reason", "message", "metadata", "exit_code"]
    return found


@pytest.mark.parametrize("option", ["--json", "--status-address", "--sender-address"])
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_takes_the_global_options(
    command: list[str], option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before and after the name; where a command needs none, it is not refused."""
    words = [option] if option == "--json" else [option, NOBODY]
    assert main([*command, *words, "--help"]) == failures.OK
    assert main([*words, *command, "--help"]) == failures.OK
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "words", [["--json", "list"], ["list", "--json"], ["--json", "list", "--json"]]
)
@pytest.mark.parametrize("place", [0, 9])
def test_a_failure_is_one_json_object(
    words: list[str], place: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """In either place of the option, on standard error, with the exit code."""
    given = list(words)
    given[place:place] = ["--status-address", NOBODY]
    assert main(given) == failures.UNREACHABLE
    found = error_of(capsys)
    assert (found["code"], found["exit_code"]) == ("UNAVAILABLE", 5)
    assert NOBODY in found["message"]


@pytest.mark.parametrize(
    "words",
    [
        ["lst", "--json"],
        ["--json", "lst"],
        ["status", "--json"],
        ["list", "--json", "--state", "foo"],
        ["results", "x", "--json", "--csv"],
    ],
)
def test_a_wrong_command_line_is_json_too(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """A script that asked for JSON never has to read text."""
    assert main(words) == failures.USAGE
    found = error_of(capsys)
    assert (found["code"], found["reason"]) == ("INVALID_ARGUMENT", "COMMAND_LINE_INVALID")
    assert found["exit_code"] == 2
    assert "--help)" in found["message"]


def test_after_two_dashes_json_is_no_option(capsys: pytest.CaptureFixture[str]) -> None:
    """What follows -- is an argument, and the failure is for people."""
    assert main(["--status-address", NOBODY, "status", "--", "--json"]) == failures.UNREACHABLE
    assert capsys.readouterr().err.startswith("closeout: ")


@pytest.mark.parametrize("kind", list(BY_CODE.values()))
def test_the_error_of_a_call_keeps_code_reason_and_metadata(
    kind: type[ClientError], capsys: pytest.CaptureFixture[str]
) -> None:
    """A script decides by the names of the contract, never by the text."""
    error = kind("no\x1b[2J", reason="WHY", metadata={"pending": "6"})
    with output_mode.of(["--json"]):
        code = report(error)
    assert error_of(capsys) == {
        "code": kind.code.name,
        "reason": "WHY",
        "message": "no\x1b[2J",
        "metadata": {"pending": "6"},
        "exit_code": code,
    }


def test_an_error_of_the_command_has_that_of_its_call(capsys: pytest.CaptureFixture[str]) -> None:
    """The command's own text, with the code, reason and metadata of what failed."""
    error = CommandError("refused: x", more=("  try y",))
    error.__cause__ = FailedPreconditionError(
        "x", reason="CAMPAIGN_SEALED", metadata={"total": "2"}
    )
    with output_mode.of(["--json"]):
        assert report(error) == failures.FAILED
    found = error_of(capsys)
    assert (found["code"], found["reason"]) == ("FAILED_PRECONDITION", "CAMPAIGN_SEALED")
    assert found["metadata"] == {"total": "2"}
    assert found["message"] == "refused: x\n  try y"


def test_text_for_people_is_an_object_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    """Every line of either stream can be parsed, whatever a command prints."""
    with output_mode.of(["list", "--json"]):
        screen.line("stopped")
        say("waiting")
        screen.print_event("started", {"total": 2})
    out, err = capsys.readouterr()
    assert [json.loads(line) for line in out.splitlines()] == [
        {"message": "stopped"},
        {"event": "started", "total": 2},
    ]
    assert json.loads(err) == {"notice": {"message": "waiting"}}
    screen.line("stopped")
    assert capsys.readouterr().out == "stopped\n"


def test_the_mode_ends_with_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    """A second command of one process has its own form."""
    assert main(["lst", "--json"]) == failures.USAGE
    assert main(["lst"]) == failures.USAGE
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("{")
    assert second.startswith("closeout: ")
    assert report(NotFoundError("x")) == failures.NOT_FOUND


def test_a_command_sees_only_its_own_options() -> None:
    """An option that is accepted for convenience does not reach the command."""
    from closeout_cli.options import with_global_options  # noqa: PLC0415 - a detail

    def bare(*, campaign_id: str = "") -> int:
        return len(campaign_id)

    accepting = with_global_options(bare)
    assert set(inspect.signature(accepting).parameters) == {
        "campaign_id",
        "status_address",
        "sender_address",
        "as_json",
    }
    values = {"status_address": "a", "sender_address": "b", "as_json": True}
    assert accepting(campaign_id="abc", **values) == 3


@pytest.mark.parametrize(
    ("user", "host", "text"),
    [
        ("ops", "mail-3", "ops@mail-3"),
        ("J\N{LATIN SMALL LETTER U WITH DIAERESIS}rgen", "h\n", "J?rgen@h?"),
        ("x" * 200, "host", "x" * 128),
    ],
)
def test_the_audit_trail_learns_who_uses_the_command(
    user: str, host: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Metadata of a call takes visible ASCII only, and not more than 128 characters."""
    monkeypatch.setattr("getpass.getuser", lambda: user)
    monkeypatch.setattr("socket.gethostname", lambda: host)
    assert options.on_behalf_of() == text


def test_a_user_without_a_name_is_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container that runs with a bare user id."""

    def nobody() -> str:
        raise KeyError

    monkeypatch.setattr("getpass.getuser", nobody)
    assert options.on_behalf_of().partition("@")[0].isdigit()
