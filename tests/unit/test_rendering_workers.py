"""Tests of the processes that render what may take long."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sender_service.channels.contract import (
    Content,
    EmailContent,
    JsonContent,
    Message,
    TextContent,
    content_to_json,
)
from sender_service.channels.errors import (
    ChannelError,
    InvalidContentError,
    TemplateError,
    TemplateLimitError,
    UnsafeHeaderError,
)
from sender_service.channels.rendering import worker, worker_process
from sender_service.channels.rendering.bounded import rendering_request
from sender_service.channels.rendering.frames import WorkerLimits
from sender_service.channels.rendering.worker_process import (
    WorkerProcess,
    WorkerUnavailableError,
    value_of,
)
from sender_service.channels.rendering.workers import TemplateWorkers

PATIENCE_SECONDS = 60
QUICK = WorkerLimits(render_seconds=0.2)
TEXTS = "sender_service.channels.rendering.texts:console_texts"
MAIL = "sender_service.channels.email.mime:mime_template"
#: It looks at every number, in one call that nothing but the kernel ends.
ENDLESS = TextContent("{% if (1..1000000000000) contains 'x' %}a{% endif %}")
PARENT = """
import os, signal
from sender_service.channels.rendering.worker_process import WorkerProcess
worker = WorkerProcess()
worker.call({"op": "unknown", "fields": [], "most": 1}, b'{"kind": "none"}')
print(worker.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def message(**fields: Any) -> Message:
    """Return a message to Ann."""
    return Message("c1", 1, "ann@shop.example", "", fields, "0" * 32)


def job(content: Content, *, what: str = "preview", maker: str = TEXTS, **fields: Any) -> Any:
    """Return what a worker is asked for."""
    return rendering_request(what, maker, message(**fields)), content_to_json(content).encode()


def is_there(pid: int) -> bool:
    """Return whether a process exists and is no zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def until(condition: Callable[[], bool]) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture(scope="module")
def shared() -> Iterator[WorkerProcess]:
    """One process for all tests that leave it as it is, or have it replaced."""
    one = WorkerProcess(QUICK)
    yield one
    one.close()
    one.reap()


def text(one: WorkerProcess, **fields: Any) -> Any:
    """Return what an ordinary template makes."""
    return value_of(one.call(*job(TextContent("Hi {{ name }}"), **fields)))


def test_a_worker_renders_as_the_sender_does(shared: WorkerProcess) -> None:
    """Texts with any character, documents and e-mails come back as they were made."""
    assert text(shared, name="Zoë \U0001f600\n").endswith("Hi Zoë \U0001f600\n")
    document = job(JsonContent('{"n": {{ n | json }}}'), what="prepared", n="Zoë")
    assert value_of(shared.call(*document)) == '{"n": "Zoë"}'
    mail = EmailContent(subject="Hi {{ n }}", text="x", from_="Shop <news@shop.example>")
    made = value_of(shared.call(*job(mail, what="prepared", maker=MAIL, n="Ann")))
    assert b"\r\nSubject: Hi Ann\r\n" in made


@pytest.mark.parametrize(
    ("content", "fields", "error"),
    [
        (EmailContent(subject="x"), {}, InvalidContentError),
        (EmailContent(subject="x", text="{{ a", from_="a@b.example"), {}, TemplateError),
        (
            EmailContent(subject="x", text="x", from_="a@b.example", list_unsubscribe="{{ a }}"),
            {"a": "no address"},
            UnsafeHeaderError,
        ),
    ],
)
def test_an_error_comes_back_as_it_was_raised(
    shared: WorkerProcess, content: Content, fields: dict[str, Any], error: type[ChannelError]
) -> None:
    """What a template raises has its kind, its text and its place; the worker goes on."""
    pid = shared.pid
    with pytest.raises(error) as caught:
        shared.call(*job(content, what="prepared", maker=MAIL, **fields))
    assert type(caught.value) is error
    if isinstance(caught.value, TemplateError):
        assert (caught.value.field, caught.value.line, caught.value.column) == ("text", 1, 1)
    assert pid in {0, shared.pid}


def test_a_template_that_computes_for_long_ends_with_its_process(shared: WorkerProcess) -> None:
    """L5: the kernel ends it; the next job is done by another process."""
    text(shared)
    pid = shared.pid
    with pytest.raises(TemplateLimitError, match="too long to compute"):
        shared.call(*job(ENDLESS))
    assert not is_there(pid)
    assert text(shared, name="Ann").endswith("Hi Ann")
    assert shared.pid != pid


def test_a_template_that_takes_memory_fails_alone() -> None:
    """A list of one long text, sixteen thousand times, is more than a process may have."""
    doubled = "{% assign l = l | concat: l %}" * 14
    source = f"{{% assign l = a | split: 'x' %}}{doubled}{{{{ l | upcase | size }}}}"
    one = WorkerProcess(WorkerLimits(render_seconds=30.0, memory_bytes=128 * 1024 * 1024))
    try:
        with pytest.raises(TemplateLimitError, match="128 MiB of memory"):
            one.call(*job(TextContent(source), a="z" * 16_000))
        assert text(one, name="Ann").endswith("Hi Ann")
    finally:
        one.close()
        one.reap()


def test_a_process_that_was_killed_is_replaced(shared: WorkerProcess) -> None:
    """A job meets a process that died while it was idle, and is done by another."""
    text(shared)
    pid = shared.pid
    os.kill(pid, signal.SIGKILL)
    assert text(shared, name="Ann").endswith("Hi Ann")
    assert shared.pid != pid


def test_a_process_that_hangs_is_replaced(
    shared: WorkerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that gives no answer is killed, and its job done by another."""
    text(shared)
    pid = shared.pid
    os.kill(pid, signal.SIGSTOP)
    start = worker_process._started

    def started(limits: WorkerLimits) -> Any:
        monkeypatch.setattr(worker_process, "ANSWER_SECONDS", PATIENCE_SECONDS)
        return start(limits)

    monkeypatch.setattr(worker_process, "ANSWER_SECONDS", 0.05)
    monkeypatch.setattr(worker_process, "_started", started)
    assert text(shared, name="Ann").endswith("Hi Ann")
    assert not is_there(pid)


@pytest.mark.parametrize(
    ("number", "error"),
    [(signal.SIGKILL, WorkerUnavailableError), (signal.SIGSEGV, TemplateLimitError)],
)
def test_a_job_that_no_process_survives_is_given_up(
    monkeypatch: pytest.MonkeyPatch, number: signal.Signals, error: type[ChannelError]
) -> None:
    """Who was killed from outside can be tried again; who died of its work breaks a limit."""
    started: list[subprocess.Popen[bytes]] = []

    def dying(_: WorkerLimits) -> subprocess.Popen[bytes]:
        program = (
            "import os, resource; resource.setrlimit(resource.RLIMIT_CORE, (0, 0));"
            f" os.kill(os.getpid(), {number})"
        )
        process = subprocess.Popen(  # noqa: S603 - this interpreter
            [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        started.append(process)
        return process

    monkeypatch.setattr(worker_process, "_started", dying)
    with pytest.raises(error, match=f"was ended by {number.name}"):
        text(WorkerProcess())
    assert len(started) == 3
    assert [process.returncode for process in started] == [-number] * 3


def test_a_process_that_cannot_start_is_no_fault_of_the_template(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The error can be tried again."""

    def refused(*_: object, **__: object) -> None:
        raise BlockingIOError("no more processes")

    monkeypatch.setattr(subprocess, "Popen", refused)
    with pytest.raises(WorkerUnavailableError, match="can start: no more processes"):
        text(WorkerProcess())


def test_the_kernel_bounds_the_memory_of_a_worker(shared: WorkerProcess) -> None:
    """All of it is 256 MiB at most, and a worker that dies writes no core."""
    text(shared)
    bounds = Path(f"/proc/{shared.pid}/limits").read_text()
    memory = str(256 * 1024 * 1024)
    assert re.search(rf"^Max address space +{memory} +{memory} ", bounds, re.MULTILINE)
    assert re.search(r"^Max core file size +0 +0 ", bounds, re.MULTILINE)


def test_a_worker_is_less_urgent_than_the_sender(shared: WorkerProcess) -> None:
    """A machine that is busy answers those who ask the sender first; 19 is as nice as it gets."""
    text(shared)
    own, worker_s = (os.getpriority(os.PRIO_PROCESS, pid) for pid in (0, shared.pid))
    assert worker_s > own or worker_s == 19


def test_the_process_is_that_of_the_worker() -> None:
    """The sender starts the module that answers."""
    assert worker.__name__ == worker_process._MODULE


def test_a_worker_lives_on_beside_a_large_parent(shared: WorkerProcess) -> None:
    """The memory of the sender does not count as that of its worker."""
    ballast = bytearray(b"x") * (200 * 1024 * 1024)
    text(shared)
    os.kill(shared.pid, signal.SIGKILL)
    text(shared)
    pid = shared.pid
    text(shared)
    assert shared.pid == pid
    assert len(ballast) > 0


def test_a_worker_has_no_settings(shared: WorkerProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys and passwords of the sender are not in the environment of its workers."""
    monkeypatch.setenv("CLOSEOUT_SMTP_PASSWORD", "hunter2")
    text(shared)
    os.kill(shared.pid, signal.SIGKILL)
    text(shared)
    assert b"hunter2" not in Path(f"/proc/{shared.pid}/environ").read_bytes()


def test_a_worker_ends_with_a_parent_that_was_killed() -> None:
    """SIGKILL of the sender leaves no process behind."""
    done = subprocess.run(  # noqa: S603 - this interpreter
        [sys.executable, "-c", PARENT], stdout=subprocess.PIPE, timeout=60, check=False
    )
    assert done.returncode == -signal.SIGKILL
    until(lambda: not is_there(int(done.stdout)))


async def test_a_stop_ends_workers_in_the_middle_of_a_job() -> None:
    """Who waits for an answer is refused, and no process is left."""
    workers = TemplateWorkers(2)
    header, content = job(ENDLESS)
    calls = [asyncio.create_task(workers.call(header, content)) for _ in range(3)]
    await asyncio.to_thread(until, lambda: len(workers.pids) == 2)
    pids = workers.pids
    await workers.close()
    for outcome in await asyncio.gather(*calls, return_exceptions=True):
        assert isinstance(outcome, (WorkerUnavailableError, asyncio.CancelledError))
    assert not any(map(is_there, pids))
    assert [thread for thread in threading.enumerate() if "rendering" in thread.name] == []
