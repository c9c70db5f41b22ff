"""How long one template may take, and how large a value may become on the way.

The limits of python-liquid are on turns of loops and on what is written; neither bounds
what ten thousand turns do, nor what a filter makes of a text before anything is written.

There are two budgets. Within ``LIGHT`` a template renders in the thread that serves
everybody: what goes beyond it is no error, but work for a process of its own
(:mod:`~sender_service.channels.rendering.worker`), where ``FULL`` holds, and the kernel
bounds time and memory.
"""

from __future__ import annotations

import functools
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from liquid import BoundTemplate, RenderContext
from liquid.exceptions import ResourceLimitError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

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


#: How much of a value these filters take within the light budget: their time, or what
#: they make, grows faster than the value.
_LIGHT_LENGTHS = {"concat": 0, "date": 256, "strip_html": 4096, "uniq": 200}


class OverBudgetError(Exception):
    """A template needs more than the light budget; render it in a process of its own."""


@dataclass(frozen=True, slots=True)
class Budget:
    """What one template may take for one message.

    Attributes:
        seconds: of computing.
        text: the longest text between two filters, characters.
        output: the longest output, characters.
        is_light: whether going beyond it is an OverBudgetError, and no failure.
    """

    seconds: float
    text: int
    output: int
    is_light: bool = False

    def check_output(self, length: int) -> None:
        """Check the length of an output.

        Raises:
            OverBudgetError: it is too long for a light budget.
        """
        if self.is_light and length > self.output:
            raise OverBudgetError


#: For a process of its own. Its longest output is that of Liquid, in bytes.
FULL = Budget(seconds=RENDER_SECONDS, text=TEXT_LIMIT, output=TEXT_LIMIT)
#: For the thread that serves everybody: some hundred times what an ordinary message takes.
LIGHT = Budget(seconds=0.01, text=64 * 1024, output=256 * 1024, is_light=True)


class _Now(threading.local):
    #: What templates that are compiled now may take.
    compiling = FULL
    #: What the template that is rendered now may take.
    budget = FULL
    deadline = float("inf")
    nodes = 0


_now = _Now()


def current() -> Budget:
    """Return what templates that are compiled now, in this thread, may take later."""
    return _now.compiling


@contextmanager
def light() -> Iterator[None]:
    """Give the templates that are compiled in the block, in this thread, the light budget."""
    _now.compiling = LIGHT
    try:
        yield
    finally:
        _now.compiling = FULL


def _check_time() -> None:
    if time.thread_time() <= _now.deadline:
        return
    if _now.budget.is_light:
        raise OverBudgetError
    raise ResourceLimitError(
        f"time limit reached: more than {RENDER_SECONDS:g} s for one message", token=None
    )


class LimitedContext(RenderContext):
    """A context that looks at the clock before nodes."""

    __slots__ = ()

    @property  # each node reads it, and nothing else does
    def disabled_tags(self) -> list[str]:
        """Nothing: no tag that is there is disabled."""
        _now.nodes += 1
        if _now.nodes % _CLOCK_EVERY == 0:
            _check_time()
        return []

    @disabled_tags.setter
    def disabled_tags(self, tags: list[str]) -> None:
        pass


class LimitedTemplate(BoundTemplate):
    """A template that is given up once it has taken too long."""

    context_class = LimitedContext

    def render_within(self, budget: Budget, variables: Mapping[str, Any]) -> str:
        """Return the output.

        Raises:
            LiquidError: it took too long, among others.
            OverBudgetError: it needs more than a light budget.
        """
        _now.budget = budget
        _now.deadline = time.thread_time() + budget.seconds
        try:
            output = self.render(variables)
        finally:
            _now.budget = FULL
            _now.deadline = float("inf")
        budget.check_output(len(output))
        return output


def limited(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a filter that takes and makes no value beyond the limits."""
    grows = _GROWING.get(name)

    lightly = _LIGHT_LENGTHS.get(name, LIGHT.text)

    @functools.wraps(function)
    def bounded(*args: Any, **kwargs: Any) -> Any:
        _check_time()
        budget = _now.budget
        for value in args:
            _check(value, budget)
        if budget.is_light and args and _length(args[0]) > lightly:
            raise OverBudgetError
        if grows is not None and len(args) > 1 and grows(*args) > budget.text:
            raise _too_long("a text", budget, TEXT_LIMIT)
        if name == "uniq" and isinstance(args[0], list) and len(args[0]) > _COMPARED_LIMIT:
            raise _too_long(f"a list of {len(args[0])}", budget, _COMPARED_LIMIT)
        result = function(*args, **kwargs)
        if not isinstance(result, list):  # which is checked where it is used
            _check(result, budget)
        return result

    return bounded


def _length(value: object) -> int:
    return len(value) if isinstance(value, (str, list)) else 0


def _check(value: object, budget: Budget) -> None:
    match value:
        case str() if len(value) > budget.text:
            raise _too_long("a text", budget, TEXT_LIMIT)
        case range() if len(value) > RANGE_LIMIT:
            raise _too_long(f"a range of {len(value)}", budget, RANGE_LIMIT)
        case list() if len(value) > _LIST_LIMIT:
            raise _too_long(f"a list of {len(value)}", budget, _LIST_LIMIT)
        case int() if value.bit_length() > _INTEGER_BITS:
            raise _too_long("an integer", budget, _INTEGER_BITS)


def _too_long(what: str, budget: Budget, limit: int) -> Exception:
    if budget.is_light:
        return OverBudgetError()
    return ResourceLimitError(f"{what} is longer than {limit}", token=None)


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
