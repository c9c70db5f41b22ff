"""Where ``closeout results --output`` writes, and that CSV is read back."""

from __future__ import annotations

import csv
import io
import os
from typing import TYPE_CHECKING

import pytest

from closeout.sender.v1.sender_pb2 import RecipientEntry
from closeout.status.v1 import status_pb2 as pb
from closeout_cli.failures import CommandError
from closeout_cli.result_lines import Form, Line, writer
from closeout_cli.results import _destination

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("fields", [False, True])
def test_a_csv_is_read_back_as_it_was(*, fields: bool) -> None:
    """Every line ends with CR LF, and a cell with any line break, quote or comma is quoted."""
    details = ["one\rtwo", "one\ntwo", "one\r\ntwo", 'say "no", twice', "trailing\r", ""]
    results = [
        pb.Result(sequence=number, outcome=pb.Result.FAILED, attempt=1, code="5", detail=detail)
        for number, detail in enumerate(details, 1)
    ]
    file = io.StringIO(newline="")
    form = Form(missing=False, recipients=True, fields=fields)
    write = writer(file, form, as_csv=True, as_json=False)
    lines = []
    for result in results:
        recipient = RecipientEntry(recipient_key="k", address="a@example.org")
        recipient.fields["note"] = result.detail
        lines.append(Line(result, recipient))
    write(lines)
    text = file.getvalue()
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert [row["detail"] for row in rows] == details
    assert [row.get("note") for row in rows] == (details if fields else [None] * len(details))
    assert text.endswith("\r\n")
    assert text.partition("\r\n")[0].startswith("sequence,")


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
