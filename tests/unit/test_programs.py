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
