"""Templates: strict about names, and every text of others escaped."""

from __future__ import annotations

import re
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from status_service.dashboard import formats
from status_service.dashboard.trail import stamp

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jinja2 import Environment

    from status_service.dashboard.assets import Assets

#: Icons by name: what is in a symbol of 16 by 16.
ICONS: Final[Mapping[str, str]] = {
    "mark": '<path d="M13.6 6.2A6 6 0 1 1 10 2.4"/><path d="m5.3 8 2.3 2.3 6.1-6.6"/>',
    "alert": '<path d="M8 2.2 14.4 13.4H1.6Z"/><path d="M8 6.6v3M8 11.4v.1"/>',
    "sending": '<path d="M2.5 8h10M8.8 4.2 12.6 8l-3.8 3.8"/>',
    "paused": '<circle cx="8" cy="8" r="6"/><path d="M6.5 6v4M9.5 6v4"/>',
    "scheduled": '<circle cx="8" cy="8" r="6"/><path d="M8 4.8V8l2.2 1.4"/>',
    "draft": '<circle cx="8" cy="8" r="6" stroke-dasharray="2.4 2.3"/>',
    "completed": '<circle cx="8" cy="8" r="6"/><path d="m5.4 8.1 1.9 1.9 3.4-3.9"/>',
    "cancelled": '<circle cx="8" cy="8" r="6"/><path d="m5.9 5.9 4.2 4.2M10.1 5.9l-4.2 4.2"/>',
    "download": '<path d="M8 2.5v8M4.6 7.3 8 10.7l3.4-3.4M3 13.5h10"/>',
    "wrench": (
        '<path d="M13.2 4.4a3.6 3.6 0 0 1-4.8 4.5L4.9 12.4a1.6 1.6 0 0 1-2.3-2.3L6.1 6.6'
        'a3.6 3.6 0 0 1 4.5-4.8L8.5 4l.4 2.1 2.1.4Z"/>'
    ),
}
#: What templates may do with values, by name: see :mod:`.formats`.
_FILTERS: Final = {
    "whole": formats.whole,
    "clean": formats.clean,
    "when": formats.when,
    "clock": formats.clock,
    "machine": formats.machine,
    "day": formats.day,
    "span": formats.span,
    "relative": formats.relative,
    "in_words": formats.in_words,
    "stamp": stamp,
}
_STATES = ("draft", "scheduled", "sending", "paused", "completed", "cancelled")
#: Where ``base.html`` has the icons that a page uses. What others write can't have it,
#: nor the pattern below: it is escaped.
_SPRITE = "<!--icons-->"
_USED = re.compile(r'href="#i-([a-z]+)"')


class Renderer:
    """Makes pages of templates.

    Args:
        assets: the files beside them.
        version: what the foot of a page says.
    """

    def __init__(self, assets: Assets, *, version: str) -> None:
        self._globals = {"asset": assets.address, "version": version}

    @cached_property
    def _environment(self) -> Environment:
        from jinja2 import (  # noqa: PLC0415 - slow to import, and many services show no page
            Environment,
            PackageLoader,
            StrictUndefined,
        )

        environment = Environment(
            loader=PackageLoader("status_service.dashboard", "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        environment.globals |= self._globals
        environment.filters |= _FILTERS
        return environment

    def page(self, template: str, **values: Any) -> str:
        """Return a page with the icons it uses.

        Args:
            template: the name of the file.
            values: what it shows; a name that the template has and this has not is a defect.
        """
        html = self._environment.get_template(template).render(**values)
        names = dict.fromkeys(_USED.findall(html))
        if "data-stream=" in html:
            names |= dict.fromkeys(_STATES)  # one may come while the page is open
        symbols = "".join(
            f'<symbol id="i-{name}" viewBox="0 0 16 16">{ICONS[name]}</symbol>' for name in names
        )
        return html.replace(_SPRITE, symbols, 1)
