"""What deploy/ has for Prometheus and Grafana, as tests read it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "deploy" / "prometheus"
RULES = FOLDER / "closeout.rules.yml"
ALERTS = FOLDER / "closeout.alerts.yml"
RULE_TESTS = FOLDER / "closeout.test.yml"
DASHBOARD = ROOT / "deploy" / "grafana" / "closeout.json"

_WORDS = {"and", "or", "unless", "by", "without", "on", "ignoring", "offset", "bool"}
_WORDS |= {"group_left", "group_right"}
_GROUPING = re.compile(r"\b(?:by|without|on|ignoring)\s*\(([^)]*)\)")
_SELECTOR = re.compile(r"(?<![\w:.])([a-zA-Z_:][\w:]*)(?!\s*\(|[\w:])\s*(?:\{([^}]*)\})?")


class Selector(NamedTuple):
    """A metric that an expression asks for, and the labels that it names.

    ``grouping``: labels that the expression names elsewhere, as in ``by (state)``.
    """

    name: str
    labels: set[str]
    grouping: set[str]


def selectors(expression: str) -> Iterator[Selector]:
    """Yield the metrics of an expression of PromQL."""
    plain = re.sub(r'"(?:[^"\\]|\\.)*"', '""', expression)
    plain = re.sub(r"\[[^\]]*\]", "", plain)
    grouping = {label.strip() for labels in _GROUPING.findall(plain) for label in labels.split(",")}
    plain = _GROUPING.sub("", plain)
    for name, matchers in _SELECTOR.findall(plain):
        if name not in _WORDS:
            yield Selector(name, set(re.findall(r"(\w+)\s*(?:=|!)", matchers)), grouping)


def rules(path: Path) -> list[dict[str, Any]]:
    """Return all rules of a file."""
    return [rule for group in yaml.safe_load(path.read_text())["groups"] for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    """Return the panels of the dashboard that show something."""
    found: list[dict[str, Any]] = json.loads(DASHBOARD.read_text())["panels"]
    return [panel for panel in found if panel["type"] != "row"]


def panel_expressions(interval: str = "1m") -> dict[str, str]:
    """Return the expressions of the dashboard by a name, as Grafana sends them."""
    return {
        f"{panel['title']}/{target['refId']}": target["expr"].replace("$__rate_interval", interval)
        for panel in panels()
        for target in panel["targets"]
    }
