"""What can't be taken back is asked about first, where a person can answer."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator

import pytest

from closeout.status.v1 import status_pb2 as pb
from closeout_cli import control, failures
from closeout_cli.__main__ import main
from unit import scripted_screens as scripted


class Terminal(io.StringIO):
    """Standard input with a person at it."""

    def isatty(self) -> bool:
        """Say so."""
        return True


@pytest.fixture(scope="module")
def services() -> Iterator[scripted.Addresses]:
    """Both services with fixed answers."""
    with scripted.serving() as addresses:
        yield addresses


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, services: scripted.Addresses) -> Iterator[list[str]]:
    """Record the calls that would change something; commands find the services."""
    calls: list[str] = []

    def change(address: str, call: object, unchanged: str, **named: object) -> int:  # noqa: ARG001
        calls.append(unchanged)
        return failures.OK

    monkeypatch.setattr(control, "_change", change)
    monkeypatch.setenv("CLOSEOUT_SENDER_STATUS_ADDRESS", services.status)
    return calls


def at_a_terminal(monkeypatch: pytest.MonkeyPatch, answer: str) -> None:
    """Let a person be there, who answers so."""
    monkeypatch.setattr(sys, "stdin", Terminal(answer))
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)


CANCEL = ["cancel", scripted.LONG_ID]
FORCE = ["mark-complete", scripted.LONG_ID, "--force", "--reason", "gone"]


@pytest.mark.parametrize(
    ("words", "numbers"), [(CANCEL, "29,960 messages of 48,200"), (FORCE, "29,960 messages of")]
)
@pytest.mark.parametrize("answer", ["\n", "n\n", "", "x\n", "y\n", "YES\n"])
def test_a_person_is_asked_with_the_numbers(
    *,
    words: list[str],
    numbers: str,
    answer: str,
    asked: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Only a yes goes on; anything else changes nothing, and says so."""
    at_a_terminal(monkeypatch, answer)
    agreed = answer.lower().startswith("y")
    assert main(words) == (failures.OK if agreed else failures.FAILED)
    assert len(asked) == int(agreed)
    err = capsys.readouterr().err
    assert numbers in err
    assert "Autumn renewal notice" in err
    assert ("nothing was changed" in err) != agreed


@pytest.mark.parametrize(
    "words",
    [
        [*CANCEL, "--yes"],
        [*FORCE, "--yes"],
        [*CANCEL, "--json"],
        [*FORCE, "--dry-run"],
        ["mark-complete", scripted.LONG_ID],
        ["cancel", "done"],
    ],
)
def test_nobody_is_asked_without_need(
    words: list[str],
    asked: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """With --yes or JSON, where nothing can be lost, and where nothing changes any more."""
    at_a_terminal(monkeypatch, "")
    assert main(words) == failures.OK
    assert len(asked) == 1
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("words", [CANCEL, FORCE])
def test_a_script_is_never_asked(
    words: list[str], asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a terminal there is nobody to answer."""
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    assert main(words) == failures.OK
    assert len(asked) == 1


def test_a_draft_has_sent_nothing() -> None:
    """The question says so, instead of numbers that are not known."""
    campaign = pb.Campaign(campaign_id="d", state=pb.Campaign.DRAFT)
    assert control._cancelling(campaign) == (
        "This ends d for good. It has not started, and nothing was sent. Cancel it?"
    )
