"""Puts the mutation of a constant into modules that are imported: its name is bound to another."""

from __future__ import annotations

import ast
import re
import sys
from datetime import timedelta

from mutation.swap import NotSwappableError

#: What can be exchanged wherever it was imported: nothing refers to its identity.
_VALUES = (bool, int, float, str, bytes, timedelta, re.Pattern, type(None))


def constant(source: str, line: int) -> str | None:
    """Return the name of the constant that a line of a module assigns, if it does."""
    for statement in ast.parse(source).body:
        if statement.lineno <= line <= (statement.end_lineno or 0):
            return _name(statement)
    return None


def uses(source: str, name: str) -> list[int]:
    """Return the lines that use a name."""
    return [
        node.lineno
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Name) and node.id == name and isinstance(node.ctx, ast.Load)
    ]


def rebind(module: str, before: str, after: str) -> None:
    """Bind a constant of a module to what its source ``after`` says, wherever it was imported.

    What other modules made of it when they were imported stays as it is, so only a test that
    fails says something.

    Raises:
        NotSwappableError: not one constant alone differs, or it can't be made; nothing was
            changed.
    """
    bodies = [ast.parse(source).body for source in (before, after)]
    pairs = zip(*bodies, strict=False)
    different = [new for old, new in pairs if ast.dump(old) != ast.dump(new)]
    alone = len(different) == 1 and len(bodies[0]) == len(bodies[1])
    name = _name(different[0]) if alone else None
    if name is None:
        raise NotSwappableError(module)
    namespace = dict(vars(sys.modules[module]))
    old = namespace[name]
    if not _is_value(old):
        raise NotSwappableError(name)
    try:
        exec(compile(ast.Module(different, []), module, "exec"), namespace)  # noqa: S102 - our source
    except Exception as error:  # its module can't be imported: a new process says so
        raise NotSwappableError(name) from error
    for each in list(sys.modules.values()):
        names = getattr(each, "__dict__", {})
        if names.get(name) is old:
            names[name] = namespace[name]


def _name(statement: ast.stmt) -> str | None:
    match statement:
        case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
            return name
    return None


def _is_value(value: object) -> bool:
    if isinstance(value, tuple | frozenset):
        return all(map(_is_value, value))
    return isinstance(value, _VALUES)
