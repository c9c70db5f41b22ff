"""The campaign file: TOML with a name, a channel, the content and the options.

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
    window = 64
    max_attempts = 5
    retry_backoff_seconds = 2.0

Files are named relative to the campaign file. Every key is optional but ``name``.
"""

from __future__ import annotations

import difflib
import tomllib
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from closeout.sender.v1 import sender_pb2 as pb
from closeout.times import duration
from closeout_cli.failures import USAGE, CommandError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_GUARANTEES = {
    "at_most_once": pb.DeliveryOptions.AT_MOST_ONCE,
    "at_least_once": pb.DeliveryOptions.AT_LEAST_ONCE,
}
_TOP = {"name": str, "id": str, "channel": str, "content": dict, "options": dict}
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
}
_OPTIONS = {
    "guarantee": str,
    "window": int,
    "max_attempts": int,
    "retry_backoff_seconds": float,
}
_MAX_INT32 = 2**31 - 1
_MAX_BACKOFF_SECONDS = 86400
_KINDS = {str: "a text", int: "a whole number", float: "a number", dict: "a table"}


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
        content: what is sent.
        options: how it is sent.
        templates: where each template of the content came from, by field.
    """

    name: str
    campaign_id: str
    channel: str
    content: pb.EmailContent
    options: pb.DeliveryOptions
    templates: dict[str, Template] = field(default_factory=dict)


def read_campaign_file(path: Path) -> CampaignFile:
    """Read a campaign file and the templates it names.

    Raises:
        CommandError: it can't be read, or a key is unknown, missing or wrong.
    """
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise _wrong(path, _reason(error, path)) from error
    _check(path, "", tables, _TOP)
    content: dict[str, Any] = tables.get("content", {})
    options: dict[str, Any] = tables.get("options", {})
    _check(path, "content", content, _CONTENT)
    _check(path, "options", options, _OPTIONS)
    if not tables.get("name"):
        raise _wrong(path, 'a name is missing, as in name = "Welcome"')
    templates = _templates(path, content)
    return CampaignFile(
        name=tables["name"],
        campaign_id=tables.get("id", ""),
        channel=tables.get("channel", "smtp"),
        content=_content(path, content, templates),
        options=_options(path, options),
        templates=templates,
    )


def _check(path: Path, section: str, table: dict[str, Any], kinds: Mapping[str, type]) -> None:
    for key, value in table.items():
        place = f"[{section}] {key}" if section else key
        if key not in kinds:
            raise _wrong(path, f"unknown key {place}{_suggestion(key, kinds)}")
        wanted = kinds[key]
        accepted = (int, float) if wanted is float else wanted
        if not isinstance(value, accepted) or isinstance(value, bool):
            raise _wrong(path, f"{place} must be {_KINDS[wanted]}, not {value!r}")


def _templates(path: Path, content: dict[str, Any]) -> dict[str, Template]:
    templates = {}
    for key in ("subject", "text", "html", "list_unsubscribe"):
        file = content.get(f"{key}_file")
        if file is not None and key in content:
            raise _wrong(path, f"[content] has both {key} and {key}_file; leave one")
        if file is not None:
            source = path.parent / file
            try:
                text = source.read_text(encoding="utf-8-sig")
            except (OSError, ValueError) as error:
                raise _wrong(path, f"[content] {key}_file: {_reason(error)}") from error
            templates[key] = Template(str(source), text)
        elif key in content:
            templates[key] = Template(f"{path} [content] {key}", content[key])
    return templates


def _content(
    path: Path, content: dict[str, Any], templates: dict[str, Template]
) -> pb.EmailContent:
    headers = content.get("headers", {})
    for name, value in headers.items():
        if not isinstance(value, str):
            raise _wrong(path, f"[content.headers] {name} must be a text, not {value!r}")
    made = pb.EmailContent(
        **{key: template.text for key, template in templates.items()},
        reply_to=content.get("reply_to", ""),
        headers=headers,
    )
    # "from" is a word of Python's.
    setattr(made, "from", content.get("from", ""))
    return made


def _options(path: Path, options: dict[str, Any]) -> pb.DeliveryOptions:
    guarantee = options.get("guarantee")
    if guarantee is not None and guarantee not in _GUARANTEES:
        raise _wrong(
            path, f"[options] guarantee must be one of {', '.join(_GUARANTEES)}, not {guarantee!r}"
        )
    made = pb.DeliveryOptions(
        guarantee=_GUARANTEES.get(guarantee or "", pb.DeliveryOptions.GUARANTEE_UNSPECIFIED)
    )
    for key in ("window", "max_attempts"):
        value = options.get(key, 0)
        if not 0 <= value <= _MAX_INT32:
            raise _wrong(path, f"[options] {key} must not be {value}")
    made.max_in_flight = options.get("window", 0)
    if "max_attempts" in options:
        made.retry.max_attempts = options["max_attempts"]
    backoff = options.get("retry_backoff_seconds")
    if backoff is not None:
        if not 0 <= backoff <= _MAX_BACKOFF_SECONDS:
            raise _wrong(path, f"[options] retry_backoff_seconds must not be {backoff}")
        made.retry.initial_backoff.CopyFrom(duration(timedelta(seconds=backoff)))
    return made


def _wrong(path: Path, message: str) -> CommandError:
    return CommandError(f"{path}: {message}", exit_code=USAGE)


def _reason(error: OSError | ValueError, path: Path | None = None) -> str:
    """Say what is wrong; the file is named unless it is the one already named."""
    if isinstance(error, UnicodeDecodeError):
        return f"not UTF-8 (at byte {error.start})"
    if isinstance(error, OSError):
        return str(error.strerror) if path else f"{error.filename}: {error.strerror}"
    return str(error)


def _suggestion(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]}?" if close else f"; known are {', '.join(known)}"
