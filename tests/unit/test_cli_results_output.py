"""Where ``closeout results --output`` writes."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from closeout_cli.failures import CommandError
from closeout_cli.results import _destination

if TYPE_CHECKING:
    from pathlib import Path


def test_a_pipe_stays_a_pipe(tmp_path: Path) -> None:
    """Nothing takes the name of a device or a pipe, as /dev/null or /dev/full."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        with _destination(pipe) as file:
            file.write("a,b\n")
        assert os.read(reader, 100) == b"a,b\n"
    finally:
        os.close(reader)
    assert pipe.is_fifo()
    assert [entry.name for entry in tmp_path.iterdir()] == ["pipe"]


def test_a_link_leads_to_its_file(tmp_path: Path) -> None:
    """The file behind a link is written, and the link stays."""
    file, link = tmp_path / "file.csv", tmp_path / "link.csv"
    file.write_text("old\n")
    link.symlink_to(file)
    with _destination(link) as output:
        output.write("new\n")
    assert (link.is_symlink(), file.read_text()) == (True, "new\n")


def test_a_file_stays_whole_until_the_new_one_is(tmp_path: Path) -> None:
    """A failure leaves the file as it was, and no half one beside it."""
    path = tmp_path / "x.csv"
    path.write_text("old\n")

    def write() -> None:
        with _destination(path) as output:
            output.write("half")
            raise OSError(28, "No space left on device")

    with pytest.raises(CommandError, match="No space left"):
        write()
    assert path.read_text() == "old\n"
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.csv"]
