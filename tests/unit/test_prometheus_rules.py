"""The rules and the dashboard of deploy/, with the promtool of the system."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from providers.prometheus_files import (
    ALERTS,
    FOLDER,
    ROOT,
    RULE_TESTS,
    RULES,
    panel_expressions,
    panels,
    rules,
)

_ALERTS = {rule["alert"]: rule for rule in rules(ALERTS)}


def promtool(*words: str) -> str:
    """Run promtool, which has to succeed; return what it prints."""
    done = subprocess.run(  # noqa: S603 - a tool of the system, our own arguments
        ["promtool", *words],  # noqa: S607 - found where the system has it
        cwd=FOLDER,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_promtool_takes_the_files() -> None:
    """Rules, alerts and the example configuration, which names both."""
    promtool("check", "rules", RULES.name, ALERTS.name)
    promtool("check", "config", "--syntax-only", "prometheus.yml")
    named = yaml.safe_load((FOLDER / "prometheus.yml").read_text())["rule_files"]
    assert set(named) == {RULES.name, ALERTS.name}


def test_the_alerts_fire_and_resolve_as_their_tests_say() -> None:
    """closeout.test.yml has series for which each alert fires, and for which it does not."""
    promtool("test", "rules", RULE_TESTS.name)
    text = RULE_TESTS.read_text()
    assert set(re.findall(r'alertname="(\w+)"', text)) == set(_ALERTS)


def test_promtool_takes_the_expressions_of_the_dashboard(tmp_path: Path) -> None:
    """Each as a recording rule: Grafana sends them as they stand."""
    made = [
        {"record": f"panel:{number}", "expr": expression}
        for number, expression in enumerate(panel_expressions().values())
    ]
    path = tmp_path / "panels.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": made}]}))
    promtool("check", "rules", str(path))


def test_each_panel_says_what_it_shows() -> None:
    """With a title, a description, a place of its own, and the source that is chosen."""
    titles = [panel["title"] for panel in panels()]
    assert len(set(titles)) == len(titles)
    taken: set[tuple[int, int]] = set()
    for panel in panels():
        assert panel["description"].endswith(".")
        assert panel["datasource"]["uid"] == "${datasource}"
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken
        assert max(x for x, _ in cells) < 24
        taken |= cells


@pytest.mark.parametrize("name", _ALERTS)
def test_an_alert_says_what_to_do(name: str) -> None:
    """Severity, summary, how to see organisation and campaign, and a runbook that exists."""
    alert = _ALERTS[name]
    assert alert["labels"]["severity"] in {"critical", "warning"}
    notes = alert["annotations"]
    assert notes["summary"]
    assert "`closeout " in notes["description"]
    assert "/v1/campaigns?order=STUCK_FIRST" in notes["description"]
    page, _, anchor = notes["runbook_url"].partition("#")
    headings = re.findall(r"^### (\w+)$", (ROOT / page).read_text(), re.MULTILINE)
    assert anchor == name.lower()
    assert name in headings


def test_every_runbook_is_of_an_alert() -> None:
    """docs/operations.md has no runbook for an alert that is gone."""
    text = (ROOT / "docs" / "operations.md").read_text()
    assert set(re.findall(r"^### (Closeout\w+)$", text, re.MULTILINE)) == set(_ALERTS)
