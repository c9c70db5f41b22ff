"""The shell completes commands, states, outcomes and the ids of campaigns."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from closeout_cli.__main__ import main
from unit import scripted_screens as scripted

NOBODY = "127.0.0.1:1"


@pytest.fixture(scope="module")
def services() -> Iterator[scripted.Addresses]:
    """Both services with fixed answers."""
    with scripted.serving() as addresses:
        yield addresses


@pytest.fixture
def completed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[object]:
    """Return a function that completes the last of some words."""

    def complete(*words: str) -> list[str]:
        monkeypatch.setenv("_CLOSEOUT_COMPLETE", "complete_bash")
        monkeypatch.setenv("COMP_WORDS", "\n".join(["closeout", *words]))
        monkeypatch.setenv("COMP_CWORD", str(len(words)))
        assert main([]) == 0
        out, err = capsys.readouterr()
        assert err == ""
        return out.split()

    return complete


def test_commands_states_and_outcomes_are_completed(completed) -> None:  # noqa: ANN001 - a function
    """Names of the command line itself need no service."""
    assert completed("mar") == ["mark-complete"]
    assert completed("list", "--state", "c") == ["completed", "cancelled"]
    assert completed("results", "x", "--outcome", "f") == ["failed"]
    assert "--stuck" in completed("list", "--st")


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_complete_too(
    shell: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With what each command does beside its name."""
    monkeypatch.setenv("_CLOSEOUT_COMPLETE", f"complete_{shell}")
    monkeypatch.setenv("_TYPER_COMPLETE_ARGS", "closeout tra")
    monkeypatch.setenv("_TYPER_COMPLETE_FISH_ACTION", "get-args")
    assert main([]) == 0
    out, err = capsys.readouterr()
    assert "transitions" in out
    assert "audit trail" in out
    assert err == ""


@pytest.mark.parametrize("command", ["status", "watch", "results", "cancel", "explain"])
def test_ids_are_completed(
    command: str,
    completed,  # noqa: ANN001 - a function
    services: scripted.Addresses,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Newest first, those that begin so; the address is that of the words or settings."""
    assert completed("--status-address", services.status, command, "d") == ["draft", "done"]
    assert completed(command, "--status-address", services.status, "sp") == ["spring-jp"]
    monkeypatch.setenv("CLOSEOUT_SENDER_STATUS_ADDRESS", services.status)
    assert completed(command, "") == [one.campaign_id for one in scripted.campaigns()]


def test_a_service_that_is_away_is_silent(completed) -> None:  # noqa: ANN001 - a function
    """A shell has no place for messages."""
    assert completed("status", "--status-address", NOBODY, "") == []
