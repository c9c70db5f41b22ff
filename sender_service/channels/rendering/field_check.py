"""What a content's variables make of the fields that recipients have, and of one recipient."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any, NamedTuple

from sender_service.channels.rendering.variables import Lack

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sender_service.channels.rendering.variables import Variable

#: The variables that every recipient has.
ALWAYS = ("address", "recipient_key", "campaign_id")
#: What recipients files call two of them.
_OTHER_NAMES = {"email": "address", "id": "recipient_key"}
#: So many unknown variables get a suggestion, and only names of so many characters: a
#: comparison with every field takes its time.
_SUGGESTIONS = 20
_LONGEST_COMPARED = 100


class UnknownVariable(NamedTuple):
    """A variable that is no field of the recipients.

    Attributes:
        field: the template that uses it, as in ``subject``.
        name: the variable.
        line: where it is used first, from 1.
        column: where in the line, from 1.
        suggestion: the field that was probably meant; empty: none is near.
    """

    field: str
    name: str
    line: int
    column: int
    suggestion: str

    def __str__(self) -> str:
        return f"{self.field}:{self.line}:{self.column}: {self.problem}"

    @property
    def problem(self) -> str:
        """What is wrong, without the place."""
        meant = f"; did you mean {self.suggestion}?" if self.suggestion else ""
        return f"the recipients have no field {self.name}{meant}"


def unknown_variables(
    variables: Iterable[Variable], fields: Iterable[str], *, provided_for: bool = False
) -> tuple[UnknownVariable, ...]:
    """Return the variables that are no field, each once for each template.

    Args:
        variables: their uses, in order.
        fields: the fields that recipients have; those of ALWAYS need not be named.
        provided_for: False: those with a use that a missing value leaves empty. True:
            the others, which have a default or stand within a condition wherever they are
            used: the same text for everyone, and perhaps not what was meant.
    """
    known = {*fields, *ALWAYS}
    first: dict[tuple[str, str], Variable] = {}
    unprovided: set[tuple[str, str]] = set()
    for use in variables:
        key = (use.field, use.name)
        if use.name in known:
            continue
        if Lack.MISSING in use.provided_for:
            first.setdefault(key, use)
        elif key not in unprovided:
            unprovided.add(key)
            first[key] = use
    found = [use for key, use in first.items() if (key not in unprovided) is provided_for]
    names = list(dict.fromkeys(use.name for use in found))[:_SUGGESTIONS]
    meant = {name: suggestion(name, known) for name in names}
    return tuple(
        UnknownVariable(use.field, use.name, use.line, use.column, meant.get(use.name, ""))
        for use in found
    )


def empty_variables(variables: Iterable[Variable], values: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the variables that leave a gap in the message of one recipient, in order.

    Their value is missing, empty, or nothing but spaces, and the template does not
    provide for that.

    Args:
        variables: their uses.
        values: what the recipient has for them.
    """
    empty = dict.fromkeys(
        use.name
        for use in variables
        if (lack := _lack(values.get(use.name))) and lack not in use.provided_for
    )
    return tuple(empty)


def suggestion(name: str, fields: Iterable[str]) -> str:
    """Return the field that was probably meant by ``name``; empty: none is near."""
    if name in _OTHER_NAMES:
        return _OTHER_NAMES[name]
    if len(name) > _LONGEST_COMPARED:
        return ""
    by_letters = {_letters(field): field for field in sorted(fields)}
    close = difflib.get_close_matches(_letters(name), by_letters, n=1)
    return by_letters[close[0]] if close else ""


def _letters(name: str) -> str:
    """Return a name without what people write in different ways."""
    return "".join(character for character in name.casefold() if character.isalnum()) or name


def _lack(value: object) -> Lack | None:
    if value is None:
        return Lack.MISSING
    if not isinstance(value, str) or value.strip():
        return None
    return Lack.SPACES if value else Lack.EMPTY
