"""The fenced blocks of the documents: commands, what they print, files and code.

The language of a fence says what its block is:

``sh``        commands, one a line
``console``   commands behind ``$``, each with what it prints
``text``      a drawing, or what a program says
others        a file or code in that language
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
#: Every page for users and contributors. What the changelog shows belongs to its version.
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "AGENTS.md", "SECURITY.md")),
    ROOT / "llms.txt",
    *sorted((ROOT / "docs").glob("*.md")),
    ROOT / "clients" / "python" / "README.md",
]
LANGUAGES = {"sh", "console", "text", "toml", "ini", "csv", "json", "python", "js"}

#: What a terminal gets to go up one row, and to clear a row.
_UP, _CLEAR = "\x1b[1A", "\x1b[2K"


@dataclass(frozen=True)
class Block:
    """A fenced block: where it stands, its language, and its text."""

    page: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        """Return the place, for the names of tests."""
        return f"{self.page}:{self.line}"


def blocks(*languages: str) -> list[Block]:
    """Return the blocks of all pages, or those in some languages, in their order."""
    found = [block for page in PAGES for block in _blocks_of(page)]
    return [block for block in found if not languages or block.language in languages]


def _blocks_of(page: Path) -> Iterator[Block]:
    lines = page.read_text(encoding="utf-8").splitlines()
    opened: int | None = None
    for number, line in enumerate(lines):
        if not line.startswith("```"):
            continue
        if opened is None:
            opened = number
            continue
        text = "\n".join(lines[opened + 1 : number]) + "\n"
        name = str(page.relative_to(ROOT))
        yield Block(name, opened + 1, lines[opened].removeprefix("```").strip(), text)
        opened = None
    assert opened is None, f"{page}: the block of line {opened} has no end"


def commands(block: Block) -> list[str]:
    """Return the commands of a block in ``sh``, without remarks."""
    lines = (re.sub(r"\s+#\s.*", "", line).strip() for line in block.text.splitlines())
    return [line for line in lines if line]


def transcripts() -> list[tuple[str, str]]:
    """Return each command behind ``$`` with what the page shows below it."""
    return [
        (command, shown.strip("\n"))
        for block in blocks("console")
        for command, shown in re.findall(r"^\$ (.+)\n((?:(?!\$ ).*\n)*)", block.text, re.MULTILINE)
    ]


def inline_commands() -> set[str]:
    """Return every ``closeout …`` in the running text of the pages."""
    return {
        command
        for page in PAGES
        for command in re.findall(r"`(closeout [^`\n]+)`", _prose(page.read_text(encoding="utf-8")))
    }


def _prose(text: str) -> str:
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


def as_printed(shown: str) -> re.Pattern[str]:
    """Return a pattern of what a page shows.

    ``[...]`` stands for anything; spans of time, sizes, process ids, ports, the hash in
    the id of a campaign and the number of spaces are never the same.
    """
    pattern = re.escape(re.sub(r"[ \t]+", " ", shown))
    for varying, by in (
        (r"\\\[\\\.\\\.\\\.\\\]|\\\.\\\.\\\.", r"(?s:.*?)"),
        (r"\d+\\? ?(s|min)\b", r"\\d+ ?(?:s|min|h)"),
        (r"\d+\\\.\d+\\ GB", r"[\\d.]+ GB"),
        (r"-[0-9a-f]{8}\b", r"-[0-9a-f]{8}"),
        (r"process\\ \d+", r"process \\d+"),
        (r"\b(127\\\.0\\\.0\\\.1|smtp\\\.example\\\.com):\d+", r"\\S+:\\d+"),
    ):
        pattern = re.sub(varying, by, pattern)
    return re.compile(pattern)


def plain(printed: str) -> str:
    """Return what a terminal shows in the end: no colours, and no bars of progress."""
    rows, row, returned = [""], 0, False
    for piece in re.findall(r"\x1b\[[0-9;?]*[A-Za-z]|[\r\n]|[^\x1b\r\n]+", printed):
        if piece == "\n":
            row, returned = row + 1, False
            rows += [""] * (row + 1 - len(rows))
        elif piece == "\r":
            returned = True
        elif piece == _UP:
            row -= 1
        elif piece == _CLEAR:
            rows[row] = ""
        elif not piece.startswith("\x1b"):
            rows[row] = piece if returned else rows[row] + piece
            returned = False
    return re.sub(r"[ \t]+", " ", "\n".join(rows))
