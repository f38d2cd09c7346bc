"""Encoding: bytes become characters, by evidence and never by a guess.

UTF-8 is what a file is read as, unless it begins with the mark of UTF-16 or a person named its encoding. What does
not fit is refused with its place; the refusal names the encoding that the bytes speak for, so that a person
can say it. A file may come in chunks: however it is cut, characters, notes and refusals are the same.
"""

from __future__ import annotations

import codecs
import re
from typing import Literal

from longshort.errors import DataRefused, UsageError
from longshort.ingestion.disguise import refuse_other_kinds

Errors = Literal["strict", "replace"]

_HEAD = 4096  # bytes that are looked at before the first is decoded
_BEFORE, _BEHIND = 1024, 64 * 1024  # bytes around one that does not fit, from which the encoding is guessed
_MARKS = {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
_WIDE = ("utf-16", "utf-32")
# a noncharacter, which no text holds: what was replaced can be told from the U+FFFD that stood in the file
_REPLACED, _LOST = "\ufdd0", "\ufffd"

_HAN = "的一是不了人我在有他这中大来上国个到说们为子和你地出道也时年得就那要下以生会自着去之过家学对可里后小么心多天而能好都然没"
_TRADITIONAL = "的一是不了人我在有他這中大來上國個到說們為子和你地出道也時年得就那要下以生會自著去之過家學對可裡後小麼心多天而能好都然沒"
_HANGUL = "이의다는에을를가은고한지하기로도사인등서자로모든태어그있과와니습아나라리시부대여해스전정일제"
_MARKS_OF_ALL = "[‘’“”„–—…•«»\xa0]"  # in every one of Windows' encodings, at the same byte
_ALONE = r"(?<![^\W\x00-\x7f])[{}](?![^\W\x00-\x7f])"  # accented letters stand among plain ones
_TOGETHER = "(?<![A-Za-z])(?:[{lower}](?![{upper}])|[{upper}](?![A-Za-z]))(?![A-Za-z])"  # another alphabet's stand together
_EVIDENCE = {  # encoding -> characters that text in it is made of, where such text has them
    "cp1252": _ALONE.format("àáâãäåæçèéêëìíîïñòóôõöøùúûüßœÀÉÊÇÄÖÜØÅ£€°¡¿"),
    "cp1250": "[ąćęłńśźżĄĆĘŁŃŚŹŻčďěňřšťůžČŘŠŽőű]|" + _ALONE.format("óáéíúýöüä"),
    "cp1254": "[ışğİŞĞ]|" + _ALONE.format("çöüÇÖÜâ"),
    "cp1251": _TOGETHER.format(lower="а-яё", upper="А-ЯЁ"),
    "koi8-r": _TOGETHER.format(lower="а-яё", upper="А-ЯЁ"),
    "cp1253": _TOGETHER.format(lower="α-ωάέήίόύώς", upper="Α-ΩΆΈΉΊΌΎΏ"),
    "cp1255": "(?<![A-Za-z])[א-ת\u05b0-\u05bc](?![A-Za-z])",
    "cp1256": "(?<![A-Za-z])[ء-يپچژگ](?![A-Za-z])",
    "gb18030": f"[{_HAN}，。、？！：；“”《》]",
    "big5": f"[{_TRADITIONAL}，。、？！：；「」]",
    "shift_jis": "[ぁ-んァ-ヶー、。「」]",
    "euc-jp": "[ぁ-んァ-ヶー、。「」]",
    "euc-kr": f"[{_HANGUL}]",
}
_FREQUENT = {"gb18030": 2.5, "big5": 2.5, "shift_jis": 2.0, "euc-jp": 2.0, "euc-kr": 2.0}


def decode(data: bytes, name: str, encoding: str | None = None, errors: Errors = "strict") -> tuple[str, tuple[str, ...]]:
    """The characters of a whole file, and a note on each thing that was decided.

    encoding  as the person named it; without it the file's byte order mark decides, or UTF-8 is expected
    errors    "replace" puts U+FFFD where bytes do not fit, and notes how often
    raises    DataRefused with ``name:line:column``; UsageError when there is no such encoding

    >>> decode("caf\\u00e9".encode("utf-16"), "story.txt")
    ('café', ('read as UTF-16, little-endian, as its byte order mark says',))
    """
    decoder = Decoder(name, encoding, errors)
    text = decoder.feed(data) + decoder.finish()
    return text, decoder.notes


class Place:
    """Where a reader stands in a text: line and column, in characters, both from 1. CRLF, CR and LF end a line."""

    def __init__(self) -> None:
        self.line = self.column = 1
        self._return = False  # the last character was a CR, so an LF that follows ends no other line

    def advance(self, text: str) -> None:
        """Go past ``text``."""
        if self._return and text.startswith("\n"):
            text = text[1:]
            self._return = False
        if not text:
            return
        self._return = text.endswith("\r")
        ends = text.count("\n") + text.count("\r") - text.count("\r\n")
        self.line += ends
        last = max(text.rfind("\n"), text.rfind("\r"))
        self.column = len(text) - last if ends else self.column + len(text)

    def __str__(self) -> str:
        return f"{self.line}:{self.column}"


class Decoder:
    """Turns the bytes of one file, in chunks of any size, into characters.

    Line ends and everything else that the file says are left as they are; only the byte order mark goes.
    """

    def __init__(self, name: str, encoding: str | None = None, errors: Errors = "strict") -> None:
        self._name, self._named, self._errors = name, None if encoding is None else _known(encoding, name), errors
        self._encoding = "utf-8"
        self._codec: codecs.IncrementalDecoder | None = None  # none until the head was looked at
        self._head = b""
        self._recent = b""  # the last bytes that were decoded
        self._unfit: _Unfit | None = None
        self._bytes = 0
        self._place = Place()
        self._blank = True
        self._replaced = 0
        self._mark: str | None = None
        codecs.register_error("longshort.replace", _replace)

    @property
    def encoding(self) -> str:
        """The name of the encoding, for people; known after `finish`."""
        return _spoken(self._encoding)

    @property
    def notes(self) -> tuple[str, ...]:
        """What was decided, a sentence each; complete after `finish`."""
        notes = []
        if self._named:
            notes.append(f"read as {self._named}, as asked for")
        elif self._mark == "utf-8":
            notes.append("dropped the byte order mark of UTF-8")
        elif self._mark:
            notes.append(f"read as {_spoken(self._mark)}, as its byte order mark says")
        if self._replaced:
            notes.append(f"replaced {self._replaced:,} places that are not {_spoken(self._encoding)} by U+FFFD")
        return tuple(notes)

    def feed(self, data: bytes) -> str:
        """The characters that these bytes complete.

        raises  DataRefused for other formats, NUL bytes, and bytes that do not fit the encoding
        """
        if self._codec is None:
            self._head += data
            return self._open() if len(self._head) >= _HEAD else ""
        return self._decode(data, final=False)

    def finish(self) -> str:
        """The characters that only the file's end completes.

        raises  DataRefused as `feed` does, and when the whole file held nothing but white space
        """
        text = self._open() if self._codec is None else ""
        text += self._decode(b"", final=True)
        if self._blank:
            raise DataRefused(
                f"{self._name}:1:1: the file is empty ({self._bytes} bytes, no text); expected content; export or download it again."
            )
        return text

    def _open(self) -> str:
        head = self._head[:_HEAD]
        refuse_other_kinds(head, self._name)
        if self._named:
            self._encoding = self._named
        elif wide := _wide_without_mark(head):
            raise DataRefused(
                f"{self._name}:1:1: this is probably {_spoken(wide)} without a byte order mark ({head.count(0):,} of the first "
                f"{len(head):,} bytes are NUL); expected UTF-8; save it as UTF-8, or say `--encoding {wide}`."
            )
        mark = next((mark for mark in _MARKS if head.startswith(mark) and self._named in (None, _MARKS[mark])), b"")
        if mark:
            self._encoding = self._mark = _MARKS[mark]
        self._bytes = len(mark)
        mode = "longshort.replace" if self._errors == "replace" else "strict"
        self._codec = codecs.getincrementaldecoder(self._encoding)(mode)
        return self._decode(self._head[len(mark) :], final=False)

    def _decode(self, data: bytes, final: bool) -> str:
        assert self._codec is not None
        if self._unfit is not None:
            self._unfit.evidence += data
            if final or len(self._unfit.evidence) >= _BEFORE + _BEHIND:
                raise self._unfit.refusal()
            return ""
        pending = self._codec.getstate()[0]
        offset = self._bytes - len(pending)
        data_here = pending + data
        try:
            text = self._codec.decode(data, final)
        except UnicodeDecodeError as error:
            text = data_here[: error.start].decode(self._encoding, "replace")
            self._refuse_nul(text, data_here, offset)
            self._place.advance(text)
            before = (self._recent[: len(self._recent) - len(pending)] + data_here[: error.start])[-_BEFORE:]
            where = f"{self._name}:{self._place}"
            self._unfit = _Unfit(where, data_here[error.start], offset + error.start, self._encoding, before, data_here[error.start :])
            return self._decode(b"", final)
        self._refuse_nul(text, data_here, offset)
        self._place.advance(text)
        self._bytes += len(data)
        self._recent = (self._recent + data)[-_BEFORE:] if len(data) < _BEFORE else data[-_BEFORE:]
        self._blank = self._blank and not text.strip()
        if self._errors == "replace" and _REPLACED in text:
            self._replaced += text.count(_REPLACED)
            text = text.replace(_REPLACED, _LOST)
        return text

    def _refuse_nul(self, text: str, data: bytes, offset: int) -> None:
        if "\0" not in text:
            return
        before = text[: text.index("\0")]
        self._place.advance(before)
        zero = len(before.encode(self._encoding)) if self._encoding.startswith(_WIDE) else data.index(0)
        raise DataRefused(
            f"{self._name}:{self._place}: NUL byte at offset {offset + zero:,}, was the file damaged by a crash?; "
            "expected text; export or download it again."
        )


class _Unfit:
    """A byte that does not fit the encoding, and the bytes around it, which are gathered before it is refused."""

    def __init__(self, where: str, byte: int, offset: int, encoding: str, before: bytes, behind: bytes) -> None:
        self._where, self._byte, self._offset, self._encoding = where, byte, offset, encoding
        # a double-byte encoding is read from the start of a word: in its midst, every character would be shifted
        start = max(before.rfind(b"\n"), before.rfind(b" ")) + 1
        self._before = before[start:]
        self.evidence = behind

    def refusal(self) -> DataRefused:
        expected = _spoken(self._encoding)
        what = f"{self._where}: byte 0x{self._byte:02X} at offset {self._offset:,} is not {expected}; expected {expected}; "
        if self._encoding == "utf-8" and self._byte == 0xED and self.evidence[1:2] >= b"\xa0":
            return DataRefused(
                f"{what}it is half of a surrogate pair, no character by itself: write the text again, or say `--errors replace`."
            )
        likely = [guess for guess in guesses(self._before + self.evidence[:_BEHIND]) if guess != self._encoding]
        guess = likely[0] if likely else "cp1252"
        evidence = f"its bytes speak for {guess}" if likely else f"its bytes speak for no other; from Windows it is often {guess}"
        return DataRefused(f"{what}{evidence}: save the file as UTF-8, or say `--encoding {guess}`.")


def guesses(data: bytes) -> list[str]:
    """The encodings in which these bytes would be likely text, best first.

    >>> guesses("Привет, мир!".encode("cp1251"))[0]
    'cp1251'
    """
    scores = {}
    for encoding, likely in _EVIDENCE.items():
        try:
            # the end may have been cut within a character
            text = codecs.getincrementaldecoder(encoding)("strict").decode(data)
        except UnicodeDecodeError:
            continue
        letters = re.sub(_MARKS_OF_ALL, " ", text)
        beyond = len(re.findall("[^\x00-\x7f]", letters))
        share = len(re.findall(likely, letters)) / beyond if beyond else float(letters != text)
        # of an alphabet nearly all letters are likely ones, of thousands of characters the frequent ones are
        scores[encoding] = min(share * _FREQUENT[encoding], 1.0) if encoding in _FREQUENT else share**4
    return sorted((encoding for encoding, score in scores.items() if score > 1 / 6), key=lambda encoding: -scores[encoding])


def _wide_without_mark(head: bytes) -> str | None:
    """UTF-16 or UTF-32 by where the NUL bytes of its plain letters stand."""
    if len(head) < 4:
        return None
    share = [head[place::4].count(0) / len(head[place::4]) for place in range(4)]
    if min(share[1:]) > 0.9 > share[0] or head.startswith(codecs.BOM_UTF32_LE):
        return "utf-32-le"
    if min(share[:3]) > 0.9 > share[3] or head.startswith(codecs.BOM_UTF32_BE):
        return "utf-32-be"
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return None
    even, odd = share[0] + share[2], share[1] + share[3]
    if odd > 0.8 and even < 0.1:
        return "utf-16-le"
    return "utf-16-be" if even > 0.8 and odd < 0.1 else None


def _known(encoding: str, name: str) -> str:
    """The encoding's name as Python writes it. A bare utf-16 is little-endian, on every machine."""
    try:
        b"a".decode(encoding)  # also says whether it is one of text: zlib and base64 are not
    except (LookupError, UnicodeError):
        if encoding.lower().replace("_", "-").startswith(_WIDE):
            pass
        else:
            raise UsageError(
                f"{name}: there is no text encoding called '{encoding}'; expected one such as utf-8, cp1252, cp1251, gb18030 or shift_jis."
            ) from None
    found = codecs.lookup(encoding).name
    return f"{found}-le" if found in _WIDE else "utf-8" if found == "utf-8-sig" else found


def _spoken(encoding: str) -> str:
    wide = encoding.upper().replace("-LE", ", little-endian").replace("-BE", ", big-endian")
    return wide if encoding.startswith("utf-") else encoding


def _replace(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return _REPLACED, error.end
