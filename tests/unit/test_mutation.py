"""Mutation testing itself: it makes, chooses, puts in and judges mutations as it should."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import cycle
from pathlib import Path
from types import ModuleType

import pytest
from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code

from mutation import __main__ as mutation_main
from mutation import cold, operators, summary
from mutation.choice import choose
from mutation.explained import explanation, rows, stale
from mutation.mutations import ROOT, Mutation, modules, mutations, sample
from mutation.rebind import rebind
from mutation.recorded import Recorded
from mutation.swap import NotSwappableError, functions, swap
from mutation.verdicts import Outcome, Outcomes, Verdict

_MODULE = "status_service/recording/thinning.py"


def test_every_operator_exists() -> None:
    """A new Cosmic Ray that renames an operator is noticed."""
    assert all(operators.operator(name) for name in operators.NAMES)
    assert len(set(operators.NAMES)) == len(operators.NAMES)


def test_every_mutation_of_a_module_is_python_and_a_change() -> None:
    """Each changes some line, and none is a syntax error, which any test would detect."""
    made = mutations(_MODULE)
    assert len(made) > 20
    for mutation in made:
        before, after = mutation.change()
        assert before != after
        compile(mutation.source(), _MODULE, "exec")


@pytest.mark.parametrize(
    ("caught", "replaced"),
    [
        ("A", "B"),
        ("m.A", "B"),
        ("(A)", "(B)"),
        ("(m.n.A)", "(B)"),
        ("(m.A, C)", "(B, C)"),
    ],
)
def test_an_exception_with_a_dot_in_its_name_is_replaced(caught: str, replaced: str) -> None:
    """Whoever catches ``module.Error`` is tried as well, and no mutation ends the run."""
    source = "try:\n    f()\nexcept {} as error:\n    g(error)\n"
    mutated = mutate_code(source.format(caught), operators.operator("ExceptionReplacer"), 0)
    assert mutated == source.format(replaced.replace("B", "CosmicRayTestingException"))


def test_annotations_and_logs_are_left_alone() -> None:
    """No mutation changes what is not evaluated, or what is logged alone."""
    source = "def f(a: int | None) -> int | None:\n    log.info('x', n=1)\n    return a\n"
    assert operators.left_out(source) == [
        ((1, 9), (1, 19)),
        ((1, 24), (1, 34)),
        ((2, 4), (2, 22)),
    ]
    source = "if TYPE_CHECKING:\n    import a\n"
    assert operators.left_out(source) == [((1, 3), (1, 16))]


def test_the_marks_of_a_signature_are_no_operators() -> None:
    """Only the product is one."""
    tree = get_ast("def f(a, /, b, *, c): return a * b\n")
    marks = [node.start_pos for node in ast_nodes(tree) if operators.is_mark_of_signature(node)]
    assert {(1, 9), (1, 15)} <= set(marks)
    assert (1, 31) not in marks


def test_a_sample_is_repeatable_and_grows() -> None:
    """The same seed chooses the same, and a larger sample has the smaller one."""
    files = modules(["status_service/live"])
    small, large = sample(files, 10, seed=3), sample(files, 25, seed=3)
    assert small == sample(files, 10, seed=3) == large[:10]
    assert small != sample(files, 10, seed=4)


def test_a_sample_is_like_all_that_it_is_taken_from() -> None:
    """Each change is as likely as any other, whatever its module has: so it stands for all."""
    files = modules(["status_service/live"])
    existing = [each for file in files for each in mutations(file)]
    assert sorted(sample(files, len(existing), seed=1)) == sorted(existing)
    chosen = Counter(each.file for seed in range(200) for each in sample(files, 10, seed))
    for file in files:
        expected = 2_000 * sum(each.file == file for each in existing) / len(existing)
        assert chosen[file] == pytest.approx(expected, abs=5 * math.sqrt(expected))


def test_a_constant_is_bound_wherever_it_was_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where another module has imported it; what is no plain value is left alone."""
    source = "LIMIT = 1_000 * 2\nROWS = [1]\n"
    for name in ("one_module", "another_module"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    one, another = sys.modules["one_module"], sys.modules["another_module"]
    exec(source, one.__dict__)  # noqa: S102 - ours
    another.LIMIT = one.LIMIT
    rebind("one_module", source, source.replace("* 2", "* 3"))
    assert (one.LIMIT, another.LIMIT) == (3_000, 3_000)
    with pytest.raises(NotSwappableError):
        rebind("one_module", source, source.replace("[1]", "[2]"))
    assert one.ROWS == [1]
    with pytest.raises(NotSwappableError):  # a new process finds out that it can't be imported
        rebind("one_module", source, source.replace("* 2", "* None"))
    assert one.LIMIT == 3_000


def a_module(source: str) -> ModuleType:
    """Return a module of its own with this source."""
    module = ModuleType("a_module")
    exec(compile(source, "a_module.py", "exec"), module.__dict__)  # noqa: S102 - ours
    return module


_SOURCE = """
from functools import cache

class A:
    @property
    def two(self): return 1 + 1

@cache
def three(): return (lambda: 3)()

FOUR = 4
"""


@pytest.mark.parametrize(
    ("old", "new", "expression", "value"),
    [
        ("1 + 1", "1 - 1", "A().two", 0),
        ("lambda: 3", "lambda: 5", "three()", 5),
    ],
)
def test_functions_are_exchanged_wherever_they_are(
    old: str, new: str, expression: str, value: int
) -> None:
    """A property, and what is inside of a decorated function, behave as the mutated source."""
    module = a_module(_SOURCE)
    swap("a_module.py", _SOURCE, _SOURCE.replace(old, new), functions(["a_module.py"]))
    assert eval(expression, module.__dict__) == value  # noqa: S307 - ours


@pytest.mark.parametrize(("old", "new"), [("FOUR = 4", "FOUR = 5"), ("@cache\n", "")])
def test_what_runs_at_import_is_not_exchanged(old: str, new: str) -> None:
    """A constant or a decorator needs a new import."""
    module = a_module(_SOURCE)
    with pytest.raises(NotSwappableError):
        swap("a_module.py", _SOURCE, _SOURCE.replace(old, new), functions(["a_module.py"]))
    assert module.FOUR == 4


def test_the_tests_for_a_mutation_run_its_statement() -> None:
    """Telling and fast ones come first, files take turns, PostgreSQL is last, within a budget."""
    mutation = next(each for each in mutations(_MODULE) if each.operator == "NumberReplacer")
    line = 1 << mutation.line
    lines = {
        "t/a.py::fast": line,
        "t/a.py::slow": line,
        "t/b.py::other": line,
        "t/b.py::broad": line,
        "t/b.py::on[postgresql]": line,
        "t/b.py::elsewhere": 1 << 500,
    }
    seconds = dict.fromkeys(lines, 1.0) | {"t/a.py::slow": 2.0}
    breadth = dict.fromkeys(lines, 1) | {"t/b.py::broad": 9}
    recorded = Recorded(seconds, {_MODULE: lines}, {}, breadth)
    assert list(choose(mutation, recorded, budget=9.0).tests) == [
        "t/a.py::fast",
        "t/b.py::other",
        "t/a.py::slow",
        "t/b.py::broad",
        "t/b.py::on[postgresql]",
    ]
    assert list(choose(mutation, recorded, budget=2.5).tests) == ["t/a.py::fast", "t/b.py::other"]
    at_import = Recorded(seconds, {_MODULE: lines}, {_MODULE: line}, breadth)
    assert choose(mutation, at_import, budget=9.0).at_import


def test_tests_that_take_no_time_come_before_all_turns() -> None:
    """One of them may see what no other test of its file does."""
    mutation = mutations(_MODULE)[0]
    seconds = {"t/a.py::one": 0.01, "t/a.py::two": 0.02, "t/b.py::slow": 1.0, "t/a.py::slow": 1.5}
    lines = {_MODULE: dict.fromkeys(seconds, 1 << mutation.line)}
    recorded = Recorded(seconds, lines, {}, dict.fromkeys(seconds, 1))
    assert list(choose(mutation, recorded, budget=9.0).tests) == list(seconds)


def test_a_table_is_tested_by_those_who_import_it() -> None:
    """No test runs its lines: those of the modules that import it, through others, do."""
    table = "sender_service/channels/email/faults.py"
    user, other = "sender_service/channels/email/verdicts.py", "status_service/live/looks.py"
    lines = {user: {"t/a.py::verdict": 0b11}, other: {"t/b.py::look": 0b11}}
    breadth = {"t/a.py::verdict": 2, "t/b.py::look": 2}
    everything = dict.fromkeys(modules(["sender_service/channels/email", other]), (1 << 999) - 1)
    recorded = Recorded(dict.fromkeys(breadth, 1.0), lines, everything, breadth)
    choice = choose(mutations(table)[0], recorded, budget=9.0)
    assert (list(choice.tests), choice.at_import) == (["t/a.py::verdict"], True)


def test_what_runs_at_import_is_for_tests_that_look_at_it() -> None:
    """They run no line of it, and are not asked of what runs later."""
    looking = "tests/unit/test_documented_figures.py::test"
    now, later = mutations(_MODULE)[0], mutations(_MODULE)[-1]
    seconds, imported = {"quick": 0.01, looking: 0.01}, {_MODULE: 1 << now.line}
    recorded = Recorded(seconds, {_MODULE: {"quick": (1 << 999) - 1}}, imported, {"quick": 9})
    assert list(choose(now, recorded, budget=1.0).tests) == ["quick", looking]
    assert list(choose(later, recorded, budget=1.0).tests) == ["quick"]


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("FAILED tests/a.py::test_b[two words - or more] - assert 1 == 2", 1),
        ("FAILED tests/a.py::test_b[two words - or more]", 1),
        ("ERROR tests/a.py::test_b - ImportError", 0),
    ],
)
def test_a_test_that_failed_is_known_by_its_whole_name(line: str, named: int) -> None:
    """A part of the name would name no test, and the mutation would be tried for ever."""
    tests = ["tests/a.py::test_b", "tests/a.py::test_b[two words - or more]"]
    assert cold._failed(f"...F\n{line}\n1 failed\n", tests) == tests[named]


def test_a_file_that_cannot_be_imported_is_named() -> None:
    """It stands where a test would, and no test of it was run."""
    assert cold._failed("ERROR tests/a.py - ImportError\n", ["tests/a.py::test_b"]) == "tests/a.py"


def test_outcomes_are_kept_and_belong_to_their_source(tmp_path: Path) -> None:
    """A run goes on where it was, and no outcome is taken for that of another source."""
    mutation, other, *_ = mutations(_MODULE)
    outcome = Outcome(Verdict.KILLED, "t.py::test", 3)
    Outcomes(tmp_path / "kept").add(mutation, outcome)
    again = Outcomes(tmp_path / "kept")
    assert again.get(mutation) == outcome
    assert again.get(other) is None
    changed = Mutation(mutation.file, mutation.line, mutation.operator, mutation.occurrence, "new")
    assert again.get(changed) is None


def test_the_interval_of_a_score() -> None:
    """It is Wilson's: https://en.wikipedia.org/wiki/Binomial_proportion_confidence_interval."""
    assert summary.interval(180, 200) == pytest.approx((0.8506, 0.9344), abs=0.0005)
    assert summary.interval(0, 0) == (0.0, 1.0)


def test_explained_survivors_are_of_this_source() -> None:
    """An explanation whose lines are gone explains nothing."""
    assert stale() == []


def test_a_constant_is_explained_with_one_more_and_with_one_less() -> None:
    """How many rows a statement takes matters to nobody; another change of the line does."""
    file = "sender_service/store/bulk.py"
    (constant,) = {each.line for each in mutations(file) if "KEYS_A" in each.change()[0][:6]}
    numbers = [each for each in mutations(file) if each.line == constant]
    assert {each.operator for each in numbers} == {"NumberReplacer"}
    assert all(explanation(each) for each in numbers)
    assert len(numbers) == 2
    others = [each for each in mutations(file) if each.operator == "AddNot"]
    assert not any(explanation(each) for each in others)
    assert others


def test_the_table_of_explained_survivors_is_theirs() -> None:
    """docs/reliability.md lists each as it is: see ``python -m mutation --table``."""
    _, _, section = (ROOT / "docs" / "reliability.md").read_text().partition("## Mutation testing")
    section, _, _ = section.partition("\n## ")
    assert [line for line in section.splitlines() if line.startswith("| `")] == rows()


_TRY = """
from mutation.mutations import mutations
from mutation.recorded import Recorded
from mutation.round import Round

module = "status_service/campaigns/wording.py"
test = "tests/unit/test_status_wording.py::test_what_is_a_month_ago_has_its_date"
recorded = Recorded({test: 1.0}, {module: {test: (1 << 999) - 1}}, {module: 0}, {test: 1})
lines = ("if now - moment", 'return f"{utc.day}')
chosen = [each for each in mutations(module) if each.change()[0].startswith(lines)]
say = lambda _, outcome: print("verdict", outcome.verdict)
Round(recorded, say, budget=9.0, at_once=2).run(chosen)
"""


def test_mutations_of_a_pure_function_are_killed() -> None:
    """Each place where a date is chosen and written is tested, and a process per mutation works."""
    done = subprocess.run(  # noqa: S603 - ours
        [sys.executable, "-c", _TRY],
        cwd=ROOT / "tests",
        env={name: value for name, value in os.environ.items() if name != "PYTEST_ADDOPTS"},
        check=False,
        capture_output=True,
        text=True,
        timeout=600,
    )
    lines = done.stdout.splitlines()  # the tests that ran say what they lack, too
    verdicts = [line.split()[1] for line in lines if line.startswith("verdict ")]
    assert len(verdicts) == 7, done
    assert set(verdicts) == {Verdict.KILLED}


def test_what_survives_has_a_second_try_with_more_tests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its test may have had no room; what was detected, and what is explained, has none."""
    tried: list[tuple[float, int]] = []

    class Played:
        def __init__(self, _: object, report: Callable[..., None], **options: float) -> None:
            self._report, self._budget = report, options["budget"]

        def run(self, mutations: Sequence[Mutation]) -> None:
            tried.append((self._budget, len(mutations)))
            for each, verdict in zip(
                mutations, cycle((Verdict.SURVIVED, Verdict.KILLED)), strict=False
            ):
                self._report(each, Outcome(verdict))

    monkeypatch.setattr(mutation_main, "Round", Played)
    monkeypatch.setattr(mutation_main, "_recorded", lambda *_: None)
    monkeypatch.setattr(mutation_main.explained, "explanation", lambda _: None)
    module, folder = "status_service/campaigns/wording.py", str(tmp_path)
    found = mutation_main.main(
        ["--only", module, "--sample=4", "--budget=2", "--last-budget=9", f"--folder={folder}"]
    )
    assert tried == [(2.0, 4), (9.0, 2)]
    assert found == 1, "one is open still"
