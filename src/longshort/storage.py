"""Storage: bytes reach the disk whole or not at all, and are checked before they are parsed.

An *artefact* is a folder with a ``manifest.json`` that lists every file's size and sha256.
It is built under a temporary name beside its place, synced, and renamed into it, so a reader
sees the old artefact, the new one or none. DVC and MLflow do not notice flipped bits; `verify` does.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from longshort.errors import CorruptArtefact, UsageError

if TYPE_CHECKING:
    import pyarrow as pa

MANIFEST = "manifest.json"


def find_root(start: Path | None = None) -> Path:
    """The nearest folder, from ``start`` (default: the current one) upwards, with params.yaml and dvc.yaml.

    raises  UsageError when there is none
    """
    start = (start or Path.cwd()).resolve()
    for folder in (start, *start.parents):
        if (folder / "params.yaml").is_file() and (folder / "dvc.yaml").is_file():
            return folder
    raise UsageError(
        f"{start}: no longshort project here or above (a folder with params.yaml and dvc.yaml). Change into the project's folder first."
    )


# --- whole or absent --------------------------------------------------------------------------


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file so that a crash leaves the old content or the new, never a part."""
    temporary = path.with_name(f".{path.name}.tmp.{os.getpid()}")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def _sync_file(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def sync_batch(folder: Path) -> None:
    """Bring every file below a folder to the disk at once: one flush for all where there are many, one a file where there are few."""
    found = sorted(folder.rglob("*"), reverse=True)  # what lies in a folder before the folder
    if sum(path.is_file() for path in found) > 16:
        os.sync()
        return
    for path in found:
        sync_folder(path) if path.is_dir() else _sync_file(path)
    sync_folder(folder)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable: a rename is not, until its folder is synced."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def new_artefact(place: Path) -> Iterator[Path]:
    """Build an artefact: yields an empty folder; when the block ends well, it stands at ``place``.

    The manifest is written last. If the block raises, nothing is left and ``place`` is as it was.
    """
    temporary = place.with_name(f".{place.name}.tmp.{os.getpid()}")
    retired = place.with_name(f".{place.name}.old.{os.getpid()}")
    for kind in ("tmp", "old"):  # leftovers of a process that was killed
        for leftover in place.parent.glob(f".{place.name}.{kind}.*"):
            shutil.rmtree(leftover, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        yield temporary
        seal(temporary)
        for path in sorted(temporary.rglob("*"), reverse=True):  # what lies in a folder before the folder
            sync_folder(path) if path.is_dir() else _sync_file(path)
        sync_folder(temporary)
        if place.exists():
            place.rename(retired)
        temporary.rename(place)
    except BaseException:
        if retired.exists() and not place.exists():
            retired.rename(place)
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    sync_folder(place.parent)
    shutil.rmtree(retired, ignore_errors=True)


# --- manifests --------------------------------------------------------------------------------


def sha256(path: Path) -> str:
    """Hex digest of a file's content, read in blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest(value: Any) -> str:
    """Hex sha256 of a JSON value in its canonical form."""
    return hashlib.sha256(canonical_json(value)).hexdigest()


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / MANIFEST)


def seal(folder: Path) -> None:
    """Write a folder's manifest: from here on `verify` finds any byte of it that changes."""
    files = {path.relative_to(folder).as_posix(): {"bytes": path.stat().st_size, "sha256": sha256(path)} for path in _files(folder)}
    # the manifest vouches for itself too: a bit that flips in it is found like any other
    write_bytes(folder / MANIFEST, canonical_json({"files": files, "sha256": digest(files)}))


def verify(folder: Path) -> str:
    """Check an artefact's every byte against its manifest; returns the artefact's sha256.

    raises  CorruptArtefact naming the first file that differs, is missing or was added
    """
    remedy = f"Run `longshort doctor --fix`, which removes what is damaged, then `longshort run` to rebuild {folder.name}."
    manifest = folder / MANIFEST
    if not manifest.is_file():
        raise CorruptArtefact(f"{manifest}: missing, so the folder's content cannot be trusted. {remedy}")
    try:
        written = manifest.read_bytes()
        content = json.loads(written)
        files, stated = content["files"], content["sha256"]
        # byte for byte: JSON would read a changed blank as the same content
        whole = written == canonical_json({"files": files, "sha256": digest(files)})
    except (ValueError, KeyError, TypeError):
        raise CorruptArtefact(f"{manifest}: unreadable, so the folder's content cannot be trusted. {remedy}") from None
    if not whole:
        raise CorruptArtefact(f"{manifest}: its own sha256 does not match its content. {remedy}")
    present = {path.relative_to(folder).as_posix() for path in _files(folder)}
    for name in sorted(present | set(files)):
        path = folder / name
        if name not in files:
            raise CorruptArtefact(f"{path}: not in {MANIFEST}; something else wrote it. {remedy}")
        if name not in present:
            raise CorruptArtefact(f"{path}: missing, though {MANIFEST} lists it. {remedy}")
        found = sha256(path)
        if found != files[name]["sha256"]:
            raise CorruptArtefact(
                f"{path}: sha256 is {found[:12]}…, {MANIFEST} says {files[name]['sha256'][:12]}…: "
                f"the file was damaged or changed after it was written. {remedy}"
            )
    return str(stated)


# --- formats ----------------------------------------------------------------------------------


def canonical_json(value: Any) -> bytes:
    """JSON with sorted keys, two-space indents and a final newline; NaN and infinity are refused.

    >>> canonical_json({"b": 1, "a": [0.5]})
    b'{\\n  "a": [\\n    0.5\\n  ],\\n  "b": 1\\n}\\n'
    """
    return (json.dumps(value, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def write_json(path: Path, value: Any) -> None:
    """Write canonical JSON, whole or not at all."""
    write_bytes(path, canonical_json(value))


def read_json(path: Path) -> Any:
    """Read JSON; `verify` the artefact that it belongs to first."""
    return json.loads(path.read_bytes())


ROW_GROUP = 2**20  # rows of a Parquet row group; pyarrow's own default, written down since the bytes hang on it


def write_table(path: Path, table: pa.Table) -> None:
    """Write Parquet with page checksums (without them 298 of 300 flipped bits went unnoticed)."""
    import pyarrow.parquet as pq

    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=ROW_GROUP, **_format(table.schema))


def _format(schema: pa.Schema) -> dict[str, Any]:
    """How a table is packed. Numbers have no dictionary, since few repeat: 0.26 s for a million rows of prices, with one 0.42."""
    import pyarrow as pa

    texts = [field.name for field in schema if pa.types.is_string(field.type)]
    whole = [field.name for field in schema if pa.types.is_integer(field.type) or pa.types.is_temporal(field.type)]
    encoding = dict.fromkeys(whole, "DELTA_BINARY_PACKED")
    return {"compression": "zstd", "write_page_checksum": True, "use_dictionary": texts, "column_encoding": encoding}


@contextlib.contextmanager
def growing_table(path: Path, schema: pa.Schema, most: int | None = None) -> Iterator[Callable[[pa.Table], None]]:
    """Write Parquet piece by piece; the bytes are those that `write_table` gives of the whole.

    most  bytes that are held, for tables whose rows may be large; beyond them a row group ends early, and the bytes are others
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    held: list[pa.Table] = []
    rows = size = 0

    with pq.ParquetWriter(path, schema, **_format(schema)) as writer:

        def flush(whole_groups: bool) -> None:
            nonlocal rows, size
            whole = pa.concat_tables(held).combine_chunks() if held else schema.empty_table()
            cut = whole.num_rows - whole.num_rows % ROW_GROUP if whole_groups else whole.num_rows
            if cut:
                writer.write_table(whole.slice(0, cut), row_group_size=ROW_GROUP)
            held[:] = [whole.slice(cut)]
            rows, size = held[0].num_rows, held[0].nbytes

        def add(piece: pa.Table) -> None:
            nonlocal rows, size
            held.append(piece)
            rows, size = rows + piece.num_rows, size + piece.nbytes
            if most is not None and size >= most:
                flush(whole_groups=False)
            elif rows >= ROW_GROUP:
                flush(whole_groups=True)

        yield add
        flush(whole_groups=False)
    with path.open("rb") as file:
        os.fsync(file.fileno())


def read_table(path: Path) -> pa.Table:
    """Read Parquet, verifying its page checksums."""
    import pyarrow.parquet as pq

    return pq.read_table(path, page_checksum_verification=True)
