"""The campaign file: TOML with a name, a channel, the content, options and labels.

``docs/campaign-file.md`` has every key; :mod:`closeout_cli.campaign_keys` is its source.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from closeout.sender.v1 import sender_pb2 as pb
from closeout_cli.campaign_keys import TEMPLATES, kinds_of
from closeout_cli.campaign_tables import check_table, delivery_options, repeat_after, texts, wrong

if TYPE_CHECKING:
    from collections.abc import Mapping

Body: TypeAlias = "pb.EmailContent | pb.TextContent | pb.JsonContent | None"

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
        path: where it is.
        name: what people call the campaign.
        family: the campaigns that it must not repeat by accident: its ``id``, else its name.
        repeat_after: for how long after the start of one of them it would repeat it; None:
            for 7 days; zero: never.
        channel: the channel it goes out on.
        body: what is sent; None: nothing.
        options: how it is sent.
        labels: its labels.
        templates: where each template of the content came from, by field.
        content_keys: the keys of its content.
    """

    path: Path
    name: str
    family: str
    repeat_after: timedelta | None
    channel: str
    body: Body
    options: pb.DeliveryOptions
    labels: Mapping[str, str] = field(default_factory=dict)
    templates: Mapping[str, Template] = field(default_factory=dict)
    content_keys: frozenset[str] = frozenset()


def read_campaign_file(path: Path) -> CampaignFile:
    """Read a campaign file and the templates it names.

    Raises:
        CommandError: it can't be read, or a key is unknown, missing or wrong.
    """
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise wrong(path, _reason(error, path)) from error
    check_table(path, "", tables, kinds_of(""))
    content: dict[str, Any] = tables.get("content", {})
    check_table(path, "content", content, kinds_of("content"))
    options = delivery_options(path, tables)
    if not tables.get("name"):
        raise wrong(path, 'a name is missing, as in name = "Welcome"')
    channel = tables.get("channel", "smtp")
    templates = _templates(path, content)
    return CampaignFile(
        path=path,
        name=tables["name"],
        family=tables.get("id") or tables["name"],
        repeat_after=repeat_after(path, tables),
        channel=channel,
        body=_body(path, channel, content, templates),
        options=options,
        labels=texts(path, "labels", tables.get("labels", {})),
        templates=templates,
        content_keys=frozenset(key.removesuffix("_file") for key in content),
    )


def _templates(path: Path, content: dict[str, Any]) -> dict[str, Template]:
    templates = {}
    for key in TEMPLATES:
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
