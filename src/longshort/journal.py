"""Journal: an append-only, fsynced record of what happened, one checksummed JSON object a line.

Training writes its epochs here and talks to no server; `tracking` reads them into MLflow, while
training goes on or later. The registry's ledger is a journal too. A line that a crash cut short is
dropped with a warning; a line damaged in the middle stops the reader, since what follows it cannot
be put in order any more.
"""

from __future__ import annotations

import json
import os
import warnings
import zlib
from pathlib import Path
from typing import Any

from longshort import storage
from longshort.errors import CorruptArtefact

CUT = b" <- cut short"  # ends a line that a crash left without its end; damage cannot look like it


def append(path: Path, *entries: dict[str, Any]) -> None:
    """Add entries and return when they are on the disk."""
    bodies = [json.dumps(entry, sort_keys=True, ensure_ascii=False).encode() for entry in entries]
    line = b"".join(b"%08x %s\n" % (zlib.crc32(body), body) for body in bodies)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        # a line that a crash cut short is ended first, so that it does not swallow this one
        size = os.fstat(descriptor).st_size
        if size and os.pread(descriptor, 1, size - 1) != b"\n":
            line = CUT + b"\n" + line
        while line:  # a nearly full disk takes a part without a word, and refuses the rest aloud
            line = line[os.write(descriptor, line) :]
        os.fsync(descriptor)
        if not size:
            storage.sync_folder(path.parent)
    finally:
        os.close(descriptor)


def read(path: Path) -> list[dict[str, Any]]:
    """All entries, oldest first; none when there is no journal yet.

    raises  CorruptArtefact when a line was damaged after it was written
    """
    if not path.exists():
        return []
    entries: list[dict[str, Any]] = []
    lines = path.read_bytes().split(b"\n")
    for number, line in enumerate(lines, start=1):
        if not line:
            continue
        checksum, _, body = line.partition(b" ")
        if checksum == b"%08x" % zlib.crc32(body):
            entries.append(json.loads(body))
        elif number == len(lines) or line.endswith(CUT):
            warnings.warn(f"{path}:{number}: dropped a line that a crash cut short", stacklevel=2)
        else:
            raise CorruptArtefact(
                f"{path}:{number}: the line's checksum does not match: it was damaged after it was written. "
                "Restore the file from a backup, or delete the line if you know what it said."
            )
    return entries
