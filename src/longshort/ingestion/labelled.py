"""Labelled text: bytes of many forms become rows of text and label, of words and tags, or of source and target.

    read_table   CSV, TSV, JSON lines or a JSON array; columns by what their names mean       text, label
    read_files   the file, or its folder, is the label                                         text, label
    read_tagged  three files whose lines n belong together (ATIS, SNIPS)                       text, tags, label
    read_pairs   two columns without header, or sums such as `16+75  _91`                      source, target

Cells are made uniform as texts are (see `text`) and keep their line breaks. A row without text or without label is
quarantined; exact repeats are kept, for they may be what people say often, and counted. Pure: bytes in, table out.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

from longshort.errors import DataRefused
from longshort.ingestion import encoding
from longshort.ingestion.encoding import Errors, Place
from longshort.ingestion.reading import Counts, Quarantined, Reading
from longshort.ingestion.source import unpack
from longshort.ingestion.suspicion import Suspicions
from longshort.ingestion.text import Normaliser

# names of columns, the plainest first
_TEXT = (
    *("text", "message", "sentence", "review", "utterance", "tweet", "comment", "content"),
    *("question", "query", "phrase", "document", "body", "sms", "input"),
)
_LABEL = (
    *("label", "category", "intent", "class", "sentiment", "emotion", "topic", "polarity"),
    *("target", "rating", "stars", "score", "tag", "output"),
)

_LINE_END = re.compile(r"\r\n|\r|\n")
_ADDITION = re.compile(r"\s*(\d+[+-]\d+)\s*_(-?\d+)\s*")
_JSON_SPACE = re.compile(r"[ \t\r\n]*")


@dataclass(frozen=True)
class _Cell:
    """A piece of a file: what it says, and where it begins."""

    text: str
    line: int
    column: int


@dataclass
class _Gathering:
    """Rows of one file on their way to a table, and the account of them."""

    name: str
    columns: tuple[str, ...]  # which must hold something
    rows: list[tuple[Any, ...]] = field(default_factory=list)
    quarantined: list[Quarantined] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.normaliser = Normaliser(self.name)

    def normal(self, text: str) -> str:
        return (self.normaliser.feed(text) + self.normaliser.finish()).strip()

    def take(self, cells: tuple[_Cell, ...], raw: str) -> tuple[str, ...] | None:
        """The cells' texts, made uniform and ready for a row; none when one is empty, and the row is set aside."""
        texts = tuple(self.normal(cell.text) for cell in cells)
        for column, cell, text in zip(self.columns, cells, texts, strict=True):
            if not text:
                self.set_aside(cell, "empty", f"no {column}", raw)
                return None
        return texts

    def set_aside(self, cell: _Cell, rule: str, what: str, raw: str) -> None:
        self.quarantined.append(Quarantined(self.name, cell.line, cell.column, rule, what, raw))

    def reading(self, kinds: Mapping[str, str], notes: tuple[str, ...] = ()) -> Reading:
        """The table of what was kept, with the names and kinds of its columns.

        raises  DataRefused when nothing was kept
        """
        import pyarrow as pa

        if not self.rows:
            first = f": {self.quarantined[0].what}" if self.quarantined else ""
            place = f"{self.quarantined[0].line}:{self.quarantined[0].column}" if self.quarantined else "1:1"
            raise DataRefused(
                f"{self.name}:{place}: none of {len(self.quarantined)} rows can be used{first}; expected {' and '.join(kinds)} in each; "
                "export the file again."
            )
        schema = pa.schema([(column, pa.list_(pa.string()) if kind == "list" else pa.string()) for column, kind in kinds.items()])
        table = pa.table([list(column) for column in zip(*self.rows, strict=True)], schema=schema)
        kept, aside = len(self.rows), len(self.quarantined)
        counts = Counts(rows_in=kept + aside, kept=kept, quarantined=aside, merged=0)
        return Reading(table, counts, tuple(self.quarantined), (*notes, *self.notes, *self.normaliser.notes, *self._repeats()))

    def _repeats(self) -> list[str]:
        keys = [tuple(tuple(value) if isinstance(value, list) else value for value in row) for row in self.rows]
        again = len(keys) - len(set(keys))
        notes = [f"kept {again:,} rows that repeat an earlier one exactly"] * bool(again)
        if self.columns == ("text", "label"):
            labels = Counter(text for text, _ in {(key[0], key[-1]) for key in keys})
            several = sum(count > 1 for count in labels.values())
            notes += [f"warning: {self.name}: {several:,} texts come with more than one label; is one a mistake?"] * bool(several)
        return notes


def read_table(data: bytes, name: str, named: str | None = None, errors: Errors = "strict") -> Reading:
    """Read text and label from CSV, TSV (.tsv, .tab), JSON lines (.jsonl, .ndjson) or a JSON array of objects (.json).

    named   the file's encoding, where a person named it
    raises  DataRefused with ``name:line:column``

    >>> read_table(b"Category,Message\\nham,Ok lar...\\n", "spam.csv").table.to_pylist()
    [{'text': 'Ok lar...', 'label': 'ham'}]
    """
    content, notes = _decode(data, name, named, errors)
    suffix = PurePath(name.removesuffix(".gz")).suffix.lower()
    gathering = _Gathering(name, ("text", "label"))
    if suffix in (".json", ".jsonl", ".ndjson") or content.lstrip()[:1] in ("{", "["):
        _gather_objects(content, gathering)
    else:
        _gather_rows(content, "\t" if suffix in (".tsv", ".tab") else ",", gathering)
    return gathering.reading({"text": "string", "label": "string"}, notes)


def read_files(contents: Mapping[str, bytes], named: str | None = None, errors: Errors = "strict") -> Reading:
    """Read files of one label each: rt-polarity.pos and .neg, pos.txt and neg.txt, or pos/1.txt and neg/1.txt.

    The label is the first of these in which the files differ: folder, suffix, stem. In folders a file is one text, otherwise
    each line is. Blank lines are no rows.

    contents  bytes by path, at least two labels among them
    raises    DataRefused
    """
    labels = _labels(list(contents))
    gatherings, notes = [], []
    for path in sorted(contents):
        content, said = _decode(contents[path], path, named, errors)
        notes += [f"{path}: {note}" for note in said]
        gathering = _Gathering(path, ("text", "label"))
        lines = [_Cell(content, 1, 1)] if "/" in path else [_Cell(line, n, 1) for n, line in enumerate(_LINE_END.split(content), start=1)]
        for cell in lines:
            if cell.text.strip() and (texts := gathering.take((cell, _Cell(labels[path], 1, 1)), cell.text)):
                gathering.rows.append(texts)
        gatherings.append(gathering)
    whole = _Gathering(", ".join(sorted(contents)) if len(contents) < 4 else f"{len(contents):,} files", ("text", "label"))
    for gathering in gatherings:
        whole.rows += gathering.rows
        whole.quarantined += gathering.quarantined
        whole.notes += [f"{gathering.name}: {note}" for note in gathering.normaliser.notes]
    return whole.reading({"text": "string", "label": "string"}, tuple(notes))


def read_tagged(words: bytes, tags: bytes, labels: bytes, folder: str = "", named: str | None = None) -> Reading:
    """Read the three files of ATIS and SNIPS: seq.in (words), seq.out (a tag a word), label (an intent a line).

    folder  where they stand, for messages
    raises  DataRefused where the files have different numbers of lines, or a line as many tags as words no longer

    >>> read_tagged(b"to boston\\n", b"O B-city\\n", b"flight\\n").table.to_pylist()
    [{'text': 'to boston', 'tags': ['O', 'B-city'], 'label': 'flight'}]
    """
    names = [f"{folder}{'/' if folder else ''}{name}" for name in ("seq.in", "seq.out", "label")]
    decoded = [_decode(data, name, named, "strict") for data, name in zip((words, tags, labels), names, strict=True)]
    lines = [_LINE_END.split(content.rstrip("\r\n")) for content, _ in decoded]
    shortest = min(map(len, lines))
    for name, found in zip(names[1:], lines[1:], strict=True):
        if len(found) != len(lines[0]):
            raise DataRefused(
                f"{name}:{shortest + 1}:1: {len(found):,} lines, but {names[0]} has {len(lines[0]):,}; expected line n of each to belong "
                "together; export the files again."
            )
    gathering = _Gathering(names[0], ("text", "label"))
    for number, (text, tagged, label) in enumerate(zip(*lines, strict=True), start=1):
        tokens, marks = gathering.normal(text).split(), tagged.split()
        if len(tokens) != len(marks):
            raise DataRefused(
                f"{names[1]}:{number}:1: {len(marks)} tags for the {len(tokens)} words of {names[0]}:{number}; expected a tag a word; "
                "mend the line in both files, or export them again."
            )
        if texts := gathering.take((_Cell(text, number, 1), _Cell(label, number, 1)), f"{text}\t{tagged}\t{label}"):
            gathering.rows.append((" ".join(tokens), marks, texts[1]))
    said = tuple(f"{name}: {note}" for name, (_, notes) in zip(names, decoded, strict=True) for note in notes)
    return gathering.reading({"text": "string", "tags": "list", "label": "string"}, said)


def read_pairs(data: bytes, name: str, named: str | None = None, errors: Errors = "strict") -> Reading:
    """Read source and target: tab-separated without header, or sums of fixed width. Blank lines are no rows.

    raises  DataRefused with ``name:line:column``

    >>> read_pairs(b"16+75  _91  \\n", "addition.txt").table.to_pylist()
    [{'source': '16+75', 'target': '91'}]
    """
    content, notes = _decode(data, name, named, errors)
    gathering = _Gathering(name, ("source", "target"))
    lines = [(number, line) for number, line in enumerate(_LINE_END.split(content), start=1) if line.strip()]
    addition = _ADDITION.fullmatch(lines[0][1]) is not None
    extra = 0
    for number, line in lines:
        cells = _sum(line, number) if addition else _tabbed(line, number)
        if len(cells) < 2:
            what = "no sum such as `16+75  _91`" if addition else "no tab, so no target"
            gathering.set_aside(_Cell(line, number, 1), "form", what, line)
            continue
        extra = max(extra, len(cells) - 2)
        if texts := gathering.take((cells[0], cells[1]), line):
            gathering.rows.append(texts)
    if extra:
        gathering.notes.append(f"ignored {extra} further columns behind source and target")
    return gathering.reading({"source": "string", "target": "string"}, notes)


def _decode(data: bytes, name: str, named: str | None, errors: Errors) -> tuple[str, tuple[str, ...]]:
    content, notes = encoding.decode(unpack(data, name), name, named, errors)
    suspicions = Suspicions(name, lines=False, lost=errors == "strict")
    suspicions.feed(content)
    suspicions.finish()
    return content, (*notes, *(f"warning: {warning}" for warning in suspicions.warnings))


def _labels(paths: list[str]) -> dict[str, str]:
    """The label of each file: its folder, suffix or stem, the first in which the files differ."""
    ways: list[Callable[[PurePath], str]] = [lambda p: p.parent.name, lambda p: p.suffix.removeprefix("."), lambda p: p.stem]
    for way in ways:
        labels = {path: way(PurePath(path.removesuffix(".gz"))) for path in paths}
        if len(set(labels.values())) > 1 and all(labels.values()):
            return labels
    raise DataRefused(
        f"{', '.join(sorted(paths)[:3])}: one label for all of {len(paths)} files; expected two or more, each a folder, a suffix or a name "
        "of its own (reviews.pos, reviews.neg); add the files of the other label."
    )


def _sum(line: str, number: int) -> list[_Cell]:
    match = _ADDITION.fullmatch(line)
    return [_Cell(match[group], number, match.start(group) + 1) for group in (1, 2)] if match else []


def _tabbed(line: str, number: int) -> list[_Cell]:
    cells, column = [], 1
    for text in line.split("\t"):
        cells.append(_Cell(text, number, column))
        column += len(text) + 1
    return cells


# --- CSV and TSV --------------------------------------------------------------------------------


def _gather_rows(content: str, separator: str, gathering: _Gathering) -> None:
    name = gathering.name
    rows = _rows(content, separator, name)
    header, _ = next(rows, ([_Cell("", 1, 1)], ""))
    names, line = [cell.text for cell in header], header[0].line
    places = [_column_of(names, _TEXT, "text", name, line), _column_of(names, _LABEL, "label", name, line)]
    others = [cell.text for place, cell in enumerate(header) if place not in places]
    if others:
        gathering.notes.append("ignored columns: " + ", ".join(repr(other) for other in others))
    for cells, raw in rows:
        if len(cells) != len(header):
            gathering.set_aside(cells[0], "cells", f"{len(cells)} cells where the header has {len(header)}", raw)
        elif texts := gathering.take((cells[places[0]], cells[places[1]]), raw):
            gathering.rows.append(texts)


def _column_of(header: list[str], wanted: tuple[str, ...], what: str, name: str, line: int) -> int:
    """Where the column of that meaning stands; of several, the one whose name says it best."""
    plain = [re.sub(r"[^a-z]", "", cell.lower()) for cell in header]
    for word in wanted:
        places = [place for place, cell in enumerate(plain) if cell in (word, f"{word}s")]
        if len(places) > 1:
            raise DataRefused(f"{name}:{line}:1: two columns are called '{word}'; expected one; rename or remove the other.")
        if places:
            return places[0]
    raise DataRefused(
        f"{name}:{line}:1: no column for the {what} among {', '.join(repr(cell) for cell in header[:10])}; expected a header with one "
        f"called {', '.join(wanted[:6])} or the like; add or rename it."
    )


def _rows(content: str, separator: str, name: str) -> Iterator[tuple[list[_Cell], str]]:
    """The cells of each row that is not blank, and its text as it was. A quoted cell may hold separators and line breaks.

    In TSV, quotes are characters of the text unless they enclose a whole cell: most programs write it without quoting.
    """
    ends = "\r\n" if separator == "," else f"\r\n{separator}"
    quoted = re.compile(f'"(?:[^"]|"")*"(?=[{separator}\r\n]|\\Z)' if separator == "," else f'"(?:[^"{ends}]|"")*"(?=[{ends}]|\\Z)')
    plain = re.compile(f"[^{separator}\r\n]*")
    place, offset = Place(), 0
    cells: list[_Cell] = []
    start = 0
    while offset < len(content) or cells:
        match = quoted.match(content, offset)
        if match is None and separator == "," and content.startswith('"', offset):
            raise DataRefused(
                f"{name}:{place}: a quote opens here and does not close before a comma or the line's end; expected a cell in quotes, "
                "with quotes inside it doubled; mend the line, or export the file again."
            )
        text = match[0][1:-1].replace('""', '"') if match else plain.match(content, offset)[0]  # type: ignore[index]
        cells.append(_Cell(text, place.line, place.column))
        end = match.end() if match else offset + len(text)
        behind = end + 2 if content.startswith("\r\n", end) else end + 1
        place.advance(content[offset:behind])
        offset = behind
        if content[end : end + 1] != separator:
            if len(cells) > 1 or cells[0].text.strip():
                yield cells, content[start:end]
            cells, start = [], offset


# --- JSON ---------------------------------------------------------------------------------------


def _gather_objects(content: str, gathering: _Gathering) -> None:
    name = gathering.name
    columns: list[str] = []  # of the first object, for all: a later one that lacks one is a row without it
    ignored: set[str] = set()
    for value, cell in _objects(content, name):
        if not isinstance(value, dict):
            raise DataRefused(
                f"{name}:{cell.line}:{cell.column}: {_kind(value)} where an object is expected, such as "
                '{"text": "...", "label": "..."}; expected one a row; write the file so.'
            )
        if not columns:
            keys = list(value)
            columns = [
                keys[_column_of(keys, _TEXT, "text", name, cell.line)],
                keys[_column_of(keys, _LABEL, "label", name, cell.line)],
            ]
        ignored.update(set(value) - set(columns))
        found = [_scalar(value.get(column)) for column in columns]
        for text in found:
            if text is not None and (bad := re.search("[\0\ud800-\udfff]", text)):
                what = "NUL" if bad[0] == "\0" else f"half of a surrogate pair (U+{ord(bad[0]):04X})"
                raise DataRefused(f"{name}:{cell.line}:{cell.column}: a text holds {what}; expected text; write it again.")
        if None in found:
            what = columns[found.index(None)]
            gathering.set_aside(cell, "kind", f"{what} is {_kind(value[what])}, no text", cell.text)
        elif texts := gathering.take(tuple(_Cell(text or "", cell.line, cell.column) for text in found), cell.text):
            gathering.rows.append(texts)
    if ignored:
        gathering.notes.append("ignored columns: " + ", ".join(repr(key) for key in sorted(ignored)))


def _objects(content: str, name: str) -> Iterator[tuple[Any, _Cell]]:
    """The values of a JSON array, or of JSON lines, each with its text and place."""
    decoder = json.JSONDecoder()
    place, done = Place(), 0
    offset = _JSON_SPACE.match(content).end()  # type: ignore[union-attr]
    array = content.startswith("[", offset)
    offset += array
    while True:
        offset = _JSON_SPACE.match(content, offset).end()  # type: ignore[union-attr]
        if offset == len(content) or (array and content.startswith("]", offset)):
            return
        place.advance(content[done:offset])
        done = offset
        try:
            value, end = decoder.raw_decode(content, offset)
        except json.JSONDecodeError as error:
            place.advance(content[done : error.pos])
            raise DataRefused(f"{name}:{place}: this is no JSON ({error.msg}); expected an object a row; write the file again.") from None
        except (RecursionError, ValueError) as error:
            raise DataRefused(f"{name}:{place}: this JSON cannot be read ({error}); expected an object a row; write it again.") from None
        yield value, _Cell(content[offset:end], place.line, place.column)
        offset = _JSON_SPACE.match(content, end).end()  # type: ignore[union-attr]
        if array and content.startswith(",", offset):
            offset += 1
        elif array and not content.startswith("]", offset):
            place.advance(content[done:offset])
            raise DataRefused(f"{name}:{place}: the array does not go on here; expected , or ]; was the file cut short? Write it again.")


def _scalar(value: object) -> str | None:
    """A JSON value as a cell: missing is empty; lists and objects are none."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, str | int | float) else None


def _kind(value: object) -> str:
    return {dict: "an object", list: "a list", str: "a text", type(None): "null"}.get(type(value), "a number")
