"""Parts: whether files are for training, validation or the test, as their names or folders say. Pure: names in, names out."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import PurePosixPath

from longshort.errors import DataRefused

_PARTS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("valid", "validation", "val", "dev"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}


def part_named(name: str) -> str | None:
    """The part that a file's or a folder's own name says; None where it says none, or several.

    >>> part_named("banking77-train.csv"), part_named("dev"), part_named("train_test.csv"), part_named("contest.csv")
    ('train', 'validation', None, None)
    """
    found = {_PARTS[word] for word in re.split(r"[^a-z]+", name.lower()) if word in _PARTS}
    return found.pop() if len(found) == 1 else None


def without_part(stem: str) -> str:
    """A file's stem without the words that say a part, which are none of its label.

    >>> without_part("pos_train"), without_part("rt-polarity")
    ('pos', 'rt-polarity')
    """
    if part_named(stem) is None:
        return stem
    return "_".join(word for word in re.split(r"[\W_]+", stem) if word.lower() not in _PARTS)


def parts_of(paths: Iterable[str]) -> dict[str, str]:
    """The part of each file: what its name says, or the nearest folder that says one; none where they do not name two parts and more.

    raises  DataRefused when some name a part and others do not, or none is for training
    """
    found = {path: _part_of(path) for path in paths}
    named = {part for part in found.values() if part is not None}
    if len(named) < 2:
        return {}
    silent = [path for path, part in found.items() if part is None]
    if silent:
        raise DataRefused(
            f"{silent[0]}: says no part of the data set, and {len(found) - len(silent)} other files do ({', '.join(sorted(named))}); "
            "expected train, validation or test in the name of each file or of its folder, or in none; rename it, or leave it out."
        )
    if "train" not in named:
        raise DataRefused(
            f"{next(iter(found))}: the files are for {' and '.join(sorted(named))}, and none is for train; expected one to learn from; "
            "add it, or rename them."
        )
    return {path: part for path, part in found.items() if part is not None}


def _part_of(path: str) -> str | None:
    return next((part for name in reversed(PurePosixPath(path).parts) if (part := part_named(name)) is not None), None)
