"""The files beside the pages: one style sheet, one script, one picture; read once at start."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Final

from starlette.responses import Response

if TYPE_CHECKING:
    from collections.abc import Mapping
    from importlib.resources.abc import Traversable

    from starlette.requests import Request

_TYPES: Final = {
    "app.css": "text/css; charset=utf-8",
    "app.js": "text/javascript; charset=utf-8",
    "mark.svg": "image/svg+xml",
}
_YEAR = "public, max-age=31536000, immutable"


@dataclass(frozen=True, slots=True)
class Assets:
    """The files, by name.

    Attributes:
        digest: stands in their addresses, and is another one when a file is.
        contents: their bytes.
    """

    digest: str
    contents: Mapping[str, bytes]

    def address(self, name: str) -> str:
        """Return where a file is."""
        return f"/static/{self.digest}/{name}"

    async def serve(self, request: Request) -> Response:
        """Answer with a file; one with an older digest is the current one, and is not kept."""
        name = request.path_params["name"]
        if name not in self.contents:
            return Response("There is no such file.\n", 404, media_type="text/plain")
        is_current = request.path_params["digest"] == self.digest
        return Response(
            self.contents[name],
            media_type=_TYPES[name],
            headers={"cache-control": _YEAR if is_current else "no-store"},
        )


@cache
def load() -> Assets:
    """Return the files, read once; the style sheet is all of ``static/css`` in order of name."""
    static = resources.files(__package__ or "") / "static"
    contents = {
        "app.css": "".join(_plain(part.read_text()) for part in _sheets(static / "css")).encode(),
        "app.js": (static / "app.js").read_bytes(),
        "mark.svg": (static / "mark.svg").read_bytes(),
    }
    digest = hashlib.blake2b(digest_size=8)
    for name in sorted(contents):
        digest.update(contents[name])
    return Assets(digest.hexdigest(), contents)


def _sheets(folder: Traversable) -> list[Traversable]:
    sheets = [file for file in folder.iterdir() if file.name.endswith(".css")]
    return sorted(sheets, key=lambda file: file.name)


def _plain(sheet: str) -> str:
    """Return a style sheet without what is for its readers."""
    return "\n".join(line.strip() for line in re.sub(r"/\*.*?\*/", "", sheet).splitlines() if line)
