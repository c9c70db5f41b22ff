"""The campaign file of ``closeout send``: what it may say, and how a mistake is told."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from closeout.sender.v1 import sender_pb2 as pb
from closeout_cli.campaign_file import read_campaign_file
from closeout_cli.failures import USAGE, CommandError
from closeout_cli.recipients_file import read_recipients_file
from closeout_cli.send import derived_id

if TYPE_CHECKING:
    from pathlib import Path

WHOLE = """
name = "Welcome"
id = "welcome-1"
channel = "webhook"

[content]
subject = "Hello {{ name }}"
text_file = "mail/welcome.txt"
html = "<p>Hello</p>"
from = "Shop <news@example.com>"
reply_to = "help@example.com"
list_unsubscribe = "https://example.com/u"

[content.headers]
X-One = "1"

[options]
guarantee = "at_least_once"
window = 10
max_attempts = 3
retry_backoff_seconds = 1.5
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "campaign.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_every_key_reaches_the_request(tmp_path: Path) -> None:
    """What the file says is what is sent; files are relative to it."""
    (tmp_path / "mail").mkdir()
    (tmp_path / "mail" / "welcome.txt").write_text("Hallo Zoë", encoding="utf-8")
    file = read_campaign_file(written(tmp_path, WHOLE))
    assert (file.name, file.campaign_id, file.channel) == ("Welcome", "welcome-1", "webhook")
    assert file.content.text == "Hallo Zoë"
    assert file.content.html == "<p>Hello</p>"
    assert getattr(file.content, "from") == "Shop <news@example.com>"
    assert dict(file.content.headers) == {"X-One": "1"}
    assert file.options.guarantee == pb.DeliveryOptions.AT_LEAST_ONCE
    assert (file.options.window, file.options.max_attempts) == (10, 3)
    assert file.options.retry_backoff.ToMilliseconds() == 1500
    assert file.templates["text"].place == str(tmp_path / "mail" / "welcome.txt")


def test_little_is_enough(tmp_path: Path) -> None:
    """Without options the service's defaults hold; the channel is smtp."""
    file = read_campaign_file(written(tmp_path, 'name = "x"\n[content]\ntext = "y"'))
    assert file.channel == "smtp"
    assert not file.options.HasField("retry_backoff")
    assert file.options == pb.DeliveryOptions()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a name is missing"),
        ('nmae = "x"', "unknown key nmae; did you mean name?"),
        ('name = "x"\n[content]\nsubjet = "s"', "unknown key [content] subjet; did you mean sub"),
        ('name = "x"\n[options]\nzzz = 1', "unknown key [options] zzz; known are guarantee"),
        ("name = 3", "name must be a text, not 3"),
        ('name = "x"\ncontent = "y"', "content must be a table"),
        ('name = "x"\n[options]\nmax_attempts = "3"', "max_attempts must be a whole number"),
        ('name = "x"\n[options]\nmax_attempts = true', "max_attempts must be a whole number"),
        ('name = "x"\n[options]\nwindow = -1', "window must not be -1"),
        ('name = "x"\n[options]\nretry_backoff_seconds = -1', "retry_backoff_seconds must not be"),
        ('name = "x"\n[options]\nretry_backoff_seconds = nan', "retry_backoff_seconds must not be"),
        ('name = "x"\n[options]\nguarantee = "maybe"', "one of at_most_once, at_least_once"),
        ('name = "x"\n[content]\ntext = "a"\ntext_file = "b"', "both text and text_file"),
        ('name = "x"\n[content]\nhtml_file = "no.html"', "no.html: No such file"),
        ('name = "x"\n[content.headers]\nX = 1', "[content.headers] X must be a text"),
        ("name = \nid", "at line 1, column"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, text: str, message: str) -> None:
    """One line says which file, which key, and what was expected."""
    path = written(tmp_path, text)
    with pytest.raises(CommandError) as caught:
        read_campaign_file(path)
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == USAGE


def test_a_file_that_is_not_there_is_named_once(tmp_path: Path) -> None:
    """The path stands once in the message."""
    with pytest.raises(CommandError, match=r"^\S+none\.toml: No such file or directory$"):
        read_campaign_file(tmp_path / "none.toml")


def test_the_id_depends_on_what_is_sent_to_whom(tmp_path: Path) -> None:
    """The same command has the same id; another text, option or list another one."""
    recipients = tmp_path / "r.csv"

    def identity(campaign: str, csv: str) -> str:
        recipients.write_text(csv, encoding="utf-8")
        return derived_id(
            read_campaign_file(written(tmp_path, campaign)), read_recipients_file(recipients)
        )

    base = 'name = "Été: Sale!"\n[content]\ntext = "a"\n'
    ids = [
        identity(base, "email\na@example.com\n"),
        identity(base.replace('"a"', '"b"'), "email\na@example.com\n"),
        identity(base + "[options]\nwindow = 5\n", "email\na@example.com\n"),
        identity(base, "email\nb@example.com\n"),
    ]
    assert len(set(ids)) == 4
    assert ids[0] == identity(base, "email\na@example.com\n")
    assert ids[0].startswith("ete-sale-")
