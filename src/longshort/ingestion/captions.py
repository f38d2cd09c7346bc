"""Captions: a table of numbers with a caption a row, and what a captioner is asked: the same table, whose captions are not read.

CSV, TSV, JSON lines or a JSON array. One column is called caption; every other is one of the numbers, by its name, in the
file's order. A row with a cell that is no finite number, without a caption, or with other cells than the header is quarantined;
a file that shall be answered to the last row is refused instead. Pure: bytes in, table out.
"""

from __future__ import annotations

import contextlib
import difflib
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from longshort.errors import DataRefused
from longshort.ingestion import labelled
from longshort.ingestion.encoding import Errors
from longshort.ingestion.labelled import DELIMITERS, Cell, Gathering
from longshort.ingestion.reading import Reading

if TYPE_CHECKING:
    import pyarrow as pa

CAPTION, PART = "caption", "part"
LEAST = 2  # columns of numbers
LARGEST = float(np.finfo(np.float32).max)  # networks compute in 32 bits
SHOWN = 40  # characters of a cell in a sentence
ENOUGH = 0.5  # share of the first rows in which a column must hold numbers, to be taken for one of them

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class _Row:
    """A row's cells in the order of the header; ``wrong``: why it has other cells, '' where it has not."""

    cells: list[Cell]
    raw: str
    wrong: str = ""


@dataclass
class _Shown(Gathering):
    """As `Gathering`; a row is the bytes of its numbers, and its caption. numbers: the names of their columns."""

    numbers: list[str] = field(default_factory=list)

    def texts(self) -> dict[str, list[str]]:
        return {CAPTION: [row[-1] for row in self.rows]}

    def table(self) -> pa.Table:
        import pyarrow as pa

        values = np.frombuffer(b"".join(row[0] for row in self.rows), np.float64).reshape(-1, len(self.numbers))
        columns = {name: pa.array(values[:, place]) for place, name in enumerate(self.numbers)}
        return pa.table({**columns, CAPTION: pa.array(self.texts()[CAPTION], pa.string())})


def number(text: str, decimal: str | None = None) -> float | None:
    """A cell's number; None where it is none, or none that 32 bits hold. decimal: the mark, where a person named it.

    >>> number(" -1.5e3"), number("1,5", ","), number("nan"), number("1_0"), number("")
    (-1500.0, 1.5, None, None, None)
    """
    if decimal == ",":
        text = text.replace(".", "?").replace(",", ".")
    try:
        value = float(text)
    except ValueError:
        return None
    return value if abs(value) <= LARGEST and "_" not in text else None


def _values(texts: Sequence[str], decimal: str | None) -> array[float] | int:
    """The numbers of a row; or the place of the first cell that is none."""
    if decimal != "," and "_" not in "".join(texts):
        with contextlib.suppress(ValueError):  # almost every row is of numbers alone, and a call a cell would take most of the time
            values = array("d", map(float, texts))
            if np.abs(np.frombuffer(values)).max() <= LARGEST:  # NaN is not
                return values
    found = array("d")
    for place, text in enumerate(texts):
        value = number(text, decimal)
        if value is None:
            return place
        found.append(value)
    return found


def is_caption(name: str) -> bool:
    """Whether a column is that of the captions."""
    return labelled.plain(name) in (CAPTION, f"{CAPTION}s")


def are_in(opening: str, name: str) -> bool:
    """Whether a file that begins so has a column of captions, and numbers in all others."""
    rows: list[_Row] = []
    try:
        header, found = _open(opening, name)
        rows.extend(found)
    except DataRefused:  # it may be cut anywhere
        if not rows:
            return False
    names = [cell.text for cell in header]
    if not any(map(is_caption, names)) or len(names) <= LEAST:
        return False
    whole = [row.cells for row in rows if not row.wrong]
    others = [place for place, own in enumerate(names) if not is_caption(own)]
    return bool(whole) and all(np.mean([number(cells[place].text) is not None for cells in whole]) >= ENOUGH for place in others)


def read_table(data: bytes, name: str, named: str | None = None, errors: Errors = "strict", decimal: str | None = None) -> Reading:
    """Read numbers and captions; the table has the numbers' columns in the file's order, and then ``caption``.

    named   the file's encoding, decimal: the mark of its numbers, where a person named them
    raises  DataRefused with ``name:line:column``

    >>> read_table(b"width,height,caption\\n1,2,a wide one\\n", "boxes.csv").table.to_pylist()
    [{'width': 1.0, 'height': 2.0, 'caption': 'a wide one'}]
    """
    content = labelled.decode(data, name, named, errors)
    header, rows = _open(content.text, name, decimal)
    place = _place_of_caption(header, name)
    numbers = _numbers(header, name)
    gathering = _Shown(name, (CAPTION,), numbers=[header[n].text.strip() for n in numbers])
    gathering.read_as = {
        "layout": "numbers and a caption",
        "encoding": content.encoding,
        "columns": f"{len(numbers)} of numbers, from '{gathering.numbers[0]}' to '{gathering.numbers[-1]}'; "
        f"'{header[place].text.strip()}' is the caption",
    }
    if content.text.lstrip()[:1] not in ("{", "["):
        gathering.read_as["delimiter"] = DELIMITERS[_separator(content.text, name)]
    for row in rows:
        if row.wrong:
            gathering.set_aside(row.cells[0], "cells", row.wrong, row.raw)
            continue
        values = _values([row.cells[n].text for n in numbers], decimal)
        if isinstance(values, int):
            wrong = numbers[values]
            gathering.set_aside(row.cells[wrong], "number", _no_number(header[wrong], row.cells[wrong]), row.raw)
        elif texts := gathering.take({CAPTION: row.cells[place]}, row.raw):
            gathering.rows.append((values.tobytes(), *texts))
    reading = gathering.reading(content.notes)
    if not gathering.rows:
        aside = reading.quarantined
        where = f"{aside[0].line}:{aside[0].column}" if aside else "1:1"
        raise DataRefused(
            f"{name}:{where}: none of {len(aside)} rows can be used{f': {aside[0].what}' if aside else ''}; expected a finite number in "
            "every column but that of the caption, and a caption in each row; leave out a column that is no number (or say --decimal , "
            "where that is the mark), and export the file again."
        )
    return reading


def read_vectors(
    data: bytes, name: str, columns: Sequence[str], named: str | None = None, errors: Errors = "strict", decimal: str | None = None
) -> Floats:
    """Read rows that a captioner is asked, all of them: (rows, columns), in the order of ``columns``. Captions are passed over.

    columns  the names that the file must have, in any order, and no others
    raises   DataRefused with ``name:line:column``
    """
    header, rows = _open(labelled.decode(data, name, named, errors).text, name, decimal)
    names = [header[n].text.strip() for n in _numbers(header, name)]
    if set(names) != set(columns):
        raise DataRefused(
            f"{name}:{header[0].line}:1: {differing(names, columns)}; expected the columns that the model reads; rename, add or remove it."
        )
    order = [next(n for n, cell in enumerate(header) if cell.text.strip() == column) for column in columns]
    found = array("d")
    for row in rows:
        first = row.cells[0]
        if row.wrong:
            raise DataRefused(f"{name}:{first.line}:{first.column}: {row.wrong}; expected a cell for each; mend the row.")
        values = _values([row.cells[n].text for n in order], decimal)
        if isinstance(values, int):
            cell, told = row.cells[order[values]], _no_number(header[order[values]], row.cells[order[values]])
            raise DataRefused(f"{name}:{cell.line}:{cell.column}: {told}; expected a number in each cell; mend it, or remove the row.")
        found.extend(values)
    if not found:
        raise DataRefused(f"{name}:{header[0].line}:1: no row behind the header; expected one to say a caption of; add it.")
    return np.array(found).reshape(-1, len(columns))


def in_one_order(tables: dict[str, pa.Table]) -> list[pa.Table]:
    """The tables of several files with the columns of the first one, in its order.

    raises  DataRefused when a file has other columns
    """
    first, *_ = tables
    wanted = tables[first].column_names
    for name, table in tables.items():
        if set(table.column_names) != set(wanted):
            told = differing(table.column_names, wanted)
            raise DataRefused(f"{name}:1:1: {told}, beside {first}; expected the same columns in all files; mend one of them.")
    return [table.select(wanted) for table in tables.values()]


def rows_of(table: pa.Table) -> list[tuple[bytes, str]]:
    """The rows of tidy tables, to be told apart: the bytes of their numbers, and their captions."""
    numbers = np.column_stack([table[name].to_numpy() for name in table.column_names if name not in (CAPTION, PART)])
    return [(row.tobytes(), caption) for row, caption in zip(numbers, table[CAPTION].to_pylist(), strict=True)]


def differing(names: Sequence[str], wanted: Sequence[str]) -> str:
    """In which columns names differ from those that are wanted, as the beginning of a sentence."""
    missing = [name for name in wanted if name not in names]
    unknown = [name for name in names if name not in wanted]
    told = [f"no column {_listed(missing)}"] if missing else []
    for own in unknown[:1]:
        near = difflib.get_close_matches(own, missing or list(wanted), n=1, cutoff=0.6)
        told.append(f"a column {_listed(unknown)} that is not known" + (f" (did you mean '{near[0]}'?)" if near else ""))
    return ", and ".join(told)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f"'{name}'" for name in names[:5]) + (f" and {len(names) - 5:,} more" if len(names) > 5 else "")


def _no_number(column: Cell, cell: Cell) -> str:
    said = cell.text if len(cell.text) <= SHOWN else f"{cell.text[:SHOWN]}…"
    return f"'{column.text.strip()}' is {said!r}, no finite number" + (" of 32 bits" if _is_finite(cell.text) else "")


def _is_finite(text: str) -> bool:
    try:
        return bool(np.isfinite(float(text))) and "_" not in text
    except ValueError:
        return False


def _place_of_caption(header: Sequence[Cell], name: str) -> int:
    places = [n for n, cell in enumerate(header) if is_caption(cell.text)]
    if not places:
        shown = ", ".join(repr(cell.text) for cell in header[:10])
        raise DataRefused(
            f"{name}:{header[0].line}:1: no column for the caption among {shown}; expected one called {CAPTION}, beside columns of "
            "numbers; add or rename it."
        )
    return places[0]


def _numbers(header: Sequence[Cell], name: str) -> list[int]:
    """The places of the columns of numbers, whose names are checked. raises  DataRefused"""
    seen: set[str] = set()
    for cell in header:
        own = CAPTION if is_caption(cell.text) else cell.text.strip()
        where = f"{name}:{cell.line}:{cell.column}"
        if not own:
            raise DataRefused(f"{where}: a column without a name; expected '{CAPTION}' and names of numbers; name it, or remove it.")
        if own in seen:
            raise DataRefused(f"{where}: a second column called '{own}'; expected each name once; rename or remove one.")
        if own == PART:
            raise DataRefused(
                f"{where}: a column called '{PART}'; the part of the data is said by the names of files or folders; rename or remove it."
            )
        seen.add(own)
    found = [n for n, cell in enumerate(header) if not is_caption(cell.text)]
    if len(found) < LEAST:
        raise DataRefused(
            f"{name}:{header[0].line}:1: {len(found)} columns beside '{CAPTION}'; expected {LEAST} or more, of numbers; add them."
        )
    return found


# --- rows of either form ------------------------------------------------------------------------


def _separator(content: str, name: str) -> str:
    suffix = PurePosixPath(name.removesuffix(".gz")).suffix.lower()
    return labelled.separator_of(content, "\t" if suffix in (".tsv", ".tab") else ",", lambda names: any(map(is_caption, names)))


def _open(content: str, name: str, decimal: str | None = None) -> tuple[list[Cell], Iterator[_Row]]:
    """The header, and the rows behind it. raises  DataRefused"""
    if content.lstrip()[:1] in ("{", "["):
        return _of_objects(content, name, decimal)
    found = labelled.rows_of(content, _separator(content, name), name)
    header, _ = next(found, ([Cell("", 1, 1)], ""))
    return header, (
        _Row(cells, raw, "" if len(cells) == len(header) else f"{len(cells)} cells where the header has {len(header)}")
        for cells, raw in found
    )


def _of_objects(content: str, name: str, decimal: str | None) -> tuple[list[Cell], Iterator[_Row]]:
    """The keys of the first object are the header of all. A cell stands where its object begins.

    A number's mark is JSON's own, whatever a person says of texts: it becomes the one that is read.
    """
    values = labelled.objects(content, name)
    first, place = next(values, ({}, Cell("", 1, 1)))
    header = [Cell(key, place.line, place.column) for key in _object(first, place, name)] or [Cell("", 1, 1)]

    def rows() -> Iterator[_Row]:
        yield _of_object(first, place)
        for value, cell in values:
            yield _of_object(_object(value, cell, name), cell)

    def _of_object(value: dict[str, Any], cell: Cell) -> _Row:
        keys = [key.text for key in header]
        texts = [_marked(value.get(key), decimal) for key in keys]
        labelled.refuse_no_text([*value, *(text for text in texts if text is not None)], name, cell)
        cells = [Cell("" if text is None else text, cell.line, cell.column) for text in texts]
        wrong = "" if set(value) == set(keys) else differing(list(value), keys)
        if not wrong and None in texts:
            key = keys[texts.index(None)]
            wrong = f"'{key}' is {labelled.kind_of(value[key])}, no cell"
        return _Row(cells, cell.text, wrong)

    return header, rows()


def _marked(value: Any, decimal: str | None) -> str | None:
    text = labelled.scalar(value)
    return text.replace(".", decimal) if decimal and text and isinstance(value, float) else text


def _object(value: Any, cell: Cell, name: str) -> dict[str, Any]:
    if isinstance(value, dict):
        return value
    raise DataRefused(
        f"{name}:{cell.line}:{cell.column}: {labelled.kind_of(value)} where an object is expected, such as "
        '{"width": 1, "height": 2, "caption": "..."}; expected one a row; write the file so.'
    )
