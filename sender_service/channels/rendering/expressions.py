"""Every expression of a template, whatever it stands in.

``BoundTemplate.analyze`` knows them too. But what it made of ``{{ a[a[a]] }}`` grows with
the square of the source, and it keeps the template until the garbage is collected.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from liquid.context import RenderContext

if TYPE_CHECKING:
    from collections.abc import Iterator

    from liquid import BoundTemplate
    from liquid.ast import Node
    from liquid.expression import Expression


def expressions_in(template: BoundTemplate) -> Iterator[Expression]:
    """Return every expression of a template, also those inside others, in no order."""
    context = RenderContext(template)
    nodes: list[Node] = list(template.nodes)
    while nodes:
        node = nodes.pop()
        expressions = list(node.expressions())
        while expressions:
            expression = expressions.pop()
            yield expression
            expressions += expression.children()
        nodes += node.children(context, include_partials=False)
