"""Pages of a list, by key: what a caller asks for, and the token of the next page.

Pages go by key, never by offset. A token says where the page before ended, and is
bound to the question it was given for.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from service_runtime.errors import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Callable

#: Longest page token there is, with room to spare.
_LONGEST_TOKEN = 1_024
#: A page ends before it has more bytes, though never before its first row. The rest of a
#: message, which may have 4 MiB, is room to spare.
_PAGE_BYTES = 7 * 512 * 1024
#: A number, a time, or what comes with a text takes fewer bytes in a message.
_FIELD_BYTES = 16
#: Keys are not negative, and signed 64-bit integers, also one further.
_KEY_BOUND = 2**63 - 1

#: What a list was asked for, as JSON has it: the list, the organisation, every filter.
Question: TypeAlias = "list[Any]"


class PageRequest(NamedTuple):
    """What a caller wants to see of a list.

    Attributes:
        size: at most how many rows; at least 1.
        token: the token of the page before; empty for the first.
    """

    size: int
    token: str

    def after(self, question: Question, *, parts: int = 1) -> list[int] | None:
        """Return the key of ``parts`` numbers where the page before ended; None: the first page.

        A token is whatever the caller sent: nothing about it is taken for granted.

        Raises:
            InvalidRequestError: the token is none of ours, or of another question.
        """
        if not self.token:
            return None
        try:
            content = json.loads(base64.urlsafe_b64decode(self.token[:_LONGEST_TOKEN].encode()))
        except (ValueError, RecursionError) as error:
            raise InvalidRequestError.of({"page_token": "not a token of this service"}) from error
        match content:
            case [asked, [*key]] if len(key) == parts and all(map(_is_key, key)):
                if asked == _digest(question):
                    return key
                raise InvalidRequestError.of({"page_token": "given for another question"})
        raise InvalidRequestError.of({"page_token": "not a token of this service"})


class Page(NamedTuple):
    """Rows, and the token of the page after them; empty on the last."""

    rows: Sequence[Any]
    next_page_token: str

    @classmethod
    def of(
        cls,
        rows: Sequence[Any],
        request: PageRequest,
        question: Question,
        *,
        key_of: Callable[[Any], list[int]],
        stopped_at: list[int] | None = None,
    ) -> Page:
        """Return a page of ``rows``, which were read with a limit of ``request.size + 1``.

        The extra row shows that there is a next page, and is dropped. So are rows that
        would not fit into a message: then the page ends early. ``stopped_at`` is the key
        that reading came to, where it stopped before the end of the list.
        """
        shown = rows[: _fitting(rows[: request.size])]
        if len(shown) < len(rows):
            stopped_at = key_of(shown[-1])
        if stopped_at is None:
            return cls(rows, "")
        token = json.dumps([_digest(question), stopped_at]).encode()
        return cls(shown, base64.urlsafe_b64encode(token).decode())


def _is_key(part: object) -> bool:
    return type(part) is int and 0 <= part < _KEY_BOUND


def _fitting(rows: Sequence[Any]) -> int:
    """Return how many of the first rows fit into a page; 1 at least, if there is any."""
    fitting = bytes_so_far = 0
    for row in rows:
        bytes_so_far += _size(row)
        if fitting and bytes_so_far > _PAGE_BYTES:
            break
        fitting += 1
    return fitting


def _size(row: Any) -> int:
    """Return how many bytes a row takes in a message, at most."""
    fields = row if isinstance(row, Sequence) else [row]
    texts = sum(len(field.encode()) for field in fields if isinstance(field, str))
    return texts + _FIELD_BYTES * len(fields)


def _digest(question: Question) -> str:
    """Return a short text that is the same for the same question only."""
    return hashlib.blake2b(json.dumps(question).encode(), digest_size=12).hexdigest()
