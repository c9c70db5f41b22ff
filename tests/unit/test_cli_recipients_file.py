"""The recipients file of ``closeout send``: what is understood, and what is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from closeout_cli.failures import USAGE, CommandError
from closeout_cli.recipients_file import RecipientsFile, read_recipients_file

if TYPE_CHECKING:
    from pathlib import Path

    from closeout.sender.v1 import sender_pb2 as pb


def written(folder: Path, content: str | bytes) -> Path:
    path = folder / "list.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def recipients(file: RecipientsFile) -> list[pb.Recipient]:
    return [recipient for batch in file.batches() for recipient in batch]


def fields(recipient: pb.Recipient) -> dict[str, str]:
    return {name: value.string_value for name, value in recipient.fields.fields.items()}


def test_columns_become_address_key_and_fields(tmp_path: Path) -> None:
    """Quoted commas, names that are not ASCII and a byte order mark are understood."""
    text = '\ufeffid,E-Mail2,Email,name\n7,x,zoe@example.com,"Doe, Zoë ""Z"""\n'
    file = read_recipients_file(written(tmp_path, text))
    (recipient,) = recipients(file)
    assert (recipient.address, recipient.recipient_key) == ("zoe@example.com", "7")
    assert fields(recipient) == {"E-Mail2": "x", "name": 'Doe, Zoë "Z"'}


def test_an_empty_cell_is_no_value(tmp_path: Path) -> None:
    """A condition of a template is false on an empty cell."""
    file = read_recipients_file(written(tmp_path, "email,company\na@example.com,\n"))
    assert fields(recipients(file)[0]) == {}


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_other_delimiters_are_recognised(tmp_path: Path, delimiter: str) -> None:
    """Spreadsheets of some countries write semicolons; others tabs."""
    text = delimiter.join(["email", "name"]) + "\n" + delimiter.join(["a@example.com", "A, B"])
    (recipient,) = recipients(read_recipients_file(written(tmp_path, text)))
    assert fields(recipient) == {"name": "A, B"}


def test_the_address_column_can_be_chosen(tmp_path: Path) -> None:
    """With --address-column a street address stays a field."""
    path = written(tmp_path, "email,address\na@example.com,1 Main St\n")
    (recipient,) = recipients(read_recipients_file(path, address_column="EMAIL"))
    assert recipient.address == "a@example.com"
    assert fields(recipient) == {"address": "1 Main St"}


def test_an_invalid_address_is_left_to_the_channel(tmp_path: Path) -> None:
    """The channel knows what an address is; the file only carries it."""
    file = read_recipients_file(written(tmp_path, "email,n\nnobody,1\n,2\n"))
    assert [recipient.address for recipient in recipients(file)] == ["nobody", ""]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "empty"),
        ("name,phone\nx,1\n", "no column 'address' or 'email'; its columns are name, phone"),
        ("email,address\na,b\n", "both 'address' and 'email'"),
        ("email,name,name\na,b,c\n", "two columns are named 'name'"),
        ("email,,name\na,b,c\n", "column 2 has no name"),
        ("email,name\na@example.com,Doe, Jane\n", "line 2 has 3 cells where the header has 2"),
        ('email,name\na@example.com,"x\ny"\nb@example.com\n', "line 4 has 1 cells"),
        ('email\n"a@example.com\n', "line 2: unexpected end of data"),
        (b"email\n\xff@example.com\n", "not UTF-8"),
        (b"email,n\na@example.com,\0\n", "line 2"),
        ("email,n\na@example.com," + "x" * 100_000 + "\n", "line 2 is too long"),
    ],
)
def test_a_broken_file_is_refused_before_anything_is_sent(
    tmp_path: Path, content: str | bytes, message: str
) -> None:
    """One line says which file, which line, and what is wrong."""
    path = written(tmp_path, content)
    with pytest.raises(CommandError) as caught:
        read_recipients_file(path)
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"{path}: ")
    assert caught.value.exit_code == USAGE


def test_a_column_that_is_not_there_is_named(tmp_path: Path) -> None:
    """The message lists the columns there are."""
    with pytest.raises(CommandError, match="no column 'mail'; its columns are email"):
        read_recipients_file(written(tmp_path, "email\na@example.com\n"), address_column="mail")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    """So is a missing file."""
    with pytest.raises(CommandError, match=r"none\.csv: No such file"):
        read_recipients_file(tmp_path / "none.csv")


def test_batches_fit_a_message(tmp_path: Path) -> None:
    """A batch has at most 1,000 recipients and weighs about 1 MiB at most."""
    many = "".join(f"{n}@example.com,{'x' * 10}\n" for n in range(2500))
    file = read_recipients_file(written(tmp_path, "email,n\n" + many))
    progress: list[int] = []
    assert [len(batch) for batch in file.batches(progress.append)] == [1000, 1000, 500]
    assert progress == [1000, 1000, 500]
    assert file.rows == 2500
    heavy = "".join(f"{n}@example.com,{'x' * 20_000}\n" for n in range(100))
    file = read_recipients_file(written(tmp_path, "email,n\n" + heavy))
    sizes = [sum(recipient.ByteSize() for recipient in batch) for batch in file.batches()]
    assert max(sizes) <= 1024 * 1024
    assert len(recipients(file)) == 100


def test_rows_are_found_on_their_lines(tmp_path: Path) -> None:
    """A cell with a line break in it moves the lines below; blank lines count as lines."""
    text = 'email,n\na@example.com,"1\n2"\n\nb@example.com,3\nc@example.com,4\n'
    file = read_recipients_file(written(tmp_path, text))
    assert file.lines({0, 1, 2}) == {0: 3, 1: 5, 2: 6}
    assert file.lines([]) == {}


def test_the_digest_is_of_the_file_and_its_meaning(tmp_path: Path) -> None:
    """The same file is the same upload; another address column another one."""
    path = written(tmp_path, "email,other\na@example.com,b@example.com\n")
    first = read_recipients_file(path)
    assert first.digest == read_recipients_file(path).digest
    assert first.digest != read_recipients_file(path, address_column="other").digest


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("x" * 200_000 + ",email\n", "line 1: field larger than field limit"),
        ('"email\n', "line 1: unexpected end of data"),
        ('email,"a"b\nx,y\n', "line 1: "),
    ],
)
def test_a_broken_first_line_is_named(tmp_path: Path, content: str, message: str) -> None:
    """What the header has wrong is one line, as it is of any other row."""
    with pytest.raises(CommandError) as caught:
        read_recipients_file(written(tmp_path, content))
    assert message in str(caught.value)
    assert caught.value.exit_code == USAGE


def test_many_columns_are_read(tmp_path: Path) -> None:
    """A header of very many columns is looked at once, not once for each column."""
    names = ["email", *(f"c{number}" for number in range(50_000))]
    file = read_recipients_file(written(tmp_path, ",".join(names) + "\n"))
    assert file.columns == tuple(names)
    with pytest.raises(CommandError, match="two columns are named 'c7'"):
        read_recipients_file(written(tmp_path, ",".join([*names, "c7"]) + "\n"))
