"""How long one template may take, and how large a value may become on the way.

A campaign renders in the thread that serves everybody. The limits of python-liquid are on
turns of loops and on what is written; neither bounds what ten thousand turns do, nor what a
filter makes of a text before anything is written.
"""

from __future__ import annotations

import functools
import threading
import time
from typing import TYPE_CHECKING, Any

from liquid import BoundTemplate, RenderContext
from liquid.exceptions import FilterValueError, ResourceLimitError

if TYPE_CHECKING:
    from collections.abc import Callable

#: The longest that one template may take for one message, seconds of computing.
RENDER_SECONDS = 1.0
#: The longest text between two filters, characters.
TEXT_LIMIT = 1024 * 1024
#: The longest range that a filter takes.
RANGE_LIMIT = 10_000
#: The longest list that a filter takes; a field cut into its characters is shorter.
_LIST_LIMIT = 20_000
#: The longest for a filter that compares all items with each other.
_COMPARED_LIMIT = 5_000
#: The longest integer, bits; longer ones can't be written.
_INTEGER_BITS = 10_000
_CLOCK_EVERY = 8


class _Deadline(threading.local):
    at = float("inf")
    nodes = 0


_deadline = _Deadline()


def _check_time() -> None:
    if time.thread_time() > _deadline.at:
        raise ResourceLimitError(
            f"time limit reached: more than {RENDER_SECONDS:g} s for one message", token=None
        )


class LimitedContext(RenderContext):
    """A context that looks at the clock before nodes."""

    __slots__ = ()

    @property  # each node reads it, and nothing else does
    def disabled_tags(self) -> list[str]:
        """Nothing: no tag that is there is disabled."""
        _deadline.nodes += 1
        if _deadline.nodes % _CLOCK_EVERY == 0:
            _check_time()
        return []

    @disabled_tags.setter
    def disabled_tags(self, tags: list[str]) -> None:
        pass


class LimitedTemplate(BoundTemplate):
    """A template that is given up once it has taken too long."""

    context_class = LimitedContext

    def render(self, *args: Any, **kwargs: Any) -> str:
        """Return the output.

        Raises:
            LiquidError: it took too long, among others.
        """
        _deadline.at = time.thread_time() + RENDER_SECONDS
        try:
            return super().render(*args, **kwargs)
        finally:
            _deadline.at = float("inf")


def limited(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a filter that takes and makes no value beyond the limits."""
    grows = _GROWING.get(name)

    @functools.wraps(function)
    def bounded(*args: Any, **kwargs: Any) -> Any:
        _check_time()
        for value in args:
            _check(value)
        if grows is not None and len(args) > 1 and grows(*args) > TEXT_LIMIT:
            raise _too_long("a text", TEXT_LIMIT)
        if name == "uniq" and isinstance(args[0], list) and len(args[0]) > _COMPARED_LIMIT:
            raise _too_long(f"a list of {len(args[0])}", _COMPARED_LIMIT)
        result = function(*args, **kwargs)
        if not isinstance(result, list):  # which is checked where it is used
            _check(result)
        return result

    return bounded


def _check(value: object) -> None:
    match value:
        case str() if len(value) > TEXT_LIMIT:
            raise _too_long("a text", TEXT_LIMIT)
        case range() if len(value) > RANGE_LIMIT:
            raise _too_long(f"a range of {len(value)}", RANGE_LIMIT)
        case list() if len(value) > _LIST_LIMIT:
            raise _too_long(f"a list of {len(value)}", _LIST_LIMIT)
        case int() if value.bit_length() > _INTEGER_BITS:
            raise _too_long("an integer", _INTEGER_BITS)


def _too_long(what: str, limit: int) -> FilterValueError:
    return FilterValueError(f"{what} is longer than {limit}", token=None)


def _replaced(text: object, old: object, new: object = "") -> int:
    whole, part = str(text), str(old)
    found = whole.count(part) if part else len(whole) + 1
    return len(whole) + found * len(str(new))


def _joined(items: object, separator: object = " ") -> int:
    if not isinstance(items, (list, tuple, range)):
        return 0
    between = len(str(separator))
    return sum(between + (len(item) if isinstance(item, str) else 1) for item in items)


#: How long the result of a filter can be that makes a long text of short ones.
_GROWING: dict[str, Callable[..., int]] = {"replace": _replaced, "join": _joined}
