"""A program that makes the requests of our documents as curl does, where curl is missing.

It takes the options that the documents use, and no others. It repeats nothing by itself.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import urllib.error
import urllib.request
from pathlib import Path

#: As curl ends: the server refused, nobody listens, the answer broke off.
_REFUSED, _UNREACHABLE, _BROKEN = 22, 7, 56


def path_with_curl(folder: Path) -> str:
    """Return a PATH on which there is a ``curl``: that of the system, or this program.

    Args:
        folder: where this program is put if there is none.
    """
    path = os.environ["PATH"]
    if shutil.which("curl"):
        return path
    stand_in = folder / "curl"
    stand_in.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{Path(__file__).resolve()}" "$@"\n')
    stand_in.chmod(0o755)
    return os.pathsep.join([str(folder), path])


def main(arguments: list[str]) -> int:
    """Make one request, print its answer, and return curl's exit code."""
    parser = argparse.ArgumentParser(prog="curl", allow_abbrev=False)
    for flag in ("-f", "-s", "-S", "-N", "-g", "--fail-with-body"):
        parser.add_argument(flag, action="store_true")
    parser.add_argument("-X", dest="method")
    parser.add_argument("-H", dest="headers", action="append", default=[])
    parser.add_argument("-d", dest="data")
    parser.add_argument("--json")
    parser.add_argument("--retry")
    parser.add_argument("--retry-delay")
    parser.add_argument("-m", dest="seconds", type=float, default=60.0)
    parser.add_argument("url")
    given = parser.parse_args(arguments)
    body = given.json if given.json is not None else given.data
    request = urllib.request.Request(  # noqa: S310 - the addresses of our documents
        given.url, data=None if body is None else body.encode(), method=given.method
    )
    lines = [f"content-type: application/{'json' if given.json is not None else 'x-form'}"]
    for text in given.headers:
        lines += Path(text[1:]).read_text().splitlines() if text.startswith("@") else [text]
    for line in lines:
        name, _, value = line.partition(":")
        request.add_header(name.strip(), value.strip())
    code = 0
    try:
        answer = urllib.request.urlopen(request, timeout=given.seconds)  # noqa: S310 - as above
    except urllib.error.HTTPError as error:
        answer, code = error, _REFUSED
    except urllib.error.URLError:
        return _UNREACHABLE
    except OSError:
        return _BROKEN
    with answer:
        sys.stdout.buffer.write(answer.read())
    return code if given.f or given.fail_with_body else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
