"""Source: a file's bytes, before anyone asks what they mean.

A CSV or a text is a regular file of UTF-8 without NUL bytes. What only bears such a name (a web page, an
archive, a pipe) is refused here, so that no reader ever guesses at it.
"""

from __future__ import annotations

import os
import shutil
import stat
import time
from pathlib import Path

from longshort.errors import DataRefused

_BOM = b"\xef\xbb\xbf"
_LF = b"\n"
_SIGNATURES = {  # how a file of another kind begins, what it is, and how to mend it
    b"\x1f\x8b": ("a gzip archive", "unpack it with `gunzip`"),
    b"PK\x03\x04": ("a zip archive or an Excel workbook", "unpack it, or export the sheet as CSV (UTF-8)"),
    b"PAR1": ("a Parquet file", "export it as CSV"),
    b"%PDF-": ("a PDF document", "save its text as UTF-8"),
    b"version https://git-lfs": ("a Git LFS pointer, not the file itself", "run `git lfs pull` where it came from"),
    b"\xff\xfe": ("UTF-16 text", "save it as UTF-8"),
    b"\xfe\xff": ("UTF-16 text", "save it as UTF-8"),
}
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


def unpack(data: bytes, name: str) -> bytes:
    import gzip

    return gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data


def decode(data: bytes, name: str, encoding: str | None = None) -> str:
    """The text of a file, without its byte order mark; line ends are left as they are.

    raises  DataRefused with ``name:line:column`` for other formats, NUL bytes, bytes that are not UTF-8, and emptiness
    """
    refuse_disguises(data, name)
    zero = data.find(b"\0")
    if zero >= 0:
        raise DataRefused(
            f"{name}:{_place(data, zero)}: NUL byte at offset {zero:,}, was the file damaged by a crash?; "
            "expected text; export or download it again."
        )
    try:
        text = data.removeprefix(_BOM).decode(encoding or "utf-8")
    except UnicodeDecodeError as error:
        offset = error.start + len(data) - len(data.removeprefix(_BOM))
        raise DataRefused(
            f"{name}:{_place(data, offset)}: byte 0x{data[offset]:02X} at offset {offset:,} is not UTF-8; expected UTF-8; "
            "save the file as UTF-8 (from Windows programs it is often cp1252: `iconv -f cp1252 -t utf-8`)."
        ) from None
    if not text.strip():
        raise DataRefused(f"{name}:1:1: the file is empty ({len(data)} bytes, no text); expected content; export or download it again.")
    return text


def refuse_disguises(data: bytes, name: str) -> None:
    for signature, (kind, remedy) in _SIGNATURES.items():
        if data.startswith(signature):
            raise DataRefused(f"{name}:1:1: this is {kind}; expected plain text in UTF-8; {remedy}.")
    if data.removeprefix(_BOM).lstrip()[:14].lower().startswith((b"<!doctype html", b"<html")):
        raise DataRefused(
            f"{name}:1:1: this is an HTML page (a login or an error page?); expected plain text in UTF-8; "
            "open the address in a browser and save the file itself."
        )


def _place(data: bytes, offset: int) -> str:
    """``line:column`` of a byte, both from 1."""
    before = data[:offset].replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return f"{before.count(_LF) + 1}:{len(before) - before.rfind(_LF)}"
