"""Where recipients are read from: a file, a pipe or standard input, and its encoding.

The bytes are read several times, so what can be read only once is copied to a
temporary file first, which goes away with the command.
"""

from __future__ import annotations

import codecs
import hashlib
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from closeout_cli.failures import USAGE, CommandError

if TYPE_CHECKING:
    from typing import BinaryIO

#: The name of standard input on a command line.
STANDARD_INPUT = "-"
_BLOCK_BYTES = 1024 * 1024
_HEAD_BYTES = 4096
#: This share of NULs at even or odd places makes a text UTF-16, as in "a\0b\0".
_UTF16_SHARE = 0.3
#: The longer ones first: UTF-32 begins as UTF-16 does.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
#: What stands in texts of Windows-1252 beside letters: quotes, dashes, the euro, ...
_SIGNS_OF_1252 = frozenset(
    b"\x80\x85\x91\x92\x93\x94\x96\x97\x99\xa0\xa3\xa7\xa9\xab\xae\xb0\xb2\xb4\xb7\xbb".decode(
        "cp1252"
    )
)


@dataclass(frozen=True)
class RecipientsSource:
    """The bytes of a recipients file, and how to read them.

    Attributes:
        path: where they are; a copy if they came through a pipe.
        shown: the name that people know it by.
        encoding: the encoding, in which every byte of it can be read.
        notice: a remark about the encoding for people; empty: none.
        copy: the temporary file, which is removed with this object.
    """

    path: Path
    shown: str
    encoding: str
    notice: str = ""
    copy: Any = None

    def text(self) -> IO[str]:
        """Open the text, with its line ends as they are."""
        return self.path.open(encoding=self.encoding, newline="")

    def digest(self) -> hashlib._Hash:
        """Return the SHA-256 of the bytes, to be updated with what they mean."""
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256")

    def wrong(self, message: str) -> CommandError:
        """Return the error for something that is wrong in the file."""
        return CommandError(f"{self.shown}: {message}", exit_code=USAGE)


def open_source(path: Path, encoding: str = "") -> RecipientsSource:
    """Find out how a file is encoded; ``-`` is standard input.

    Args:
        path: the file.
        encoding: its encoding; empty: UTF-8, what its first bytes say, or Windows-1252
            where it can be nothing else.

    Raises:
        CommandError: it can't be read, or not in this encoding; the text names the line.
    """
    shown = "standard input" if str(path) == STANDARD_INPUT else str(path)
    copy: Any = None
    try:
        if str(path) == STANDARD_INPUT:
            copy = _copied(sys.stdin.buffer)
        elif path.exists() and not (path.is_file() or path.is_dir()):
            with path.open("rb") as pipe:
                copy = _copied(pipe)
        real = path if copy is None else Path(copy.name)
        found, notice = _checked(real, shown, encoding) if encoding else _guessed(real, shown)
    except OSError as error:
        raise CommandError(f"{shown}: {error.strerror}", exit_code=USAGE) from error
    return RecipientsSource(real, shown, found, notice, copy)


def _copied(pipe: BinaryIO) -> Any:
    # Closed, and so removed, when the source is no longer used.
    copy = tempfile.NamedTemporaryFile(prefix="closeout-recipients-")  # noqa: SIM115
    shutil.copyfileobj(pipe, copy)
    copy.flush()
    return copy


def _checked(path: Path, shown: str, encoding: str) -> tuple[str, str]:
    try:
        "".encode(encoding)
    except LookupError as error:
        raise CommandError(
            f"--encoding: {encoding!r} is no encoding of texts, as in utf-8, utf-16 or cp1252",
            exit_code=USAGE,
        ) from error
    line = _undecodable_line(path, encoding)
    if line is not None:
        raise CommandError(
            f"{shown}: line {line} is not {encoding}; choose another --encoding", exit_code=USAGE
        )
    # A mark at the begin of UTF-8 is never part of the first heading.
    return ("utf-8-sig" if codecs.lookup(encoding).name == "utf-8" else encoding), ""


def _guessed(path: Path, shown: str) -> tuple[str, str]:
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    encoding = next((name for mark, name in _MARKS if head.startswith(mark)), None)
    encoding = encoding or _utf16_without_mark(head) or "utf-8-sig"
    line = _undecodable_line(path, encoding)
    if line is None:
        return encoding, ""
    if encoding == "utf-8-sig" and not head.startswith(codecs.BOM_UTF8) and _is_1252(path):
        return "cp1252", f"{shown}: read as Windows-1252; give --encoding to choose another"
    name = encoding.removesuffix("-sig").upper()
    raise CommandError(
        f"{shown}: line {line} is not {name}; save the file in UTF-8,"
        " or name its encoding, as in --encoding cp1252",
        exit_code=USAGE,
    )


def _utf16_without_mark(head: bytes) -> str | None:
    """Return the byte order of UTF-16, whose Latin letters have a NUL at every other place."""
    half = len(head) // 2
    if not half:
        return None
    even, odd = head[0::2].count(0), head[1::2].count(0)
    if odd >= half * _UTF16_SHARE and even == 0:
        return "utf-16-le"
    if even >= half * _UTF16_SHARE and odd == 0:
        return "utf-16-be"
    return None


def _undecodable_line(path: Path, encoding: str) -> int | None:
    """Return the first line that can't be read in this encoding; None: all can."""
    decoder = codecs.getincrementaldecoder(encoding)()
    lines = 1
    with path.open("rb") as file:
        while True:
            block = file.read(_BLOCK_BYTES)
            try:
                text = decoder.decode(block, final=not block)
            except UnicodeDecodeError as error:
                return lines + bytes(error.object[: error.start]).count(b"\n")
            except UnicodeError:
                return lines
            if not block:
                return None
            lines += text.count("\n")


def _is_1252(path: Path) -> bool:
    """Return whether the bytes beyond ASCII are letters and signs of Windows-1252 alone.

    A line of UTF-8 among them speaks against it: somebody joined two files.
    """
    with path.open("rb") as file:
        for line in file:
            if line.isascii():
                continue
            try:
                line.decode()
            except UnicodeDecodeError:
                pass
            else:
                return False
            try:
                text = line.decode("cp1252")
            except UnicodeDecodeError:
                return False
            if not all(sign.isascii() or sign.isalpha() or sign in _SIGNS_OF_1252 for sign in text):
                return False
    return True
