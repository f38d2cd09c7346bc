"""Labelled text: bytes of many forms become rows of text and label, of words and tags, or of source and target.

    read_table   CSV, TSV, JSON lines or a JSON array; columns by what their names mean       text, label
    read_files   the file, or its folder, is the label                                         text, label
    read_tagged  three files whose lines n belong together (ATIS, SNIPS)                       text, tags, label
    read_pairs   two columns without header, or sums such as `16+75  _91`                      source, target

Cells are made uniform as texts are (see `text`) and keep their line breaks. A row without text or without label is
quarantined; exact repeats are kept, for they may be what people say often, and counted. Rows of numbers with a caption are read
in `captions`. Which file is which, and which part of a data set, is asked in `recognition`. Pure: bytes in, table out.
"""

from __future__ import annotations

import json
import re
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, NamedTuple

from longshort.errors import DataRefused
from longshort.ingestion import encoding
from longshort.ingestion.encoding import Errors, Place
from longshort.ingestion.parts import part_named, without_part
from longshort.ingestion.reading import Counts, Quarantined, Reading
from longshort.ingestion.source import unpack
from longshort.ingestion.suspicion import Suspicions
from longshort.ingestion.text import Normaliser

if TYPE_CHECKING:
    import pyarrow as pa

# names of columns, the plainest first
_TEXT = (
    *("text", "message", "sentence", "review", "utterance", "tweet", "comment", "content"),
    *("question", "query", "phrase", "document", "body", "sms", "input"),
)
_LABEL = (
    *("label", "category", "intent", "class", "sentiment", "emotion", "topic", "polarity"),
    *("target", "rating", "stars", "score", "tag", "output"),
)

COLUMNS = {  # of the tidy table of each task; a column `part` follows where the files say it. Between two tags stands a space
    "classify": ("text", "label"),
    "tag": ("text", "tags", "label"),
    "translate": ("source", "target"),
    "caption": ("caption",),  # behind the numbers, whose names are the file's
}
TAGGED = ("seq.in", "seq.out", "label")  # words, a tag a word, and a label a line
DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}

_LINE = re.compile(r"[^\r\n]*")
_LINE_END = re.compile(r"\r\n|\r|\n")
_ADDITION = re.compile(r"\s*(\d+[+-]\d+)\s*_(-?\d+)\s*")
_JSON_SPACE = re.compile(r"[ \t\r\n]*")


class Cell(NamedTuple):
    """A piece of a file: what it says, and where it begins."""

    text: str
    line: int
    column: int


@dataclass(frozen=True)
class _Content:
    """The characters of a file, the encoding that they were in, and what is to be said of them."""

    text: str
    encoding: str
    notes: tuple[str, ...]


@dataclass
class Gathering:
    """Rows of one file on their way to a table, and the account of them."""

    name: str
    columns: tuple[str, ...]  # of the table
    rows: list[tuple[Any, ...]] = field(default_factory=list)
    quarantined: list[Quarantined] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    read_as: dict[str, str | int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.normaliser = Normaliser(self.name)

    def normal(self, text: str) -> str:
        """A cell's text, made uniform."""
        return (self.normaliser.feed(text) + self.normaliser.finish()).strip()

    def take(self, cells: Mapping[str, Cell], raw: str) -> tuple[str, ...] | None:
        """The cells' texts, made uniform and ready for a row; none when one is empty, and the row is set aside."""
        texts = tuple(self.normal(cell.text) for cell in cells.values())
        for (column, cell), text in zip(cells.items(), texts, strict=True):
            if not text:
                self.set_aside(cell, "empty", f"no {column}", raw)
                return None
        return texts

    def set_aside(self, cell: Cell, rule: str, what: str, raw: str) -> None:
        """Quarantine a row for what is wrong with one of its cells."""
        self.quarantined.append(Quarantined(self.name, cell.line, cell.column, rule, what, raw))

    def reading(self, notes: tuple[str, ...] = ()) -> Reading:
        """The table of what was kept."""
        kept, aside = len(self.rows), len(self.quarantined)
        return Reading(
            self.table(),
            Counts(rows_in=kept + aside, kept=kept, quarantined=aside, merged=0),
            tuple(self.quarantined),
            (*notes, *self.notes, *self.normaliser.notes, *repeats(self.rows, self.columns, self.name)),
            self.read_as,
            labels=dict(Counter(row[-1] for row in self.rows).most_common()) if "label" in self.columns else {},
            lengths={column: _lengths(own) for column, own in self.texts().items() if own and column not in _UNMEASURED},
        )

    def texts(self) -> dict[str, list[str]]:
        """The texts of each column."""
        return dict(zip(self.columns, map(list, zip(*self.rows, strict=True)), strict=True)) if self.rows else {c: [] for c in self.columns}

    def table(self) -> pa.Table:
        """The rows that were kept."""
        import pyarrow as pa

        return pa.table(list(self.texts().values()), schema=pa.schema([(column, pa.string()) for column in self.columns]))


_UNMEASURED = ("label", "tags")


def _lengths(texts: Sequence[str]) -> dict[str, int | str]:
    """How long texts are: in words, or in characters where none holds a space."""
    words = any(" " in text for text in texts)
    counts = [len(text.split()) if words else len(text) for text in texts]
    return {"unit": "words" if words else "characters", "median": int(statistics.median(counts)), "most": max(counts)}


def repeats(rows: Sequence[tuple[Any, ...]], columns: tuple[str, ...], name: str, before: str = "") -> list[str]:
    """What is to be said of rows that are the same, or contradict one another: a note each.

    name    of the file, or of the files together
    before  what a note begins with that does not stand among those of its file
    """
    again = len(rows) - len(set(rows))
    notes = [f"{before}kept {again:,} rows that repeat an earlier one exactly"] * bool(again)
    if columns == COLUMNS["classify"]:
        several = contradicted(rows)
        notes += [f"warning: {name}: {several:,} texts come with more than one label; is one a mistake?"] * bool(several)
    return notes


def contradicted(rows: Sequence[tuple[Any, ...]]) -> int:
    """How many texts come with more than one label."""
    labels = Counter(text for text, _ in {(row[0], row[-1]) for row in rows})
    return sum(count > 1 for count in labels.values())


def read_table(data: bytes, name: str, named: str | None = None, errors: Errors = "strict") -> Reading:
    """Read text and label from CSV, TSV, JSON lines (.jsonl, .ndjson) or a JSON array of objects (.json).

    named   the file's encoding, where a person named it
    raises  DataRefused with ``name:line:column``

    >>> read_table(b"Category,Message\\nham,Ok lar...\\n", "spam.csv").table.to_pylist()
    [{'text': 'Ok lar...', 'label': 'ham'}]
    """
    content = decode(data, name, named, errors)
    suffix = PurePosixPath(name.removesuffix(".gz")).suffix.lower()
    gathering = Gathering(name, COLUMNS["classify"])
    if suffix in (".json", ".jsonl", ".ndjson") or content.text.lstrip()[:1] in ("{", "["):
        gathering.read_as = {"layout": "text and label, a JSON object each", "encoding": content.encoding}
        _gather_objects(content.text, gathering)
    else:
        separator = separator_of(content.text, "\t" if suffix in (".tsv", ".tab") else ",", has_columns)
        gathering.read_as = {"layout": "text and label", "delimiter": DELIMITERS[separator], "encoding": content.encoding}
        _gather_rows(content.text, separator, gathering)
    return used(gathering.reading(content.notes), name)


def used(reading: Reading, name: str) -> Reading:
    """A reading of a file, refused when none of its rows can be used."""
    if reading.counts.kept:
        return reading
    aside = reading.quarantined
    place = f"{name}:{aside[0].line}:{aside[0].column}" if aside else f"{name}:1:1"
    raise DataRefused(
        f"{place}: none of {len(aside)} rows can be used{f': {aside[0].what}' if aside else ''}; expected "
        f"{' and '.join(reading.table.column_names)} in each; export the file again."
    )


def read_files(contents: Mapping[str, bytes], named: str | None = None, errors: Errors = "strict") -> dict[str, Reading]:
    """Read files of one label each: rt-polarity.pos and .neg, pos.txt and neg.txt, or pos/1.txt and neg/1.txt.

    The label is the first of these in which the files differ: folder, suffix, stem; a folder that says the part of the data
    set, such as train, is none. Where the folder is the label, a file is one text, otherwise each line is. Blank lines are no
    rows.

    contents  bytes by path, at least two labels among them
    returns   what each became, by path in order
    raises    DataRefused
    """
    labels, whole = _labels(list(contents))
    readings = {}
    for path in sorted(contents):
        content = decode(contents[path], path, named, errors)
        how = "a text of the label that its folder bears" if whole else "a text a line, of the label that its name bears"
        gathering = Gathering(path, COLUMNS["classify"], read_as={"layout": how, "encoding": content.encoding})
        split = enumerate(_LINE_END.split(content.text), start=1)
        cells = [Cell(content.text, 1, 1)] if whole else [Cell(line, number, 1) for number, line in split]
        for cell in cells:
            if cell.text.strip() and (texts := gathering.take({"text": cell, "label": Cell(labels[path], 1, 1)}, cell.text)):
                gathering.rows.append(texts)
        readings[path] = used(gathering.reading(content.notes), path)
    return readings


def read_tagged(
    words: bytes, tags: bytes, labels: bytes, names: tuple[str, ...] = TAGGED, named: str | None = None, errors: Errors = "strict"
) -> Reading:
    """Read the three files of ATIS and SNIPS: seq.in (words), seq.out (a tag a word), label (an intent a line).

    names   of the three, for messages
    raises  DataRefused where the files have different numbers of lines, or a line as many tags as words no longer

    >>> read_tagged(b"to boston\\n", b"O B-city\\n", b"flight\\n").table.to_pylist()
    [{'text': 'to boston', 'tags': 'O B-city', 'label': 'flight'}]
    """
    decoded = [decode(data, name, named, errors) for data, name in zip((words, tags, labels), names, strict=True)]
    lines = [_LINE_END.split(content.text.rstrip("\r\n")) for content in decoded]
    shortest = min(map(len, lines))
    for name, found in zip(names[1:], lines[1:], strict=True):
        if len(found) != len(lines[0]):
            raise DataRefused(
                f"{name}:{shortest + 1}:1: {len(found):,} lines, but {names[0]} has {len(lines[0]):,}; expected line n of each to belong "
                "together; export the files again."
            )
    read_as: dict[str, str | int] = {"layout": "words, a tag a word, and a label a line", "encoding": decoded[0].encoding}
    gathering = Gathering(names[0], COLUMNS["tag"], read_as=read_as)
    kinds = set()
    for number, (text, tagged, label) in enumerate(zip(*lines, strict=True), start=1):
        tokens, marks = gathering.normal(text).split(), gathering.normal(tagged).split()
        if len(tokens) != len(marks):
            raise DataRefused(
                f"{names[1]}:{number}:1: {len(marks)} tags for the {len(tokens)} words of {names[0]}:{number}; expected a tag a word; "
                "mend the line in both files, or export them again."
            )
        if texts := gathering.take({"text": Cell(text, number, 1), "label": Cell(label, number, 1)}, f"{text}\t{tagged}\t{label}"):
            gathering.rows.append((" ".join(tokens), " ".join(marks), texts[1]))
            kinds.update(marks)
    read_as["tags"] = f"{len(kinds):,} different ones"
    said = tuple(f"{name}: {note}" for name, content in zip(names, decoded, strict=True) for note in content.notes)
    return used(gathering.reading(said), names[0])


def read_pairs(data: bytes, name: str, named: str | None = None, errors: Errors = "strict") -> Reading:
    """Read source and target: tab-separated without header, or sums of fixed width. Blank lines are no rows.

    raises  DataRefused with ``name:line:column``

    >>> read_pairs(b"16+75  _91  \\n", "addition.txt").table.to_pylist()
    [{'source': '16+75', 'target': '91'}]
    """
    content = decode(data, name, named, errors)
    gathering = Gathering(name, COLUMNS["translate"])
    lines = [(number, line) for number, line in enumerate(_LINE_END.split(content.text), start=1) if line.strip()]
    addition = bool(lines) and is_sum(lines[0][1])
    gathering.read_as = {"layout": "a sum and its answer a line"} if addition else {"layout": "source and target", "delimiter": "tab"}
    gathering.read_as["encoding"] = content.encoding
    extra = 0
    for number, line in lines:
        cells = _sum(line, number) if addition else _tabbed(line, number)
        if len(cells) < 2:
            what = "no sum such as `16+75  _91`" if addition else "no tab, so no target"
            gathering.set_aside(Cell(line, number, 1), "form", what, line)
            continue
        extra = max(extra, len(cells) - 2)
        if texts := gathering.take({"source": cells[0], "target": cells[1]}, line):
            gathering.rows.append(texts)
    if extra:
        gathering.notes.append(f"ignored {extra} further columns behind source and target")
    return used(gathering.reading(content.notes), name)


def is_sum(line: str) -> bool:
    """Whether a line is a question and its answer, such as `16+75  _91`."""
    return _ADDITION.fullmatch(line) is not None


def decode(data: bytes, name: str, named: str | None, errors: Errors) -> _Content:
    """The characters of a file. raises  DataRefused"""
    decoder = encoding.Decoder(name, named, errors)
    content = decoder.feed(unpack(data, name)) + decoder.finish()
    suspicions = Suspicions(name, lines=False, lost=errors == "strict")
    suspicions.feed(content)
    suspicions.finish()
    return _Content(content, decoder.encoding, (*decoder.notes, *(f"warning: {warning}" for warning in suspicions.warnings)))


def _labels(paths: list[str]) -> tuple[dict[str, str], bool]:
    """The label of each file, the first in which the files differ, and whether that is its folder."""
    ways: list[Callable[[PurePosixPath], str]] = [_folder, lambda p: p.suffix.removeprefix("."), lambda p: without_part(p.stem)]
    for way in ways:
        labels = {path: way(PurePosixPath(path.removesuffix(".gz"))) for path in paths}
        if len(set(labels.values())) > 1 and all(labels.values()):
            return labels, way is _folder
    raise DataRefused(
        f"{', '.join(sorted(paths)[:3])}: one label for all of {len(paths)} files; expected two or more, each a folder, a suffix or a name "
        "of its own (reviews.pos, reviews.neg); add the files of the other label."
    )


def _folder(path: PurePosixPath) -> str:
    """The nearest folder that does not say which part of a data set its files are."""
    return next((name for name in reversed(path.parent.parts) if part_named(name) is None), "")


def _sum(line: str, number: int) -> list[Cell]:
    match = _ADDITION.fullmatch(line)
    return [Cell(match[group], number, match.start(group) + 1) for group in (1, 2)] if match else []


def _tabbed(line: str, number: int) -> list[Cell]:
    cells, column = [], 1
    for text in line.split("\t"):
        cells.append(Cell(text, number, column))
        column += len(text) + 1
    return cells


# --- CSV and TSV --------------------------------------------------------------------------------


def _gather_rows(content: str, separator: str, gathering: Gathering) -> None:
    name = gathering.name
    rows = rows_of(content, separator, name)
    header, _ = next(rows, ([Cell("", 1, 1)], ""))
    names, line = [cell.text for cell in header], header[0].line
    places = [_column_of(names, _TEXT, "text", name, line), _column_of(names, _LABEL, "label", name, line)]
    others = [cell.text for place, cell in enumerate(header) if place not in places]
    if others:
        gathering.notes.append("ignored columns: " + ", ".join(repr(other) for other in others))
    gathering.read_as["columns"] = f"'{names[places[0]]}' is the text, '{names[places[1]]}' the label"
    for cells, raw in rows:
        if len(cells) != len(header):
            gathering.set_aside(cells[0], "cells", f"{len(cells)} cells where the header has {len(header)}", raw)
        elif texts := gathering.take({"text": cells[places[0]], "label": cells[places[1]]}, raw):
            gathering.rows.append(texts)


def separator_of(content: str, usual: str, names: Callable[[Sequence[str]], bool]) -> str:
    """The sign that cuts the header into names of columns that are looked for; the usual one where none does."""
    header = next((line for line in _LINE_END.split(content[:100_000]) if line.strip()), "")

    def fits(sign: str) -> bool:
        return names([cell.strip().strip('"') for cell in header.split(sign)])

    return next((sign for sign in (usual, *DELIMITERS) if fits(sign)), usual)


def has_columns(names: Sequence[str]) -> bool:
    """Whether one of these names of columns is for the text, and another for the label.

    >>> has_columns(["Category", "Message"]), has_columns(["Date", "Close"])
    (True, False)
    """
    bare = [plain(name) for name in names]
    return all(any(name in (word, f"{word}s") for name in bare for word in wanted) for wanted in (_TEXT, _LABEL))


def plain(name: str) -> str:
    """A column's name in its letters alone, in lower case."""
    return re.sub(r"[^a-z]", "", name.lower())


def _column_of(header: list[str], wanted: tuple[str, ...], what: str, name: str, line: int) -> int:
    """Where the column of that meaning stands; of several, the one whose name says it best."""
    bare = [plain(cell) for cell in header]
    for word in wanted:
        places = [place for place, cell in enumerate(bare) if cell in (word, f"{word}s")]
        if len(places) > 1:
            raise DataRefused(f"{name}:{line}:1: two columns are called '{word}'; expected one; rename or remove the other.")
        if places:
            return places[0]
    raise DataRefused(
        f"{name}:{line}:1: no column for the {what} among {', '.join(repr(cell) for cell in header[:10])}; expected a header with one "
        f"called {', '.join(wanted[:6])} or the like; add or rename it."
    )


def rows_of(content: str, separator: str, name: str) -> Iterator[tuple[list[Cell], str]]:
    """The cells of each row that is not blank, and its text as it was. A quoted cell may hold separators and line breaks.

    In TSV, quotes are characters of the text unless they enclose a whole cell: most programs write it without quoting.
    """
    ends = f"\r\n{separator}"
    quoting = separator != "\t"
    quoted = re.compile(f'"(?:[^"]|"")*"(?=[{ends}]|\\Z)' if quoting else f'"(?:[^"{ends}]|"")*"(?=[{ends}]|\\Z)')
    plain = re.compile(f"[^{separator}\r\n]*")
    place, offset = Place(), 0
    cells: list[Cell] = []
    start = 0
    while offset < len(content) or cells:
        line: str = "" if cells else _LINE.match(content, offset)[0]  # type: ignore[index]
        if not cells and '"' not in line:  # as almost all are: cut in one go
            column = 1
            for text in line.split(separator):
                cells.append(Cell(text, place.line, column))
                column += len(text) + 1
            if len(cells) > 1 or cells[0].text.strip():
                yield cells, line
            behind = offset + len(line)
            behind += 2 if content.startswith("\r\n", behind) else 1
            place.advance(content[offset:behind])
            cells, start, offset = [], behind, behind
            continue
        match = quoted.match(content, offset)
        if match is None and quoting and content.startswith('"', offset):
            raise DataRefused(
                f"{name}:{place}: a quote opens here and does not close before a {DELIMITERS[separator]} or the line's end; expected a "
                "cell in quotes, with quotes inside it doubled; mend the line, or export the file again."
            )
        text = match[0][1:-1].replace('""', '"') if match else plain.match(content, offset)[0]  # type: ignore[index]
        cells.append(Cell(text, place.line, place.column))
        end = match.end() if match else offset + len(text)
        behind = end + 2 if content.startswith("\r\n", end) else end + 1
        place.advance(content[offset:behind])
        offset = behind
        if content[end : end + 1] != separator:
            if len(cells) > 1 or cells[0].text.strip():
                yield cells, content[start:end]
            cells, start = [], offset


# --- JSON ---------------------------------------------------------------------------------------


def _gather_objects(content: str, gathering: Gathering) -> None:
    name = gathering.name
    columns: list[str] = []  # of the first object, for all: a later one that lacks one is a row without it
    ignored: set[str] = set()
    for value, cell in objects(content, name):
        if not isinstance(value, dict):
            raise DataRefused(
                f"{name}:{cell.line}:{cell.column}: {kind_of(value)} where an object is expected, such as "
                '{"text": "...", "label": "..."}; expected one a row; write the file so.'
            )
        if not columns:
            keys = list(value)
            columns = [
                keys[_column_of(keys, _TEXT, "text", name, cell.line)],
                keys[_column_of(keys, _LABEL, "label", name, cell.line)],
            ]
            gathering.read_as["columns"] = f"'{columns[0]}' is the text, '{columns[1]}' the label"
        ignored.update(set(value) - set(columns))
        found = [scalar(value.get(column)) for column in columns]
        refuse_no_text([*columns, *(text for text in found if text is not None)], name, cell)
        if None in found:
            what = columns[found.index(None)]
            gathering.set_aside(cell, "kind", f"{what} is {kind_of(value[what])}, no text", cell.text)
        elif texts := gathering.take(
            {what: Cell(text or "", cell.line, cell.column) for what, text in zip(gathering.columns, found, strict=True)}, cell.text
        ):
            gathering.rows.append(texts)
    if ignored:
        gathering.notes.append("ignored columns: " + ", ".join(repr(key) for key in sorted(ignored)))


def objects(content: str, name: str) -> Iterator[tuple[Any, Cell]]:
    """The values of a JSON array, or of JSON lines, each with its text and place."""
    decoder = json.JSONDecoder(object_pairs_hook=_with_each_key_once, parse_constant=_missing)
    place, done = Place(), 0
    offset = _JSON_SPACE.match(content).end()  # type: ignore[union-attr]
    array = content.startswith("[", offset)
    offset += array
    while True:
        offset = _JSON_SPACE.match(content, offset).end()  # type: ignore[union-attr]
        if array and content.startswith("]", offset):
            behind = _JSON_SPACE.match(content, offset + 1).end()  # type: ignore[union-attr]
            if behind < len(content):
                place.advance(content[done:behind])
                raise DataRefused(f"{name}:{place}: something stands behind the array; expected one array a file; write it again.")
            return
        if not array and offset == len(content):
            return
        place.advance(content[done:offset])
        done = offset
        if offset == len(content):
            raise _cut_short(name, place)
        try:
            value, end = decoder.raw_decode(content, offset)
        except json.JSONDecodeError as error:
            place.advance(content[done : error.pos])
            raise DataRefused(f"{name}:{place}: this is no JSON ({error.msg}); expected an object a row; write the file again.") from None
        except (RecursionError, ValueError) as error:
            raise DataRefused(f"{name}:{place}: this JSON cannot be read ({error}); expected an object a row; write it again.") from None
        yield value, Cell(content[offset:end], place.line, place.column)
        offset = _JSON_SPACE.match(content, end).end()  # type: ignore[union-attr]
        if array and content.startswith(",", offset):
            offset += 1
        elif array and not content.startswith("]", offset):
            place.advance(content[done:offset])
            raise _cut_short(name, place)


def _cut_short(name: str, place: Place) -> DataRefused:
    return DataRefused(f"{name}:{place}: the array does not go on here; expected , or ]; was the file cut short? Write it again.")


def _with_each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object; of a key that stands twice the first value would be lost. raises  ValueError"""
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"the key {twice!r} stands twice in one object")
    return found


def _missing(_: str) -> None:
    """What `NaN`, `Infinity` and `-Infinity` are, which are no JSON: programs write them where a cell is empty."""


def refuse_no_text(texts: Iterable[str], name: str, cell: Cell) -> None:
    """JSON escapes can say what no text holds. raises  DataRefused with ``name:line:column``, that of the cell"""
    for text in texts:
        if bad := re.search("[\0\ud800-\udfff]", text):
            what = "NUL" if bad[0] == "\0" else f"half of a surrogate pair (U+{ord(bad[0]):04X})"
            raise DataRefused(f"{name}:{cell.line}:{cell.column}: a text holds {what}; expected text; write it again.")


def scalar(value: object) -> str | None:
    """A JSON value as a cell: missing is empty; lists and objects are none."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, str | int | float) else None


def kind_of(value: object) -> str:
    """What a JSON value is, for a person."""
    return {dict: "an object", list: "a list", str: "a text", type(None): "null"}.get(type(value), "a number")
