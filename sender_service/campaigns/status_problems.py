"""Why nothing of an organisation is reported at the moment, by organisation."""

from __future__ import annotations

from datetime import UTC, datetime

from sender_service.domain import Problem, ProblemKind

#: The setting that has the sender's key.
KEY_SETTING = "[sender] status_api_key_file"
#: What is wrong when the status service refuses the sender itself.
KEY_REFUSED = "the status service refuses the sender's key, so nothing is sent"


class StatusProblems:
    """The problems that the sender has with the status service, at most one an organisation.

    Attributes:
        times_regained: how often it answered again; each time it may be a restored one.
        held: the organisations of which nothing is sent because of that.
    """

    def __init__(self) -> None:
        self._problems: dict[str, Problem] = {}
        self.times_regained = 0
        self.held: set[str] = set()

    def of(self, organisation: str) -> Problem | None:
        """Return why nothing of an organisation is reported; None: it is."""
        return self._problems.get(organisation)

    def lost(
        self, organisation: str, why: str, *, hold_after_seconds: float | None, held: bool
    ) -> bool:
        """Note why the status service can't be reached; False if that lasts already.

        Args:
            organisation: for whom it does not answer.
            why: what was found out about it.
            hold_after_seconds: after so long without an answer nothing is sent; None: never.
            held: whether nothing is sent already.
        """
        summary = "the status service does not answer"
        if held:
            summary += ", so nothing is sent until it does"
            self.held.add(organisation)
        elif hold_after_seconds is not None:
            summary += f"; after {hold_after_seconds:g} s without an answer nothing more is sent"
        problem = Problem(
            ProblemKind.STATUS_SERVICE_UNREACHABLE,
            summary,
            detail=why,
            setting="[sender] status_address",
            needs_attention=held,
        )
        return self._note(organisation, problem)

    def refused(self, organisation: str, why: str) -> bool:
        """Note why the status service refuses the sender; False if that lasts already."""
        problem = Problem(
            ProblemKind.STATUS_SERVICE_REFUSES,
            KEY_REFUSED,
            detail=why,
            setting=KEY_SETTING,
            needs_attention=True,
        )
        self.held.add(organisation)
        return self._note(organisation, problem)

    def regained(self, organisation: str) -> bool:
        """Note that the status service answers; False if it did before."""
        self.held.discard(organisation)
        if self._problems.pop(organisation, None) is None:
            return False
        self.times_regained += 1
        return True

    def forget(self, organisation: str) -> None:
        """Know nothing of an organisation of which nothing is to be reported."""
        self.held.discard(organisation)
        self._problems.pop(organisation, None)

    def _note(self, organisation: str, problem: Problem) -> bool:
        before = self._problems.get(organisation)
        lasts = before is not None and before.kind is problem.kind
        since = before.since_time if before is not None and lasts else datetime.now(UTC)
        self._problems[organisation] = Problem(
            problem.kind,
            problem.summary,
            detail=problem.detail,
            setting=problem.setting,
            since_time=since,
            needs_attention=problem.needs_attention,
        )
        return not lasts
