"""Liquid templates: compiled once for each campaign, rendered once for each message.

A template can't read files, and what it may produce is bounded, so that a slip in
one campaign does not take the sender down. Unknown names render as nothing, as people
who write campaigns expect.

``{{ name | json }}`` writes a value as JSON, a text with its quotes: the only safe way
to put a value into a JSON document.
"""

from __future__ import annotations

import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any, cast

from liquid import Environment
from liquid.builtin.expressions import FilteredExpression
from liquid.exceptions import LiquidError, ResourceLimitError
from liquid.undefined import is_undefined

from sender_service.channels.errors import TemplateError, TemplateLimitError, bare
from sender_service.channels.rendering import lexer, limits
from sender_service.channels.rendering.expressions import expressions_in
from sender_service.channels.rendering.limits import (
    RANGE_LIMIT,
    LimitedTemplate,
    OverBudgetError,
    limited,
)
from sender_service.channels.rendering.ranges import has_long_range
from sender_service.channels.rendering.template_position import Position, position_of
from sender_service.channels.rendering.variables import variables_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from liquid.token import Token

    from sender_service.channels.contract import Message
    from sender_service.channels.rendering.variables import Variable

#: Most a template may produce, bytes.
OUTPUT_LIMIT_BYTES = 1024 * 1024
#: Most a template may keep in variables, bytes.
VARIABLES_LIMIT_BYTES = 1024 * 1024
#: Most turns of a loop, inner loops multiplied.
LOOP_LIMIT = RANGE_LIMIT

#: They load other templates, which no campaign has.
_LOADING_TAGS = ("include", "render")
#: What a filter raises for a value it can't take, besides the errors of Liquid.
_FILTER_FAILURES = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
#: What is wrong with a template that can't be walked through.
_TOO_DEEP = "an expression has too many parts"


class _Environment(Environment):
    output_stream_limit = OUTPUT_LIMIT_BYTES
    local_namespace_limit = VARIABLES_LIMIT_BYTES
    loop_iteration_limit = LOOP_LIMIT
    template_class = LimitedTemplate

    def tokenizer(self) -> Callable[[str], Iterator[Token]]:
        return lexer.tokenize

    def setup_tags_and_filters(self, *, extra: bool = False) -> None:
        super().setup_tags_and_filters(extra=extra)
        for tag in _LOADING_TAGS:
            del self.tags[tag]
        self.filters["json"] = _json
        self.filters = {name: limited(name, function) for name, function in self.filters.items()}


def _json(value: object) -> str:
    """Write a value as JSON, an unknown name as null.

    python-liquid's filter of this name fails for unknown names and writes NaN, which is
    no JSON.
    """
    return json.dumps(value, ensure_ascii=False, allow_nan=False, default=_as_json)


def _as_json(value: object) -> object:
    """Return what stands in JSON for a value that only Liquid has.

    Raises:
        TypeError: nothing does.
    """
    if is_undefined(value):
        return None
    if isinstance(value, Decimal):
        return int(value) if value == int(value) else float(value)
    if isinstance(value, range):
        return list(value)
    raise TypeError(f"can't be written as JSON: {type(value).__name__}")


def variables_of(message: Message) -> dict[str, Any]:
    """Return what templates may use for a message: its fields, hidden by the message's data."""
    return {
        **message.fields,
        "address": message.address,
        "recipient_key": message.recipient_key,
        "campaign_id": message.campaign_id,
    }


_PLAIN = _Environment()
_HTML = _Environment(autoescape=True)


class LiquidTemplate:
    """One template of a campaign.

    Args:
        field: where it stands in the content, as in ``subject``.
        source: the Liquid source.
        escape: whether to escape output for HTML.

    Raises:
        TemplateError: it can't be compiled; the error says where.
    """

    def __init__(self, field: str, source: str, *, escape: bool = False) -> None:
        self.field = field
        self.source = source
        #: True if it renders the same for everyone.
        self.is_constant = "{{" not in source and "{%" not in source
        #: What rendering may take, as it was set when this was compiled.
        self.budget = limits.current()
        self._template = None if self.is_constant else _compile(field, source, escape=escape)
        # No clock is looked at while a long range is searched.
        self._is_never_light = self._template is not None and has_long_range(self._template)

    def render(self, variables: Mapping[str, Any]) -> str:
        """Return the output for ``variables``.

        Raises:
            TemplateError: a filter can't take its value.
            TemplateLimitError: it takes too long, or makes too much.
            OverBudgetError: its budget is light, and it needs more.
        """
        if self._template is None:
            return self.source
        if self._is_never_light and self.budget.is_light:
            raise OverBudgetError
        try:
            return self._template.render_within(self.budget, variables)
        except LiquidError as error:
            if self.budget.is_light and isinstance(error, ResourceLimitError):
                raise OverBudgetError from bare(error)
            raise _render_error(self.field, self.source, error) from bare(error)
        except _FILTER_FAILURES as error:
            raise TemplateError(self.field, str(error)) from bare(error)
        except RecursionError as error:
            raise TemplateError(self.field, _TOO_DEEP) from bare(error)

    def variables(self) -> tuple[Variable, ...]:
        """Return every use of a variable that the template does not set itself, in order.

        Raises:
            TemplateError: an expression of it has too many parts.
        """
        if self._template is None:
            return ()
        try:
            return variables_in(self.field, self.source, self._template)
        except RecursionError as error:
            raise TemplateError(self.field, _TOO_DEEP) from error


def _compile(field: str, source: str, *, escape: bool) -> LimitedTemplate:
    environment = _HTML if escape else _PLAIN
    if found := lexer.unclosed(source):
        index, opening = found
        position = Position.at(source, index)
        raise TemplateError(
            field, f"'{opening}' is never closed", line=position.line, column=position.column
        )
    try:
        template = cast("LimitedTemplate", environment.from_string(source))
    except LiquidError as error:
        raise _template_error(field, source, error) from bare(error)
    # Liquid looks filters up while rendering; a typo is better found before.
    unknown: list[tuple[int, str]] = [
        (used.token.start_index, used.name)
        for expression in expressions_in(template)
        if isinstance(expression, FilteredExpression)
        for used in expression.filters or ()
        if used.name not in environment.filters
    ]
    if unknown:
        index, name = min(unknown)
        position = Position.at(source, index)
        raise TemplateError(
            field, f"unknown filter '{name}'", line=position.line, column=position.column
        )
    return template


def _render_error(field: str, source: str, error: LiquidError) -> TemplateError:
    kind = TemplateLimitError if isinstance(error, ResourceLimitError) else TemplateError
    position = _token_position(source, error)
    if position is None:
        return kind(field, str(error.message))
    return kind(field, str(error.message), line=position.line, column=position.column)


def _template_error(field: str, source: str, error: LiquidError) -> TemplateError:
    message = str(error.message)
    found, unclosed = _token_position(source, error), ""
    if found is None:
        found, unclosed = position_of(source, _PLAIN)
    if unclosed:
        message = f"tag '{unclosed}' is never closed"
    if found is None:
        return TemplateError(field, message)
    return TemplateError(field, message, line=found.line, column=found.column)


def _token_position(source: str, error: LiquidError) -> Position | None:
    token = error.token
    if token is None or token.start_index < 0 or token.source not in source:
        return None
    # The source of a token inside {% liquid %} may be that tag's alone.
    return Position.at(source, source.index(token.source) + token.start_index)
