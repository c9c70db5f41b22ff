"""Whether a template has a range that may be long.

``(1..1000000000) contains "x"`` looks at every number in one call, which nothing ends.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from liquid.builtin.expressions.primitive import IntegerLiteral, RangeLiteral
from liquid.context import RenderContext

from sender_service.channels.rendering.limits import RANGE_LIMIT

if TYPE_CHECKING:
    from liquid import BoundTemplate
    from liquid.ast import Node
    from liquid.expression import Expression


def has_long_range(template: BoundTemplate) -> bool:
    """Return whether a range of a template is longer than the limit, or is not known yet."""
    context = RenderContext(template)
    nodes: list[Node] = list(template.nodes)
    while nodes:
        node = nodes.pop()
        if any(map(_is_long, node.expressions())):
            return True
        nodes += node.children(context, include_partials=False)
    return False


def _is_long(expression: Expression) -> bool:
    expressions = [expression]
    while expressions:
        one = expressions.pop()
        if isinstance(one, RangeLiteral):
            first, last = one.start, one.stop
            if not (isinstance(first, IntegerLiteral) and isinstance(last, IntegerLiteral)):
                return True
            if last.value - first.value > RANGE_LIMIT:
                return True
        expressions += one.children()
    return False
