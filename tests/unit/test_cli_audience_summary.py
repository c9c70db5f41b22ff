"""What became of the rows of a recipients file, as people read it."""

from __future__ import annotations

from pathlib import Path

from closeout.sender.v1 import sender_pb2 as pb
from closeout_cli.audience_summary import AudienceSummary
from closeout_cli.recipients_file import read_recipients_file


def test_rows_left_out_here_and_rows_refused_there_are_one_list(tmp_path: Path) -> None:
    """Counts and reasons come from both, in the order of the file, each with its line."""
    path = tmp_path / "r.csv"
    path.write_text("email,n\nA@x.example,1\na@x.example,2\nnobody,3\n,4\nb@x.example,5\n")
    audience = read_recipients_file(path)
    rows = [
        pb.UploadRecipientsResponse.RejectedRow(row=1, address="nobody", reason="no @"),
        pb.UploadRecipientsResponse.RejectedRow(row=2, address="", reason="An address has ..."),
    ]
    uploaded = pb.UploadRecipientsResponse(accepted=2, invalid=2, rejected_rows=rows, total=2)
    summary = AudienceSummary.of_upload(audience, uploaded)
    assert summary.lines() == [
        f"{path}: 5 rows, 2 accepted, 1 duplicate, 2 invalid",
        "  line 3: a@x.example: the address of line 2 in other letter case",
        "  line 4: nobody: no @",
        "  line 5: no address",
    ]
    assert summary.as_dict()["rejected_rows"][2] == {
        "line": 5,
        "address": "",
        "reason": "An address has ...",
    }


def test_only_the_first_reasons_are_shown(tmp_path: Path) -> None:
    """The rest is a number."""
    path = tmp_path / "r.csv"
    path.write_text("email\n" + "".join(f"A{n}@x.example\na{n}@x.example\n" for n in range(9)))
    audience = read_recipients_file(path)
    summary = AudienceSummary.of_upload(audience, pb.UploadRecipientsResponse(accepted=9, total=9))
    lines = summary.lines()
    assert lines[0] == f"{path}: 18 rows, 9 accepted, 9 duplicate, 0 invalid"
    assert (lines[1][:20], lines[5][:21], lines[6]) == (
        "  line 3: a0@x.examp",
        "  line 11: a4@x.examp",
        "  and 4 more",
    )
