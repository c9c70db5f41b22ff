"""The recipients file of ``closeout send``: what is understood, and what is refused."""

from __future__ import annotations

import gc
import io
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from google.protobuf import json_format

from closeout_cli.failures import USAGE, CommandError
from closeout_cli.recipients_file import RecipientsFile, read_recipients_file

if TYPE_CHECKING:
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
        ("email,address\na,b\n", "columns 'email' and 'address' can both have the address"),
        ("E-Mail,Email Address\na,b\n", "columns 'E-Mail' and 'Email Address' can both"),
        ("email:name\na,b\n", "separated by comma, semicolon, tab or |"),
        ("zoe@example.com,Zoe\nsam@example.com,Sam\n", "looks like a recipient; a header is"),
        ("zoe@example.com\n", "looks like a recipient; a header is missing"),
        ("email,First name,first_name\na,b,c\n", "'First name' and 'first_name' are both first_"),
        ("sep=:\nemail:n\n", "its first line names the separator ':'; use comma"),
        ("email,n,\na,b,c\n", "line 2 has a value in column 3, which has no name"),
        ('sep=;\nemail;n\na@example.com;"x\ny"\nb@example.com;1;2\n', "line 5 has 3 cells"),
        ("email,name,name\na,b,c\n", "two columns are named 'name'"),
        ("email,,name\na,b,c\n", "column 2 has no name"),
        ("email,name\na@example.com,Doe, Jane\n", "line 2 has 3 cells where the header has 2"),
        ('email,name\na@example.com,"x\ny"\nb@example.com,1,2\n', "line 4 has 3 cells"),
        ('email\n"a@example.com\n', "line 2: unexpected end of data"),
        (b"email\na@example.com\n\x81@example.com\n", "line 3 is not UTF-8"),
        ("email,n\na,Zoë\n".encode() + b"b,Zo\xeb\n", "line 3 is not UTF-8; save the file in UT"),
        (b"\xef\xbb\xbfemail,n\na,Zo\xeb\n", "line 2 is not UTF-8"),
        ("email,n\na,Zoë\n".encode("utf-16")[:-1], "line 2 is not UTF-16"),
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


@pytest.mark.parametrize(
    "heading",
    ["Email address", "E-Mail", "Email Address", "e-mail", "mail", "ADDRESS", "e_mail", " email "],
)
def test_usual_headings_of_the_address_are_known(tmp_path: Path, heading: str) -> None:
    """Case, spaces, hyphens and underscores do not count."""
    (recipient,) = recipients(
        read_recipients_file(written(tmp_path, f"n,{heading}\n1,a@b.example"))
    )
    assert (recipient.address, fields(recipient)) == ("a@b.example", {"n": "1"})


@pytest.mark.parametrize(
    ("encoding", "notice"),
    [
        ("utf-8", ()),
        ("utf-8-sig", ()),
        ("utf-16", ()),
        ("utf-16-le", ()),
        ("utf-16-be", ()),
        ("utf-32", ()),
        ("cp1252", ("read as Windows-1252; give --encoding to choose another",)),
    ],
)
def test_the_encoding_is_recognised(tmp_path: Path, encoding: str, notice: tuple[str, ...]) -> None:
    """A byte order mark, NULs, or letters of Windows-1252 say what a file is encoded in."""
    path = written(tmp_path, "email;name\r\nzoe@example.com;Zoë “Z” Åß\r\n".encode(encoding))
    file = read_recipients_file(path)
    assert [fields(recipient) for recipient in recipients(file)] == [{"name": "Zoë “Z” Åß"}]
    assert file.notices == tuple(f"{path}: {text}" for text in notice)


def test_the_encoding_can_be_chosen(tmp_path: Path) -> None:
    """With --encoding nothing is guessed; a wrong one names the line."""
    path = written(tmp_path, "email,name\na@example.com,Łódź\n".encode("cp1250"))
    file = read_recipients_file(path, encoding="cp1250")
    assert fields(recipients(file)[0]) == {"name": "Łódź"}
    assert file.notices == ()
    with pytest.raises(CommandError, match="line 2 is not utf-8; choose another --encoding"):
        read_recipients_file(path, encoding="utf-8")
    for unknown in ("klingon", "base64"):
        with pytest.raises(CommandError, match=f"'{unknown}' is no encoding of texts"):
            read_recipients_file(path, encoding=unknown)


def test_another_encoding_is_another_upload(tmp_path: Path) -> None:
    """The digest has what the bytes mean, so that no half upload mixes two readings."""
    path = written(tmp_path, "email,name\na@example.com,\xe9\n".encode("latin-1"))
    first = read_recipients_file(path, encoding="latin-1")
    assert first.digest != read_recipients_file(path, encoding="cp1251").digest


@pytest.mark.parametrize("first", ["sep=;", '"sep=;"', "SEP=;"])
def test_the_first_line_of_excel_names_the_separator(tmp_path: Path, first: str) -> None:
    """It is no header, and it counts as a line."""
    file = read_recipients_file(written(tmp_path, f"{first}\r\nemail;n\r\na@example.com;1,5\r\n"))
    assert fields(recipients(file)[0]) == {"n": "1,5"}
    assert file.lines({0}) == {0: 3}


def test_a_bar_separates_columns(tmp_path: Path) -> None:
    """Separators within quotes do not count."""
    text = '"a,b,c;d"|email\n1|a@example.com\n'
    (recipient,) = recipients(read_recipients_file(written(tmp_path, text)))
    assert fields(recipient) == {"a_b_c_d": "1"}


def test_missing_cells_at_the_end_of_a_row_are_empty(tmp_path: Path) -> None:
    """Excel leaves out separators behind the last value; an address left out is a bad one."""
    path = tmp_path / "r.csv"
    path.write_text("name;email;city;plan\nZoe;zoe@example.com\nSam;sam@example.com;Rome\nBob\n")
    found = [recipient for _, recipient in read_recipients_file(path).recipients()]
    assert [recipient.address for recipient in found] == ["zoe@example.com", "sam@example.com", ""]
    assert [dict(recipient.fields) for recipient in found] == [
        {"name": "Zoe"},
        {"name": "Sam", "city": "Rome"},
        {"name": "Bob"},
    ]


def test_empty_columns_at_the_end_are_left_out(tmp_path: Path) -> None:
    """Spreadsheets write them, with and without a heading's separator."""
    text = "email,n,,\na@example.com,1,,\nb@example.com,2\nc@example.com,3,,,,\n,,,\n"
    file = read_recipients_file(written(tmp_path, text))
    assert (file.columns, file.rows) == (("email", "n"), 3)
    assert [fields(recipient) for recipient in recipients(file)] == [
        {"n": "1"},
        {"n": "2"},
        {"n": "3"},
    ]


def test_columns_with_spaces_can_be_used_in_templates(tmp_path: Path) -> None:
    """They are in snake case, which is said once; other headings stay."""
    text = "email,First name,2nd line,Umsatz (€),FirstName,Straße,%%\na@b.example,1,2,3,4,5,6\n"
    path = written(tmp_path, text)
    file = read_recipients_file(path)
    assert fields(recipients(file)[0]) == {
        "first_name": "1",
        "_2nd_line": "2",
        "umsatz": "3",
        "FirstName": "4",
        "Straße": "5",
        "column_7": "6",
    }
    assert file.fields == ("first_name", "_2nd_line", "umsatz", "FirstName", "Straße", "column_7")
    (notice,) = file.notices
    assert notice == (
        f"{path}: names of columns in templates: 'First name' is first_name, '2nd line' is"
        " _2nd_line, 'Umsatz (€)' is umsatz, '%%' is column_7"
    )
    one = read_recipients_file(written(tmp_path, "email,First name\na@b.example,1\n"))
    assert one.notices == (f"{path}: column 'First name' is first_name in templates",)


def test_addresses_equal_but_for_case_are_one_recipient(tmp_path: Path) -> None:
    """The first spelling counts, and later rows keep their lines; an option keeps all."""
    spellings = ("ZOE@a.example", "zoe@a.example", "sam@a.example", "ZOE@a.example", "no", "No")
    path = written(tmp_path, "\n".join(["email", *spellings]))
    file = read_recipients_file(path)
    assert [recipient.address for recipient in recipients(file)] == [
        "ZOE@a.example",
        "sam@a.example",
        "ZOE@a.example",
        "no",
        "No",
    ]
    assert (file.rows, dict(file.repeated)) == (6, {1: 2})
    assert file.lines({1}) == {1: 4}
    kept = read_recipients_file(path, keep_case_duplicates=True)
    assert (len(recipients(kept)), dict(kept.repeated)) == (6, {})
    assert kept.digest != file.digest


@pytest.mark.parametrize("suffix", [".jsonl", ".ndjson"])
def test_json_lines_have_one_object_a_line(tmp_path: Path, suffix: str) -> None:
    """Values may be nested; nothing and an empty text are no value."""
    path = tmp_path / f"list{suffix}"
    path.write_text(
        '{"E-Mail": "a@example.com", "id": 7, "First name": "Zoë", "orders": [{"n": 1.5}, null]}\n'
        "\n"
        '{"E-Mail": "b@example.com", "vip": true, "First name": "", "big": 9007199254740993}\n',
        encoding="utf-8",
    )
    file = read_recipients_file(path)
    first, second = recipients(file)
    assert (first.address, first.recipient_key) == ("a@example.com", "7")
    assert json_format.MessageToDict(first.fields) == {
        "first_name": "Zoë",
        "orders": [{"n": 1.5}, None],
    }
    assert json_format.MessageToDict(second.fields) == {"vip": True, "big": "9007199254740993"}
    assert file.fields == ("first_name", "orders", "vip", "big")
    assert file.lines({1}) == {1: 3}
    assert (file.rows, file.notices) == (
        2,
        (f"{path}: column 'First name' is first_name in templates",),
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", 'no recipients; a line is an object, as in {"email": "a@example.com"}'),
        ('{"email": "a"}\n{"email"\n', "line 2 is not JSON: "),
        ('["a@example.com"]\n', "line 1 is no object"),
        ('{"email": "a", "n": NaN}\n', "line 1 is not JSON: NaN is no number of JSON"),
        ('{"email": ["a"]}\n', "line 1: 'email' must be a text, not ['a']"),
        ('{"name": "a"}\n', "no column 'address' or 'email'; its columns are name"),
        ('{"email": "a", "n": "\\u0000"}\n', "line 1 has a NUL character"),
        ('{"email": "a", "n": ' + "[" * 21 + "]" * 21 + "}\n", "line 1 is nested deeper than 20"),
        ("[" * 50_000 + "\n", "line 1 is not JSON"),
        ('{"email": "' + "x" * 70_000 + '"}\n', "line 1 is too long"),
    ],
)
def test_broken_json_lines_are_refused(tmp_path: Path, content: str, message: str) -> None:
    """One line says which line is wrong, before anything is sent."""
    with pytest.raises(CommandError) as caught:
        read_recipients_file(written(tmp_path, content), kind="jsonl")
    assert message in str(caught.value)
    assert caught.value.exit_code == USAGE


def test_standard_input_can_be_read_several_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is the same upload as the file, and its copy goes away with it."""
    text = b"email\na@example.com\n"
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text)))
    file = read_recipients_file(Path("-"))
    copy = file.source.path
    assert (file.name, copy.exists()) == ("standard input", True)
    assert [len(recipients(file)), len(recipients(file))] == [1, 1]
    assert file.digest == read_recipients_file(written(tmp_path, text)).digest
    del file
    gc.collect()
    assert not copy.exists()


def test_a_pipe_can_be_read_several_times(tmp_path: Path) -> None:
    """As a shell makes one of the output of a command."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with ThreadPoolExecutor() as pool:
        writing = pool.submit(pipe.write_bytes, b"email\na@example.com\n")
        file = read_recipients_file(pipe)
        writing.result()
    assert [len(recipients(file)), len(recipients(file))] == [1, 1]
