"""Puts a mutation into modules that are imported: the code of their functions is exchanged."""

from __future__ import annotations

import gc
import inspect
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import CodeType, FunctionType

#: A function of a module: the file, the qualified name and the first line.
Key = tuple[str, str, int]
Functions = Mapping[Key, Sequence[FunctionType]]


class NotSwappableError(Exception):
    """A mutation changes what runs when its module is imported."""


def functions(files: Iterable[str]) -> Functions:
    """Return all functions that exist of these files, given by their absolute names."""
    wanted = set(files)
    found: dict[Key, list[FunctionType]] = defaultdict(list)
    for each in gc.get_objects():
        # A mock is of any class that it likes; its type is not.
        if type(each) is FunctionType and each.__code__.co_filename in wanted:
            found[_key(each.__code__)].append(each)
    return found


def swap(file: str, before: str, after: str, existing: Functions) -> None:
    """Let the functions of a module behave as its source ``after`` says.

    Raises:
        NotSwappableError: more than functions differs; nothing was changed.
    """
    pairs = list(
        _different(compile(before, file, "exec"), compile(after, file, "exec"), inside=False)
    )
    for old, new in pairs:
        if _key(old) not in existing or old.co_freevars != new.co_freevars:
            raise NotSwappableError(old.co_qualname)
    for old, new in pairs:
        for function in existing[_key(old)]:
            function.__code__ = new


def _different(
    old: CodeType, new: CodeType, *, inside: bool
) -> Iterator[tuple[CodeType, CodeType]]:
    """Find the functions that differ, below a module or a class."""
    if inside and old.co_flags & inspect.CO_OPTIMIZED:
        if old != new:
            yield old, new
        return
    shapes = [(code.co_code, code.co_names, len(code.co_consts)) for code in (old, new)]
    if shapes[0] != shapes[1]:
        raise NotSwappableError(old.co_qualname)
    for one, other in zip(old.co_consts, new.co_consts, strict=True):
        if isinstance(one, CodeType) and isinstance(other, CodeType):
            yield from _different(one, other, inside=True)
        elif (type(one), one) != (type(other), other):
            raise NotSwappableError(old.co_qualname)


def _key(code: CodeType) -> Key:
    return code.co_filename, code.co_qualname, code.co_firstlineno
