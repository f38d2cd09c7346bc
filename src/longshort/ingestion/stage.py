"""The shell of the ingestion room: `data/raw` in, `data/ingestion` out.

The same files give the same bytes: no clock, host, path or duration reaches what is written.
"""

from __future__ import annotations

import datetime as dt
from pathlib import Path

from longshort import storage
from longshort.config import LABELLED, Params, Task
from longshort.errors import ConfigError, DataRefused
from longshort.ingestion import embedded, prices, source, text
from longshort.ingestion.dataset import Dataset, Files, Terms, assemble, pour, pour_texts, terms
from longshort.ingestion.reading import Counts

TAKEN = "taken.json"  # lies with the raw files: when they were taken in, since a session may not have been over
MOST_HELD = 8 * 2**20  # bytes of text that wait to be written


def run(root: Path, item: str, params: Params) -> None:
    """Make one data set's tidy table.

    Writes table.parquet, account.json, and quarantine/<file>.<sha8>.jsonl for each file with rows set aside.

    raises  DataRefused when a file is refused or there is none; ConfigError when params.yaml names an embedded
            data set that does not exist, or gives it another task
    """
    settings = params.ingestion.datasets[item]
    with storage.new_artefact(root / "data/ingestion" / item) as folder:
        if settings.source == "embedded":
            dataset = _embedded(item, settings.task)
            storage.write_table(folder / "table.parquet", dataset.table)
        else:
            stated = terms(params, item, taken_at(root / "data/raw" / item))
            dataset = write(read_raw(root, item, settings.task), settings.task, stated, folder / "table.parquet")
        storage.write_json(folder / "account.json", dataset.account)
        for name, rows in dataset.quarantine.items():
            storage.write_bytes(folder / "quarantine" / name, rows)


def write(files: Files, task: Task, stated: Terms, path: Path) -> Dataset:
    """Read files and write their tidy table.

    Texts go through piece by piece, however large they are, and many files of a ticker each a few at a time.

    raises  as `assemble`
    """
    if task == "language-model":
        with storage.growing_table(path, text.schema(), most=MOST_HELD) as add:
            return pour_texts(files, stated, add)
    if task == "forecast" and len(files) > 1:
        with storage.growing_table(path, prices.schema()) as add:
            if (dataset := pour(files, stated, add)) is not None:
                return dataset
    dataset = assemble(files, task, stated)
    storage.write_table(path, dataset.table)
    return dataset


def read_raw(root: Path, item: str, task: Task) -> dict[str, Path]:
    """A data set's raw files by name; hidden files, such as .gitignore, are none of them, nor is our own note.

    Prices and running texts lie side by side; labelled text may lie in folders, and a file's name is its path below the data
    set's folder then.

    raises  DataRefused when there is none, or something is not a regular file
    """
    place = root / "data/raw" / item
    paths = sorted(path for path in place.iterdir() if not path.name.startswith(".") and path.name != TAKEN) if place.is_dir() else []
    if task in LABELLED:
        paths = [path for found in paths for path in _below(found)]
    if not paths:
        raise DataRefused(
            f"data/raw/{item}: {'holds no file' if place.is_dir() else 'there is no such folder'}; expected the data set's files; "
            f"take them in with `longshort ingest PATH`, or bring back a version that was taken in with `dvc pull data/raw/{item}.dvc`."
        )
    for path in paths:
        source.check_regular(path)
    return {path.relative_to(place).as_posix(): path for path in paths}


def _below(path: Path) -> list[Path]:
    """A file itself, or the visible files of a folder, at any depth; a link is handed out, to be refused by name."""
    if not path.is_dir() or path.is_symlink():
        return [path]
    return [file for found in sorted(path.iterdir()) if not found.name.startswith(".") for file in _below(found)]


def taken_at(folder: Path) -> dt.datetime | None:
    """When a raw folder's files were taken in, by the note beside them; a folder that somebody filled by hand has none."""
    note = folder / TAKEN
    return dt.datetime.fromisoformat(storage.read_json(note)["taken"]) if note.exists() else None


def _embedded(item: str, task: Task) -> Dataset:
    found = embedded.load(item)
    if found.task != task:
        raise ConfigError(f"params.yaml: ingestion.datasets.{item}: task is '{task}', but the data are for '{found.task}'. Write that.")
    counts = Counts(rows_in=found.rows, kept=found.rows, quarantined=0, merged=0)
    origin = {"from": found.origin, "version": found.version, "sha256": found.sha256}
    account = {**counts.as_json(), "embedded": origin}
    if found.calendar:
        account["calendar"] = {"name": found.calendar, "stated": True}
    return Dataset(account, {}, found.table)
