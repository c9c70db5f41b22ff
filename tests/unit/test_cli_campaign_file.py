"""The campaign file of ``closeout send``: what it may say, and how a mistake is shown."""

from __future__ import annotations

import re
import tomllib
from datetime import timedelta
from pathlib import Path

import pytest
from google.protobuf import duration_pb2

from closeout.sender.v1 import sender_pb2 as pb
from closeout_cli.campaign_file import Body, read_campaign_file
from closeout_cli.campaign_file_page import page
from closeout_cli.campaign_ids import derived_id
from closeout_cli.campaign_keys import KEYS, Key
from closeout_cli.failures import USAGE, CommandError
from closeout_cli.recipients_file import read_recipients_file

ROOT = Path(__file__).resolve().parents[2]

WHOLE = """
name = "Welcome"
id = "welcome"
repeat_after_days = 0.5
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
max_in_flight = 10

[retry]
initial_backoff_seconds = 1.5
max_backoff_seconds = 60
max_attempts = 3
deadline_hours = 0.5

[labels]
list = "newsletter"
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
    assert (file.name, file.family, file.channel) == ("Welcome", "welcome", "webhook")
    assert file.repeat_after == timedelta(hours=12)
    assert isinstance(file.body, pb.EmailContent)
    assert file.body.text == "Hallo Zoë"
    assert file.body.html == "<p>Hello</p>"
    assert getattr(file.body, "from") == "Shop <news@example.com>"
    assert dict(file.body.headers) == {"X-One": "1"}
    assert file.options == pb.DeliveryOptions(
        guarantee=pb.DeliveryOptions.AT_LEAST_ONCE,
        max_in_flight=10,
        retry=pb.RetryPolicy(
            initial_backoff=duration_pb2.Duration(seconds=1, nanos=500_000_000),
            max_backoff=duration_pb2.Duration(seconds=60),
            max_attempts=3,
            deadline=duration_pb2.Duration(seconds=1800),
        ),
    )
    assert file.labels == {"list": "newsletter"}
    assert file.templates["text"].place == str(tmp_path / "mail" / "welcome.txt")


def test_little_is_enough(tmp_path: Path) -> None:
    """Without options the service's defaults hold; the channel is smtp."""
    file = read_campaign_file(written(tmp_path, 'name = "x"\n[content]\ntext = "y"'))
    assert (file.channel, file.family, file.repeat_after) == ("smtp", "x", None)
    assert file.options == pb.DeliveryOptions()
    assert file.labels == {}


@pytest.mark.parametrize(
    ("text", "body"),
    [
        ("", None),
        ("channel = 'null'", None),
        ("[content]\ntext = 't'", pb.EmailContent(text="t")),
        ("channel = 'webhook'\n[content]\ntext = 't'", pb.TextContent(text="t")),
        (
            "channel = 'webhook'\n[content]\nsubject = 's'\ntext = 't'",
            pb.EmailContent(subject="s", text="t"),
        ),
        ("channel = 'webhook'\n[content]\nhtml = 'h'", pb.EmailContent(html="h")),
        ("channel = 'webhook'\n[content]\njson = '{}'", pb.JsonContent(json="{}")),
        ("[content]\njson = '{}'", pb.JsonContent(json="{}")),
    ],
)
def test_the_keys_make_the_kind_of_content(tmp_path: Path, text: str, body: Body) -> None:
    """A document, a text where that is all on a channel but smtp, else an e-mail."""
    assert read_campaign_file(written(tmp_path, f"name = 'x'\n{text}")).body == body


def test_a_document_can_be_a_file_of_its_own(tmp_path: Path) -> None:
    """An error in it is shown with its name."""
    (tmp_path / "push.json").write_text('{"to": {{ name | json }}}', encoding="utf-8")
    text = 'name = "x"\nchannel = "webhook"\n[content]\njson_file = "push.json"'
    file = read_campaign_file(written(tmp_path, text))
    assert file.body == pb.JsonContent(json='{"to": {{ name | json }}}')
    assert file.templates["json"].place == str(tmp_path / "push.json")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a name is missing"),
        ('nmae = "x"', "unknown key nmae; did you mean name?"),
        ('name = "x"\n[content]\nsubjet = "s"', "unknown key [content] subjet; did you mean sub"),
        ('name = "x"\n[options]\nzzz = 1', "unknown key [options] zzz; known are guarantee"),
        ("name = 3", "name must be a text, not 3"),
        ('name = "x"\ncontent = "y"', "content must be a table"),
        ('name = "x"\n[retry]\nmax_attempts = "3"', "max_attempts must be a whole number"),
        ('name = "x"\n[retry]\nmax_attempts = true', "max_attempts must be a whole number"),
        ('name = "x"\n[retry]\nmax_attempts = -1', "[retry] max_attempts must not be -1"),
        ('name = "x"\n[options]\nmax_in_flight = -1', "[options] max_in_flight must not be -1"),
        ('name = "x"\n[retry]\ninitial_backoff_seconds = -1', "backoff_seconds must not be -1"),
        ('name = "x"\n[retry]\nmax_backoff_seconds = nan', "max_backoff_seconds must not be nan"),
        ('name = "x"\n[retry]\ndeadline_hours = inf', "deadline_hours must not be inf"),
        ('name = "x"\n[options]\nwindow = 5', "[options] window is now [options] max_in_flight"),
        (
            'name = "x"\n[options]\nmax_attempts = 5',
            "[options] max_attempts is now [retry] max_attempts",
        ),
        (
            'name = "x"\n[options]\nretry_backoff_seconds = 5',
            "[options] retry_backoff_seconds is now [retry] initial_backoff_seconds",
        ),
        ('name = "x"\n[labels]\nlist = 3', "[labels] list must be a text, not 3"),
        ('name = "x"\n[content]\njson = "1"\nsubject = "s"', "[content] json excludes subject"),
        ('name = "x"\n[options]\nguarantee = "maybe"', "one of at_most_once, at_least_once"),
        ('name = "x"\n[content]\ntext = "a"\ntext_file = "b"', "both text and text_file"),
        ('name = "x"\n[content]\nhtml_file = "no.html"', "no.html: No such file"),
        ('name = "x"\n[content.headers]\nX = 1', "[content.headers] X must be a text"),
        ('name = "x"\nrepeat_after_days = -1', "repeat_after_days must be 0 to 366, not -1"),
        ('name = "x"\nrepeat_after_days = 367', "repeat_after_days must be 0 to 366, not 367"),
        ('name = "x"\nrepeat_after_days = nan', "repeat_after_days must be 0 to 366, not nan"),
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
        identity(base + "[options]\nmax_in_flight = 5\n", "email\na@example.com\n"),
        identity(base, "email\nb@example.com\n"),
        identity(base + "[retry]\n", "email\na@example.com\n"),
        identity(base + "[labels]\na = 'b'\n", "email\na@example.com\n"),
        identity(f"channel = 'console'\n{base}", "email\na@example.com\n"),
        identity(base.replace("text", "json"), "email\na@example.com\n"),
        identity(base.replace("Sale!", "Sale?"), "email\na@example.com\n"),
        identity(f"id = 'sale'\n{base}", "email\na@example.com\n"),
        identity(f"repeat_after_days = 0\n{base}", "email\na@example.com\n"),
    ]
    assert len(set(ids)) == 11
    assert ids[0] == identity(base, "email\na@example.com\n")
    assert ids[0].startswith("ete-sale-")
    assert ids[9].startswith("sale-")


def test_the_page_of_the_campaign_file_is_that_of_its_keys() -> None:
    """docs/campaign-file.md is what ``python -m closeout_cli.campaign_file_page`` prints."""
    assert (ROOT / "docs" / "campaign-file.md").read_text(encoding="utf-8") == page()


@pytest.mark.parametrize("key", KEYS, ids=lambda key: f"{key.table}.{key.name}")
def test_the_example_of_every_key_is_accepted(tmp_path: Path, key: Key) -> None:
    """What the page shows can be written so."""
    for name in ("welcome.txt", "welcome.html", "push.json"):
        (tmp_path / name).write_text("{}", encoding="utf-8")
    line = f"{key.name.replace('*', 'list')} = {key.example}"
    head = "" if (key.table, key.name) == ("", "name") else "name = 'x'\n"
    table = f"[{key.table}]\n" if key.table else ""
    read_campaign_file(written(tmp_path, f"{head}{table}{line}"))


def test_the_file_on_the_page_is_accepted(tmp_path: Path) -> None:
    """So can the whole file at its head, with every table that there is."""
    for name in ("welcome.txt", "welcome.html"):
        (tmp_path / name).write_text("x", encoding="utf-8")
    (shown,) = re.findall(r"```toml\n(.+?)```", page(), re.DOTALL)
    file = read_campaign_file(written(tmp_path, shown))
    assert (file.family, file.labels) == ("welcome", {"list": "newsletter"})
    assert set(tomllib.loads(shown)) >= {key.table for key in KEYS if key.table}
