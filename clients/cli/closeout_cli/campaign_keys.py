"""The keys of a campaign file: their kinds, defaults and meanings, for checks and documents."""

from __future__ import annotations

from typing import Final, NamedTuple


class Key(NamedTuple):
    """One key of a campaign file.

    Attributes:
        table: the table that it stands in; empty: the top level.
        name: the key.
        kind: the Python type of its value; ``float`` takes whole numbers as well.
        default: what holds without it, for people.
        meaning: what it does, for people, in Markdown.
        example: a value in TOML.
        template: whether its value is a Liquid template.
    """

    table: str
    name: str
    kind: type
    default: str
    meaning: str
    example: str
    template: bool = False


#: What the names of kinds are for people.
KIND_NAMES: Final = {str: "text", int: "whole number", float: "number", dict: "table"}

_WITHOUT: Final = "none"

#: Every key, in the order of the document.
KEYS: Final = (
    Key(
        "",
        "name",
        str,
        "required",
        "What people call the campaign; at most 200 characters.",
        '"Welcome"',
    ),
    Key(
        "",
        "id",
        str,
        "the name",
        "The family of the campaign: `closeout send` refuses to send two campaigns of one family"
        " to the same people by accident. Keep it while you correct a campaign, and change it"
        " for another one.",
        '"welcome"',
    ),
    Key(
        "",
        "repeat_after_days",
        float,
        "`7`",
        "For so many days after a campaign has started, the next one of its family to the same"
        " people counts as a repetition. `0`: never. At most 366.",
        "30",
    ),
    Key(
        "",
        "channel",
        str,
        '`"smtp"`',
        "How it is sent: `smtp`, `webhook`, `console`, `null`, or one that is installed.",
        '"webhook"',
    ),
    Key(
        "content",
        "subject",
        str,
        "required in an e-mail",
        "The subject line.",
        '"Welcome, {{ first_name }}"',
        template=True,
    ),
    Key(
        "content",
        "text",
        str,
        "made of the HTML",
        "The plain text. On any channel but `smtp`, it alone makes the content a text.",
        '"Hello {{ first_name }}"',
        template=True,
    ),
    Key(
        "content",
        "text_file",
        str,
        _WITHOUT,
        "A file with the plain text, instead of `text`.",
        '"welcome.txt"',
    ),
    Key(
        "content",
        "html",
        str,
        _WITHOUT,
        "The HTML; what templates put into it is escaped.",
        '"<p>Hello {{ first_name }}</p>"',
        template=True,
    ),
    Key(
        "content",
        "html_file",
        str,
        _WITHOUT,
        "A file with the HTML, instead of `html`.",
        '"welcome.html"',
    ),
    Key(
        "content",
        "from",
        str,
        "required in an e-mail",
        "The address that the message comes from, with or without a name.",
        '"Example <news@example.com>"',
    ),
    Key("content", "reply_to", str, _WITHOUT, "The address for answers.", '"help@example.com"'),
    Key(
        "content",
        "list_unsubscribe",
        str,
        _WITHOUT,
        "The List-Unsubscribe address, `https://` or `mailto:`. With `https`,"
        " unsubscribing with one click (RFC 8058) is announced too.",
        '"https://example.com/u/{{ recipient_key }}"',
        template=True,
    ),
    Key(
        "content",
        "json",
        str,
        _WITHOUT,
        "A JSON document, and then all of the content.",
        "'{\"to\": {{ name | json }}}'",
        template=True,
    ),
    Key(
        "content",
        "json_file",
        str,
        _WITHOUT,
        "A file with the JSON document, instead of `json`.",
        '"push.json"',
    ),
    Key(
        "content",
        "headers",
        dict,
        _WITHOUT,
        "More headers of an e-mail, each a text and no template.",
        '{ X-Campaign = "welcome" }',
    ),
    Key(
        "options",
        "guarantee",
        str,
        "that of the channel",
        "What happens to a message whose provider's answer was lost: with `at_most_once` it ends"
        " as UNKNOWN, with `at_least_once` it is sent again. `smtp` has the first,"
        " `webhook` the second.",
        '"at_most_once"',
    ),
    Key(
        "options",
        "max_in_flight",
        int,
        "that of the channel",
        "How many messages the provider may have at once, and so how many can be in"
        " doubt after a crash. At most 10,000.",
        "64",
    ),
    Key(
        "retry",
        "initial_backoff_seconds",
        float,
        "that of the channel",
        "The wait before the second try; twice as long before each further one. At most a day.",
        "60",
    ),
    Key(
        "retry",
        "max_backoff_seconds",
        float,
        "that of the channel",
        "The longest wait. At most a day.",
        "3600",
    ),
    Key(
        "retry",
        "max_attempts",
        int,
        "`0`",
        "How often one message is tried. `0`: no limit but the deadline. At most 100.",
        "5",
    ),
    Key(
        "retry",
        "deadline_hours",
        float,
        "the sender's setting",
        "No try is planned for later than this after the first. At most 30 days.",
        "24",
    ),
    Key(
        "labels",
        "*",
        str,
        _WITHOUT,
        "Any key: a label of the campaign, which `closeout list --label key=value`"
        " finds. At most 32 labels; a key has 1 to 63 characters, a value at most 63.",
        '"newsletter"',
    ),
)


def kinds_of(table: str) -> dict[str, type]:
    """Return the keys of a table with the kinds of their values; the top level names tables.

    Args:
        table: the name of the table; empty: the top level.
    """
    kinds = {key.name: key.kind for key in KEYS if key.table == table}
    if not table:
        kinds.update({key.table: dict for key in KEYS if key.table})
    return kinds


#: The keys of ``[content]`` whose values are templates.
TEMPLATES: Final = tuple(key.name for key in KEYS if key.template)
