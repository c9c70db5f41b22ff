"""HTML as plain text: words, paragraphs, list items and where links lead."""

from __future__ import annotations

import re
from html.parser import HTMLParser

#: Their content is not for reading.
_HIDDEN = frozenset({"head", "script", "style", "title", "template", "noscript"})
#: They stand apart from what is before and after them.
_PARAGRAPHS = frozenset(
    {"p", "h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "table", "blockquote", "pre", "hr"}
)
#: They begin on a new line.
_LINES = frozenset(
    {"div", "tr", "li", "section", "article", "header", "footer", "main", "address", "dt", "dd"}
)
#: Brackets at the end that nothing closes are text where they are more than this.
_MAX_UNCLOSED = 100
_SPACES = re.compile(r"[ \t\r\n\f]+")


def html_to_text(html: str) -> str:
    """Return the text of ``html``; a link is followed by its address in parentheses."""
    converter = _Converter()
    converter.feed(_closed(html))
    converter.close()
    return converter.text()


def _closed(html: str) -> str:
    """Return ``html`` without very many brackets that nothing closes.

    The parser reads the rest once for each of them.
    """
    end = html.rfind(">") + 1
    if html.count("<", end) <= _MAX_UNCLOSED:
        return html
    return html[:end] + html[end:].replace("<", "&lt;")


class _Converter(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._out: list[str] = []
        #: Line breaks due before the next word, and whether a space is.
        self._breaks = 0
        self._space = False
        self._hidden: list[str] = []
        self._link: tuple[str, int] | None = None

    def text(self) -> str:
        """Return what was read so far, with a line break at the end of the last line."""
        text = "".join(self._out)
        return f"{text}\n" if text else ""

    def parse_marked_section(self, i: int, report: bool = True) -> int:  # noqa: FBT001, FBT002
        """Pass over a section, as browsers do also where its name is missing or unknown."""
        try:
            return super().parse_marked_section(i, report)
        except AssertionError:
            return self.parse_bogus_comment(i, report)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        if self._hidden or tag in _HIDDEN:
            if tag in _HIDDEN:
                self._hidden.append(tag)
            return
        self._break_for(tag)
        if tag == "br":
            self._out.append("\n" if self._out else "")
            self._space = False
        elif tag == "li":
            self._write("- ")
        elif tag in ("td", "th"):
            self._space = True
        elif tag == "img" and attributes.get("alt"):
            self._write(attributes["alt"] or "")
        elif tag == "a":
            self._end_link()
            self._link = (attributes.get("href") or "", len(self._out))

    def handle_endtag(self, tag: str) -> None:
        if self._hidden:
            if tag in self._hidden:  # what was left open inside ends with it
                del self._hidden[self._hidden.index(tag) :]
            return
        if tag == "a":
            self._end_link()
        self._break_for(tag)

    def handle_data(self, data: str) -> None:
        if self._hidden:
            return
        words = _SPACES.sub(" ", data)
        if words.startswith(" "):
            self._space = True
        if words.strip(" "):
            self._write(words.strip(" "))
            self._space = words.endswith(" ")

    def _break_for(self, tag: str) -> None:
        if tag in _PARAGRAPHS:
            self._breaks = max(self._breaks, 2)
        elif tag in _LINES:
            self._breaks = max(self._breaks, 1)

    def _write(self, text: str) -> None:
        if self._out:
            if self._breaks:
                self._out.append("\n" * self._breaks)
            elif self._space and not self._out[-1].endswith((" ", "\n")):
                self._out.append(" ")
        self._breaks = 0
        self._space = False
        self._out.append(text)

    def _end_link(self) -> None:
        if self._link is None:
            return
        address, start = self._link
        self._link = None
        words = "".join(self._out[start:]).strip()
        if not address or address.startswith("#") or address == words:
            return
        self._write(f" ({address})" if words else address)
