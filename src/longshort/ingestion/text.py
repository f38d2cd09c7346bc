"""Text: the bytes of a file become one document, its characters made uniform and otherwise untouched.

Lines end in \\n, characters are composed (NFC), so that texts that look the same are the same; control
characters go. Words are none of this room's business: see `windows`. Pure: bytes in, table out.
"""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING

from longshort.errors import DataRefused
from longshort.ingestion.reading import Counts, Reading
from longshort.ingestion.source import decode

if TYPE_CHECKING:
    import pyarrow as pa

_LINE_END = re.compile("\r\n|[\r\u0085\u2028\u2029]")
_CONTROL = re.compile(r"[\x01-\x08\x0b\x0c\x0e-\x1f]")  # C0 without tab, line feed and carriage return


def parse(data: bytes, name: str) -> Reading:
    """Read one document; its rows in the account are its lines, of which none is lost.

    raises  DataRefused, beginning with ``name:line:column``, when the file is not text or holds none
    """
    text, notes = normalise(decode(data, name))
    if not text.strip():
        raise DataRefused(f"{name}:1:1: the file holds only control characters; expected text; export or download it again.")
    lines = count_lines(text)
    return Reading(make_table([(name, text)]), Counts(rows_in=lines, kept=lines, quarantined=0, merged=0), (), notes)


def normalise(text: str) -> tuple[str, tuple[str, ...]]:
    """Make line ends and characters uniform; returns the text and a note on each thing that was changed.

    >>> normalise("a\\r\\nb\\x07")
    ('a\\nb', ('rewrote 1 line ends as line feeds', 'stripped 1 control characters'))
    """
    notes = []
    text, ends = _LINE_END.subn("\n", text)
    if ends:
        notes.append(f"rewrote {ends} line ends as line feeds")
    text, controls = _CONTROL.subn("", text)
    if controls:
        notes.append(f"stripped {controls} control characters")
    composed = unicodedata.normalize("NFC", text)
    if composed != text:
        notes.append("composed characters (Unicode NFC)")
    return composed, tuple(notes)


def count_lines(text: str) -> int:
    """Lines of a normalised text; the last one counts whether or not it ends in a line feed."""
    return text.count("\n") + (not text.endswith("\n"))


def make_table(documents: list[tuple[str, str]]) -> pa.Table:
    """The tidy text table: document (its name) and text, both strings, in the order given."""
    import pyarrow as pa

    schema = pa.schema([("document", pa.string()), ("text", pa.string())])
    return pa.table([[name for name, _ in documents], [text for _, text in documents]], schema=schema)
