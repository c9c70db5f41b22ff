"""How a Liquid template is cut into tokens, in a time that grows with its length alone.

The patterns of python-liquid go back over what they have read: sixteen thousand spaces
behind one bracket keep a processor busy for seconds, and nothing else in the process runs
meanwhile. Those here read the same, and never go back.
"""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, cast

from liquid.lex import get_lexer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from liquid.token import Token

#: The rest of the template is read once for each bracket that nothing closes; more of
#: them are refused.
_MAX_UNCLOSED = 100


def _until(closing: str) -> str:
    """Return a pattern for what stands before a closing bracket, but for spaces around it."""
    return rf"(?:\s*+(?!-?{closing})\S)*+"


def _verbatim(group: str, tag: str, strips: str) -> str:
    return (
        rf"(?P<{group}>\{{%-?\s*+{tag}\s*+(?P<{strips}>-?)%\}}(?P<{tag}>.*?)"
        rf"\{{%-?\s*+end{tag}\s*+-?%\}})"
    )


# The names of the groups are those that the lexer of python-liquid asks for.
_RULES = re.compile(
    "|".join(
        (
            _verbatim("RAW", "raw", "rsr"),
            _verbatim("DOC", "doc", "rsd"),
            rf"(?P<output>\{{\{{-?\s*+(?P<stmt>{_until('}}')})\s*+(?P<rss>-?)\}}\}})",
            rf"(?P<TAG>\{{%-?\s*+(?P<name>\#|\w++)\s*+(?P<expr>{_until('%}')})\s*+(?P<rst>-?)%\}})",
            r"(?P<content>.+?(?=((\{%|\{\{)(?P<rstrip>-?))|$))",
        )
    ),
    re.DOTALL,
)
#: What must be closed, and what closes it.
_PAIRS = (
    (re.compile(r"\{\{"), "}}"),
    (re.compile(r"\{%"), "%}"),
    (re.compile(r"\{%-?\s*+raw\b"), "endraw"),
    (re.compile(r"\{%-?\s*+doc\b"), "enddoc"),
)

#: Cuts a template into tokens, as that of python-liquid does.
tokenize = cast(
    "Callable[[str], Iterator[Token]]",
    partial(cast("partial[Iterator[Token]]", get_lexer()).func, rules=_RULES),
)


def unclosed(source: str) -> tuple[int, str] | None:
    """Return where the first of very many brackets stands that nothing closes, and it.

    None: there are few of them, which the parser finds.
    """
    for opening, closing in _PAIRS:
        behind = source.rfind(closing) + 1
        for number, found in enumerate(opening.finditer(source, behind)):
            if number == 0:
                first = found
            if number == _MAX_UNCLOSED:
                return first.start(), first.group()
    return None
