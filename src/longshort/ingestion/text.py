"""Text: the bytes of a file become one document, its characters made uniform and otherwise untouched.

Lines end in \\n, characters are composed (NFC), so that texts that look the same are the same; control
characters and invisible ones go. What joins letters or emoji stays. A file is read in chunks, and no more than a few of
them are held; a long document becomes several rows of the tidy table. Words are none of this room's business: see
`windows`. Pure: bytes in, text out.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from longshort.errors import DataRefused
from longshort.ingestion.disguise import refuse_json
from longshort.ingestion.encoding import Decoder, Errors, Place
from longshort.ingestion.reading import Counts, Reading
from longshort.ingestion.source import CHUNK, check_name, unpack
from longshort.ingestion.suspicion import Suspicions

if TYPE_CHECKING:
    import pyarrow as pa

ROW = 8 * 2**20  # characters of a row of the tidy table; a longer document goes on in the next row, under the same name
_OPENING = 1000  # characters from which JSON is known
_MOST_MARKS = 1000  # in a row: no script has ten, and composing them takes time that grows with their square

_LINE_END = re.compile("\r\n|[\r\u0085\u2028\u2029]")
_STRIPPED = {
    "control characters": re.compile("[\x01-\x08\x0b\x0c\x0e-\x1f\x7f]"),  # C0 without tab, line feed and carriage return; DEL
    "invisible characters (zero-width spaces, byte order marks)": re.compile("[\u200b\u2060\ufeff]"),
    "characters that turn the direction of writing": re.compile("[\u202a-\u202e\u2066-\u2069]"),  # LRM and RLM only hint: they stay
}
_ANY_STRIPPED = re.compile("[\x01-\x08\x0b\x0c\x0e-\x1f\x7f\u200b\u2060\ufeff\u202a-\u202e\u2066-\u2069]")
# where a joiner (ZWJ) or its opposite (ZWNJ) is spelling: scripts from Arabic to Mongolian, and emoji
_JOINING = (
    "\u0600-\u109f\u1780-\u18af\u1a20-\u1aaf\u1b00-\u1c4f\ua800-\uaaff\ufb50-\ufdff\ufe0f\ufe70-\ufefe\U00010a00-\U00011fff"
    "\u00a9\u00ae\u20e3\u2190-\u2bff\u3030\u303d\U0001f000-\U0001faff\U000e0020-\U000e007f"
)
_STRAY_JOINER = re.compile(f"(?<![{_JOINING}\u200c\u200d])[\u200c\u200d]++(?![{_JOINING}])")
_JOINS = re.compile("[\u1160-\u11ff\ud7b0-\ud7ff\u200c\u200d\U00016d63-\U00016d6a]")  # Hangul and Kirat Rai vowels, and joiners


def parse(data: bytes, name: str, encoding: str | None = None, errors: Errors = "strict", strict: bool = False) -> Reading:
    """Read one document; its rows in the account are its lines, of which none is lost. A .gz file is unpacked.

    strict  whether a warning is a refusal
    raises  DataRefused, beginning with ``name:line:column``, when the file is not text or holds none
    """
    content = unpack(data, name)
    found: list[str] = []
    reading = pour(
        (content[start : start + CHUNK] for start in range(0, len(content), CHUNK)), name, found.append, encoding, errors, strict
    )
    return dataclasses.replace(reading, table=make_table([(name, row) for row in found]))


def pour(
    chunks: Iterable[bytes],
    name: str,
    into: Callable[[str], None],
    encoding: str | None = None,
    errors: Errors = "strict",
    strict: bool = False,
) -> Reading:
    """Read one document as `parse` does, and hand its rows on at once: of a file of any size a few MiB are held.

    chunks  of its unpacked bytes, as `source.chunks` hands them out
    into    takes the text of a row; the reading's own table is empty
    raises  as `parse`: what was handed on before is of no document then
    """
    scan = Scan(name, encoding, errors)
    characters = 0
    for row in _rows(pieces(chunks, scan)):
        characters += len(row)
        into(row)
    if strict and scan.warnings:
        raise DataRefused(f"{scan.warnings[0]} A warning is a refusal here because of `--strict`.")
    return Reading(make_table([]), scan.counts, (), scan.notes, {"layout": "running text", "characters": characters})


def _rows(pieces: Iterable[str]) -> Iterator[str]:
    """A document in stretches of 8 MiB characters at most, cut behind a paragraph, a line or a word where there is an end of one."""
    held, size = [""], 0
    for piece in pieces:
        held.append(piece)
        size += len(piece)
        while size > ROW:
            whole = "".join(held)
            ends = ((whole.rfind(end, ROW // 2, ROW), len(end)) for end in ("\n\n", "\n", " "))
            cut = next((place + length for place, length in ends if place >= 0), ROW)
            while not _starts(whole[cut]):
                cut -= 1
            yield whole[:cut]
            held, size = [whole[cut:]], size - cut
    yield "".join(held)


def pieces(chunks: Iterable[bytes], scan: Scan) -> Iterator[str]:
    """The text of one document in pieces, as `source.chunks` hands out its bytes.

    Joined, they are the document, however the bytes were cut. ``scan`` has its account when the last was handed out.

    raises  as `Scan.feed` and `Scan.finish`: what was handed out before is of no document then

    >>> "".join(pieces([b"Lo", b"ng ago\\r", b"\\nthere was"], Scan("story.txt")))
    'Long ago\\nthere was'
    """
    for chunk in chunks:
        if piece := scan.feed(chunk):
            yield piece
    if piece := scan.finish():
        yield piece


class Scan:
    """Reads one document chunk by chunk, and keeps its account.

    raises  DataRefused from `feed` and `finish` for what is no text; UsageError for an encoding that does not exist
    """

    def __init__(self, name: str, encoding: str | None = None, errors: Errors = "strict") -> None:
        check_name(name)
        self._name = name
        self._decoder = Decoder(name, encoding, errors)
        self._suspicions = Suspicions(name, lost=errors == "strict")
        self._normaliser = Normaliser(name)
        self._opening: str | None = ""
        self._lines, self._ended, self._blank = 0, True, True

    @property
    def counts(self) -> Counts:
        """The lines of the document; complete after `finish`."""
        lines = self._lines + (not self._ended)
        return Counts(rows_in=lines, kept=lines, quarantined=0, merged=0)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a person should look at, each beginning with the file's name; complete after `finish`."""
        return self._suspicions.warnings

    @property
    def notes(self) -> tuple[str, ...]:
        """What was decided, changed, and is warned of, a sentence each; complete after `finish`."""
        return (*self._decoder.notes, *self._normaliser.notes, *(f"warning: {warning}" for warning in self.warnings))

    def feed(self, data: bytes) -> str:
        """The normalised text that these bytes complete."""
        text = self._decoder.feed(data)
        self._look(text, final=False)
        self._suspicions.feed(text)
        return self._count(self._normaliser.feed(text))

    def finish(self) -> str:
        """The normalised text that only the file's end completes."""
        text = self._decoder.finish()
        self._look(text, final=True)
        self._suspicions.feed(text)
        self._suspicions.finish()
        text = self._count(self._normaliser.feed(text) + self._normaliser.finish())
        if self._blank:
            raise DataRefused(f"{self._name}:1:1: the file holds only control characters; expected text; export or download it again.")
        return text

    def _look(self, text: str, final: bool) -> None:
        """Refuse JSON, once enough of the text is there to know it."""
        if self._opening is not None:
            self._opening += text[:_OPENING]
            if final or len(self._opening) >= _OPENING:
                refuse_json(self._opening[:_OPENING], self._name)
                self._opening = None

    def _count(self, text: str) -> str:
        if text:
            self._lines += text.count("\n")
            self._ended = text.endswith("\n")
            self._blank = self._blank and not text.strip()
        return text


class Normaliser:
    """Makes line ends and characters uniform, piece by piece, and counts what it changed.

    After `finish` it may begin with another text; the counts go on.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._counts: Counter[str] = Counter()
        self._return = ""  # a CR at the end of what came, which an LF may follow
        self._held = ""  # from the last character that nothing before it or behind it can change
        self._place = Place()
        self._after = hashlib.sha256()
        self._before: hashlib._Hash | None = None  # the same until the first change

    @property
    def notes(self) -> tuple[str, ...]:
        """What was changed so far, a sentence each."""
        notes = []
        if ends := self._counts["ends"]:
            notes.append(f"rewrote {ends:,} line ends as line feeds")
        notes += [f"stripped {self._counts[kind]:,} {kind}" for kind in (*_STRIPPED, "joiners that join nothing") if self._counts[kind]]
        if self._before is not None:
            notes.append(
                f"composed {self._counts['composed']:,} characters (Unicode NFC); sha256 of the text "
                f"{self._before.hexdigest()} before, {self._after.hexdigest()} after"
            )
        return tuple(notes)

    def feed(self, text: str) -> str:
        """The normalised text that these characters complete."""
        text = self._return + text
        self._return = "\r" if text.endswith("\r") else ""
        self._held += self._simplify(text.removesuffix("\r"))
        self._refuse_marks()
        cut = _last_start(self._held)
        ready, self._held = self._held[:cut], self._held[cut:]
        return self._compose(ready)

    def finish(self) -> str:
        """The normalised text that only the end completes."""
        ready = self._held + self._simplify(self._return)
        self._held = self._return = ""
        return self._compose(ready)

    def _simplify(self, text: str) -> str:
        """What depends on no neighbour: line ends, and characters that go wherever they stand."""
        if "\r" in text or not text.isascii():
            text, ends = _LINE_END.subn("\n", text)
            self._counts["ends"] += ends
        if _ANY_STRIPPED.search(text):
            for kind, pattern in _STRIPPED.items():
                text, count = pattern.subn("", text)
                self._counts[kind] += count
        return text

    def _compose(self, text: str) -> str:
        """What depends on neighbours: joiners, and characters made of several."""
        if text.isascii():
            self._remember(text, text)
            return text
        if "\u200c" in text or "\u200d" in text:
            before = len(text)
            text = _STRAY_JOINER.sub("", text)
            self._counts["joiners that join nothing"] += before - len(text)
        if unicodedata.is_normalized("NFC", text):
            self._remember(text, text)
            return text
        # only where a mark follows, or a character has another form of its own, can anything change
        distinct = set(text)
        marks = re.escape("".join(sorted(character for character in distinct if not _starts(character))))
        others = re.escape("".join(sorted(c for c in distinct if unicodedata.normalize("NFC", c) != c)))
        sequences = [f".[{marks}]+"] * bool(marks) + [f"[{others}]"] * bool(others)
        composed = re.sub("|".join(sequences), self._composed, text, flags=re.DOTALL)
        self._remember(text, composed)
        return composed

    def _composed(self, match: re.Match[str]) -> str:
        composed = unicodedata.normalize("NFC", match[0])
        self._counts["composed"] += composed != match[0]
        return composed

    def _remember(self, before: str, after: str) -> None:
        if before != after and self._before is None:
            self._before = self._after.copy()
        if self._before is not None:
            self._before.update(before.encode())
        self._after.update(after.encode())
        self._place.advance(after)

    def _refuse_marks(self) -> None:
        """Refuse a run of marks that is no writing; every such run holds one of the characters that are looked at."""
        text = self._held
        for seen in range(0, len(text), _MOST_MARKS):
            if text[seen].isascii() or _starts(text[seen]):
                continue
            first, last = seen, seen
            while first > 0 and not _starts(text[first - 1]):
                first -= 1
            while last + 1 < len(text) and last - first < _MOST_MARKS and not _starts(text[last + 1]):
                last += 1
            if last - first >= _MOST_MARKS:
                self._place.advance(text[:first])
                raise DataRefused(
                    f"{self._name}:{self._place}: more than {_MOST_MARKS:,} combining marks and joiners in a row; expected letters "
                    "with a few marks; the file is damaged or made to harm, remove them."
                )


def _starts(character: str) -> bool:
    """Whether nothing that stands before this character can join with it.

    >>> _starts("e"), _starts("\\u0301"), _starts("\\u200d")
    (True, False, False)
    """
    return character.isascii() or not (unicodedata.category(character)[0] == "M" or _JOINS.match(character))


def _last_start(text: str) -> int:
    """Where the last stretch begins that what follows may still change; a joiner's neighbour belongs to it."""
    place = len(text) - 1
    while place > 0 and (not _starts(text[place]) or text[place - 1] in "\u200c\u200d"):
        place -= 1
    return max(place, 0)


def normalise(text: str) -> tuple[str, tuple[str, ...]]:
    """Make line ends and characters uniform; returns the text and a note on each thing that was changed.

    >>> normalise("a\\r\\nb\\x07")
    ('a\\nb', ('rewrote 1 line ends as line feeds', 'stripped 1 control characters'))
    """
    normaliser = Normaliser("text")
    text = normaliser.feed(text) + normaliser.finish()
    return text, normaliser.notes


def count_lines(text: str) -> int:
    """Lines of a normalised text; the last one counts whether or not it ends in a line feed."""
    return text.count("\n") + (not text.endswith("\n"))


def make_table(documents: list[tuple[str, str]]) -> pa.Table:
    """The tidy text table: document (its name) and text, both strings, in the order given.

    A document of more than 8 MiB characters has several rows, one after the other, which are one text.
    """
    import pyarrow as pa

    return pa.table([[name for name, _ in documents], [text for _, text in documents]], schema=schema())


def schema() -> pa.Schema:
    """The columns of the tidy text table."""
    import pyarrow as pa

    return pa.schema([("document", pa.string()), ("text", pa.string())])
