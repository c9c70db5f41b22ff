"""One run over mutations: the warm process first, a new process where it can't be."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from pathlib import Path
from queue import SimpleQueue

from mutants.runner import copied
from mutation.choice import choose
from mutation.cold import run_cold
from mutation.jobs import Job
from mutation.mutations import Mutation
from mutation.recorded import Recorded
from mutation.verdicts import Outcome, Verdict
from mutation.warm import run_warm


class Round:
    """Runs the tests for mutations.

    A test that fails for a mutation is run without one as well: if it fails again, its
    verdicts do not count, and the mutations are tried without it.

    Args:
        recorded: which tests run what.
        report: is called with each mutation and what became of it.
        budget: how long the tests for a mutation may take, seconds.
        at_once: how many processes run tests at a time.
    """

    def __init__(
        self,
        recorded: Recorded,
        report: Callable[[Mutation, Outcome], None],
        *,
        budget: float,
        at_once: int,
    ) -> None:
        self._recorded = recorded
        self._report = report
        self._budget = budget
        self._at_once = at_once
        self._warm: deque[Job] = deque()
        self._cold: list[Job] = []
        self._trusted: set[str] = set()
        self._distrusted: set[str] = set()
        self._unconfirmed: dict[str, list[tuple[Job, Outcome]]] = defaultdict(list)

    def run(self, mutations: Iterable[Mutation]) -> None:
        """Try each mutation."""
        for mutation in mutations:
            choice = choose(mutation, self._recorded, budget=self._budget)
            if choice.tests:
                self._warm.append(Job(mutation, *choice))
            else:
                self._report(mutation, Outcome(Verdict.UNCOVERED))
        if self._warm:
            run_warm(self._warm, self._done, at_once=self._at_once)
        self._run_cold()

    def _done(self, job: Job, outcome: Outcome | None) -> None:
        """Take what the warm process has found."""
        if job.mutation is None:
            self._confirm(
                next(iter(job.tests)), passed=outcome == Outcome(Verdict.SURVIVED, tests=1)
            )
            return
        assert isinstance(job.mutation, Mutation)
        if outcome is None or (job.at_import and outcome.verdict is Verdict.SURVIVED):
            self._cold.append(job)
        elif outcome.verdict is not Verdict.KILLED or outcome.test in self._trusted:
            self._report(job.mutation, outcome)
        else:
            known = self._unconfirmed[outcome.test]
            known.append((job, outcome))
            if len(known) == 1:
                self._warm.appendleft(Job(None, self._alone(outcome.test)))

    def _confirm(self, test: str, *, passed: bool) -> None:
        """Take it that a test passes, or fails, without any mutation."""
        (self._trusted if passed else self._distrusted).add(test)
        for job, outcome in self._unconfirmed.pop(test, ()):
            assert isinstance(job.mutation, Mutation)
            if passed:
                self._report(job.mutation, outcome)
            else:
                self._warm.append(self._without_distrusted(job))

    def _without_distrusted(self, job: Job) -> Job:
        tests = {test: job.tests[test] for test in job.tests if test not in self._distrusted}
        return Job(job.mutation, tests, job.at_import)

    def _alone(self, test: str) -> Mapping[str, float]:
        return {test: self._recorded.seconds.get(test, 1.0)}

    def _run_cold(self) -> None:
        if not self._cold:
            return
        with ExitStack() as stack:
            copies: SimpleQueue[Path] = SimpleQueue()
            for _ in range(self._at_once):
                copies.put(stack.enter_context(copied()))

            def tried(job: Job) -> Outcome:
                copy = copies.get()
                try:
                    return self._confirmed_cold(self._without_distrusted(job), copy)
                finally:
                    copies.put(copy)

            threads = stack.enter_context(ThreadPoolExecutor(self._at_once))
            running = {threads.submit(tried, job): job.mutation for job in self._cold}
            for future in as_completed(running):
                mutation = running[future]
                assert isinstance(mutation, Mutation)
                self._report(mutation, future.result())

    def _confirmed_cold(self, job: Job, copy: Path) -> Outcome:
        outcome = run_cold(job, copy)
        test = outcome.test
        if outcome.verdict is not Verdict.KILLED or "::" not in test or test in self._trusted:
            return outcome
        unchanged = run_cold(Job(None, self._alone(test)), copy)
        if unchanged.verdict is Verdict.SURVIVED:
            self._trusted.add(test)
            return outcome
        self._distrusted.add(test)
        return self._confirmed_cold(self._without_distrusted(job), copy)
