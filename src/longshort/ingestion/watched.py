"""Watched series: a folder of series and the windows of time in which each is known to have been out of order, as NAB has them
(Lavin and Ahmad, 2015).

`combined_windows.json` says which files there are, and their windows; a file has a header `timestamp,value` and a step a row. Rows are
steps in the order in which they stand: clocks that were put back repeat an hour, and that is no fault of the file. Nothing is mended.
"""

from __future__ import annotations

import csv
import datetime as dt
import io
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from longshort.errors import DataRefused
from longshort.ingestion import encoding

LABELS = "combined_windows.json"
HEADER = ["timestamp", "value"]
LONGEST = 80  # letters of a file's name that are told


@dataclass(frozen=True)
class Watched:
    """A series and where it is known to be out of order.

    values   (steps,) oldest first; times (steps,) what stands beside them
    windows  the first step of each window and the one behind its last, oldest first
    """

    name: str
    times: NDArray[np.datetime64]
    values: NDArray[np.float64]
    windows: tuple[tuple[int, int], ...]


def read_folder(folder: Path) -> list[Watched]:
    """The series that the folder's labels name, in their order.

    raises  DataRefused when there are no labels, a series that they name is missing or has a cell that cannot be read, or a window holds
            no step
    """
    path = folder / LABELS
    if not path.is_file():
        raise DataRefused(f"{path}: there is no such file, which says what series there are and when they were out of order. Put it there.")
    try:
        labels = json.loads(encoding.decode(path.read_bytes(), str(path))[0])
    except RecursionError:
        raise DataRefused(f"{path}: it is nested deeper than can be read. Write an object of lists of windows.") from None
    except json.JSONDecodeError as error:
        raise DataRefused(f"{path}:{error.lineno}:{error.colno}: no JSON ({error.msg}). Mend it there.") from None
    if not isinstance(labels, dict) or not labels:
        raise DataRefused(f"{path}: it names no series. Write an object: the file of each series, and a list of its windows.")
    return [_read(folder, name, windows) for name, windows in labels.items()]


def _read(folder: Path, name: str, labelled: Any) -> Watched:
    path, labels = folder / name, folder / LABELS
    shown = repr(name)[1:-1] if len(name) <= LONGEST else f"{name[:LONGEST]}…"
    try:
        there = path.resolve().is_relative_to(folder.resolve()) and path.is_file()
    except (OSError, ValueError):  # no system has a file of such a name: it is too long, or has a zero in it
        there = False
    if not there:
        raise DataRefused(f"{labels}: it names {shown}, and there is no such file in {folder}. Put it there, or take its entry out.")
    times, values = _rows(path)
    windows = []
    if not isinstance(labelled, list):
        raise DataRefused(f"{labels}: {name}: {json.dumps(labelled)} is no list of windows. Write [[first, last], …], or [] for none.")
    for window in labelled:
        edges = [_time(edge) for edge in window] if isinstance(window, list) else []
        if len(edges) != 2 or None in edges or edges[0] > edges[1]:  # type: ignore[operator]
            raise DataRefused(f"{labels}: {name}: {json.dumps(window)} is no window. Write its first and its last time, oldest first.")
        inside = np.flatnonzero((times >= np.datetime64(edges[0])) & (times <= np.datetime64(edges[1])))
        if not len(inside):
            raise DataRefused(f"{labels}: {name}: no row of the file lies in the window {json.dumps(window)}. Mend its times.")
        windows.append((int(inside[0]), int(inside[-1]) + 1))
    return Watched(name, times, values, tuple(sorted(windows)))


def _rows(path: Path) -> tuple[NDArray[np.datetime64], NDArray[np.float64]]:
    """The times and values of a file."""
    text, _ = encoding.decode(path.read_bytes(), str(path))
    rows = _cells(io.StringIO(text, newline=None), path)
    if (header := next(rows, (1, []))[1]) != HEADER:
        raise DataRefused(f"{path}:1:1: its header is '{','.join(header)}', and '{','.join(HEADER)}' is needed. Put that in its place.")
    times, values = [], []
    for line, cells in rows:
        if len(cells) != len(HEADER):
            raise DataRefused(f"{path}:{line}:1: {len(cells)} cells, and a row has a time and a value. Mend the row, or take it out.")
        time, value = _time(cells[0]), _number(cells[1])
        if time is None:
            raise DataRefused(f"{path}:{line}:1: '{cells[0]}' is no time. Write it as 2014-04-01 00:05:00, without a zone.")
        if value is None:
            raise DataRefused(f"{path}:{line}:{len(cells[0]) + 2}: '{cells[1]}' is no number. Write it as 12.5, or take the row out.")
        times.append(time)
        values.append(value)
    return np.array(times, "datetime64[us]"), np.array(values, np.float64)


def _cells(text: io.StringIO, path: Path) -> Iterator[tuple[int, list[str]]]:
    """The line of each row's end, and its cells."""
    rows = csv.reader(text, strict=True)
    while True:
        line = rows.line_num + 1
        try:
            cells = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            raise DataRefused(
                f"{path}:{line}:1: a row that cannot be read ({error}). Look for a quotation mark that is not closed."
            ) from None
        yield rows.line_num, cells


def _time(text: Any) -> dt.datetime | None:
    """A time without a zone, or None."""
    try:
        time = dt.datetime.fromisoformat(text.strip())
    except (ValueError, AttributeError):
        return None
    return time if time.tzinfo is None else None


def _number(text: str) -> float | None:
    """A finite number, or None."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and "_" not in text else None
