"""The campaign file: TOML with a name, a channel, the content, options and labels.

::

    name = "Welcome"
    channel = "smtp"

    [content]
    subject = "Welcome, {{ first_name }}"
    text_file = "welcome.txt"
    html_file = "welcome.html"
    from = "Example <news@example.com>"
    reply_to = "help@example.com"
    list_unsubscribe = "https://example.com/unsubscribe/{{ recipient_key }}"

    [content.headers]
    X-Campaign = "welcome"

    [options]
    guarantee = "at_most_once"
    max_in_flight = 64

    [retry]
    initial_backoff_seconds = 2
    max_backoff_seconds = 3600
    max_attempts = 5
    deadline_hours = 24

    [labels]
    list = "newsletter"

``json`` or ``json_file`` in ``[content]`` makes it a JSON document, ``text`` or
``text_file`` alone a text on any channel but smtp; everything else is an e-mail. Files
are named relative to the campaign file. Every key is optional but ``name``. With a
table ``[retry]``, ``max_attempts`` 0 or left out is no limit but the deadline.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from closeout.sender.v1 import sender_pb2 as pb
from closeout_cli.campaign_tables import check_table, delivery_options, texts, wrong

if TYPE_CHECKING:
    from collections.abc import Mapping

Body: TypeAlias = "pb.EmailContent | pb.TextContent | pb.JsonContent | None"

_TOP = {
    "name": str,
    "id": str,
    "channel": str,
    "content": dict,
    "options": dict,
    "retry": dict,
    "labels": dict,
}
_CONTENT = {
    "subject": str,
    "text": str,
    "text_file": str,
    "html": str,
    "html_file": str,
    "from": str,
    "reply_to": str,
    "list_unsubscribe": str,
    "headers": dict,
    "json": str,
    "json_file": str,
}
_TEMPLATES = ("subject", "text", "html", "list_unsubscribe", "json")
_JSON = frozenset({"json", "json_file"})
_TEXT = frozenset({"text", "text_file"})


@dataclass(frozen=True)
class Template:
    """Where a template of the content came from, to show what is wrong with it.

    Attributes:
        place: the file, or the key within the campaign file.
        text: the template itself.
    """

    place: str
    text: str


@dataclass(frozen=True)
class CampaignFile:
    """A campaign file, read and checked.

    Attributes:
        name: what people call the campaign.
        campaign_id: its id; empty if the file names none.
        channel: the channel it goes out on.
        body: what is sent; None: nothing.
        options: how it is sent.
        labels: its labels.
        templates: where each template of the content came from, by field.
    """

    name: str
    campaign_id: str
    channel: str
    body: Body
    options: pb.DeliveryOptions
    labels: Mapping[str, str] = field(default_factory=dict)
    templates: Mapping[str, Template] = field(default_factory=dict)


def read_campaign_file(path: Path) -> CampaignFile:
    """Read a campaign file and the templates it names.

    Raises:
        CommandError: it can't be read, or a key is unknown, missing or wrong.
    """
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise wrong(path, _reason(error, path)) from error
    check_table(path, "", tables, _TOP)
    content: dict[str, Any] = tables.get("content", {})
    check_table(path, "content", content, _CONTENT)
    options = delivery_options(path, tables)
    if not tables.get("name"):
        raise wrong(path, 'a name is missing, as in name = "Welcome"')
    channel = tables.get("channel", "smtp")
    templates = _templates(path, content)
    return CampaignFile(
        name=tables["name"],
        campaign_id=tables.get("id", ""),
        channel=channel,
        body=_body(path, channel, content, templates),
        options=options,
        labels=texts(path, "labels", tables.get("labels", {})),
        templates=templates,
    )


def _templates(path: Path, content: dict[str, Any]) -> dict[str, Template]:
    templates = {}
    for key in _TEMPLATES:
        file = content.get(f"{key}_file")
        if file is not None and key in content:
            raise wrong(path, f"[content] has both {key} and {key}_file; leave one")
        if file is not None:
            source = path.parent / file
            try:
                text = source.read_text(encoding="utf-8-sig")
            except (OSError, ValueError) as error:
                raise wrong(path, f"[content] {key}_file: {_reason(error)}") from error
            templates[key] = Template(str(source), text)
        elif key in content:
            templates[key] = Template(f"{path} [content] {key}", content[key])
    return templates


def _body(
    path: Path, channel: str, content: dict[str, Any], templates: Mapping[str, Template]
) -> Body:
    keys = content.keys()
    if not keys:
        return None
    if keys & _JSON:
        if others := [key for key in keys if key not in _JSON]:
            raise wrong(path, f"[content] json excludes {others[0]}: the document is all there is")
        return pb.JsonContent(json=templates["json"].text)
    if keys <= _TEXT and channel != "smtp":
        return pb.TextContent(text=templates["text"].text)
    email = pb.EmailContent(
        **{key: template.text for key, template in templates.items()},
        reply_to=content.get("reply_to", ""),
        headers=texts(path, "content.headers", content.get("headers", {})),
    )
    # "from" is a word of Python's.
    setattr(email, "from", content.get("from", ""))
    return email


def _reason(error: OSError | ValueError, path: Path | None = None) -> str:
    """Say what is wrong; the file is named unless it is the one already named."""
    if isinstance(error, UnicodeDecodeError):
        return f"not UTF-8 (at byte {error.start})"
    if isinstance(error, OSError):
        return str(error.strerror) if path else f"{error.filename}: {error.strerror}"
    return str(error)
