"""Variables of templates: which are used, where, what a template provides for them."""

from __future__ import annotations

import random
import string
from pathlib import Path

import pytest

from closeout_cli.campaign_file import read_campaign_file
from closeout_cli.recipients_file import read_recipients_file
from sender_service.channels.contract import Content, EmailContent, JsonContent, TextContent
from sender_service.channels.errors import TemplateError
from sender_service.channels.from_wire import content_of
from sender_service.channels.rendering.content import content_variables
from sender_service.channels.rendering.field_check import (
    empty_variables,
    suggestion,
    unknown_variables,
)
from sender_service.channels.rendering.templates import LiquidTemplate
from sender_service.channels.rendering.variables import _KEEP_NOTHING

EXAMPLES = Path(__file__).parents[2] / "examples"
FIELDS = ("first_name", "city", "plan", "items", "user")


def unknown(source: str, *fields: str, provided_for: bool = False) -> list[str]:
    variables = LiquidTemplate("text", source).variables()
    return [str(one) for one in unknown_variables(variables, fields, provided_for=provided_for)]


def names(source: str, *, provided_for: bool = False) -> list[str]:
    variables = LiquidTemplate("text", source).variables()
    found = unknown_variables(variables, FIELDS, provided_for=provided_for)
    return [one.name for one in found]


@pytest.mark.parametrize(
    ("source", "line", "column"),
    [
        ("{{ x }}", 1, 4),
        ("Hi\n  {{x}}", 2, 5),
        ("{{ city | append: x }}", 1, 19),
        ("{{ city | replace: 'a', x }}", 1, 25),
        ("{{ x.name }}", 1, 4),
        ("{{ user[x].name }}", 1, 9),
        ("{{ x | upcase }}", 1, 4),
        ("{% if x == 'gold' %}a{% endif %}", 1, 7),
        ("{% if city == x %}a{% endif %}", 1, 15),
        ("{% if city contains x %}a{% endif %}", 1, 21),
        ("{% if city and x > 3 %}a{% endif %}", 1, 16),
        ("{% if city %}\n{% elsif x == 1 %}a{% endif %}", 2, 10),
        ("{% unless x == 'a' %}b{% endunless %}", 1, 11),
        ("{% for item in x %}{{ item }}{% endfor %}", 1, 16),
        ("{% for item in (1..x) %}{{ item }}{% endfor %}", 1, 20),
        ("{% for item in items limit: x %}{{ item }}{% endfor %}", 1, 29),
        ("{% for item in items %}{{ item }}{% else %}{{ x }}{% endfor %}", 1, 47),
        ("{% for item in items %}{% endfor %}{{ x }}", 1, 39),
        ("{% tablerow i in x %}{{ i }}{% endtablerow %}", 1, 18),
        ("{% case x %}{% when 'a' %}b{% else %}c{% endcase %}", 1, 9),
        ("{% case city %}{% when x %}b{% endcase %}", 1, 24),
        ("{% case city %}{% when 'a' %}{{ x }}{% endcase %}", 1, 33),
        ("{% assign a = x %}{{ a }}", 1, 15),
        ("{% capture a %}{{ x }}{% endcapture %}{{ a }}", 1, 19),
        ("{% cycle x, 'b' %}", 1, 10),
        ("{% echo x %}", 1, 9),
        ("{% liquid\n assign a = city\n echo x\n%}", 3, 7),
        ("a\n\n{% liquid\n echo city\n%}\n{% liquid\n if city\n  echo x\n endif %}", 8, 8),
        ("{% ifchanged %}{{ x }}{% endifchanged %}", 1, 19),
        ("{% assign x = x | upcase %}", 1, 15),
        ("{{ x }}{% assign x = 1 %}", 1, 4),
        ("{{ city | default: x }}", 1, 20),
        ("{{ x | append: '.' | default: 'y' }}", 1, 4),
        ("{% if x %}a{% else %}{{ x }}{% endif %}", 1, 25),
        ("{% if x or city %}{{ x }}{% endif %}", 1, 22),
        ("{% if x == nil %}{{ x }}{% endif %}", 1, 21),
        ("{% if x == nil and city == nil %}a{% else %}{{ x }}{% endif %}", 1, 48),
        ("{% if x != blank %}{{ x }}{% endif %}", 1, 7),
        ("{% if x != '' %}{{ x }}{% endif %}", 1, 7),
        ("{% if x %}{% endif %}{{ x }}", 1, 25),
        ("{{ x | default: 'y' }}{{ x }}", 1, 26),
    ],
)
def test_an_unknown_variable_is_found_where_it_is_used(source: str, line: int, column: int) -> None:
    """Every use counts that a missing value would leave empty, with line and column."""
    assert unknown(source, *FIELDS) == [f"text:{line}:{column}: the recipients have no field x"]


@pytest.mark.parametrize(
    "source",
    [
        "no variables",
        "{{ address }} {{ recipient_key }} {{ campaign_id }}",
        "{{ first_name }}{{ user.name.first }}{{ items[0] }}{{ items.first.name }}",
        "{{ x | default: 'friend' }}",
        "{{ x | strip | default: 'friend' }}",
        "{{ x | default: y | default: 'friend' }}",
        "{% assign a = x | default: 'b' %}{{ a }}",
        "{% if x %}{{ x }}{{ x.name | append: x }}{% endif %}",
        "{% if x and x == 'gold' %}{{ x }}{% endif %}",
        "{% if x != nil %}{{ x }}{% endif %}",
        "{% if x == nil %}none{% else %}{{ x }}{% endif %}",
        "{% if x == nil or city == nil %}none{% else %}{{ x }}{% endif %}",
        "{% if city %}{% elsif x %}{{ x }}{% endif %}",
        "{% unless x %}none{% else %}{{ x }}{% endunless %}",
        "{% unless x == nil %}{{ x }}{% endunless %}",
        "{% if x %}{% for i in items %}{{ x }}{{ i }}{% endfor %}{% endif %}",
        "{% assign x = 1 %}{{ x }}{{ x | plus: x }}",
        "{% capture x %}a{% endcapture %}{{ x }}",
        "{% increment x %}{{ x }}{% decrement y %}{{ y }}",
        "{% for x in items %}{{ x.name }}{{ forloop.index }}{% endfor %}",
        "{% for i in items %}{% if seen %}{{ seen }}{% endif %}{% assign seen = i %}{% endfor %}",
        "{% for i in items %}{{ last }}{% assign last = i %}{% endfor %}",
        "{% tablerow x in items %}{{ x }}{{ tablerowloop.col }}{% endtablerow %}",
        "{% cycle group: 'a', 'b' %}",
        "{% raw %}{{ x }}{% endraw %}{% comment %}{{ x }}{% endcomment %}",
        "{{ 'x' | append: 'y' }}{{ 5 }}{{ true }}{{ nil }}{{ (1..3) | join: ',' }}",
    ],
)
def test_what_a_template_sets_or_provides_for_is_not_refused(source: str) -> None:
    """Known fields pass, and so do variables with a default, a test for them, or a value."""
    assert unknown(source, *FIELDS) == []


def test_variables_that_are_provided_for_can_be_listed() -> None:
    """A misspelt name with a default shows the default to everyone: a hint, not an error."""
    source = (
        "{{ frist_name | default: 'you' }}{% if citty %}{{ citty }}{% endif %}{{ plan }}{{ z }}"
    )
    assert names(source, provided_for=True) == ["frist_name", "citty"]
    assert names(source) == ["z"]


def test_a_variable_is_named_once_for_each_template() -> None:
    """The place is that of the first use that is not provided for."""
    content = EmailContent(subject="{{ x | default: 'a' }} {{ x }}{{ x }}", html="<p>{{ x }}")
    found = unknown_variables(content_variables(content), [])
    assert [(one.field, one.line, one.column) for one in found] == [
        ("subject", 1, 27),
        ("html", 1, 7),
    ]


@pytest.mark.parametrize(
    ("content", "field"),
    [
        (EmailContent(subject="{{ x }}", text="t"), "subject"),
        (EmailContent(subject="s", text="{{ x }}"), "text"),
        (EmailContent(subject="s", html="{{ x }}"), "html"),
        (
            EmailContent(subject="s", text="t", list_unsubscribe="https://a/{{ x }}"),
            "list_unsubscribe",
        ),
        (TextContent(text="{{ x }}"), "text"),
        (JsonContent(json='{"a": {{ x | json }}}'), "json"),
    ],
)
def test_all_kinds_of_content_are_searched(content: Content, field: str) -> None:
    """Every template of e-mails, texts and JSON documents counts."""
    assert [one.field for one in unknown_variables(content_variables(content), FIELDS)] == [field]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("frist_name", "first_name"),
        ("firstname", "first_name"),
        ("FirstName", "first_name"),
        ("first-name", "first_name"),
        ("Citty", "city"),
        ("email", "address"),
        ("id", "recipient_key"),
        ("recipientkey", "recipient_key"),
        ("zzz", ""),
        ("x" * 10_000, ""),
    ],
)
def test_the_field_that_was_meant_is_suggested(name: str, meant: str) -> None:
    """Case and hyphens do not matter; the usual names of address and key are known."""
    assert suggestion(name, [*FIELDS, "address", "recipient_key"]) == meant


def test_an_expression_of_too_many_parts_is_refused() -> None:
    """What can't be searched is an error of the template, never of the service."""

    def nest() -> None:
        parts = 100
        while parts < 1_000_000:
            LiquidTemplate("text", "{{ a" + "[b" * parts + "]" * parts + " }}").variables()
            parts = parts * 5 // 4

    with pytest.raises(TemplateError, match=r"too many parts|parsing error"):
        nest()


def test_many_unknown_variables_take_no_long_time() -> None:
    """Only the first get a suggestion: comparing thousands with a thousand fields takes long."""
    source = "".join(f"{{{{ firstname{number} }}}}" for number in range(2_000))
    fields = [f"first_name{number}" for number in range(5_000, 6_000)]
    found = unknown_variables(LiquidTemplate("text", source).variables(), fields)
    assert len(found) == 2_000
    assert [bool(one.suggestion) for one in found[:21]] == [True] * 20 + [False]


@pytest.mark.parametrize("seed", range(200))
def test_a_misspelt_variable_is_refused_wherever_it_stands(seed: int) -> None:
    """A random template passes with its fields, and is refused once one of them is misspelt."""
    random_ = random.Random(seed)  # noqa: S311 - it makes templates
    fields = random_.sample(["first_name", "city", "plan", "company", "items", "user"], 4)
    chosen = random_.choice(fields)
    misspelt = misspell(chosen, random_, avoid=fields)
    parts = [piece(random_.choice(fields), random_) for _ in range(random_.randrange(6))]
    at = random_.randrange(len(parts) + 1)
    before, after = "\n".join(parts[:at]), "\n".join(parts[at:])
    form = random_.choice(FORMS)
    right, wrong = (
        "\n".join((before, form.replace("NAME", name), after)) for name in (chosen, misspelt)
    )
    assert unknown(right, *fields) == []
    (found,) = unknown_variables(LiquidTemplate("text", wrong).variables(), fields)
    assert found.name == misspelt
    lines = wrong.split("\n")
    assert lines[found.line - 1][found.column - 1 :].startswith(misspelt)


FORMS = (
    "{{ NAME }}",
    "Hello {{NAME}}, bye",
    "{{- NAME.deep.path -}}",
    "{{ NAME | upcase | strip }}",
    "{{ 'a' | append: NAME }}",
    "{% if NAME == 'a' %}b{% endif %}",
    "{% unless NAME contains 'a' %}b{% endunless %}",
    "{% for one in NAME %}{{ one }}{% endfor %}",
    "{% for one in (1..3) %}{{ one | plus: NAME }}{% endfor %}",
    "{% case NAME %}{% when 1 %}b{% endcase %}",
    "{% assign a = NAME | upcase %}",
    "{% capture b %}({{ NAME }}){% endcapture %}",
    "{% if true %}{% if 1 == 1 %}{{ NAME }}{% endif %}{% endif %}",
    "{% liquid\n  assign c = NAME\n  echo c\n%}",
    "{% tablerow one in NAME cols: 2 %}{{ one }}{% endtablerow %}",
)


def piece(name: str, random_: random.Random) -> str:
    """Return a part of a template that uses a field properly."""
    extra = ("text", "{{ NAME | default: 'x' }}", "{% if NAME %}{{ NAME }}{% else %}-{% endif %}")
    return random_.choice((*FORMS, *extra)).replace("NAME", name)


def misspell(name: str, random_: random.Random, *, avoid: list[str]) -> str:
    """Return the name with a letter swapped, dropped, doubled or replaced."""
    at = random_.randrange(1, len(name) - 1)
    letter = random_.choice(string.ascii_lowercase)
    wrong = random_.choice(
        (
            name[:at] + name[at + 1] + name[at] + name[at + 2 :],
            name[:at] + name[at + 1 :],
            name[:at] + name[at] + name[at:],
            name[:at] + letter + name[at + 1 :],
        )
    )
    return wrong if wrong not in avoid else f"{name}x"


def test_the_examples_use_only_their_columns() -> None:
    """What the example says is what its recipients have."""
    campaign = read_campaign_file(EXAMPLES / "welcome.toml")
    columns = read_recipients_file(EXAMPLES / "recipients.csv").columns
    variables = content_variables(content_of(campaign.body))
    assert {one.name for one in variables} >= {"first_name", "plan", "credits"}
    assert unknown_variables(variables, columns) == ()


@pytest.mark.parametrize(
    ("source", "gaps"),
    [
        # Values: missing (m), null (n), empty (e), spaces (s), and full (f).
        ("{{ m }}{{ n }}{{ e }}{{ s }}{{ f }}{{ zero }}{{ no }}", "m n e s"),
        ("{{ m | default: 'x' }}{{ n | default: 'x' }}{{ e | default: 'x' }}", ""),
        ("{{ s | default: 'x' }}", "s"),
        ("{{ s | strip | default: 'x' }}", ""),
        ("{% if m %}{{ m }}{% endif %}{% if n %}{{ n }}{% endif %}", ""),
        ("{% if e %}{{ e }}{% endif %}{% if s %}{{ s }}{% endif %}", "e s"),
        ("{% if e and e != '' %}{{ e }}{% endif %}{% if e != '' %}{{ e }}{% endif %}", ""),
        ("{% if s != blank %}{{ s }}{% endif %}{% if e != blank %}{{ e }}{% endif %}", ""),
        ("{% if m != blank %}{{ m }}{% endif %}", "m"),
        ("{% if e == empty %}-{% else %}{{ e }}{% endif %}", ""),
        ("{{ m }}{{ m }}", "m"),
    ],
)
def test_gaps_in_the_message_of_a_recipient_are_found(source: str, gaps: str) -> None:
    """A value that is missing, empty or spaces leaves a gap unless the template provides for it."""
    values = {"n": None, "e": "", "s": "  ", "f": "full", "zero": 0, "no": False}
    variables = LiquidTemplate("text", source).variables()
    assert " ".join(empty_variables(variables, values)) == gaps


@pytest.mark.parametrize("value", [None, "", "  ", "gold"])
@pytest.mark.parametrize(
    "source",
    [
        "{% if v %}[{{ v }}]{% endif %}",
        "{% if v != blank %}[{{ v }}]{% endif %}",
        "{% if v and v != blank %}[{{ v }}]{% endif %}",
        "{% if v != nil %}[{{ v }}]{% endif %}",
        "{% if v and v != '' %}[{{ v }}]{% endif %}",
        "{% unless v == empty %}[{{ v }}]{% endunless %}",
        "[{{ v | default: 'x' }}]",
        "[{{ v | strip | default: 'x' }}]",
        "[{{ v | upcase | default: 'x' }}]",
        "[{{ v | lstrip | default: w | default: 'x' }}]",
        "{% unless v %}{% else %}[{{ v }}]{% endunless %}",
        "{% if v == nil %}{% elsif v == blank %}{% else %}[{{ v }}]{% endif %}",
        "[{{ v }}]",
    ],
)
def test_what_counts_as_a_gap_is_what_renders_as_one(source: str, value: str | None) -> None:
    """A gap is found exactly where the rendered message has one."""
    template = LiquidTemplate("text", source)
    values = {} if value is None else {"v": value}
    has_gap = template.render(values) in ("[]", "[  ]")
    assert ("v" in empty_variables(template.variables(), values)) is has_gap


@pytest.mark.parametrize("value", [None, "", "  ", "gold"])
@pytest.mark.parametrize("name", sorted(_KEEP_NOTHING))
def test_a_default_behind_a_filter_counts_where_it_shows(name: str, value: str | None) -> None:
    """Behind filters that make nothing of nothing a default applies; never behind others."""
    template = LiquidTemplate("text", f"[{{{{ v | {name} | default: 'x' }}}}]")
    values = {} if value is None else {"v": value}
    has_gap = not template.render(values).strip("[ +]")
    assert ("v" in empty_variables(template.variables(), values)) is has_gap


@pytest.mark.parametrize("name", ["now", "today"])
def test_the_clock_of_liquid_is_no_field(name: str) -> None:
    """A template may show the year without a column for it; a field comes before it."""
    source = f"{{{{ {name} | date: '%Y' }}}}"
    assert unknown(source) == []
    template = LiquidTemplate("text", source)
    assert template.render({}).startswith("20")
    assert template.render({name: "1999-12-31"}) == "1999"
    assert empty_variables(template.variables(), {}) == ()
