"""What is said where a program of the system is missing."""

from __future__ import annotations

import shutil

import pytest

from providers import programs


def test_a_missing_program_leaves_its_tests_out_and_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In one line, with what to install; with the program nothing is left out."""
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    assert programs.left_out() == {}
    assert programs.remarks() == []
    monkeypatch.setattr(shutil, "which", lambda name: None if name == "promtool" else name)
    left_out = programs.left_out()
    assert {path.name for path in left_out} == {"test_prometheus_rules.py", "test_prometheus.py"}
    assert all(path.is_file() for path in left_out)
    (line,) = programs.remarks()
    assert "apt-get install prometheus" in line


@pytest.mark.parametrize("name", ["chromium", "chromium-headless-shell"])
def test_one_chromium_of_two_is_enough(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Nobody has to install the lighter one beside the other; without both, it is named."""
    here = {"promtool", "prometheus", "spin", "gcc", name}
    monkeypatch.setattr(shutil, "which", lambda asked: asked if asked in here else None)
    assert programs.left_out() == {}
    here.remove(name)
    (line,) = programs.remarks()
    assert "apt-get install chromium-headless-shell" in line
    assert "tests/acceptance/test_mending_browser.py" in line
