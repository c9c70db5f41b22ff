"""Templates made to keep a sender busy, or to take its memory: seeded, and none like another."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

#: As long as content may be, with a little left for what stands around it.
LONGEST = 255 * 1024
#: As long as a field may be: the fields of a recipient have 16 KiB, as JSON.
_LONGEST_FIELD = 16_000
_TEXT = ("upcase", "downcase", "escape", "url_encode", "strip_html", "squish", "capitalize")
_MORE = ("newline_to_br", "strip_newlines", "truncatewords: 99999", "base64_encode", "json")
_PIECES = ("{", "{{", "{%", "{{ a ", "{% if a", "{%raw%}", "{%doc%}", "{{ a | ", "{% for i in ")
_HTML = ("<a ", "<![", "</a ", "<", "<p>", "<!--", "&", "<a href=x>", "<script>")


@dataclass(frozen=True, slots=True)
class Hostile:
    """A template, and the fields of the recipient it is meant for.

    Attributes:
        kind: what it tries.
        source: the template.
        fields: of the recipient.
        is_html: whether it is meant as HTML, of which the text is derived.
    """

    kind: str
    source: str
    fields: dict[str, Any] = field(default_factory=dict)
    is_html: bool = False


def hostile_templates(seed: int, number: int) -> Iterator[Hostile]:
    """Return so many templates; the same for the same seed."""
    chance = random.Random(seed)  # noqa: S311 - no secret
    makers = list(_MAKERS)
    for at in range(number):
        yield makers[at % len(makers)](chance)


def _doubled(chance: random.Random, times: int) -> str:
    how = chance.choice(("append: a", "prepend: a"))
    return "{% assign a = 'aaaaaaaaaa' %}" + f"{{% assign a = a | {how} %}}" * times


def _loops(chance: random.Random) -> Hostile:
    depth = chance.randint(1, 4)
    turns = [chance.choice((3, 10, 99, 999, 9_999)) for _ in range(depth)]
    opened = "".join(f"{{% for v{n} in (1..{turn}) %}}" for n, turn in enumerate(turns))
    inner = chance.choice(("{{ v0 }}", "{% assign b = b | append: 'x' %}", "{% cycle 1, 2 %}"))
    return Hostile("loops", opened + inner * chance.randint(1, 50) + "{% endfor %}" * depth)


def _long_text_in_a_loop(chance: random.Random) -> Hostile:
    filters = " | ".join(chance.choices((*_TEXT, *_MORE), k=chance.randint(1, 6)))
    loop = f"{{% for i in (1..{chance.randint(50, 9_999)}) %}}"
    work = f"{{% assign b = a | {filters} | size %}}"
    return Hostile(
        "filters", _doubled(chance, chance.randint(8, 16)) + f"{loop}{work}{{% endfor %}}"
    )


def _replaces(chance: random.Random) -> Hostile:
    times = chance.randint(8, 18)
    how = chance.choice(("replace: 'a', a", "replace: '', a", "split: '' | join: a"))
    return Hostile("replaces", f"{_doubled(chance, times)}{{{{ a | {how} | size }}}}")


def _long_list(chance: random.Random) -> Hostile:
    doubled = "{% assign l = l | concat: l %}" * chance.randint(8, 18)
    end = chance.choice(
        ("l | upcase | size", "l | uniq | size", "l | sort | join: l[0] | size", "l")
    )
    fields = {"a": "z" * chance.randint(100, 15_000)}
    return Hostile("lists", f"{{% assign l = a | split: 'x' %}}{doubled}{{{{ {end} }}}}", fields)


def _range(chance: random.Random) -> Hostile:
    last = chance.choice((10**8, 10**9, 10**15, 10**30))
    use = chance.choice(
        (
            "{% if r contains 'x' %}a{% endif %}",
            "{{ r | join: ',' }}",
            "{% for i in r %}{{ i }}{% endfor %}",
            "{{ r | sum }}{{ r | size }}",
            "{{ r | reverse | first }}",
        )
    )
    return Hostile("ranges", f"{{% assign r = (1..{last}) %}}{use}")


def _unclosed(chance: random.Random) -> Hostile:
    piece = chance.choice(_PIECES)
    length = chance.choice((2_000, 15_000, 60_000, LONGEST))
    closing = chance.choice(("", "", "}}", "%}", "{% endif %}"))
    return Hostile("unclosed", piece * ((length - len(closing)) // len(piece)) + closing)


def _spaces(chance: random.Random) -> Hostile:
    blank = chance.choice((" ", "\n", "\t", " \n"))
    start, end = chance.choice((("{{", "}}"), ("{% if", "%}"), ("{{ a", ""), ("", "{{ a }}")))
    length = chance.choice((15_000, 60_000, LONGEST))
    return Hostile("spaces", start + blank * (length // len(blank) - 20) + end)


def _many(chance: random.Random) -> Hostile:
    piece = chance.choice(
        ("{{a}}", "{% if a %}b{% endif %}", "{{ a|upcase }}", "{% assign b=a %}", "{{a[0].b}}")
    )
    length = chance.choice((15_000, 120_000, LONGEST))
    return Hostile("many", piece * (length // len(piece)), {"a": "x" * chance.randint(1, 15_000)})


def _names(chance: random.Random) -> Hostile:
    count = chance.randint(100, 12_000)
    pieces = [chance.choice(("{{%s}}", "{%%assign %s=a%%}")) % f"v{n}" for n in range(count)]
    return Hostile("names", "".join(pieces)[:LONGEST].rpartition("{")[0])


def _deep(chance: random.Random) -> Hostile:
    tag, end = chance.choice((("{% if a %}", "{% endif %}"), ("{% for i in a %}", "{% endfor %}")))
    depth = chance.choice((20, 31, 200, 8_000))
    return Hostile("deep", tag * depth + "x" + end * chance.choice((0, depth)))


def _long_expression(chance: random.Random) -> Hostile:
    count = chance.choice((500, 5_000, 30_000))
    kind = chance.choice(("and", "filter", "path", "number"))
    expression = {
        "and": "{% if " + " and ".join(["a"] * count) + " %}b{% endif %}",
        "filter": "{{ a" + " | upcase" * min(count, 25_000) + " }}",
        "path": "{{ a" + "[a" * count + "]" * count + " }}",
        "number": "{{ " + "9" * count + " | times: 9 }}",
    }
    return Hostile("expressions", expression[kind], {"a": "x"})


def _hostile_html(chance: random.Random) -> Hostile:
    piece = chance.choice(_HTML)
    length = chance.choice((4_000, 15_000, 60_000, LONGEST))
    end = chance.choice(("", ">", "{{ a | safe }}", "{% if a %}<b>{% endif %}"))
    fields = {"a": piece * (_LONGEST_FIELD // len(piece))}
    return Hostile("html", piece * (length // len(piece)) + end, fields, is_html=True)


def _numbers(chance: random.Random) -> Hostile:
    filters = " | ".join(
        chance.choices(("times: a", "plus: a", "divided_by: 0.1", "round: 99"), k=9)
    )
    value = chance.choice(("9" * 4_000, "1e999999999", 10**300, "nan", -1))
    loop = f"{{% assign a = a | {filters} %}}" * chance.randint(1, 60)
    return Hostile("numbers", loop + "{{ a }}", {"a": value})


_MAKERS: tuple[Callable[[random.Random], Hostile], ...] = (
    _loops,
    _long_text_in_a_loop,
    _replaces,
    _long_list,
    _range,
    _unclosed,
    _spaces,
    _many,
    _names,
    _deep,
    _long_expression,
    _hostile_html,
    _numbers,
)
