"""The process that renders what is too much for the sender's own: ``python -m`` this module.

It reads requests from standard input and answers on standard output, one after the other.
The kernel bounds it: RLIMIT_AS its memory, a timer of processor time each job; what goes
beyond ends this process alone. It ends with its parent, at the end of its input.

Nothing of the sender's is in it: no setting, no key, no connection.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
import resource
import select
import signal
import sys
import time
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from sender_service.channels.contract import Message, content_from_json
from sender_service.channels.errors import (
    ChannelError,
    InvalidContentError,
    TemplateError,
    TemplateLimitError,
)
from sender_service.channels.rendering.content import Rendered, content_variables
from sender_service.channels.rendering.field_check import unknown_variables
from sender_service.channels.rendering.frames import WorkerLimits, read_frame, write_frame
from sender_service.channels.rendering.preview import Preview

if TYPE_CHECKING:
    from collections.abc import Callable

    from sender_service.channels.rendering.frames import Frame

#: A process that has grown so large is replaced between two jobs, bytes.
_GROWN_BYTES = 160 * 1024 * 1024
#: Compiled contents are kept up to so many characters of them.
_KEPT_CHARACTERS = 512 * 1024
#: A process without a job for so long ends, seconds.
_IDLE_SECONDS = 60.0
#: So much nicer than the sender is a process that renders: on a machine that is busy, who
#: asks the sender is answered before a template goes on.
_LESS_URGENT = 5
#: How much memory this process has now, in pages; Linux alone has it.
_STATM = Path("/proc/self/statm")


class _Compiled(NamedTuple):
    """A template, and how long it took to compile, seconds of computing."""

    template: Any
    seconds: float


class _Templates:
    """Contents, compiled; the latest are kept."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, bytes], _Compiled] = OrderedDict()

    def get(self, maker: str, content: bytes) -> _Compiled:
        key = (maker, content)
        if key not in self._kept:
            while self._kept and sum(len(kept) for _, kept in self._kept) > _KEPT_CHARACTERS:
                self._kept.popitem(last=False)
            begin = time.process_time()
            template = _maker(maker)(content_from_json(content.decode()))
            self._kept[key] = _Compiled(template, time.process_time() - begin)
        self._kept.move_to_end(key)
        return self._kept[key]

    def clear(self) -> None:
        self._kept.clear()


def main(given: WorkerLimits) -> None:
    """Answer until there is no more input, or nothing to do for long."""
    # A stop is the parent's matter: it may still need answers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.nice(_LESS_URGENT)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (given.memory_bytes, given.memory_bytes))
    answers = os.dup(1)
    os.dup2(2, 1)  # whatever prints must not be taken for an answer
    jobs = _Jobs(given)
    while select.select([0], [], [], _IDLE_SECONDS)[0]:
        request = read_frame(0)
        if request is None:
            return
        header, body = jobs.answer(request)
        header["last"] = header["last"] or _is_grown()
        write_frame(answers, header, body)
        if header["last"]:
            return


class _Jobs:
    """Does what requests ask for, within limits."""

    def __init__(self, given: WorkerLimits) -> None:
        self._given = given
        self._templates = _Templates()

    def answer(self, request: Frame) -> Frame:
        """Return the answer to a request; it is the last one where memory was short."""
        try:
            header, body = self._do(request)
            header["last"] = False
        except MemoryError:
            self._templates.clear()
            limit = f"it takes more than {self._given.memory_bytes // 2**20} MiB of memory"
            error = TemplateLimitError("", f"{limit}; make its texts and lists shorter")
            return {**_error(error), "last": True}, b""
        except ChannelError as error:
            return {**_error(error), "last": False}, b""
        finally:
            _let_compute(0)
        return header, body

    def _do(self, request: Frame) -> Frame:
        header, content = request
        _let_compute(self._given.compile_seconds)
        if header["op"] == "unknown":
            uses = content_variables(content_from_json(content.decode()))
            unknown = unknown_variables(uses, header["fields"])
            return {"count": len(unknown)}, json.dumps(unknown[: header["most"]]).encode()
        template, seconds = self._templates.get(header["maker"], content)
        if header["op"] == "compile":
            return {"seconds": seconds, "sender": getattr(template, "sender", "")}, b""
        _let_compute(self._given.render_seconds)
        work: Callable[[Message], object] = getattr(template, header["op"])
        return _value(work(Message(**header["message"])))


def _value(made: object) -> Frame:
    match made:
        case bytes():
            return {"type": "bytes"}, made
        case str():
            return {"type": "text"}, made.encode("utf-8", "surrogatepass")
        case Rendered(subject, text, html, list_unsubscribe):
            parts = [subject, text, html, list_unsubscribe]
            return {"type": "rendered"}, json.dumps(parts).encode()
        case Preview():
            return {"type": "preview"}, json.dumps(dataclasses.asdict(made)).encode()
    raise TypeError(f"a template made {type(made).__name__}")


def _error(error: ChannelError) -> dict[str, Any]:
    match error:
        case TemplateError():
            kind = "limit" if isinstance(error, TemplateLimitError) else "template"
            place = {"line": error.line, "column": error.column}
            return {"error": kind, "field": error.field, "message": error.problem, **place}
        case InvalidContentError():
            return {"error": "content", "field": error.field, "message": error.message}
    return {"error": "value", "message": str(error)}


def _maker(name: str) -> Callable[[Any], Any]:
    module, _, function = name.partition(":")
    made: Callable[[Any], Any] = getattr(importlib.import_module(module), function)
    return made


def _let_compute(seconds: float) -> None:
    """Let the kernel end this process after so much computing; 0: no more."""
    signal.setitimer(signal.ITIMER_PROF, seconds)


def _is_grown() -> bool:
    # Not ru_maxrss: that begins with the memory of the parent.
    if not _STATM.exists():
        return True  # nobody knows
    pages = int(_STATM.read_text().split()[1])
    return pages * resource.getpagesize() > _GROWN_BYTES


if __name__ == "__main__":
    main(WorkerLimits.from_arguments(sys.argv[1:]))
