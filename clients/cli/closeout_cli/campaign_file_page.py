"""The page docs/campaign-file.md, made of the keys that the command knows.

``python -m closeout_cli.campaign_file_page > docs/campaign-file.md`` renews it.
"""

from __future__ import annotations

import sys

from closeout_cli.campaign_keys import KEYS, KIND_NAMES, Key

_HEAD = """\
# The campaign file

A campaign file says what `closeout send` sends, and how.
It is [TOML](https://toml.io), in UTF-8.
Only `name` is required; files are named relative to the campaign file.
A key that does not exist is refused, with the key that was probably meant.

```toml
name = "Welcome"
id = "welcome"

[content]
subject = "Welcome, {{ first_name | default: 'friend' }}"
text_file = "welcome.txt"
html_file = "welcome.html"
from = "Example <news@example.com>"
reply_to = "help@example.com"
list_unsubscribe = "https://example.com/unsubscribe/{{ recipient_key }}"

[content.headers]
X-Campaign = "welcome"

[options]
guarantee = "at_most_once"

[retry]
deadline_hours = 24

[labels]
list = "newsletter"
```

`closeout send welcome.toml --recipients people.csv --preview` checks the file and shows the message of the first recipient; no service is needed for it.

The content is of one of three kinds: a JSON document if it has `json` or `json_file`, a text if it has nothing but `text` or `text_file` and the channel is not `smtp`, and an e-mail otherwise.

The keys marked as templates are [Liquid](https://shopify.github.io/liquid/) templates.
Their variables are the columns of the recipients file, and `address`, `recipient_key` and `campaign_id`.
A variable that is no column, and has neither a default nor a condition for a missing value, is refused before anything is sent; `--allow-unknown-variables` sends with a gap in its place.
"""  # noqa: E501 - a sentence of Markdown is a line

_TABLES = {
    "": ("The campaign", "These keys stand at the top of the file, above the first table."),
    "content": ("`[content]`", "What is sent."),
    "options": ("`[options]`", "How it is sent."),
    "retry": (
        "`[retry]`",
        (
            "When a message is tried again that its provider deferred. Without this table the"
            " schedule of the channel holds."
        ),
    ),
    "labels": ("`[labels]`", "What you find the campaign by."),
}

_TAIL = """\

## The id of the campaign

The file names a family, not one campaign.
`closeout send` makes the campaign's id of the family and of the content of both files, as in `welcome-50c659bc`: the same command again is the same campaign, and sends nothing twice.
A changed file makes another campaign of the same family.
If people in it got the earlier one in the last 7 days, or are about to get it, nothing is sent, and the command says how to go on:

| you want to send to | add |
|---|---|
| the people who did not get the earlier one | `--only-new` |
| everybody, also those who got it | `--again` |
| everybody, since this is something else | another `id` in the file, or another `name` if it has no `id` |

`repeat_after_days` is another number of days, and `0` switches the check off.
`--campaign-id` gives the campaign an id of your own; its family stays that of the file.

## The recipients file

`--recipients` takes a CSV file or JSON Lines, one object a line (`.jsonl`, `.ndjson`, or `--format jsonl`); `-` is standard input.

| what | how it is read |
|---|---|
| address | the column `address`, `email`, `e-mail`, `mail`, `Email Address` or the like, or the one that `--address-column` names; case, spaces, hyphens and underscores of a heading do not count |
| your own id | the column `recipient_key` or `id`, if there is one; templates have it as `recipient_key` |
| fields | all other columns; a heading that no template can name is in snake case, `First name` as `first_name` |
| empty cell | no value: `default` applies, and a condition is false |
| separator | comma, semicolon, tab or `\\|`; a first line `sep=;` names it |
| encoding | UTF-8, UTF-16 and UTF-32 by themselves; Windows-1252 where it can be nothing else, with a remark; any other with `--encoding` |
| rows | cells that a row lacks at its end are empty, as spreadsheets leave them out; a row with more cells than the header is refused with its line, unless those beyond the header are empty |
| duplicates | one address gets one message; addresses that differ in letter case alone are one person, unless `--keep-case-duplicates` is there |
| JSON | nested values are fields as well; `null` and `""` are no value; a whole number beyond 2^53 is a text |

The whole file is read before anything is created, and a mistake in it ends the command with 2.
"""  # noqa: E501 - a sentence of Markdown is a line


def page() -> str:
    """Return the page, in Markdown."""
    sections = [
        f"\n## {title}\n\n{about}\n\n{_table(table)}" for table, (title, about) in _TABLES.items()
    ]
    return _HEAD + "".join(sections) + _TAIL


def _table(table: str) -> str:
    rows = [_row(key) for key in KEYS if key.table == table]
    return "".join(
        f"{line}\n"
        for line in ("| key | type | default | meaning | example |", "|---|---|---|---|---|", *rows)
    )


def _row(key: Key) -> str:
    name = "any" if key.name == "*" else f"`{key.name}`"
    kind = f"{KIND_NAMES[key.kind]}{', a template' if key.template else ''}"
    shown = "key" if key.name == "*" else key.name
    example = f"`{shown} = {key.example}`".replace("|", "\\|")
    return f"| {name} | {kind} | {key.default} | {key.meaning} | {example} |"


if __name__ == "__main__":
    sys.stdout.write(page())
