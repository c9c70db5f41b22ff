"""A message as its recipient would see it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Preview:
    """A message as its recipient would see it; what it does not have is empty.

    Attributes:
        headers: names and values, for people: each value is on one line and decoded, as a
            mail program shows it. ``Date`` and what else is particular to one sending is
            not there.
        subject: the subject, which is among the headers as well.
        text: the plain text; derived from the HTML where the content has none.
        html: the HTML.
        document: the JSON document, and then there is nothing else.
    """

    headers: tuple[tuple[str, str], ...]
    subject: str = ""
    text: str = ""
    html: str = ""
    document: str = ""

    def __str__(self) -> str:
        """Return all of it: headers, text, HTML, with empty lines between."""
        headers = "\n".join(f"{name}: {value}" for name, value in self.headers)
        parts = (headers, self.text, self.html, self.document)
        return "\n\n".join(part for part in parts if part)
