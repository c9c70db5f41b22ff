"""How far an upload is: a bar on a terminal, with what its numbers mean."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn
from rich.text import Text

from closeout_cli import output_mode, screen

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from rich.progress import Task


class RateColumn(ProgressColumn):
    """How many rows a second are taken."""

    def render(self, task: Task) -> Text:
        """Return the rate; nothing before the first rows."""
        speed = task.finished_speed or task.speed
        return Text(f"{speed:,.0f} rows/s" if speed else "")


class UploadProgress:
    """A bar for the time of an upload; without a terminal nothing.

    Args:
        rows: how many rows there are.
    """

    def __init__(self, rows: int) -> None:
        self._progress = Progress(
            TextColumn("uploading"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("rows"),
            RateColumn(),
            console=screen.console(),
            transient=True,
            disable=output_mode.as_json() or not screen.on_terminal(),
        )
        self._task = self._progress.add_task("", total=rows)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def advance(self, rows: int) -> None:
        """Move the bar by rows that were taken."""
        self._progress.advance(self._task, rows)
