"""The content of a campaign file, checked before anything is created.

No service is asked: the channel's own rules are applied here. What is wrong is shown
with its file, its line and a mark below the place.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from closeout_cli.failures import USAGE, CommandError, say

if TYPE_CHECKING:
    from closeout.errors import ClientError
    from closeout_cli.campaign_file import CampaignFile
    from closeout_cli.recipients_file import RecipientsFile
    from sender_service.channels.offline import OfflineContent, UnknownVariable

#: How a place within a template is named, by what checks it.
_PLACE = re.compile(r"^template \S+(?: at line \d+, column \d+)?: ")


def checked_content(
    file: CampaignFile, audience: RecipientsFile, *, allow_unknown: bool = False
) -> OfflineContent | None:
    """Return the compiled content of a campaign file.

    A remark is printed for each unknown variable that has a default or a condition, since
    everybody gets the same there.

    Args:
        file: the campaign file.
        audience: its recipients, whose columns are the variables of the templates.
        allow_unknown: whether unknown variables are sent as nothing.

    Returns:
        None if the channel is one that only its sender knows.

    Raises:
        CommandError: a template is broken, a key is missing or wrong, or a variable of a
            template is no column.
    """
    # They take a fifth of a second to import, and most commands do not need them.
    from sender_service.channels.offline import (  # noqa: PLC0415
        CHANNELS,
        InvalidContentError,
        TemplateError,
        compile_content,
    )

    if file.channel not in CHANNELS:
        return None
    try:
        content = compile_content(file.channel, file.body)
    except TemplateError as error:
        raise template_error(file, error.field, error.line, error.column, str(error)) from error
    except InvalidContentError as error:
        raise content_error(file, error.field, error.message) from error
    unknown = content.unknown_variables(audience.fields)
    if unknown and not allow_unknown:
        raise _unknown_variables(file, audience, unknown)
    for variable in content.unknown_variables(audience.fields, provided_for=True):
        place, _ = _place(file, variable.field, variable.line, variable.column)
        say(f"{place}: {_no_column(audience, variable)}; everybody gets the same there")
    return content


def template_error(
    file: CampaignFile, field: str, line: int, column: int, message: str
) -> CommandError:
    """Return the error of a template, with the line it is on and a mark below the place.

    Args:
        file: the campaign file.
        field: the template, as in ``subject`` or ``email.subject``.
        line: the line within it, from 1; 0: not known.
        column: the column, from 1.
        message: what is wrong; the place within the field is cut off its begin.
    """
    place, shown = _place(file, field, line, column)
    # The text begins with a place within the field; here the file is known.
    problem = _PLACE.sub("", message)
    return CommandError(
        f"{place}: {problem}", exit_code=USAGE, more=shown, reason="TEMPLATE_INVALID"
    )


def refused_content(file: CampaignFile, error: ClientError) -> CommandError:
    """Return the sender's refusal of a template, which it names in the metadata."""
    line, column = (int(error.metadata.get(key) or 0) for key in ("line", "column"))
    return template_error(file, error.metadata.get("field", ""), line, column, error.message)


def content_error(file: CampaignFile, field: str, message: str) -> CommandError:
    """Return the error of a field of the content, by its key in the campaign file.

    Args:
        file: the campaign file.
        field: the field, as in ``subject``, ``headers.X-A`` or ``body``.
        message: what is wrong with it.
    """
    if field == "body":
        text = f"{file.path} [content]: {message}"
    elif field.startswith("headers."):
        text = f"{file.path} [content.headers] {field.removeprefix('headers.')}: {message}"
    elif field not in file.content_keys:
        text = f"{file.path} [content] {field}: missing"
    else:
        text = f"{file.path} [content] {field}: {message.removeprefix(f'{field}: ')}"
    return CommandError(text, exit_code=USAGE, reason="INVALID_REQUEST")


def _unknown_variables(
    file: CampaignFile, audience: RecipientsFile, unknown: tuple[UnknownVariable, ...]
) -> CommandError:
    lines: list[str] = []
    for variable in unknown:
        place, shown = _place(file, variable.field, variable.line, variable.column)
        lines += [f"{place}: {_no_column(audience, variable)}", *shown]
    example = "{{ " + unknown[0].name + " | default: 'friend' }}"
    lines.append(
        f"nothing was sent: correct it, give it a default, as in {example},"
        " or send a gap in its place with --allow-unknown-variables"
    )
    return CommandError(lines[0], exit_code=USAGE, more=tuple(lines[1:]), reason="TEMPLATE_INVALID")


def _no_column(audience: RecipientsFile, variable: UnknownVariable) -> str:
    meant = f"; did you mean {variable.suggestion}?" if variable.suggestion else ""
    return f"{audience.name} has no column {variable.name}{meant}"


def _place(file: CampaignFile, field: str, line: int, column: int) -> tuple[str, tuple[str, ...]]:
    """Return the name of a place in a template, and the lines that show it."""
    template = file.templates.get(field.rpartition(".")[2])
    if template is None:
        return f"{file.path} [content] {field}".rstrip(), ()
    lines = template.text.splitlines()
    if not 1 <= line <= len(lines):
        return template.place, ()
    shown = (f"  {lines[line - 1].expandtabs(1)}", f"  {' ' * (max(column, 1) - 1)}^")
    return f"{template.place}:{line}:{column}", shown
