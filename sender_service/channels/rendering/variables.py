"""Which variables a Liquid template uses, where, and which values it provides for.

A variable is what stands first in a path: ``user`` in ``{{ user.name }}``. What a template
assigns, captures, counts or loops over is its own from there on, and no variable here.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from liquid.builtin.expressions import FilteredExpression, Nil, Path, StringLiteral
from liquid.builtin.expressions.logical import (
    BooleanExpression,
    EqExpression,
    LogicalAndExpression,
    LogicalOrExpression,
    NeExpression,
)
from liquid.builtin.expressions.primitive import Blank, Empty
from liquid.builtin.tags.cycle_tag import CycleNode
from liquid.builtin.tags.for_tag import ForNode
from liquid.builtin.tags.if_tag import IfNode
from liquid.builtin.tags.tablerow_tag import TablerowNode
from liquid.builtin.tags.unless_tag import UnlessNode
from liquid.context import RenderContext

from sender_service.channels.rendering.template_position import Places

if TYPE_CHECKING:
    from collections.abc import Iterable

    from liquid import BoundTemplate
    from liquid.ast import Node
    from liquid.builtin.expressions.filtered import Filter
    from liquid.expression import Expression


class Lack(enum.Enum):
    """How a recipient can lack a value."""

    #: There is no such field, or it is null.
    MISSING = "missing"
    #: It is a text without characters.
    EMPTY = "empty"
    #: It is a text of spaces.
    SPACES = "spaces"


class Variable(NamedTuple):
    """One use of a variable.

    Attributes:
        field: the template, as in ``subject``.
        name: the variable.
        line: where it is used, from 1.
        column: where in the line, from 1.
        provided_for: the lacks at which the template shows something else in this place,
            by a default or a condition.
    """

    field: str
    name: str
    line: int
    column: int
    provided_for: frozenset[Lack]


def variables_in(field: str, source: str, template: BoundTemplate) -> tuple[Variable, ...]:
    """Return every use of a variable, in the order of the template.

    Args:
        field: which template it is, as in ``subject``.
        source: its source.
        template: the same, compiled.
    """
    walk = _Walk(field, source, RenderContext(template))
    for node in template.nodes:
        walk.node(node, _Scope())
    return tuple(sorted(walk.found, key=lambda use: (use.line, use.column)))


#: What a condition says about values: that those of a name have no such lack.
_Facts: TypeAlias = "frozenset[tuple[str, Lack]]"
_NOTHING: _Facts = frozenset()
_ALL_LACKS = frozenset(Lack)
#: What Liquid has a value for where recipients have no such field.
_CLOCK = frozenset({"now", "today"})
#: What ``default`` replaces.
_DEFAULTED = frozenset({Lack.MISSING, Lack.EMPTY})
#: Filters that make nothing of nothing, so that a default behind them still applies.
_KEEP_NOTHING = frozenset(
    {"capitalize", "downcase", "escape", "escape_once", "lstrip", "rstrip", "squish", "strip"}
    | {"strip_html", "strip_newlines", "truncate", "truncatewords", "upcase", "url_encode"}
)
#: Those that also make nothing of spaces.
_STRIP = frozenset({"lstrip", "rstrip", "squish", "strip", "truncatewords"})


class _Scope(NamedTuple):
    """What holds where a node stands: names of loops, and what conditions say."""

    names: frozenset[str] = frozenset()
    facts: _Facts = _NOTHING

    def knowing(self, facts: _Facts) -> _Scope:
        return self._replace(facts=self.facts | facts)


class _Outcomes(NamedTuple):
    """What is known where a condition is true, and where it is false."""

    true: _Facts
    false: _Facts


class _Walk:
    """A walk over the nodes of one template."""

    def __init__(self, field: str, source: str, context: RenderContext) -> None:
        self._field = field
        self._places = Places(source)
        self._context = context
        #: What was assigned so far, and in the loops around.
        self._assigned: set[str] = set()
        self.found: list[Variable] = []

    def node(self, node: Node, scope: _Scope) -> None:
        """Visit a node and what is in it."""
        match node:
            case IfNode() | UnlessNode():
                self._branches(node, scope)
                return
            case CycleNode():
                expressions: Iterable[Expression] = node.args  # its group is a mere word
            case ForNode() | TablerowNode():
                # What one turn of a loop assigns the next one may use.
                self._assigned |= self._assignments(node)
                expressions = node.expressions()
            case _:
                expressions = node.expressions()
        for expression in expressions:
            self._expression(expression, scope)
        self._assigned.update(node.template_scope())
        inner = scope._replace(names=scope.names | set(node.block_scope()))
        for child in self._children(node):
            self.node(child, inner)

    def _branches(self, node: IfNode | UnlessNode, scope: _Scope) -> None:
        outcomes = self._condition(node.condition, scope)
        if isinstance(node, UnlessNode):
            outcomes = _Outcomes(outcomes.false, outcomes.true)
        self.node(node.consequence, scope.knowing(outcomes.true))
        scope = scope.knowing(outcomes.false)
        for alternative in node.alternatives:
            outcomes = self._condition(alternative.expression, scope)
            self.node(alternative.block, scope.knowing(outcomes.true))
            scope = scope.knowing(outcomes.false)
        if node.default:
            self.node(node.default, scope)

    def _condition(self, expression: Expression, scope: _Scope) -> _Outcomes:
        """Visit a condition; return what follows from it."""
        match expression:
            case BooleanExpression():
                return self._condition(expression.expression, scope)
            case LogicalAndExpression():
                left = self._condition(expression.left, scope)
                right = self._condition(expression.right, scope.knowing(left.true))
                return _Outcomes(left.true | right.true, left.false & right.false)
            case LogicalOrExpression():
                left = self._condition(expression.left, scope)
                right = self._condition(expression.right, scope.knowing(left.false))
                return _Outcomes(left.true & right.true, left.false | right.false)
            case Path():
                self._path(expression, scope, provided_for=_ALL_LACKS)
                return _Outcomes(_facts(expression, {Lack.MISSING}), _NOTHING)
            case EqExpression(left=Path()) | NeExpression(left=Path()):
                return self._comparison(expression, scope)
        self._expression(expression, scope)
        return _Outcomes(_NOTHING, _NOTHING)

    def _comparison(self, expression: EqExpression | NeExpression, scope: _Scope) -> _Outcomes:
        """Visit a comparison of a variable with something."""
        path, other = expression.left, expression.right
        excluded = _excluded(other)
        # A missing value is unequal to all but nil: that is no provision for it.
        provided_for = _ALL_LACKS if Lack.MISSING in excluded else excluded
        self._expression(path, scope, provided_for=provided_for)
        self._expression(other, scope)
        unequal = _facts(path, excluded)
        if isinstance(expression, NeExpression):
            return _Outcomes(unequal, _NOTHING)
        return _Outcomes(_NOTHING, unequal)

    def _expression(
        self,
        expression: Expression,
        scope: _Scope,
        *,
        provided_for: frozenset[Lack] = frozenset(),
    ) -> None:
        match expression:
            case Path():
                self._path(expression, scope, provided_for=provided_for)
            case FilteredExpression():
                filters = expression.filters or []
                self._expression(expression.left, scope, provided_for=_defaulted(filters))
                for number, used in enumerate(filters, 1):
                    # What a default names may have a default in turn.
                    later = _defaulted(filters[number:]) if used.name == "default" else frozenset()
                    for argument in used.children():
                        self._expression(argument, scope, provided_for=later)
            case _:
                for child in expression.children():
                    self._expression(child, scope)

    def _path(self, path: Path, scope: _Scope, *, provided_for: frozenset[Lack]) -> None:
        for nested in path.children():
            self._expression(nested, scope)
        name = path.head()
        if not isinstance(name, str) or any(
            name in names for names in (self._assigned, scope.names, _CLOCK)
        ):
            return
        known = {lack for about, lack in scope.facts if about == name}
        token = path.token
        place = self._places.at(token.start_index)
        self.found.append(
            Variable(self._field, name, place.line, place.column, provided_for | known)
        )

    def _assignments(self, node: Node) -> set[str]:
        names: set[str] = set(node.template_scope())
        for child in self._children(node):
            names |= self._assignments(child)
        return names

    def _children(self, node: Node) -> Iterable[Node]:
        return node.children(self._context, include_partials=False)


def _facts(path: Expression, lacks: Iterable[Lack]) -> _Facts:
    if not isinstance(path, Path):
        return _NOTHING
    return frozenset((str(path.head()), lack) for lack in lacks)


def _excluded(other: Expression) -> frozenset[Lack]:
    """Return the lacks that a value unequal to ``other`` does not have."""
    match other:
        case Nil():
            return frozenset({Lack.MISSING})
        case Blank():
            return frozenset({Lack.EMPTY, Lack.SPACES})
        case Empty() | StringLiteral(value=""):
            return frozenset({Lack.EMPTY})
    return frozenset()


def _defaulted(filters: Iterable[Filter]) -> frozenset[Lack]:
    """Return the lacks of a value for which filters put in a default."""
    lacks = _DEFAULTED
    for used in filters:
        if used.name == "default":
            return lacks
        if used.name not in _KEEP_NOTHING:
            break
        if used.name in _STRIP:
            lacks = _ALL_LACKS
    return frozenset()
