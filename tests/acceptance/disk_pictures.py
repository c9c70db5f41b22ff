"""Pictures of a disk at its syncs, and what a crash at that moment can leave."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

#: The folder of all pictures, and the entries of each picture.
PICTURES, SYNCED, WRITTEN, ACKNOWLEDGED = "pictures", "synced", "written", "acknowledged"
#: Bytes that a disk writes atomically: the smallest sector in use.
_SECTOR = 512

#: The contents of files, by name.
Files = dict[str, bytes]


@dataclass(frozen=True, slots=True)
class Picture:
    """A disk at one moment.

    Attributes:
        synced: the durable contents.
        written: the contents that programs see, durable or not.
        acknowledged: the frames of the stream that were acknowledged, or about to be.
    """

    synced: Files
    written: Files
    acknowledged: int

    def torn(self, chance: random.Random) -> Files:
        """Return what a power cut may leave: any sectors of the unsynced contents."""
        files = {}
        for name in sorted(self.synced.keys() | self.written.keys()):
            old, new = self.synced.get(name), self.written.get(name)
            kept = _torn(old or b"", new or b"", chance)
            # A file created or removed without a sync of its folder may exist or not.
            if (old is not None and new is not None) or chance.random() < 0.5:
                files[name] = kept
        return files


def _torn(old: bytes, new: bytes, chance: random.Random) -> bytes:
    length = chance.choice((len(old), len(new)))
    sectors = []
    for start in range(0, length, _SECTOR):
        # Truncated contents exist while the file has its old length.
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
