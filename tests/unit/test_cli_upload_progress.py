"""How far an upload is, on a terminal."""

from __future__ import annotations

import sys

import pytest
from rich.progress import Progress

from closeout_cli.upload_progress import RateColumn, UploadProgress


def test_the_rate_has_its_unit() -> None:
    """Nobody guesses what a number means; before the first rows there is none."""
    seconds = iter([0.0, 0.0, 1.0, 2.0, 2.0, 2.0])
    progress = Progress(get_time=lambda: next(seconds, 2.0))
    task = progress.add_task("", total=10_000)
    assert RateColumn().render(progress.tasks[0]).plain == ""
    for _ in range(3):
        progress.advance(task, 1_500)
    assert RateColumn().render(progress.tasks[0]).plain.endswith(" rows/s")


@pytest.mark.parametrize("terminal", ["xterm", "dumb"])
def test_a_bar_says_what_its_numbers_are(
    terminal: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On a terminal that can show one; elsewhere nothing is printed."""
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("TERM", terminal)
    with UploadProgress(2_000) as progress:
        progress.advance(500)
    out = capsys.readouterr().out
    shown = [text in out for text in ("uploading", "500/2000", " rows")]
    assert shown == [terminal == "xterm"] * 3
