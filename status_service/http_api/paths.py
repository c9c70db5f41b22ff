"""Path templates of google.api.Http: ``/v1/campaigns/{campaign_id}:start``."""

from __future__ import annotations

import re
from urllib.parse import unquote

#: A variable of a template; each stands for one segment.
_VARIABLE = re.compile(r"\{([a-z0-9_.]+)\}")
#: A segment as it travels. A colon begins the verb, and is escaped within a value.
_SEGMENT = "([^/:]+)"


class PathTemplate:
    """A template that finds its variables in a path.

    Args:
        template: as a rule has it.

    Raises:
        ValueError: it has a form that is not served, such as ``{name=shelves/*}``.
    """

    def __init__(self, template: str) -> None:
        self.template = template
        #: The fields that it names, in their order.
        self.variables = tuple(_VARIABLE.findall(template))
        fixed = _VARIABLE.split(template)[::2]
        if any(character in part for part in fixed for character in "{}*"):
            raise ValueError(f"{template}: a variable has the form {{field}}")
        self._pattern = re.compile(_SEGMENT.join(map(re.escape, fixed)))

    def match(self, raw_path: str) -> dict[str, str] | None:
        """Return the values of the variables, by field, or None if this is another path.

        Args:
            raw_path: the path as it travelled, with its escapes and without query.
        """
        found = self._pattern.fullmatch(raw_path)
        if found is None:
            return None
        return {
            name: unquote(value, errors="replace")
            for name, value in zip(self.variables, found.groups(), strict=True)
        }
