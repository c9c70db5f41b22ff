"""The mutations of our source: one operator of Cosmic Ray at one place each."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain
from pathlib import Path

from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code

from mutation import operators

ROOT = Path(__file__).resolve().parents[2]
#: The modules that keep the promises.
PACKAGES = (
    "status_service/recording",
    "status_service/campaigns",
    "status_service/live",
    "sender_service/store",
    "sender_service/delivery",
    "sender_service/reporting",
    "sender_service/channels/email",
)


@dataclass(frozen=True, slots=True, order=True)
class Mutation:
    """A change of one place.

    Attributes:
        file: the module, below the root.
        line: where it begins, counted from 1.
        operator: the name of Cosmic Ray's operator.
        occurrence: its number among the places of the file where the operator fits.
        digest: of the source that it changes, so that a result is not taken for another's.
    """

    file: str
    line: int
    operator: str
    occurrence: int
    digest: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line} {self.operator} {self.occurrence}"

    @property
    def files(self) -> Sequence[str]:
        """The file that it changes."""
        return (self.file,)

    def original(self) -> str:
        """Return the file as it is, also while somebody edits it."""
        return source_of(self.file)

    def source(self) -> str:
        """Return the file as it becomes."""
        mutated: str | None = mutate_code(
            source_of(self.file), operators.operator(self.operator), self.occurrence
        )
        assert mutated is not None, self
        return mutated

    def sources(self, root: Path) -> Mapping[str, str]:  # noqa: ARG002 - it knows its own
        """Return the file as it becomes, by name."""
        return {self.file: self.source()}

    def change(self) -> tuple[str, str]:
        """Return the lines before and after, each as one line."""
        lines = difflib.ndiff(source_of(self.file).splitlines(), self.source().splitlines())
        changed = [line for line in lines if line[0] in "-+"]
        before, after = (
            " ".join(line[2:].strip() for line in changed if line[0] == sign) for sign in "-+"
        )
        return before, after


def modules(packages: Iterable[str] = PACKAGES) -> list[str]:
    """Return the modules of packages, below the root; a module stands for itself."""
    found: list[Path] = []
    for package in packages:
        path = ROOT / package
        found += [path] if path.is_file() else sorted(path.rglob("[!_]*.py"))
    return [str(path.relative_to(ROOT)) for path in found]


def module_name(file: str) -> str:
    """Return the name under which a file below the root is imported."""
    return file.removesuffix(".py").replace("/", ".")


def digest(file: str) -> str:
    """Return what the source of a module is recognised by."""
    return hashlib.sha256(source_of(file).encode()).hexdigest()[:12]


@cache
def mutations(file: str) -> Sequence[Mutation]:
    """Return all mutations of a module, by line."""
    source = source_of(file)
    nodes = list(ast_nodes(get_ast(source)))
    quiet = operators.left_out(source)
    marks = {node.start_pos for node in nodes if operators.is_mark_of_signature(node)}
    found = []
    for name in operators.NAMES:
        operator = operators.operator(name)
        places = chain.from_iterable(map(operator.mutation_positions, nodes))
        for occurrence, (place, *_) in enumerate(places):
            if place not in marks and not any(start <= place < end for start, end in quiet):
                found.append(Mutation(file, place[0], name, occurrence, digest(file)))
    return sorted(found)


def sample(files: Sequence[str], size: int, seed: int) -> list[Mutation]:
    """Choose mutations by chance, each as likely as any other.

    So what comes of a sample says something of all that there are. A larger sample of the same
    seed has the smaller one, and a change of one module leaves those of the others.
    """

    def chance(mutation: Mutation) -> str:
        return hashlib.sha256(f"{seed} {mutation}".encode()).hexdigest()

    return sorted(chain.from_iterable(map(mutations, files)), key=chance)[:size]


@cache
def source_of(file: str) -> str:
    """Return a file as it was when it was first read, also while somebody edits it."""
    return (ROOT / file).read_text()
