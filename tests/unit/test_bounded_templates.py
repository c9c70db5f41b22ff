"""Tests of what is rendered in the thread that serves everybody, and what is not."""

from __future__ import annotations

import asyncio
import gc
import json
import tracemalloc
import weakref
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest

from providers.hostile_templates import LONGEST, Hostile, hostile_templates
from sender_service.campaigns.audience import RecipientInput, check_row
from sender_service.channels.console import ConsoleChannel
from sender_service.channels.contract import Content, EmailContent, Message, TextContent
from sender_service.channels.errors import TemplateError, TemplateLimitError
from sender_service.channels.rendering import bounded, limits
from sender_service.channels.rendering.bounded import BoundedTemplate
from sender_service.channels.rendering.content import CompiledContent, Rendered
from sender_service.channels.rendering.frames import Frame, WorkerLimits
from sender_service.channels.rendering.limits import OverBudgetError
from sender_service.channels.rendering.workers import TemplateWorkers


def message(**fields: Any) -> Message:
    """Return a message to Ann."""
    return Message("c1", 1, "ann@shop.example", "", fields, "0" * 32)


class ScriptedWorkers(TemplateWorkers):
    """Workers without a process, whose answer is written down."""

    def __init__(self, *answers: Frame | Exception) -> None:
        super().__init__(1)
        self.answers = list(answers)
        self.asked: list[str] = []

    async def call(self, header: dict[str, Any], content: bytes) -> Frame:  # noqa: ARG002
        """Give the next answer."""
        self.asked.append(header["op"])
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def texts(*parts: str) -> Frame:
    """Return the answer of a worker that made these."""
    return {"type": "rendered"}, json.dumps(parts).encode()


async def compiled(workers: TemplateWorkers, content: Content) -> BoundedTemplate:
    """Compile for the channel ``console``."""
    template = await bounded.compiled(workers, ConsoleChannel(), content)
    assert isinstance(template, BoundedTemplate)
    return template


@pytest.mark.parametrize(
    ("source", "fields"),
    [
        ("{% for i in (1..9999) %}{% assign b = i %}{% assign c = i %}{% endfor %}" * 9, {}),
        ("{% if (1..n) contains 'x' %}{% endif %}", {"n": 3}),
        ("{% assign r = (1..90000) %}{% if r contains 'x' %}{% endif %}", {}),
        ("{{ a | append: a | size }}", {"a": "x" * 40_000}),
        ("{{ a | replace: 'x', a | size }}", {"a": "x" * 400}),
        ("{% assign b = a | split: '' | concat: a %}", {"a": "xy"}),
        ("{{ a | split: '' | uniq | size }}", {"a": "xy" * 200}),
        ("{{ a | strip_html }}", {"a": "<" * 5_000}),
        ("{{ a | date: '%Y' }}", {"a": "1 " * 500}),
        ("{{ a }}" * 20, {"a": "x" * 16_000}),
        ("{{ a }}" * 200, {"a": "x" * 16_000}),
    ],
)
def test_what_may_take_long_is_not_rendered_here(source: str, fields: dict[str, Any]) -> None:
    """A template with the light budget asks for a process of its own, before the work."""
    with limits.light():
        template = CompiledContent(TextContent(source))
    with pytest.raises(OverBudgetError):
        template.render(message(**fields))


def test_long_html_is_not_converted_here() -> None:
    """The text of a message whose HTML is long is made in a process of its own."""
    content = EmailContent(html="<p>{{ a | safe }}</p>")
    with limits.light():
        template = CompiledContent(content)
    assert template.render(message(a="x")).text == "x\n"
    with pytest.raises(OverBudgetError):
        template.render(message(a="<b>x</b>" * 3_000))
    assert CompiledContent(content).render(message(a="<b>x</b>" * 3_000)).text.startswith("xx")


@pytest.mark.parametrize(
    "source",
    [
        "Dear {{ name | default: 'you' | capitalize | escape }}",
        "{% for item in items %}{{ forloop.index }}. {{ item.name | upcase }}\n{% endfor %}",
        "{% for i in (1..100) %}{{ i | times: 2 }}{% endfor %}{{ 'now' | date: '%Y' | size }}",
        "{% assign l = name | split: '' | uniq | join: ', ' %}{{ l | url_encode | truncate: 9 }}",
    ],
)
def test_an_ordinary_template_is_rendered_here(source: str) -> None:
    """The light budget changes nothing of what it makes."""
    to = message(name="ann", items=[{"name": "tea"}, {"name": "milk"}])
    with limits.light():
        light = CompiledContent(TextContent(source))
    assert light.render(to) == CompiledContent(TextContent(source)).render(to)


async def test_short_content_needs_no_process() -> None:
    """An ordinary campaign is compiled, checked, previewed and rendered without a worker."""
    workers = ScriptedWorkers()
    content = TextContent("Hi {{ nme }}")
    template = await compiled(workers, content)
    assert await template.preview(message(nme="Ann")) == "To: ann@shop.example\n\nHi Ann"
    ready = await template.ready(message(nme="Ann"))
    assert ready.render(message()) == Rendered("", "Hi Ann", "", "")
    (found,), count = await bounded.unknown(workers, content, ["name"])
    assert (found.name, found.suggestion, count) == ("nme", "name", 1)
    assert workers.asked == []


@pytest.mark.parametrize("source", ["x" * 17_000, "{{ a }}" * 301, "{% if a %}{% endif %}" * 151])
async def test_longer_content_is_compiled_elsewhere_first(source: str) -> None:
    """What a process compiled in a moment is compiled here as well, other content never."""
    workers = ScriptedWorkers(({"seconds": 0.05, "sender": ""}, b""))
    assert (await compiled(workers, TextContent(source))).light is not None
    workers = ScriptedWorkers(({"seconds": 0.2, "sender": ""}, b""), texts("", "made", "", ""))
    template = await compiled(workers, TextContent(source))
    assert template.light is None
    ready = await template.ready(message())
    assert ready.render(message()) == Rendered("", "made", "", "")
    assert workers.asked == ["compile", "prepared"]


async def test_the_first_message_over_the_budget_moves_its_campaign() -> None:
    """It is rendered elsewhere at once, and so are all that follow."""
    workers = ScriptedWorkers(texts("", "1", "", ""), texts("", "2", "", ""))
    template = await compiled(workers, TextContent("{{ a | append: a | size }}"))
    for number, length in enumerate((60_000, 1), 1):
        ready = await template.ready(message(a="x" * length))
        assert ready.render(message()) == Rendered("", str(number), "", "")
    assert template.light is None


async def test_what_a_template_raises_is_raised_when_it_is_sent() -> None:
    """A channel answers for a message rendered elsewhere as for one rendered there."""
    workers = ScriptedWorkers(({"seconds": 9.0, "sender": ""}, b""), TemplateLimitError("", "no"))
    template = await compiled(workers, TextContent("x" * 17_000))
    ready = await template.ready(message())
    with pytest.raises(TemplateLimitError, match="the templates: no"):
        ready.render(message())


async def test_a_campaign_has_one_job_at_a_time() -> None:
    """So many messages of one campaign leave the processes to others in between."""
    running = most = 0

    class Counting(ScriptedWorkers):
        async def call(self, header: dict[str, Any], content: bytes) -> Frame:
            nonlocal running, most
            running += 1
            most = max(most, running)
            await asyncio.sleep(0)
            running -= 1
            return await super().call(header, content)

    template = BoundedTemplate(Counting(*[texts("", "x", "", "")] * 5), "m:f", b"{}", None)
    await asyncio.gather(*(template.ready(message()) for _ in range(5)))
    assert most == 1


@pytest.mark.parametrize(
    "source",
    [
        "{{ a | upcase }}{% for i in a %}{{ i }}{% endfor %}",
        "{{ }}",
        "{% if a %}",
        "{{ a | nix }}",
        "{{ a | divided_by: 0 }}",
        "{{ a | append: a }}",
        "{% if" + " a and" * 2_000 + " a %}",
    ],
)
def test_templates_are_gone_once_nobody_has_them(source: str) -> None:
    """L5: they do not wait for a garbage collection, whatever was wrong with them."""
    gc.collect()
    gc.disable()
    try:
        with suppress(TemplateError, OverBudgetError), limits.light():
            CompiledContent(TextContent(source)).render(message(a="x" * 40_000))
        assert gc.collect() == 0
    finally:
        gc.enable()


@pytest.mark.parametrize(
    "source", ["{{ " + "9" * 5_000 + " }}", "{% if" + " a and" * 2_000 + " a %}"]
)
def test_an_error_keeps_nothing_of_its_template(source: str) -> None:
    """L5: who holds it, as a call that is answered with it does, holds its text alone."""
    with pytest.raises(TemplateError) as caught:
        CompiledContent(TextContent(source))
    cause = caught.value.__cause__
    assert cause is not None
    assert cause.__traceback__ is None
    assert cause.__cause__ is None
    assert cause.__context__ is None


async def test_a_message_that_fails_keeps_no_content() -> None:
    """L5: what is left of it until it is handed over is its error."""
    workers = ScriptedWorkers(({"seconds": 9.0, "sender": ""}, b""), TemplateLimitError("", "no"))
    template: BoundedTemplate | None = await compiled(workers, TextContent("x" * 17_000))
    assert template is not None
    kept = weakref.ref(template)
    gc.disable()
    try:
        ready = await template.ready(message())
        template = None
        assert kept() is None
    finally:
        gc.enable()
    with pytest.raises(TemplateLimitError):
        ready.render(message())


def test_nested_names_take_no_more_than_their_source_asks_for() -> None:
    """L5: what compiling takes does not grow with the square of how deep names stand."""
    source = "{{ a" + "[a" * 250 + "]" * 250 + " }}"
    tracemalloc.start()
    try:
        CompiledContent(TextContent(source))
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 1_000_000


async def test_very_many_unknown_variables_are_counted_elsewhere() -> None:
    """The first of them are named, and the others counted, in a time that does not explode."""
    source = "".join(f"{{{{v{number}}}}}" for number in range(2_000))
    workers = TemplateWorkers(1)
    try:
        found, count = await bounded.unknown(workers, TextContent(source), ["name"])
    finally:
        await workers.close()
    assert [one.name for one in found] == [f"v{number}" for number in range(20)]
    assert count == 2_000


@pytest.fixture(scope="module")
async def workers() -> AsyncIterator[TemplateWorkers]:
    """Two processes that give up early, so that the tests are short."""
    started = TemplateWorkers(2, WorkerLimits(compile_seconds=0.5, render_seconds=0.1))
    yield started
    await started.close()


async def end_of(workers: TemplateWorkers, hostile: Hostile) -> str:
    """Return how the message of a hostile template ends."""
    mail = (
        EmailContent(html=hostile.source) if hostile.is_html else EmailContent(text=hostile.source)
    )
    try:
        template = await compiled(workers, mail)
        ready = await template.ready(message(**hostile.fields))
        made = ready.render(message())
    except TemplateLimitError:
        return "limit"
    except TemplateError:
        return "error"
    assert isinstance(made, Rendered)
    return "made"


async def test_every_hostile_template_ends_within_its_limits(workers: TemplateWorkers) -> None:
    """L5: each of thirty made to keep a processor or take memory is made, or refused."""
    hostile = list(hostile_templates(seed=20_251, number=30))
    assert max(len(one.source) for one in hostile) <= LONGEST
    ends = await asyncio.gather(*(end_of(workers, one) for one in hostile))
    assert {"limit", "error", "made"} == set(ends)


def test_hostile_templates_are_the_same_for_a_seed() -> None:
    """What failed can be repeated, and another seed makes others."""
    first = list(hostile_templates(7, 40))
    assert first == list(hostile_templates(7, 40))
    assert first != list(hostile_templates(8, 40))
    assert len({one.kind for one in first}) == 13


def test_a_hostile_template_has_a_recipient_that_is_taken() -> None:
    """One whose recipient is refused would try nothing, and no message of it would end."""
    for one in hostile_templates(1, 200):
        given = RecipientInput("ann@shop.example", "", one.fields)
        assert not check_row(ConsoleChannel(), given).reason
