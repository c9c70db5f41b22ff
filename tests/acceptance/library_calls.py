"""Replace a C function that a shared library calls by a Python function.

A library calls external functions through addresses that the dynamic linker filled in;
its relocations name their places. Writing another address there needs no compiler and
no preloaded library, and changes only this process.
"""

from __future__ import annotations

import ctypes
import mmap
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

_ELF64_LITTLE_ENDIAN = b"\x7fELF\x02\x01"
_RELOCATIONS_WITH_ADDENDS = 4  # SHT_RELA
_READ_WRITE = mmap.PROT_READ | mmap.PROT_WRITE
#: The installed functions; they must live as long as the process.
_replacements: list[Any] = []


def replace(library: str, name: str, function: Callable[[int], int]) -> int:
    """Make the loaded ``library`` call ``function`` instead of ``name``.

    Args:
        library: the path of the shared library, for 64-bit Linux.
        name: a function of the C library that takes and returns an int.
        function: called in its place, in any thread. Its exceptions are written to
            standard error, and the caller gets 0.

    Returns:
        The number of replaced places; 0 if the library does not call ``name``.
    """
    callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int)(function)
    _replacements.append(callback)
    address = ctypes.cast(callback, ctypes.c_void_p).value
    base = _base(library)
    places = [base + offset for offset in _places(Path(library).read_bytes(), name.encode())]
    for place in places:
        _make_writable(place)
        ctypes.c_void_p.from_address(place).value = address
    return len(places)


def _places(elf: bytes, name: bytes) -> Iterator[int]:
    """Yield the places of the address of ``name`` in the loaded library."""
    if not elf.startswith(_ELF64_LITTLE_ENDIAN):
        raise ValueError("not a 64-bit little-endian ELF file")
    (sections_at,) = struct.unpack_from("<Q", elf, 0x28)
    size, number = struct.unpack_from("<HH", elf, 0x3A)
    # name, type, flags, address, offset, size, link, info, alignment, entry size
    sections = [
        struct.unpack_from("<IIQQQQIIQQ", elf, sections_at + index * size)
        for index in range(number)
    ]
    for _, kind, _, _, offset, length, symbols, _, _, _ in sections:
        if kind != _RELOCATIONS_WITH_ADDENDS:
            continue
        symbols_at, names = sections[symbols][4], sections[symbols][6]
        for place, info, _ in struct.iter_unpack("<QQq", elf[offset : offset + length]):
            (named,) = struct.unpack_from("<I", elf, symbols_at + (info >> 32) * 24)
            start = sections[names][4] + named
            if elf[start : elf.index(0, start)] == name:
                yield place


def _base(library: str) -> int:
    """Return the address at which a library is loaded."""
    path = str(Path(library).resolve())
    for line in Path("/proc/self/maps").read_text().splitlines():
        if line.endswith(f" {path}"):
            return int(line.partition("-")[0], 16)
    raise ValueError(f"{library} is not loaded")


def _make_writable(address: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    page = address - address % mmap.PAGESIZE
    if libc.mprotect(ctypes.c_void_p(page), ctypes.c_size_t(mmap.PAGESIZE), _READ_WRITE):
        raise OSError(ctypes.get_errno(), "mprotect")
