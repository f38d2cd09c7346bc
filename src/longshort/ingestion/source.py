"""Source: a file's bytes, before anyone asks what they mean.

A CSV or a text is a regular file, perhaps packed with gzip. What only bears such a name (a pipe, a link, an archive
that would fill the disk) is refused here, so that no reader ever guesses at it. Characters are made in `encoding`.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import time
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from longshort.errors import DataRefused

CHUNK = 1024 * 1024
MOST_UNPACKED, MOST_RATIO = 2 * 1024**3, 200

_KINDS = {
    stat.S_IFLNK: ("a symbolic link", "name the file that it points to"),
    stat.S_IFDIR: ("a folder", "move its files up, or name it by itself"),
    stat.S_IFIFO: ("a pipe", "write its content to a file first"),
    stat.S_IFSOCK: ("a socket", "write its content to a file first"),
}


def check_regular(path: Path) -> None:
    """Refuse what is not a regular file; nothing is opened, so a pipe cannot block.

    raises  DataRefused
    """
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        raise DataRefused(f"{path}: there is no such file; expected a file or a folder; check the path.") from None
    except OSError as error:
        raise DataRefused(f"{path}: {error.strerror}; expected a file that can be read; check the path and its permissions.") from None
    if not stat.S_ISREG(mode):
        kind, remedy = _KINDS.get(stat.S_IFMT(mode), ("a device", "write its content to a file first"))
        raise DataRefused(f"{path}: this is {kind}; expected a regular file; {remedy}.")


def copy(path: Path, to: Path) -> Path:
    """Copy a regular file whole; one that is written meanwhile is copied again.

    raises  DataRefused as `read`, and when the file does not come to rest
    """
    check_regular(path)
    for _ in range(3):
        try:
            with open(path, "rb", opener=_not_through_links) as file, to.open("wb") as copied:  # Path.open takes no opener
                before = os.fstat(file.fileno())
                shutil.copyfileobj(file, copied, 2**20)
                after = os.fstat(file.fileno())
        except PermissionError:
            raise DataRefused(f"{path}: reading is not permitted; expected a file of yours; run `chmod u+r` on it.") from None
        if (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns) and to.stat().st_size == after.st_size:
            return to
        time.sleep(0.2)
    raise DataRefused(f"{path}: the file is being written to; expected one that stays as it is; take it in when its writer has ended.")


def _not_through_links(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)


def read(path: Path) -> bytes:
    """The bytes of a regular file.

    raises  DataRefused when it is a link, a folder, a pipe or a device, is missing, or may not be read
    """
    check_regular(path)
    try:
        return path.read_bytes()
    except PermissionError:
        raise DataRefused(f"{path}: reading is not permitted; expected a file of yours; run `chmod u+r` on it.") from None


def chunks(path: Path) -> Iterator[bytes]:
    """The bytes of a regular file, a MiB at a time; those of a .gz file unpacked.

    raises  DataRefused as `read` and `unpack` do
    """
    check_regular(path)
    try:
        with path.open("rb") as file:
            packed = os.fstat(file.fileno()).st_size
            yield from _unpacked(iter(lambda: file.read(CHUNK), b""), path.name, packed, MOST_UNPACKED, MOST_RATIO)
    except PermissionError:
        raise DataRefused(f"{path}: reading is not permitted; expected a file of yours; run `chmod u+r` on it.") from None


def unpack(data: bytes, name: str, most: int = MOST_UNPACKED, ratio: int = MOST_RATIO) -> bytes:
    """What a .gz file holds; the bytes of a file by any other name come back as they are.

    most    bytes that may come out
    ratio   how many times as many may come out as went in, once it is a MiB
    raises  DataRefused when that is exceeded, and when the archive is damaged, cut short, or followed by anything

    >>> import gzip
    >>> unpack(gzip.compress(b"Long ago"), "story.txt.gz")
    b'Long ago'
    """
    return b"".join(_unpacked([data], name, len(data), most, ratio))


def _unpacked(pieces: Iterable[bytes], name: str, packed: int, most: int, ratio: int) -> Iterator[bytes]:
    if not name.lower().endswith(".gz"):
        yield from pieces
        return
    inflater = zlib.decompressobj(wbits=31)
    limit = min(most, max(ratio * packed, CHUNK))
    total = 0
    for piece in pieces:
        rest = piece
        while not inflater.eof:
            try:
                out = inflater.decompress(rest, CHUNK)
            except zlib.error as error:
                raise DataRefused(
                    f"{name}: the archive is damaged after {total:,} unpacked bytes ({error}); expected gzip; download or pack it again."
                ) from None
            total += len(out)
            if total > limit:
                raise DataRefused(
                    f"{name}: {packed:,} bytes unpack to more than {limit:,}; expected {most:,} at most, and {ratio} times the archive; "
                    "if you trust it, unpack it with `gunzip` and take in the file itself."
                )
            yield out
            rest = inflater.unconsumed_tail
            if not rest:  # what may still be inside comes with the next piece; the archive's last bytes bear no text
                break
        behind = inflater.unused_data if rest is not piece else piece
        if inflater.eof and behind:
            kind = "a second archive" if behind.startswith(b"\x1f\x8b") else "bytes that belong to no archive"
            raise DataRefused(
                f"{name}: {kind} after {total:,} unpacked bytes; expected one; unpack it with `gunzip` and see what is in it."
            )
    if not inflater.eof:
        raise DataRefused(f"{name}: the archive is cut short after {total:,} unpacked bytes; expected its end; download it again.")


def check_name(name: str) -> None:
    """Refuse a file name that shows as another one: with control characters, or such as turn the direction of writing.

    raises  DataRefused

    >>> check_name("story\u202etxt.exe")
    Traceback (most recent call last):
    longshort.errors.DataRefused: 'story\\u202etxt.exe': the name holds U+202E, which is not seen; ...
    """
    if hidden := re.search("[\x00-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]", name):
        raise DataRefused(
            f"{name!a}: the name holds U+{ord(hidden[0]):04X}, which is not seen; expected a name that is what it shows; rename the file."
        )
