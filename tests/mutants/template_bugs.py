"""Bugs of templates: one that takes a processor, the memory, a connection or a message."""

from __future__ import annotations

from mutants.mutant import Edit, Mutant

_RENDERING = "sender_service/channels/rendering"
_WORKERS = "sender_service/delivery/shard_workers.py"
_BOUNDED_TESTS = "tests/unit/test_bounded_templates.py"
_WORKER_TESTS = "tests/unit/test_rendering_workers.py"
_RENDERING_TESTS = "tests/integration/test_sender_rendering.py"
_CONTENTS_TESTS = "tests/integration/test_sender_contents.py"
_SEEN = "Closeout itself, before templates were bounded by processes"
_HELD = "Closeout itself, before contents were compiled for a turn"

TEMPLATE_BUGS = (
    Mutant(
        name="template-without-memory-limit",
        invariant="L5",
        bug="A template may take all memory of the machine.",
        seen=_SEEN,
        edits=(
            Edit(
                f"{_RENDERING}/worker.py",
                "    resource.setrlimit(resource.RLIMIT_AS, (given.memory_bytes,"
                " given.memory_bytes))\n",
                "",
            ),
        ),
        test=f"{_WORKER_TESTS}::test_the_kernel_bounds_the_memory_of_a_worker",
    ),
    Mutant(
        name="template-without-time-limit",
        invariant="L5",
        bug="Nothing ends a template that computes in one endless call.",
        seen=_SEEN,
        edits=(
            Edit(
                f"{_RENDERING}/worker.py",
                "        _let_compute(self._given.render_seconds)\n",
                "        _let_compute(0)\n",
            ),
            Edit(
                f"{_RENDERING}/worker_process.py",
                "ANSWER_SECONDS = 30.0\n",
                "ANSWER_SECONDS = 3.0\n",
            ),
        ),
        test=f"{_WORKER_TESTS}::test_a_template_that_computes_for_long_ends_with_its_process",
    ),
    Mutant(
        name="killed-worker-fails-the-message",
        invariant="L5",
        bug="A rendering process that somebody kills takes a message with it.",
        seen=_SEEN,
        edits=(
            Edit(f"{_RENDERING}/worker_process.py", "_MOST_DEATHS = 3\n", "_MOST_DEATHS = 1\n"),
        ),
        test=f"{_WORKER_TESTS}::test_a_process_that_hangs_is_replaced",
    ),
    Mutant(
        name="light-without-clock",
        invariant="L5",
        bug="A template with many short steps holds up the thread that serves everybody.",
        seen=_SEEN,
        edits=(
            Edit(
                f"{_RENDERING}/limits.py",
                "        _now.deadline = time.thread_time() + budget.seconds\n",
                "        _now.deadline = time.thread_time() + 60.0\n",
            ),
        ),
        test=f"{_BOUNDED_TESTS}::test_what_may_take_long_is_not_rendered_here",
    ),
    Mutant(
        name="light-with-long-ranges",
        invariant="L5",
        bug="A search in a range of any length runs in the thread that serves everybody.",
        seen=_SEEN,
        edits=(
            Edit(
                f"{_RENDERING}/templates.py",
                "        if self._is_never_light and self.budget.is_light:\n",
                "        if self._is_never_light and not self.budget.is_light:\n",
            ),
        ),
        test=f"{_BOUNDED_TESTS}::test_what_may_take_long_is_not_rendered_here",
    ),
    Mutant(
        name="light-filters-without-lengths",
        invariant="L5",
        bug="Filters of quadratic time take long texts in the thread that serves everybody.",
        seen=_SEEN,
        edits=(
            Edit(
                f"{_RENDERING}/limits.py",
                "        if budget.is_light and args and _length(args[0]) > lightly:\n",
                "        if budget.is_light and not args:\n",
            ),
        ),
        test=f"{_BOUNDED_TESTS}::test_what_may_take_long_is_not_rendered_here",
    ),
    Mutant(
        name="long-content-compiled-here",
        invariant="L5",
        bug="Content of any length is compiled beside the messages of others.",
        seen=_SEEN,
        edits=(
            Edit(
                f"{_RENDERING}/bounded.py",
                "    return len(stored) <= _LIGHT_BYTES and markups <= _LIGHT_MARKUPS\n",
                "    return len(stored) <= _LIGHT_BYTES or markups <= _LIGHT_MARKUPS\n",
            ),
        ),
        test=f"{_BOUNDED_TESTS}::test_longer_content_is_compiled_elsewhere_first",
    ),
    Mutant(
        name="one-campaign-takes-all-workers",
        invariant="L5",
        bug="The messages of one campaign stand before those of all others.",
        seen=_SEEN,
        edits=(
            Edit(
                f"{_RENDERING}/bounded.py",
                "        self._turn = asyncio.Lock()\n",
                "        self._turn = asyncio.Semaphore(64)\n",
            ),
        ),
        test=f"{_BOUNDED_TESTS}::test_a_campaign_has_one_job_at_a_time",
    ),
    Mutant(
        name="rendered-and-paused-is-sent",
        invariant="S17",
        bug="A message that was rendered when a pause came is handed over after it.",
        seen=_SEEN,
        edits=(
            Edit(
                _WORKERS,
                "            if self._may_dispatch():\n                await self._dispatch",
                "            if self._queue is not None:\n                await self._dispatch",
            ),
        ),
        test=f"{_RENDERING_TESTS}::test_a_pause_after_rendering_is_obeyed",
    ),
    Mutant(
        name="stopped-while-rendered-is-lost",
        invariant="S10",
        bug="A message that is being rendered at a stop stays in doubt.",
        seen=_SEEN,
        edits=(
            Edit(
                _WORKERS,
                "        except asyncio.CancelledError:\n"
                "            self._commits.requeue(message)\n"
                "            self._progress.set()\n"
                "            raise\n"
                "        finally:\n"
                "            del self._calls[worker]\n",
                "        finally:\n            del self._calls[worker]\n",
            ),
        ),
        test=f"{_RENDERING_TESTS}::test_a_message_that_is_being_rendered_is_handed_back",
    ),
    Mutant(
        name="contents-of-all-campaigns-held",
        invariant="L5",
        bug="Each campaign at work holds its compiled content, however many they are.",
        seen=_HELD,
        edits=(
            Edit(
                "sender_service/delivery/contents.py",
                "        while sum(one.size for one in self._kept.values()) > self._kept_bytes:\n",
                "        while not self._kept:\n",
            ),
        ),
        test=f"{_CONTENTS_TESTS}::test_the_latest_contents_are_kept_up_to_their_limit",
    ),
    Mutant(
        name="content-outlives-its-turn",
        invariant="L5",
        bug="What is left of a turn keeps its content until the garbage is collected.",
        seen=_HELD,
        edits=(
            Edit(
                "sender_service/delivery/plan.py",
                "        self.template = self.rendering = None\n",
                "        self.rendering = None\n",
            ),
        ),
        test=f"{_CONTENTS_TESTS}::test_campaigns_that_wait_for_their_turn_hold_no_content",
    ),
    Mutant(
        name="started-campaign-holds-content",
        invariant="L5",
        bug="The directory holds the stored content of each campaign that was started.",
        seen=_HELD,
        edits=(
            Edit(
                "sender_service/store/campaigns.py",
                "        .returning(*_WITHOUT_CONTENT)\n",
                "        .returning(campaigns)\n",
            ),
        ),
        test="tests/integration/test_sender_progress.py"
        "::test_what_is_held_of_a_campaign_has_no_content",
    ),
    Mutant(
        name="rendering-as-urgent-as-answers",
        invariant="B2",
        bug="Processes that render take the processors from the sender, which answers late.",
        seen="Closeout itself, beside 1,000 hostile templates",
        edits=(Edit(f"{_RENDERING}/worker.py", "    os.nice(_LESS_URGENT)\n", ""),),
        test="tests/unit/test_rendering_workers.py::test_a_worker_is_less_urgent_than_the_sender",
    ),
    Mutant(
        name="failed-message-keeps-its-template",
        invariant="L5",
        bug="A message that can't be rendered keeps the template of its campaign.",
        seen=_HELD,
        edits=(
            Edit(
                f"{_RENDERING}/bounded.py",
                "            made = bare(error)\n",
                "            made = error\n",
            ),
        ),
        test=f"{_BOUNDED_TESTS}::test_a_message_that_fails_keeps_no_content",
    ),
)
