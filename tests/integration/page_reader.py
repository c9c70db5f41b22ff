"""Reads pages as a browser without a script does: their texts, links and forms."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser

_VOID = {"input", "meta", "link", "br", "use", "path", "circle"}


@dataclass
class Form:
    """A form of a page.

    Attributes:
        action: where it is sent.
        method: ``get`` or ``post``.
        fields: what a browser would send untouched, by name.
        ticks: the values of its boxes, by name, which are sent when they are ticked.
        buttons: what its buttons say.
    """

    action: str
    method: str
    fields: dict[str, str] = field(default_factory=dict)
    ticks: dict[str, str] = field(default_factory=dict)
    buttons: list[str] = field(default_factory=list)


@dataclass
class _Element:
    tag: str
    attributes: dict[str, str]
    text: list[str] = field(default_factory=list)


class Document(HTMLParser):
    """A page.

    Attributes:
        title: its title.
        text: what it says, in one line.
        headings: what its headings say.
        alerts: what stands in elements of the role ``alert``.
        statuses: what stands in elements of the role ``status``.
        links: the address of each link, by its words.
        forms: its forms.
        focused: the text of what has the focus when it is loaded; None: nothing has.
    """

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.html = html
        self.title = ""
        self.headings: list[str] = []
        self.alerts: list[str] = []
        self.statuses: list[str] = []
        self.links: dict[str, str] = {}
        self.forms: list[Form] = []
        self.focused: str | None = None
        self._all: list[str] = []
        self._open: list[_Element] = []
        self.feed(html)
        self.close()

    @property
    def text(self) -> str:
        """What it says, in one line."""
        return _line(self._all)

    def form(self, button: str) -> Form:
        """Return the form with a button that says this."""
        (found,) = [form for form in self.forms if button in form.buttons]
        return found

    def has_form(self, button: str) -> bool:
        """Return whether there is a button that says this."""
        return any(button in form.buttons for form in self.forms)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element."""
        attributes = {name: value or "" for name, value in attrs}
        if tag == "form":
            method = attributes.get("method", "get")
            self.forms.append(Form(attributes.get("action", ""), method))
        elif tag == "input" and self.forms and "name" in attributes:
            self._field(attributes)
        if tag == "input" and "autofocus" in attributes:
            self.focused = f"field {attributes.get('name')}"
        if tag not in _VOID:
            self._open.append(_Element(tag, attributes))

    def _field(self, attributes: dict[str, str]) -> None:
        form, name = self.forms[-1], attributes["name"]
        if attributes.get("type") in {"checkbox", "radio"}:
            form.ticks[name] = attributes.get("value", "on")
        else:
            form.fields[name] = attributes.get("value", "")

    def handle_data(self, data: str) -> None:
        """Note a text that is shown."""
        if any("hidden" in element.attributes for element in self._open):
            return
        for element in self._open:
            element.text.append(data)
        if self._open and self._open[-1].tag not in {"title", "script", "style"}:
            self._all.append(data)

    def handle_endtag(self, tag: str) -> None:
        """Note that an element is whole."""
        if tag in _VOID:
            return
        element = self._open.pop()
        assert element.tag == tag, f"{tag} ends in {element.tag}: {self.html}"
        said = _line(element.text)
        attributes = element.attributes
        if tag == "title":
            self.title = said
        elif tag in {"h1", "h2", "h3"}:
            self.headings.append(said)
        elif tag == "a":
            self.links[said] = attributes.get("href", "")
        elif tag == "button" and self.forms:
            self.forms[-1].buttons.append(said)
        role = attributes.get("role")
        if role == "alert":
            self.alerts.append(said)
        elif role == "status" and said:
            self.statuses.append(said)
        if "autofocus" in attributes:
            self.focused = said


def _line(texts: list[str]) -> str:
    return " ".join("".join(texts).split())
