"""Content without a sender: what is checked and shown is what the sender checks and shows."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from closeout.sender.v1 import sender_pb2 as pb
from sender_service.channels import offline
from sender_service.channels.console import ConsoleChannel
from sender_service.channels.contract import Channel, Message
from sender_service.channels.email.settings import SmtpSettings
from sender_service.channels.email.smtp import SmtpChannel
from sender_service.channels.errors import ChannelError
from sender_service.channels.from_wire import content_of, fields_of
from sender_service.channels.null import NullChannel
from sender_service.channels.registry import installed_channels
from sender_service.channels.webhook.channel import WebhookChannel
from sender_service.channels.webhook.settings import WebhookSettings

CHANNELS: dict[str, Channel] = {
    "console": ConsoleChannel(),
    "null": NullChannel(),
    "smtp": SmtpChannel(SmtpSettings(host="mail.shop.example")),
    "webhook": WebhookChannel(WebhookSettings(url="https://shop.example/hook")),
}


def email(**changes: Any) -> pb.EmailContent:
    values: dict[str, Any] = {
        "subject": "Hi {{ first_name }}",
        "text": "Dear {{ first_name }}",
        "html": "<p>Dear {{ first_name }}</p>",
        "from": "Shop <news@shop.example>",
        "reply_to": "help@shop.example",
        "list_unsubscribe": "https://shop.example/u/{{ recipient_key }}",
        "headers": {"X-Campaign": "spring"},
    }
    return pb.EmailContent(**(values | changes))


BODIES: dict[str, offline.Body] = {
    "email": email(),
    "html": email(text=""),
    "text": pb.TextContent(text="Hi {{ first_name }}"),
    "json": pb.JsonContent(json='{"n": {{ first_name | json }}}'),
    "none": None,
    "broken": email(text="{{ first_name"),
    "no subject": email(subject=""),
    "no content": email(text="", html=""),
}


def recipient(**fields: Any) -> pb.Recipient:
    found = pb.Recipient(address="ann@shop.example", recipient_key="k-7")
    found.fields.update(fields)
    return found


def message(to: pb.Recipient) -> Message:
    return Message("preview", 1, to.address, to.recipient_key, fields_of(to.fields), "0" * 32)


def test_a_preview_has_all_headers_and_bodies() -> None:
    """An e-mail is shown as its recipient would see it."""
    preview = offline.compile_content("smtp", email()).render(recipient(first_name="Zoë"))
    assert preview.headers == (
        ("From", "Shop <news@shop.example>"),
        ("To", "ann@shop.example"),
        ("Reply-To", "help@shop.example"),
        ("Subject", "Hi Zoë"),
        ("X-Campaign", "spring"),
        ("List-Unsubscribe", "<https://shop.example/u/k-7>"),
        ("List-Unsubscribe-Post", "List-Unsubscribe=One-Click"),
    )
    assert (preview.subject, preview.text) == ("Hi Zoë", "Dear Zoë")
    assert preview.html == "<p>Dear Zoë</p>"
    assert str(preview).startswith("From: Shop <news@shop.example>\nTo: ann@shop.example\n")
    assert str(preview).endswith("One-Click\n\nDear Zoë\n\n<p>Dear Zoë</p>")


@pytest.mark.parametrize("break_", ["\n", "\r\n", "\r", "\u2028", "\v", "\x85"])
@pytest.mark.parametrize("channel", ["console", "smtp", "webhook"])
def test_a_value_never_begins_a_header_in_a_preview(channel: str, break_: str) -> None:
    """A line break in a value is the space that it is in the mail."""
    content = offline.compile_content(channel, email())
    preview = content.render(recipient(first_name=f"A{break_}Bcc: x@x.example"))
    assert preview.subject == "Hi A Bcc: x@x.example"
    assert len(str(preview).split("\n\n")[0].splitlines()) == len(preview.headers)


def test_all_channels_of_this_package_are_here() -> None:
    """What is installed with the service can be compiled; others are named as such."""
    assert sorted(offline.CHANNELS) == sorted(installed_channels()) == sorted(CHANNELS)
    with pytest.raises(ValueError, match="channel carrier"):
        offline.compile_content("carrier", email())


def outcome(preview: Callable[[], object]) -> tuple[str, str]:
    """Return the text of a preview, or what refused it."""
    try:
        return "shown", str(preview())
    except ChannelError as error:
        return type(error).__name__, str(error)


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("channel", CHANNELS)
def test_a_content_is_what_its_channel_makes_of_it(channel: str, body: str) -> None:
    """Each kind of content is refused, or shown, word by word as the channel does it."""
    to = recipient(first_name="Ann\nLee")
    # The channel null never renders a template; here its variables are to be found.
    by = CHANNELS["console" if (channel, body) == ("null", "broken") else channel]
    expected = outcome(lambda: by.compile(content_of(BODIES[body])).preview(message(to)))
    found = outcome(lambda: offline.compile_content(channel, BODIES[body]).render(to))
    assert found == expected


@pytest.mark.parametrize("address", [" ann@SHOP.example ", "no-at-sign", "", "+49 151 1"])
@pytest.mark.parametrize("channel", CHANNELS)
def test_an_address_is_what_its_channel_makes_of_it(channel: str, address: str) -> None:
    """The same addresses are refused, and the others take the same form."""
    content = offline.compile_content(channel, email())
    expected = outcome(lambda: CHANNELS[channel].check_address(address))
    assert outcome(lambda: content.check_address(address)) == expected


def test_variables_are_checked_against_columns_and_recipients() -> None:
    """Unknown variables come with their place, and gaps of one recipient with their names."""
    content = offline.compile_content("smtp", email(subject="Hello {{ frist_name }} {{ city }}"))
    assert content.variables == ("frist_name", "city", "first_name", "recipient_key")
    assert [str(one) for one in content.unknown_variables(["first_name", "city"])] == [
        "subject:1:10: the recipients have no field frist_name; did you mean first_name?"
    ]
    assert content.empty_variables(recipient(first_name="Ann", city=" ")) == ("frist_name", "city")
    assert content.empty_variables(pb.Recipient(address="a@b.example")) == (
        *("frist_name", "city", "first_name"),
        "recipient_key",
    )


def test_the_module_is_light() -> None:
    """A command that previews loads no client of a provider and no database."""
    heavy = ("aiohttp", "aiosmtplib", "sqlalchemy", "pydantic", "structlog", "psycopg", "uvloop")
    code = (
        "import sys; import sender_service.channels.offline;"
        f" print([name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run(  # noqa: S603 - this interpreter
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "[]\n"
