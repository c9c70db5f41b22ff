"""A plugin of pytest that records which lines each test runs, and how long it takes.

Environment:
    MUTATION_RECORD: the folder that is written to.
    MUTATION_MODULES: the modules to record, below the root, separated by spaces.
"""

from __future__ import annotations

import importlib
import json
import os
import time
from collections.abc import Generator
from pathlib import Path

import coverage
import pytest

from mutation.mutations import ROOT, module_name
from mutation.recorded import BETWEEN

_folder = Path(os.environ["MUTATION_RECORD"])
_modules = os.environ["MUTATION_MODULES"].split()
_coverage = coverage.Coverage(
    data_file=str(_folder / "coverage"),
    data_suffix=True,
    config_file=False,
    include=[str(ROOT / module) for module in _modules],
)
_coverage.start()
for _module in _modules:
    importlib.import_module(module_name(_module))
_seconds: dict[str, float] = {}
_failed: set[str] = set()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Record what the test and its fixtures run under its name."""
    _coverage.switch_context(item.nodeid)
    began = time.perf_counter()
    done = yield
    _seconds[item.nodeid] = time.perf_counter() - began
    _coverage.switch_context(BETWEEN)
    return done


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Leave out what fails without a mutant, or was skipped: it can kill none."""
    if not report.passed:
        _failed.add(report.nodeid)


def pytest_sessionfinish() -> None:
    """Write what was recorded; each process of a parallel run writes its own files."""
    _coverage.stop()
    _coverage.save()
    passed = {test: each for test, each in _seconds.items() if test not in _failed}
    (_folder / f"seconds-{os.getpid()}.json").write_text(json.dumps(passed))
