"""The tests for a mutation: those that run its statement, the telling and fast ones first."""

from __future__ import annotations

import ast
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import cache
from itertools import chain, zip_longest
from typing import NamedTuple

from mutation.mutations import ROOT, Mutation, module_name
from mutation.rebind import constant, uses
from mutation.recorded import Recorded

_POSTGRESQL = "postgresql"
#: So many tests that take so long at most are run in any case, seconds.
_QUICK, _QUICK_SECONDS = 100, 0.05
#: Tests of what classes and constants are like: they look at them, and run no line of theirs.
_LOOKING = (
    "tests/unit/test_documented_figures.py",
    "tests/unit/test_project_documents.py",
    "tests/unit/test_project_dataclasses.py",
    "tests/unit/test_project_paces.py",
    "tests/unit/test_sender_reconciliation.py::test_the_first_block",
    "tests/integration/test_service_versions.py",
)


class Choice(NamedTuple):
    """The tests for a mutation, in the order to run them in.

    Attributes:
        tests: their node ids, each with how long it takes without a mutant, seconds.
        at_import: its statement runs when its module is imported.
    """

    tests: Mapping[str, float]
    at_import: bool


def choose(mutation: Mutation, recorded: Recorded, *, budget: float) -> Choice:
    """Choose tests that take up to ``budget`` seconds; one in any case, if any runs it.

    A test comes early if it is fast, if it runs little else, and if it runs lines of the module
    that few others run: it is about them. Every second one is of the next file, since the tests
    of one file see the same; those that take no time come before all. PostgreSQL, where a test
    has a variant for each database, comes last unless the module speaks of it. What runs at
    import is also for tests that look at classes and constants.
    """
    by_test = recorded.lines.get(mutation.file, {})
    statement = _statement(mutation.file, mutation.line)
    at_import = bool(recorded.imported.get(mutation.file, 0) & statement)
    wanted = _users(mutation) if at_import else statement
    running = [test for test, lines in by_test.items() if lines & wanted]
    if at_import and not running:  # it is used at import as well, as in a default
        by_test = by_test or _of_importers(mutation.file, recorded)
        running = list(by_test)
    rarity = _rarity(by_test)
    speaks = _POSTGRESQL in mutation.original().lower()

    def late(test: str) -> bool:
        return _POSTGRESQL in test and not speaks

    def cost(test: str) -> float:
        own = sum(rarity[line] for line in _numbers(by_test[test]))
        return recorded.seconds[test] * recorded.breadth[test] / own

    by_cost = sorted(running, key=cost)
    quick = [test for test in by_cost if recorded.seconds[test] <= _QUICK_SECONDS]
    turns = chain.from_iterable(zip(by_cost, _by_turns(by_cost), strict=True))
    looking = [test for test in recorded.seconds if at_import and test.startswith(_LOOKING)]
    tests = dict[str, float]()
    for test in dict.fromkeys((*quick[:_QUICK], *looking, *sorted(turns, key=late))):
        if not tests or sum(tests.values()) + recorded.seconds[test] <= budget:
            tests[test] = recorded.seconds[test]
    return Choice(tests, at_import)


def _rarity(by_test: Mapping[str, int]) -> Mapping[int, float]:
    """Return for each line how much it says of a test that it runs this one: all tests share 1."""
    runs = Counter(chain.from_iterable(map(_numbers, by_test.values())))
    return {line: 1 / tests for line, tests in runs.items()}


def _numbers(lines: int) -> Iterator[int]:
    """Return the numbers of the lines in a set."""
    while lines:
        yield lines.bit_length() - 1
        lines ^= 1 << lines.bit_length() - 1


def _of_importers(file: str, recorded: Recorded) -> Mapping[str, int]:
    """Return the tests of the modules that import one of which they run no line: a table.

    Where those are tables themselves, the tests of the modules that import them, and so on.
    """
    names, by_test = {module_name(file)}, dict[str, int]()
    while not by_test:
        files = [each for each in recorded.imported if not names.isdisjoint(_imports(each))]
        grown = names.union(map(module_name, files))
        if grown == names:
            break
        names = grown
        for each in files:
            for test, lines in recorded.lines.get(each, {}).items():
                by_test[test] = by_test.get(test, 0) | lines
    return by_test


@cache
def _imports(file: str) -> AbstractSet[str]:
    """Return the names that a module imports: modules, and what is in them."""
    names = set[str]()
    for node in ast.walk(ast.parse((ROOT / file).read_text())):
        match node:
            case ast.Import(names=aliases):
                names.update(alias.name for alias in aliases)
            case ast.ImportFrom(module=str(module), names=aliases):
                names.update((module, *(f"{module}.{alias.name}" for alias in aliases)))
    return names


def _by_turns(tests: Iterable[str]) -> Iterator[str]:
    """Let files take turns, each with its tests as they come."""
    by_file: dict[str, list[str]] = defaultdict(list)
    for test in tests:
        by_file[test.partition("::")[0]].append(test)
    return filter(None, chain.from_iterable(zip_longest(*by_file.values())))


def _statement(file: str, line: int) -> int:
    """Return the lines of the innermost statement at a line; of a compound one its head."""
    first, last = min(
        (span for span in _spans(file) if span[0] <= line <= span[1]),
        key=lambda span: span[1] - span[0],
        default=(line, line),
    )
    return (1 << last + 1) - (1 << first)


def _users(mutation: Mutation) -> int:
    """Return the lines that use what a statement makes at import; all, if it is no constant."""
    source = mutation.original()
    name = constant(source, mutation.line)
    lines = 0
    for line in uses(source, name) if name else ():
        lines |= _statement(mutation.file, line)
    return lines or ~0


@cache
def _spans(file: str) -> Sequence[tuple[int, int]]:
    spans = []
    for node in ast.walk(ast.parse((ROOT / file).read_text())):
        if not isinstance(node, ast.stmt | ast.ExceptHandler | ast.match_case):
            continue
        body = getattr(node, "body", None)
        decorators = getattr(node, "decorator_list", ())
        start = node.pattern if isinstance(node, ast.match_case) else node
        first = min(each.lineno for each in (start, *decorators))
        last = body[0].lineno - 1 if body else start.end_lineno or first
        spans.append((first, max(first, last)))
    return spans
