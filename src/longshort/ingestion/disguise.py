"""Disguise: a file of another kind that only bears the name of a text, known by how it begins.

Suffixes say what somebody hoped for, first bytes say what is there. Pure: bytes in, a refusal or nothing out.
"""

from __future__ import annotations

import re

from longshort.errors import DataRefused

_UTF8_MARK = b"\xef\xbb\xbf"
_SIGNATURES = {  # how a file of another kind begins, what it is, and how to mend it
    b"\x1f\x8b": ("a gzip archive", "let its name end in .gz, or unpack it with `gunzip`"),
    b"PK\x03\x04": ("a zip archive or an Excel workbook", "unpack it, or export the sheet as CSV (UTF-8)"),
    b"BZh": ("a bzip2 archive", "unpack it with `bunzip2`"),
    b"\xfd7zXZ\x00": ("an xz archive", "unpack it with `unxz`"),
    b"\x28\xb5\x2f\xfd": ("a Zstandard archive", "unpack it with `unzstd`"),
    b"7z\xbc\xaf\x27\x1c": ("a 7-Zip archive", "unpack it with `7z x`"),
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": ("an old Office document (.doc, .xls)", "save it as plain text or CSV in UTF-8"),
    b"PAR1": ("a Parquet file", "export it as CSV"),
    b"%PDF-": ("a PDF document", "save its text as UTF-8"),
    b"{\\rtf": ("a rich text document (RTF)", "save it as plain text in UTF-8"),
    b"\x89PNG\r\n": ("a picture (PNG)", "name the text instead"),
    b"\xff\xd8\xff": ("a picture (JPEG)", "name the text instead"),
    b"\x93NUMPY": ("a NumPy array", "write its content as text or CSV"),
    b"SQLite format 3\x00": ("an SQLite database", "export the table as CSV"),
    b"version https://git-lfs": ("a Git LFS pointer, not the file itself", "run `git lfs pull` where it came from"),
}
_HTML = re.compile(rb"\s*(?:<!--.*?-->\s*)*<(?:!doctype html|html|head|body)\b", re.IGNORECASE | re.DOTALL)
_XML = re.compile(rb"\s*<\?xml\b")
_JSON = re.compile(r'\s*(?:\{\s*"(?:[^"\\]|\\.)*"\s*:|\[\s*(?:\{\s*"|\[|"(?:[^"\\]|\\.)*"\s*[,\]]|-?\d[\d.eE+-]*\s*,))')


def refuse_other_kinds(head: bytes, name: str) -> None:
    """Refuse archives, documents, pictures, databases and web pages by their first bytes (512 are enough).

    raises  DataRefused with what it is and how to mend it
    """
    for signature, (kind, remedy) in _SIGNATURES.items():
        if head.startswith(signature):
            raise DataRefused(f"{name}:1:1: this is {kind}; expected plain text in UTF-8; {remedy}.")
    if head[257:262] == b"ustar":
        raise DataRefused(f"{name}:1:1: this is a tar archive; expected plain text in UTF-8; unpack it with `tar -xf`.")
    start = head.removeprefix(_UTF8_MARK)
    if _HTML.match(start):
        raise DataRefused(
            f"{name}:1:1: this is an HTML page (a login or an error page?); expected plain text in UTF-8; "
            "open the address in a browser and save the file itself."
        )
    if _XML.match(start):
        raise DataRefused(f"{name}:1:1: this is an XML document; expected plain text in UTF-8; save its text without the markup.")


def refuse_json(start: str, name: str) -> None:
    """Refuse JSON where running text is meant: a model would learn its brackets and keys.

    >>> refuse_json('[1] See the references.', "story.txt")
    >>> refuse_json('{"text": "Long ago"}', "story.txt")
    Traceback (most recent call last):
    longshort.errors.DataRefused: story.txt:1:1: this is JSON; expected running text; ...
    """
    if _JSON.match(start):
        raise DataRefused(
            f"{name}:1:1: this is JSON; expected running text; write the texts that it holds into a .txt file, "
            "or take it in as labelled text if each has a label."
        )
