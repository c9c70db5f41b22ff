"""The channels that need no provider, and what all channels have in common."""

from __future__ import annotations

import importlib.metadata
import math
from typing import TYPE_CHECKING

import pytest

from sender_service.channels.console import ConsoleChannel
from sender_service.channels.contract import (
    ENTRY_POINT_GROUP,
    Answer,
    Content,
    EmailContent,
    Handover,
    JsonContent,
    Message,
    NoContent,
    Reply,
    RetryPolicy,
    TextContent,
)
from sender_service.channels.errors import InvalidAddressError, InvalidContentError, TemplateError
from sender_service.channels.null import NullChannel
from sender_service.channels.replies import detail
from service_runtime.settings import Section

if TYPE_CHECKING:
    from pathlib import Path


def message(address: str = "ann", **fields: object) -> Message:
    return Message("spring", 7, address, "k-7", fields, "0" * 32)


async def test_console_prints_one_line_for_each_message(capsys: pytest.CaptureFixture[str]) -> None:
    """A first try shows who would get what, one line each, whatever the text holds."""
    console = ConsoleChannel.from_settings(ConsoleChannel.settings_model())
    template = console.compile(
        EmailContent(subject="Hi {{ name }}", text="Dear\n{{ name }}\x1b[2J\n")
    )
    for name in ("Ann", "Zoë"):
        assert await console.send(template, message(name=name), Handover()) == Reply(
            Answer.ACCEPTED
        )
    await console.close()
    assert capsys.readouterr().out == (
        "spring 7 to ann: Hi Ann | Dear Ann\ufffd[2J\nspring 7 to ann: Hi Zoë | Dear Zoë\ufffd[2J\n"
    )


async def test_console_refuses_what_cannot_be_rendered() -> None:
    """One recipient's odd field fails one message."""
    console = ConsoleChannel()
    reply = await console.send(
        console.compile(EmailContent(text="{{ x | sort }}")), message(x=[1, "a"]), Handover()
    )
    assert (reply.answer, reply.code) == (Answer.REFUSED, "render_error")


async def test_console_that_is_closed_is_unreachable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A message that could not be printed was not sent."""
    path = tmp_path / "out"
    path.touch()
    console = ConsoleChannel()
    with path.open("r", encoding="utf-8") as unwritable:  # as a broken pipe, it takes nothing
        monkeypatch.setattr("sys.stdout", unwritable)
        reply = await console.send(console.compile(EmailContent(text="x")), message(), Handover())
        monkeypatch.undo()
    assert (reply.answer, reply.code) == (Answer.PROVIDER_FAULT, "console_closed")


def test_console_checks_templates() -> None:
    """A broken template is the same error for the console as for e-mail."""
    with pytest.raises(TemplateError, match="line 1"):
        ConsoleChannel().compile(EmailContent(text="{% if x %}"))


async def test_null_accepts_everything_and_renders_nothing() -> None:
    """Benchmarks measure all but the provider and the templates."""
    null = NullChannel.from_settings(NullChannel.settings_model())
    template = null.compile(EmailContent(text="{% never compiled"))
    assert (await null.send(template, message(), Handover())).answer is Answer.ACCEPTED
    assert "never compiled" in template.preview(message())
    await null.close()


@pytest.mark.parametrize(
    ("content", "printed"),
    [
        (TextContent(text="Hi {{ name }}"), "spring 7 to ann: Hi Ann\n"),
        (JsonContent(json='{"to":\n {{ name | json }}}'), 'spring 7 to ann: {"to": "Ann"}\n'),
    ],
)
async def test_console_shows_any_kind(
    content: Content, printed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A text and a document have no subject before them."""
    console = ConsoleChannel()
    await console.send(console.compile(content), message(name="Ann"), Handover())
    assert capsys.readouterr().out == printed


def test_console_needs_something_to_show() -> None:
    """A campaign without content is refused with the field."""
    with pytest.raises(InvalidContentError, match="takes email, text or json; there is none"):
        ConsoleChannel().compile(NoContent())


@pytest.mark.parametrize(
    ("content", "preview"),
    [
        (EmailContent(subject="Hi", html="<p>"), "To: ann\nSubject: Hi\n\n<p>"),
        (TextContent(text="{{ x"), "To: ann\n\n{{ x"),
        (JsonContent(json="{"), "To: ann\n\n{"),
        (NoContent(), "To: ann"),
    ],
)
def test_null_previews_any_kind(content: Content, preview: str) -> None:
    """What is never rendered is shown as it was written, and nothing need be there."""
    assert NullChannel().compile(content).preview(message()) == preview


@pytest.mark.parametrize("channel", [NullChannel(), ConsoleChannel()])
def test_addresses_of_any_kind(channel: NullChannel | ConsoleChannel) -> None:
    """Where nothing is sent, an address is anything short enough."""
    assert channel.check_address(" ann ") == "ann"
    for address in ("", "  ", "a" * 321):
        with pytest.raises(InvalidAddressError):
            channel.check_address(address)


def test_every_installed_channel_has_the_shape_of_one() -> None:
    """An entry point names a class with a settings table whose fields all have defaults."""
    channels = importlib.metadata.entry_points(group=ENTRY_POINT_GROUP)
    defaults = {}
    for entry in channels:
        channel = entry.load()
        assert channel.name == entry.name
        assert issubclass(channel.settings_model, Section)
        assert channel.settings_model() == channel.settings_model()
        defaults[channel.name] = (channel.max_in_flight, channel.at_least_once, channel.retry)
    minute, hour = 60.0, 3600.0
    mail = (minute, 5 * minute, 15 * minute, hour, 4 * hour)
    web = (5.0, 30.0, 2 * minute, 10 * minute, hour)
    assert defaults == {
        "smtp": (64, False, RetryPolicy(math.inf, minute, 4 * hour, 0, mail)),
        "webhook": (256, True, RetryPolicy(math.inf, 5.0, hour, 0, web)),
        "console": (64, False, RetryPolicy(math.inf, 2.0, hour, 5)),
        "null": (1000, False, RetryPolicy(math.inf, 2.0, hour, 5)),
    }


def test_detail_is_one_bounded_line() -> None:
    """What a provider said fits a result, and can be printed."""
    assert detail("5.1.1 no\n such\x1b[0m user\x00 ") == "5.1.1 no such [0m user"
    assert len(detail("x" * 1000)) == 500
