"""The README of the client: its code runs, and what it lists is what the package has."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

import closeout
from closeout import connection

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "clients" / "python" / "README.md").read_text()
SCRIPTS = [ROOT / "examples" / name for name in ("report_results.py", "report_results_sync.py")]


def lines(text: str) -> list[str]:
    """Return the lines of code without their indentation."""
    return [line.strip() for line in text.splitlines()]


@pytest.mark.parametrize("block", re.findall(r"```python\n(.+?)```", README, re.DOTALL))
def test_code_of_the_readme_is_that_of_a_script(block: str) -> None:
    """What a newcomer copies is part of a script that runs in the tests."""
    wanted = lines(block)
    for script in SCRIPTS:
        code = lines(script.read_text())
        starts = [index for index, line in enumerate(code) if line == wanted[0]]
        if wanted in [code[start : start + len(wanted)] for start in starts]:
            return
    pytest.fail(f"no script has: {block}")


def test_the_modules_listed_exist() -> None:
    """Every name of the table of modules can be imported."""
    modules = re.findall(r"`(closeout[a-z0-9_.]*)`(?=[^|\n]*\|[^|\n]+\|\n)", README)
    assert {"closeout", "closeout.aio", "closeout.status.v1", "closeout.sender.v1"} <= set(modules)
    for module in modules:
        importlib.import_module(module)


def test_the_errors_listed_exist() -> None:
    """Every error of the README is one that can be caught."""
    errors = set(re.findall(r"`(?:closeout\.)?([A-Z][A-Za-z]+Error)`", README))
    assert len(errors) > 5
    for name in errors:
        assert issubclass(getattr(closeout, name), closeout.ClientError)


def test_the_deadlines_named_are_the_defaults() -> None:
    """Whoever plans with 10 seconds, a minute and an hour has them."""
    assert "10 seconds, or one minute" in README
    assert "an hour for `mark_complete` with `force`" in README
    assert connection.FORCE_TIMEOUT_SECONDS == 3600
    assert connection.DEFAULT_TIMEOUT_SECONDS == 10
    assert connection.SCAN_TIMEOUT_SECONDS == 60
