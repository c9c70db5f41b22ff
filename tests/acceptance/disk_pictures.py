"""Pictures of a disk at its syncs, and what a crash at that moment can leave of it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

#: The folder of all pictures, and what there is in each.
PICTURES, SYNCED, WRITTEN, ACKNOWLEDGED = "pictures", "synced", "written", "acknowledged"
#: What a disk writes as a whole, bytes: the least of those in use.
_SECTOR = 512

#: The contents of files, by name.
Files = dict[str, bytes]


@dataclass(frozen=True, slots=True)
class Picture:
    """A disk at one moment.

    Attributes:
        synced: what was made durable.
        written: what programs see: durable or not.
        acknowledged: how many frames of the stream were acknowledged, or about to be.
    """

    synced: Files
    written: Files
    acknowledged: int

    def torn(self, chance: random.Random) -> Files:
        """Return what a power cut may leave: of what was not synced, any sectors."""
        files = {}
        for name in sorted(self.synced.keys() | self.written.keys()):
            old, new = self.synced.get(name), self.written.get(name)
            kept = _torn(old or b"", new or b"", chance)
            # A file that came or went without a sync of its folder may be there or not.
            if (old is not None and new is not None) or chance.random() < 0.5:
                files[name] = kept
        return files


def _torn(old: bytes, new: bytes, chance: random.Random) -> bytes:
    length = chance.choice((len(old), len(new)))
    sectors = []
    for start in range(0, length, _SECTOR):
        # What a truncation cut off is there for as long as the old length is.
        is_new = chance.random() < 0.5 and start < len(new)
        sector = (new if is_new else old)[start : start + _SECTOR]
        sectors.append(sector.ljust(_SECTOR, b"\0"))
    return b"".join(sectors)[:length]


def pictures(folder: Path) -> Iterator[Picture]:
    """Yield the pictures that a recording service took in ``folder``, in order."""
    for picture in sorted((folder / PICTURES).iterdir()):
        yield Picture(
            _files(picture / SYNCED),
            _files(picture / WRITTEN),
            int((picture / ACKNOWLEDGED).read_text()),
        )


def _files(folder: Path) -> Files:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
