"""Settings of the sender whose values are more than a number or a text."""

from __future__ import annotations

from typing import Any

import pydantic
import pytest

from sender_service.channels.email.settings import SmtpSettings
from sender_service.settings import SenderSettings


@pytest.mark.parametrize(
    ("given", "expected"), [("off", None), (False, None), ("90", 90.0), (1, 1.0), (2.5, 2.5)]
)
def test_a_hold_is_a_time_or_off(given: Any, expected: float | None) -> None:
    """From the environment or from a file, where `false` says the same as `off`."""
    assert SenderSettings(hold_after_seconds=given).hold_after_seconds == expected


def test_by_default_a_sender_holds_after_a_minute() -> None:
    """Nobody has to know the setting to be obeyed in the end."""
    assert SenderSettings().hold_after_seconds == 60


@pytest.mark.parametrize("given", [0, "0", True, 0.5, -1, "never", "nan", ""])
def test_a_hold_that_can_be_meant_in_two_ways_is_refused(given: Any) -> None:
    """Zero might be "at once" and might be "never": whoever writes it is asked."""
    with pytest.raises(pydantic.ValidationError) as caught:
        SenderSettings(hold_after_seconds=given)
    (error,) = caught.value.errors()
    if given in (0, True) or given == "0":
        assert "or off: nothing is ever held" in error["msg"]


@pytest.mark.parametrize(
    ("name", "least", "beneath"),
    [
        ("connections", 1, 0),
        ("timeout_seconds", 0.001, 0),
        ("messages_per_connection", 1, 0),
        ("max_idle_seconds", 0.001, 0),
    ],
)
def test_a_mail_server_gets_a_connection_some_time_and_a_message(
    name: str, least: float, beneath: float
) -> None:
    """With less than that nothing could ever be sent."""
    assert getattr(SmtpSettings(host="smtp.example.com", **{name: least}), name) == least
    with pytest.raises(pydantic.ValidationError) as caught:
        SmtpSettings(host="smtp.example.com", **{name: beneath})
    assert [error["loc"] for error in caught.value.errors()] == [(name,)]


@pytest.mark.parametrize(
    ("name", "most", "beyond"),
    [("port", 65_535, 65_536), ("connections", 1_000, 1_001), ("timeout_seconds", 600, 600.1)],
)
def test_a_mail_server_gets_no_more_than_makes_sense(name: str, most: float, beyond: float) -> None:
    """A number that was meant for something else is refused at the start."""
    assert getattr(SmtpSettings(host="smtp.example.com", **{name: most}), name) == most
    with pytest.raises(pydantic.ValidationError) as caught:
        SmtpSettings(host="smtp.example.com", **{name: beyond})
    assert [error["loc"] for error in caught.value.errors()] == [(name,)]


@pytest.mark.parametrize(
    ("security", "host", "port"),
    [
        ("tls", "smtp.example.com", 465),
        ("none", "smtp.example.com", 25),
        ("starttls", "smtp.example.com", 587),
        ("auto", "smtp.example.com", 587),
        ("auto", "localhost", 25),
        ("auto", "127.0.0.1", 25),
    ],
)
def test_without_a_port_it_is_that_of_the_protection(security: str, host: str, port: int) -> None:
    """The ports of RFC 5321, RFC 6409 and RFC 8314; a server of this machine is asked plainly."""
    settings = SmtpSettings(host=host, security=security)  # type: ignore[arg-type]
    assert settings.effective_port == port
