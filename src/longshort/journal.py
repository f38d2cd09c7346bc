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

from longshort.errors import CorruptArtefact


def append(path: Path, entry: dict[str, Any]) -> None:
    """Add one entry and return when it is on the disk."""
    body = json.dumps(entry, sort_keys=True, ensure_ascii=False).encode()
    line = b"%08x %s\n" % (zlib.crc32(body), body)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        # a line that a crash cut short is ended first, so that it does not swallow this one
        size = os.fstat(descriptor).st_size
        if size and os.pread(descriptor, 1, size - 1) != b"\n":
            line = b"\n" + line
        os.write(descriptor, line)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read(path: Path) -> list[dict[str, Any]]:
    """All entries, oldest first; none when there is no journal yet.

    raises  CorruptArtefact when a line that is not the last of its writer's life is damaged
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
        elif len(line) < 9 or not _is_whole(body):
            warnings.warn(f"{path}:{number}: dropped a line that a crash cut short", stacklevel=2)
        else:
            raise CorruptArtefact(
                f"{path}:{number}: the line's checksum does not match: it was damaged after it was written. "
                "Restore the file from a backup, or delete the line if you know what it said."
            )
    return entries


def _is_whole(body: bytes) -> bool:
    return body.startswith(b"{") and body.endswith(b"}")
