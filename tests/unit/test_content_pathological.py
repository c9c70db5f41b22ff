"""Tests of templates that are made, or have slipped, to keep the sender busy."""

from __future__ import annotations

import resource
import subprocess
import sys

import pytest
from liquid.lex import get_lexer

from sender_service.channels.rendering.html_text import html_to_text
from sender_service.channels.rendering.lexer import tokenize

_LIMIT_BYTES = 1024 * 1024 * 1024
#: A template as long as content may be; the lexer of python-liquid needs hours for some.
_LENGTH = 256 * 1024
_PROGRAM = """
import sys
from sender_service.channels.errors import TemplateError
from sender_service.channels.rendering.templates import LiquidTemplate
start, unit, end = sys.argv[2:]
source = start + unit * ((int(sys.argv[1]) - len(start) - len(end)) // len(unit)) + end
try:
    LiquidTemplate("text", source).variables()
except TemplateError as error:
    print("refused at", error.line, error.column, error)
"""


def _limit_memory() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (_LIMIT_BYTES, _LIMIT_BYTES))


@pytest.mark.parametrize(
    ("start", "unit", "end"),
    [
        ("{{", " ", ""),
        ("{{", " ", "}}"),
        ("{{ a", " ", "b }}"),
        ("{%a", " ", ""),
        ("{%", " ", ""),
        ("{%", "a", ""),
        ("", "{{", ""),
        ("", "{%raw%}", ""),
        ("", "{%doc%}", ""),
        ("", "{%if a", ""),
        ("{{ a | }}", "{%if a%}", ""),
    ],
)
def test_no_template_keeps_a_processor_or_the_memory(start: str, unit: str, end: str) -> None:
    """A template of the longest content is refused at a place, in bounded time and memory."""
    done = subprocess.run(  # noqa: S603 - this interpreter
        [sys.executable, "-c", _PROGRAM, str(_LENGTH), start, unit, end],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        preexec_fn=_limit_memory,
    )
    assert done.stdout.startswith("refused at 1 "), done.stderr


@pytest.mark.parametrize(
    ("unit", "end"),
    [("<a ", ""), ("<a/", ""), ("<![", ""), ("<![if", ""), ("</a ", ""), ("<a ", ">"), ("<", "")],
)
def test_no_html_keeps_a_processor(unit: str, end: str) -> None:
    """Text is derived from HTML of nothing but tags that nothing closes, in bounded time."""
    program = (
        "import sys; from sender_service.channels.rendering.html_text import html_to_text;"
        " print(len(html_to_text('<p>Hello ' + sys.argv[1] * 80_000 + sys.argv[2])))"
    )
    done = subprocess.run(  # noqa: S603 - this interpreter
        [sys.executable, "-c", program, unit, end],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert int(done.stdout) >= len("Hello\n"), done.stderr


@pytest.mark.parametrize("broken", ["<![ if mso]>", "<![>", "<![unknown[x]]>", "<![if !mso]>"])
def test_a_broken_section_is_no_text(broken: str) -> None:
    """What some editors write for themselves is passed over, as browsers do it."""
    assert html_to_text(f"<p>Hello {broken}Ann</p>") == "Hello Ann\n"


@pytest.mark.parametrize(
    "source",
    [
        "Dear {{ first_name | default: 'you' }},\n{%- if a -%} x {%- endif %} {{-b-}}",
        "{% raw %}{{ a }}{% endraw %}{%- raw -%} {% {%- endraw -%} c",
        "{% comment %}{{ a {% if %}{% endcomment %}{% # a note %}{%#b%}{% doc %} d {% enddoc %}",
        "{% liquid\n  assign a = b\n  echo a\n%}",
        "{{ }}{%if%}{{a}} } % { {{\n\ta | join: '}' \r\n}}",
        "{{'a' -}} {{ ünï_code }}{{ ['first name'] }} {{{a}}}",
    ],
)
def test_templates_are_cut_as_liquid_cuts_them(source: str) -> None:
    """A template has the tokens that python-liquid finds in it."""
    expected = [(token.kind, token.value) for token in get_lexer()(source)]
    assert [(token.kind, token.value) for token in tokenize(source)] == expected
