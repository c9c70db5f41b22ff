"""What the columns of a recipients file mean: the address, your own id, and fields."""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Headings of the address; case, spaces, hyphens and underscores do not count.
ADDRESS_NAMES = frozenset(
    {"address", "email", "emailaddress", "emailadresse", "mail", "mailaddress", "emails"}
)
#: Headings of the caller's id of a recipient.
KEY_NAMES = frozenset({"recipientkey", "id"})
#: A name that a template can use as it is.
_IDENTIFIER = re.compile(r"[\u0080-\uFFFFa-zA-Z_][\u0080-\uFFFFa-zA-Z0-9_-]*")
_ADDRESS = re.compile(r"\s*[^\s@]+@[^\s@]+\.[^\s@]+\s*")


class ColumnsError(ValueError):
    """The headings can't be used; the text says which, and what to do."""


class Columns(NamedTuple):
    """The meaning of the columns.

    Attributes:
        headings: as the file has them.
        address: the index of the column with the address.
        key: the index of the column with the caller's id; None: there is none.
        fields: for each column its name in templates; empty for address and key.
        notice: which names differ from their headings, for people; empty: none.
    """

    headings: tuple[str, ...]
    address: int
    key: int | None
    fields: tuple[str, ...]
    notice: str = ""


def understood(headings: Sequence[str], address_column: str = "") -> Columns:
    """Return what the columns mean.

    Args:
        headings: the headings of the file.
        address_column: the heading of the column with the address, if it is chosen.

    Raises:
        ColumnsError: there is no address column or more than one, or two columns have
            one name in templates.
    """
    address = _address(headings, address_column)
    key = next(
        (i for i, name in enumerate(headings) if i != address and _plain(name) in KEY_NAMES), None
    )
    fields = tuple(
        "" if index in (address, key) else field_name(heading, index)
        for index, heading in enumerate(headings)
    )
    owners: dict[str, str] = {}
    for heading, field in zip(headings, fields, strict=True):
        if field and field in owners:
            raise ColumnsError(
                f"columns {owners[field]!r} and {heading!r} are both {field} in templates;"
                " rename one"
            )
        owners[field] = heading
    renamed = [
        f"{heading!r} is {field}"
        for heading, field in zip(headings, fields, strict=True)
        if field not in ("", heading)
    ]
    return Columns(tuple(headings), address, key, fields, _notice(renamed))


def field_name(heading: str, index: int) -> str:
    """Return the name of a column in templates: its heading, in snake case if need be.

    Args:
        heading: the heading, as in ``First name``.
        index: the number of the column from 0, for a heading without a letter or digit.
    """
    if _IDENTIFIER.fullmatch(heading) and not any(sign.isspace() for sign in heading):
        return heading
    plain = unicodedata.normalize("NFKC", heading).casefold()
    name = "_".join(part for part in re.split(r"[^\w]+", plain) if part)
    if not name:
        return f"column_{index + 1}"
    return f"_{name}" if not _IDENTIFIER.fullmatch(name) else name


def looks_like_recipient(cells: Sequence[str]) -> bool:
    """Return whether a first line has an address in it, so that a header is missing."""
    return any(_ADDRESS.fullmatch(cell) for cell in cells)


def _plain(heading: str) -> str:
    return re.sub(r"[\s_-]+", "", heading).casefold()


def _address(headings: Sequence[str], requested: str) -> int:
    listed = ", ".join(headings)
    if requested:
        exact = [i for i, name in enumerate(headings) if name.lower() == requested.lower()]
        found = exact or [i for i, name in enumerate(headings) if _plain(name) == _plain(requested)]
        if not found:
            raise ColumnsError(f"no column {requested!r}; its columns are {listed}")
        return found[0]
    found = [i for i, name in enumerate(headings) if _plain(name) in ADDRESS_NAMES]
    if len(found) > 1:
        both = " and ".join(repr(headings[index]) for index in found)
        raise ColumnsError(
            f"columns {both} can both have the address; choose with --address-column"
        )
    if found:
        return found[0]
    if looks_like_recipient(headings):
        raise ColumnsError(
            "the first line looks like a recipient; a header is missing: put a line with the"
            " names of the columns above it, as in email,first_name"
        )
    separators = (
        ". Columns are separated by comma, semicolon, tab or |" if len(headings) == 1 else ""
    )
    raise ColumnsError(
        f"no column 'address' or 'email'; its columns are {listed}{separators}."
        " Rename one, or name it with --address-column"
    )


def _notice(renamed: list[str]) -> str:
    if not renamed:
        return ""
    if len(renamed) == 1:
        return f"column {renamed[0]} in templates"
    return f"names of columns in templates: {', '.join(renamed)}"
