"""Recognition: what files are for, and which of them are read together, by their names and how they begin.

A name is a hint, the first lines are evidence; where neither is clear a person is asked. Nothing is refused here for what it
holds: that is for the readers, which see all of it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

from longshort.config import Task
from longshort.errors import DataRefused, UsageError
from longshort.ingestion import captions, cells, columns, encoding, labelled, source

KINDS: dict[str, Task] = {  # what a person calls the files of a task: --as
    "stocks": "forecast",
    "text": "language-model",
    "labels": "classify",
    "tags": "tag",
    "pairs": "translate",
    "captions": "caption",
}
_BY_SUFFIX: dict[str, Task] = {".csv": "forecast", ".tsv": "forecast", ".txt": "language-model", ".md": "language-model"}
_OBJECTS = (".json", ".jsonl", ".ndjson")
_TABLES = (".csv", ".tsv", ".tab", *_OBJECTS)
_LOOKED_AT = 200  # lines
_OPENING = 2**17  # bytes that they are looked for in
_VARIED = 0.25  # share of those whose cells differ, in a column of texts; a label says the same again and again
_LETTER = re.compile(r"[^\W\d_]")


def guess_task(files: Sequence[Path]) -> Task:
    """The task that files are for: prices, running text, text with labels or tags, pairs, or numbers with captions.

    raises  UsageError when they do not agree, or it is not clear
    """
    found = {file: _task_of(file, files) for file in files}
    tasks = set(found.values())
    task = tasks.pop()
    if tasks or task is None:
        said = {guessed: file.name for file, guessed in found.items()}
        kinds = {meant: kind for kind, meant in KINDS.items()}
        shown = ", ".join(f"{name} ({kinds[guessed] if guessed else 'not clear'})" for guessed, name in sorted(said.items(), key=str))
        raise UsageError(
            f"it is not clear what the files are: {shown}. Say it with {', '.join(f'`--as {kind}`' for kind in KINDS)} (prices, running "
            "text, texts with a label each, words with a tag each, pairs of texts, or numbers with a caption a row), or name fewer "
            "files, such as 'folder/*.csv'."
        )
    return task


def bundles(task: Task, names: Iterable[str]) -> list[tuple[str, ...]]:
    """Which files of a data set are read together, by name: the three of words, tags and labels, and those whose names are labels.

    raises  DataRefused when one of the three is missing, or a file is none of them
    """
    ordered = sorted(names)
    if task == "tag":
        return _tagged(ordered)
    if task == "classify":
        named = tuple(name for name in ordered if not is_table(name))
        return [*((name,) for name in ordered if is_table(name)), *([named] if named else [])]
    return [(name,) for name in ordered]


def is_table(name: str) -> bool:
    """Whether a file of labelled text has columns, or objects, by its name; the label of any other is its name or its folder."""
    return _suffix(name) in _TABLES


def _tagged(names: list[str]) -> list[tuple[str, ...]]:
    folders: dict[str, dict[str, str]] = {}
    for name in names:
        place, role = str(PurePosixPath(name).parent), _role(name)
        if role is None or role in folders.get(place, {}):
            what = f"is none of {', '.join(labelled.TAGGED)}" if role is None else f"is a second {role} beside {folders[place][role]}"
            raise DataRefused(f"{name}: {what}; expected those three in each folder (or with .txt behind them); leave it out.")
        folders.setdefault(place, {})[role] = name
    for own in folders.values():
        missing = [role for role in labelled.TAGGED if role not in own]
        if missing:
            raise DataRefused(
                f"{next(iter(own.values()))}: no {' and no '.join(missing)} beside it; expected {', '.join(labelled.TAGGED)} in one "
                "folder; name the folder that holds all three."
            )
    return [tuple(own[role] for role in labelled.TAGGED) for own in folders.values()]


def is_tagged(file: Path, files: Iterable[Path]) -> bool:
    """Whether a file is one of the three of words, tags and labels, by its name and its neighbours'; many a file is called label."""
    if _role(file.name) is None:
        return False
    return any(_role(other.name) == labelled.TAGGED[0] for other in files if other.parent == file.parent)


def _role(name: str) -> str | None:
    bare = re.sub(r"(?i)(\.txt)?(\.gz)?$", "", PurePosixPath(name).name)
    return bare if bare in labelled.TAGGED else None


def _suffix(name: str) -> str:
    return PurePosixPath(re.sub(r"(?i)\.gz$", "", name)).suffix.lower()


def _task_of(file: Path, files: Sequence[Path]) -> Task | None:
    """What a file is for; None where that is not clear."""
    if is_tagged(file, files):
        return "tag"
    suffix = _suffix(file.name)
    usual = _BY_SUFFIX.get(suffix)
    lines = _opening(file)
    if not lines:
        return usual
    if suffix in _TABLES and captions.are_in("\n".join(lines), file.name):
        return "caption"
    if suffix in _OBJECTS:
        return "classify" if _object_with_columns(lines) else None
    if suffix in _TABLES and (names := _labelled_header(lines[0])):
        meanings = [meaning for name in names if (meaning := columns.meaning(name)) is not None]
        if any(name in columns.PRICES and not weak for name, weak in meanings):
            return usual
        return None if any(name in ("date", "time", *columns.PRICES) for name, _ in meanings) else "classify"
    if suffix in (".tsv", ".tab", ".txt") and (labelled.is_sum(lines[0]) or _are_pairs(lines)):
        return "translate"
    return usual


def _opening(file: Path) -> list[str]:
    """The first lines that hold something; none where the file cannot be read as text, which its reader will tell better."""
    try:
        text, _ = encoding.decode(next(source.chunks(file), b"")[:_OPENING], file.name, errors="replace")
    except (DataRefused, OSError):
        return []
    many = 2 * _LOOKED_AT
    return [line for line in re.split(r"\r\n|\r|\n", text, maxsplit=many)[:many] if line.strip()][:_LOOKED_AT]


def _object_with_columns(lines: list[str]) -> bool:
    start = "\n".join(lines).lstrip().removeprefix("[")
    try:
        value = json.JSONDecoder().raw_decode(start.lstrip())[0]
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict) and labelled.has_columns(list(value)) and not any(columns.meaning(name) for name in value)


def _labelled_header(line: str) -> list[str]:
    """The names of the columns, where one is for the text and one for the label."""
    cut = ([cell.strip().strip('"') for cell in line.split(sign)] for sign in labelled.DELIMITERS)
    return next((names for names in cut if labelled.has_columns(names)), [])


def _are_pairs(lines: list[str]) -> bool:
    """Whether lines are two texts each, and perhaps a third cell, with tabs between: texts that differ, and no dates or numbers."""
    rows = [line.split("\t") for line in lines]
    if not all(len(row) in (2, 3) and len(row) == len(rows[0]) for row in rows):
        return False
    sides = [[row[side].strip() for row in rows] for side in (0, 1)]
    told = all(_LETTER.search(cell) and cells.stamp(cell) is None for side in sides for cell in side)
    return told and all(len(set(side)) >= _VARIED * len(side) for side in sides)
