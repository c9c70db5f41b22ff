"""Rules, alerts and the dashboard ask for metrics and labels that both services really have."""

from __future__ import annotations

from pathlib import Path

from integration.scrapes import Scrape, scrape
from integration.sender_pair import pair
from providers.prometheus_files import (
    ALERTS,
    RULES,
    Selector,
    panel_expressions,
    rules,
    selectors,
)

#: What Prometheus adds to every series.
ADDED = {"job", "instance"}
#: Series of Prometheus.
OWN = {"up": set[str]()}
#: What a calculation adds.
CALCULATED = {"le", "alertname"}


def test_the_metrics_of_an_expression_are_found() -> None:
    """Functions, strings, durations and groupings are no metrics."""
    text = (
        'sum by (a, le) (rate(x_total{b="y{z}",c!~"d"}[5m])) / on (e) up == 0'
        " or time() - max without (f) (a:b:c) > 14 * 86400 and absent(g)"
    )
    found = list(selectors(text))
    assert [one.name for one in found] == ["x_total", "up", "a:b:c", "g"]
    assert [one.labels for one in found] == [{"b", "c"}, set(), set(), set()]
    assert found[0].grouping == {"a", "le", "e", "f"}


def known_labels(selector: Selector, scrapes: list[Scrape]) -> set[str]:
    """Return the labels that a metric has at one of the services; it has to be at one."""
    if selector.name in OWN:
        return OWN[selector.name]
    for found in scrapes:
        labels = found.labels_of(selector.name)
        if any(name == selector.name for name, _ in found.samples):
            return labels
        if selector.name in found.families:
            return labels  # a family that has no sample now
    raise AssertionError(f"no service has {selector.name}")


async def test_every_expression_names_what_a_scrape_has(tmp_path: Path) -> None:
    """After some work; a rule also knows the rules that record something."""
    async with pair(tmp_path) as both:
        await both.begin("first", 20)
        await both.finished("first")
        for address in (both.status_http, both.sender_http):
            await scrape(address)  # a request is counted when it is answered
        scrapes = [await scrape(both.status_http), await scrape(both.sender_http)]
    recorded: dict[str, set[str]] = {}
    expressions = {rule["record"]: rule["expr"] for rule in rules(RULES)}
    for name, expression in expressions.items():
        labels: set[str] = set()
        for selector in selectors(expression):
            labels |= known_labels(selector, scrapes)
        recorded[name] = labels
    expressions |= {rule["alert"]: rule["expr"] for rule in rules(ALERTS)}
    expressions |= panel_expressions()
    for place, expression in expressions.items():
        found = list(selectors(expression))
        assert found, place
        every: set[str] = set()
        for selector in found:
            known = recorded.get(selector.name)
            labels = known_labels(selector, scrapes) if known is None else known
            assert selector.labels <= labels | ADDED, f"{place}: {selector}"
            every |= labels
        assert found[0].grouping <= every | ADDED | CALCULATED, place
