"""What ``send --test`` says of a message, and what ``resend`` asks before it sends."""

from __future__ import annotations

import io

import pytest

from closeout.sender.v1 import sender_pb2 as pb
from closeout.status.v1 import status_pb2
from closeout_cli import resend
from closeout_cli.__main__ import main
from closeout_cli.failures import CommandError
from closeout_cli.trial import attempt_lines

Attempt = pb.SendTestResponse.Attempt


@pytest.mark.parametrize(
    ("attempt", "lines"),
    [
        (
            Attempt(outcome=status_pb2.Result.SENT, code="250", detail="2.0.0 queued as 7"),
            ["SENT me@example.com: 250 2.0.0 queued as 7"],
        ),
        (Attempt(outcome=status_pb2.Result.SENT), ["SENT me@example.com"]),
        (
            Attempt(
                outcome=status_pb2.Result.FAILED,
                code="535",
                detail="5.7.8 authentication failed",
                problem=status_pb2.Problem(
                    summary="the mail server refuses the login",
                    detail="5.7.8 authentication failed",
                    setting="[smtp] password",
                ),
            ),
            [
                "FAILED me@example.com: 535 5.7.8 authentication failed",
                "  the mail server refuses the login; correct [smtp] password at the sender",
            ],
        ),
        (
            Attempt(
                outcome=status_pb2.Result.FAILED,
                problem=status_pb2.Problem(summary="it can't be reached", detail="refused"),
            ),
            ["FAILED me@example.com", "  it can't be reached", "  refused"],
        ),
        (
            Attempt(outcome=status_pb2.Result.UNKNOWN, code="timeout"),
            [
                "UNKNOWN me@example.com: timeout",
                "  the answer was lost: look whether it arrived, and test again",
            ],
        ),
    ],
)
def test_a_test_message_says_what_to_correct(attempt: Attempt, lines: list[str]) -> None:
    """The outcome, the provider's words, and the setting."""
    attempt.address = "me@example.com"
    assert attempt_lines(attempt) == lines


def test_a_resend_asks_with_its_numbers() -> None:
    """Only outcomes that somebody has are named, with what they mean."""
    found = resend.Resend("c", ("failed", "unknown", "skipped", "unsent"), "c-resend-1")
    counted = pb.ResendCampaignResponse(total=12, unknown=10, unsent=2)
    assert resend.question(found, counted) == (
        "Resend to 12 people? 10 unknown: some may get it twice; 2 unsent."
    )
    again = resend.Resend("c", ("failed",), "c-resend-2", earlier="1 already got it.")
    counted = pb.ResendCampaignResponse(total=1, failed=1)
    assert resend.question(again, counted) == "Resend to 1 person? 1 failed. 1 already got it."


def test_a_resend_without_a_terminal_needs_yes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is sent, and the option is named."""
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    found = resend.Resend("c", ("failed",), "c-resend-1")
    counted = pb.ResendCampaignResponse(total=1, failed=1)
    with pytest.raises(CommandError, match="Nothing was sent: agree with --yes"):
        resend._ask(found, counted)


@pytest.mark.parametrize(("answer", "sent"), [("y\n", True), ("n\n", False), ("\n", False)])
def test_a_resend_is_sent_after_a_yes_alone(
    answer: str, monkeypatch: pytest.MonkeyPatch, *, sent: bool
) -> None:
    """In a terminal the person decides, and no answer is a no."""
    monkeypatch.setattr(resend, "may_ask", lambda: True)
    monkeypatch.setattr("sys.stdin", io.StringIO(answer))
    found = resend.Resend("c", ("failed",), "c-resend-1")
    counted = pb.ResendCampaignResponse(total=1, failed=1)
    if sent:
        resend._ask(found, counted)
    else:
        with pytest.raises(CommandError, match="nothing was changed"):
            resend._ask(found, counted)


@pytest.mark.parametrize(
    ("to", "message"),
    [
        ("failed,lost", "--to takes failed, unknown, skipped, sent, unsent, not 'lost'"),
        (" , ", "--to needs an outcome, as in failed,unsent"),
    ],
)
def test_a_wrong_outcome_is_refused(
    to: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line names those that there are."""
    assert main(["resend", "c", "--to", to]) == 2
    assert message in capsys.readouterr().err
