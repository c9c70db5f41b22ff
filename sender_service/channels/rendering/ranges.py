"""Whether a template has a range that may be long.

``(1..1000000000) contains "x"`` looks at every number in one call, which nothing ends.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from liquid.builtin.expressions.primitive import IntegerLiteral, RangeLiteral

from sender_service.channels.rendering.expressions import expressions_in
from sender_service.channels.rendering.limits import RANGE_LIMIT

if TYPE_CHECKING:
    from liquid import BoundTemplate


def has_long_range(template: BoundTemplate) -> bool:
    """Return whether a range of a template is longer than the limit, or is not known yet."""
    return any(_is_long(one) for one in expressions_in(template) if isinstance(one, RangeLiteral))


def _is_long(one: RangeLiteral) -> bool:
    first, last = one.start, one.stop
    if not (isinstance(first, IntegerLiteral) and isinstance(last, IntegerLiteral)):
        return True
    return bool(last.value - first.value > RANGE_LIMIT)
