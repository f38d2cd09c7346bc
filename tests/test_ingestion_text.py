"""Ingestion of text: what becomes of bytes that are meant to be a text, row by row of the catalogue of bad inputs."""

from __future__ import annotations

import gzip
import json
import math
import re
import subprocess
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest

from longshort import storage
from longshort.errors import DataRefused, UsageError
from longshort.ingestion import encoding, labelled, source, stage, suspicion, text, vocabulary
from longshort.ingestion.dataset import Terms, assemble
from longshort.ingestion.reading import Counts

SHARED = Path(__file__).parents[2] / "shared/data"
TALE = "Long ago, the mice had a general council to consider what measures they could take.\n"
NFD = unicodedata.normalize("NFD", "café Köln")
MINIFIED = "var a=function(b,c){return{d:b+c,e:'f'}};" * 9
MANY = "".join(f"{n} {TALE}" for n in range(99))
FOOTED = "".join(f"{n} {TALE}- 7 -\n" for n in range(10))
HAN = "学而时习之不亦说乎有朋自远方来" * 20
FAMILIES = "👩‍👩‍👧 🏴‍☠️ 🏴󠁧󠁢󠁥󠁮󠁧󠁿 👍🏽 ❤️"
SCRIPTS = unicodedata.normalize("NFC", "שָׁלוֹם עולם\u200f مرحبا می‌خواهم क्‍ष")
MARKS = unicodedata.normalize("NFC", "x\u0302\u0323 한국어 Việt")
HASHES = " ".join(f"{n * 2654435761 % 2**32:08x}" for n in range(20_000))


def needed(count: int, tokens: vocabulary.Tokens = "words"):  # type: ignore[no-untyped-def]
    """Read a file, then ask whether a data set of it alone would do for windows of that many tokens."""

    def read(data: bytes) -> tuple[str, tuple[str, ...]]:
        kept, notes = plainly(data)
        return kept, (*notes, *vocabulary.judge(vocabulary.census([kept]), "story.txt", count, tokens))

    return read


def reading(**options):  # type: ignore[no-untyped-def]
    def read(data: bytes, name: str = "story.txt") -> tuple[str, tuple[str, ...]]:
        found = text.parse(data, name, **options)
        return found.table["text"].to_pylist()[0], found.notes

    return read


plainly = reading()

REFUSED, KEPT = "refused", "kept"
CATALOGUE = [  # (row, bytes, how they are read, outcome, and what is kept or how the refusal reads, what the notes say)
    ("T01", b"", plainly, REFUSED, r"story.txt:1:1: the file is empty \(0 bytes", ""),
    ("T01", b" \n\t\r\n", plainly, REFUSED, r"story.txt:1:1: the file is empty", ""),
    ("T01", b"\xef\xbb\xbf", plainly, REFUSED, r"story.txt:1:1: the file is empty", ""),
    ("T01", b"\x07\n", plainly, REFUSED, r"story.txt:1:1: the file holds only control characters", ""),
    ("T02", b"word", needed(61), REFUSED, r"story.txt: 1 words; expected 61 or more", ""),
    ("T02", TALE.encode(), needed(61), REFUSED, r"story.txt: 17 words; expected 61 or more.* lower `windows", ""),
    ("T02", TALE.encode(), needed(17), KEPT, TALE, ""),
    ("T03", b"one\ntw\xe9\n", plainly, REFUSED, r"story.txt:2:3: byte 0xE9 at offset 6 is not UTF-8.*for cp1252.*--encoding cp1252", ""),
    ("T03", "Все счастливы\n".encode("cp1251"), plainly, REFUSED, r"story.txt:1:1: byte 0xC2 at offset 0 .*`--encoding cp1251`", ""),
    ("T03", "吾輩は猫である。\n".encode("shift_jis"), plainly, REFUSED, r"story.txt:1:1: .*`--encoding shift_jis`", ""),
    ("T03", b"caf\xc3", plainly, REFUSED, r"story.txt:1:4: byte 0xC3 at offset 3 is not UTF-8", ""),
    ("T03", b"a\xed\xa0\x80b", plainly, REFUSED, r"story.txt:1:2: byte 0xED at offset 1 .*half of a surrogate pair", ""),
    ("T03", b"one\ntw\xe9\nth\xff\xff", reading(errors="replace"), KEPT, "one\ntw\ufffd\nth\ufffd\ufffd", "replaced 3 places that"),
    ("T03", b"tw\xe9", reading(encoding="cp1252"), KEPT, "twé", "read as cp1252, as asked for"),
    ("T03", b"one\xfftwo\n", reading(encoding="ascii"), REFUSED, r"story.txt:1:4: byte 0xFF at offset 3 is not ascii", ""),
    ("T03", "BOM né".encode("utf-16"), plainly, KEPT, "BOM né", "read as UTF-16, little-endian"),
    ("T03", "\ufeffBOM né".encode("utf-16-be"), plainly, KEPT, "BOM né", "read as UTF-16, big-endian"),
    ("T03", "\ufeffBOM né".encode(), plainly, KEPT, "BOM né", "dropped the byte order mark of UTF-8"),
    ("T03", "no mark".encode("utf-16-le"), plainly, REFUSED, r"story.txt:1:1: this is probably UTF-16, little.*--encoding utf-16-le", ""),
    ("T03", "no mark".encode("utf-16-be"), plainly, REFUSED, r"story.txt:1:1: this is probably UTF-16, big.*--encoding utf-16-be", ""),
    ("T03", "no mark".encode("utf-32-le"), plainly, REFUSED, r"story.txt:1:1: this is probably UTF-32, little-endian", ""),
    ("T03", "no mark".encode("utf-16-le"), reading(encoding="utf-16"), KEPT, "no mark", "read as utf-16-le"),
    ("T04", "one\nun cafÃ© crÃ¨me".encode(), plainly, KEPT, "one\nun cafÃ© crÃ¨me", r"warning: story.txt:2:7: 2 characters such as Ã©"),
    ("T04", "It was Aliceâ€™s cat".encode(), reading(strict=True), REFUSED, r"story.txt:1:13: 1 characters such as Ã©.*--strict", ""),
    ("T04", ("a" * 1000 + "Ã©").encode(), plainly, KEPT, "a" * 1000 + "Ã©", ""),  # one in a thousand is no rate
    ("T04", "«\u00a0été\u00a0» à Noël".encode(), plainly, KEPT, "«\u00a0été\u00a0» à Noël", ""),
    ("T05", b"one\ntw\x00o", plainly, REFUSED, r"story.txt:2:3: NUL byte at offset 6", ""),
    ("T05", b"one\ntw\x00o \xe9 x", plainly, REFUSED, r"story.txt:2:3: NUL byte at offset 6", ""),
    ("T05", b"a\x07\tb\x1b[0m\x0c\x7f", plainly, KEPT, "a\tb[0m", "stripped 4 control characters"),
    ("T07", HAN.encode(), needed(1), REFUSED, r"300 of 300 letters.*1 token a clause.*put white space between", ""),
    ("T07", HAN.encode(), needed(61, "characters"), KEPT, HAN, ""),
    ("T07", MINIFIED.encode(), needed(1), REFUSED, r"9 of 369 characters are white space.*1 token a line.*put white space between", ""),
    ("T08", b"!?! ... ;;; -- ?? ,,, ::" * 9, needed(1), KEPT, "!?! ... ;;; -- ?? ,,, ::" * 9, r"no letter among 216 characters"),
    ("T08", b"1 22 333 4,444 5.5 66 77 88", needed(1), REFUSED, r"the vocabulary would be 1 token \(8 words, a number is one\)", ""),
    ("T08", b"0101 0110", needed(1, "characters"), REFUSED, r"3 different characters; expected 5 or more", ""),
    ("T09", FAMILIES.encode(), plainly, KEPT, FAMILIES, ""),
    ("T09", SCRIPTS.encode(), plainly, KEPT, SCRIPTS, ""),
    ("T09", MARKS.encode(), plainly, KEPT, MARKS, ""),
    ("T10", NFD.encode(), plainly, KEPT, "café Köln", r"composed 2 characters .*; sha256 of the text \w{64} before, \w{64} after"),
    ("T10", ("a" + "\u0301\u0316" * 999).encode(), plainly, REFUSED, r"story.txt:1:2: more than 1,000 combining marks", ""),
    ("T11", b"aaaaaaaaaa", needed(1), REFUSED, r"all 10 characters are the same one", ""),
    ("T11", b"a a a a a\n" * 9, needed(1, "characters"), REFUSED, r"all \d+ characters are the same one", ""),
    ("T11", b"aaa aaa aab", needed(1), REFUSED, r"the vocabulary would be 2 tokens \(3 words", ""),
    ("T12", HASHES.encode(), needed(61), KEPT, HASHES, r"\d+,\d+ of \d+,\d+ words \(\d+%\) occur once; expected 30% at most"),
    ("T15", "a\r\nb\rc\u0085d\u2028e\u2029f\r".encode(), plainly, KEPT, "a\nb\nc\nd\ne\nf\n", "rewrote 6 line ends as line feeds"),
    ("T17", FOOTED.encode(), plainly, KEPT, FOOTED, r"warning: story.txt:2:1: this line of 5 .*10 times, 50.0%"),
    ("T17", MANY.encode(), plainly, KEPT, MANY, ""),
    ("T18", "a\ufeffb\u200bc\u2060d".encode(), plainly, KEPT, "abcd", r"stripped 3 invisible characters"),
    ("T18", "a\u200db\u200c \u200d".encode(), plainly, KEPT, "ab ", "stripped 3 joiners that join nothing"),
    ("T18", "a\u202eb\u202cc\u2066d".encode(), plainly, KEPT, "abcd", "stripped 3 characters that turn the direction"),
    ("T18", b"abc", lambda data: plainly(data, "a\u202etxt.exe"), REFUSED, r"'a\\u202etxt.exe': the name holds U\+202E", ""),
    ("T19", b"<!-- x --> <!DOCTYPE html><p>", plainly, REFUSED, r"this is an HTML page.*save the file itself", ""),
    ("T19", b'{"text": "Long ago"}', plainly, REFUSED, r"this is JSON; .*labelled", ""),
    ("T19", b'[{"text": "Long ago"}]', plainly, REFUSED, r"this is JSON", ""),
    ("T19", b"[1] See there. {sic}", plainly, KEPT, "[1] See there. {sic}", ""),
    ("T19", b"%PDF-1.4", plainly, REFUSED, r"this is a PDF document; .*save its text as UTF-8", ""),
    ("T19", b"PK\x03\x04", plainly, REFUSED, r"this is a zip archive or an Excel workbook; .*unpack it", ""),
    ("T19", gzip.compress(TALE.encode()), plainly, REFUSED, r"this is a gzip archive; .*end in .gz", ""),
    ("T19", gzip.compress(TALE.encode()), lambda data: plainly(data, "story.txt.gz"), KEPT, TALE, ""),
    ("T21", b"write to eve@example.org", plainly, KEPT, "write to eve@example.org", r"e-mail addresses: 1; values are not shown"),
]  # fmt: skip


@pytest.mark.parametrize("data, read, outcome, expected, said", [row[1:] for row in CATALOGUE], ids=[row[0] for row in CATALOGUE])
def test_the_catalogue_of_bad_texts(data, read, outcome, expected, said):
    if outcome == REFUSED:
        with pytest.raises(DataRefused, match=f"(?s){expected}") as caught:
            read(data)
        assert str(caught.value).count("; ") >= 2, "what was found; what was expected; what to do"
    else:
        kept, notes = read(data)
        assert kept == expected
        assert len(notes) == bool(said), notes
        if said:
            assert re.search(said, notes[0])


# --- encodings --------------------------------------------------------------------------------


@pytest.mark.parametrize("name, written", [
    ("cp1252", "Voilà… l’été\n"), ("cp1252", "Die Straße führt über die Brücke.\n"), ("cp1252", "£5 only\n"),
    ("cp1250", "Zażółć gęślą jaźń.\n"), ("cp1251", "Привет, мир!\n"), ("koi8-r", "Широкая электрификация южных губерний\n"),
    ("gb18030", "今天天气很好，我想去公园散步。\n"), ("big5", "今天天氣很好，我想去公園散步。\n"),
    ("shift_jis", "東京は日本の首都です。\n"),
    ("euc-jp", "カタカナのテスト\n"), ("euc-kr", "서울은 대한민국의 수도이다.\n"), ("cp1253", "Καλημέρα κόσμε\n"),
    ("cp1256", "مرحبا بالعالم\n"),
])  # fmt: skip
def test_the_encoding_that_the_bytes_speak_for_is_named(name, written):
    data = (TALE + written).encode(name)
    assert encoding.guesses(data)[0] == name
    with pytest.raises(DataRefused, match=f"story.txt:2:.*--encoding {name}`"):
        encoding.decode(data, "story.txt")
    assert encoding.decode(data, "story.txt", name)[0] == TALE + written


@pytest.mark.parametrize("name", ["utf-9", "zlib", "base64", "rot13", ""])
def test_an_encoding_that_is_none_is_refused(name):
    with pytest.raises(UsageError, match=f"no text encoding called '{name}'"):
        encoding.decode(b"abc", "story.txt", name or "")


@pytest.mark.parametrize("name", ["utf-8", "utf-16", "utf-16-be", "utf-32", "cp1252", "gb18030", "shift_jis"])
def test_a_place_is_counted_in_characters_and_an_offset_in_bytes_of_any_encoding(name):
    before = "a°b\r\nf° x"
    with pytest.raises(DataRefused, match=f"story.txt:2:5: NUL byte at offset {len(before.encode(name))},"):
        encoding.decode(f"{before}\0".encode(name), "story.txt", name)


# --- in chunks --------------------------------------------------------------------------------

ODD = (
    "a\r\n\r\rb\u0085\u2028 cafe\u0301\u0323 \u1100\u1161\u11a8 \ufeffx\u200b\u200d\u200c\u200dy 👩\u200d👩\u200d👧 "
    "می\u200cخواهم q\u202e\u0307\u0323 Ã© eve@example.org \u212b \u0958 a\u200dक \u200d"
)


def scanned(chunks: list[bytes], **options) -> tuple[object, ...]:  # type: ignore[no-untyped-def]
    scan = text.Scan("story.txt", **options)
    try:
        return "".join(text.pieces(chunks, scan)), scan.notes, scan.counts
    except DataRefused as refusal:
        return (str(refusal),)


def cuttings(data: bytes, times: int) -> list[list[bytes]]:
    rng = np.random.Generator(np.random.Philox(7))
    single = [data[place : place + 1] for place in range(len(data))]
    cuts = [sorted(rng.integers(0, len(data) + 1, rng.integers(1, 9))) for _ in range(times)]
    return [single, *([data[start:stop] for start, stop in zip([0, *cut], [*cut, len(data)], strict=True)] for cut in cuts)]


@pytest.mark.parametrize("data, options", [
    (ODD.encode(), {}),
    ((ODD * 60).encode(), {}),
    (ODD.encode("utf-16"), {}),
    (ODD.encode("gb18030"), {"encoding": "gb18030"}),
    (b"tw\xe9 \xe2\x82" + ODD.encode() + b"\xff\xc3", {"errors": "replace"}),
    ((TALE * 60).encode() + b"\xe9 caf\xe9\n" + TALE.encode(), {}),
    ((TALE * 60).encode() + "\r\n学而时习之\r\n".encode("gb18030"), {}),
    ((TALE * 60).encode() + b"one\r\ntw\0o \xe9 x", {}),
    ((TALE * 60).encode() + b"a" + "\u0301".encode() * 1001, {}),
    (b'{"text":   "Long ago"}' + b" " * 2000, {}),
], ids=["short", "long", "utf-16", "gb18030", "replaced", "cp1252", "gbk refused", "nul", "marks", "json"])  # fmt: skip
def test_however_a_file_is_cut_it_becomes_the_same(data, options):
    whole = scanned([data], **options)
    for chunks in cuttings(data, 60):
        assert scanned(chunks, **options) == whole


def test_a_cut_within_a_character_of_several_changes_nothing_the_whole_says():
    """The oracle that knows no chunks."""
    normaliser = text.Normaliser("story.txt")
    kept = "".join(normaliser.feed(character) for character in ODD) + normaliser.finish()
    plain = ODD.replace("\r\n", "\n").replace("\r", "\n").replace("\u0085", "\n").replace("\u2028", "\n")
    plain = (
        plain.replace("\ufeff", "").replace("\u200b", "").replace("\u202e", "").replace("x\u200d\u200c\u200dy", "xy").removesuffix("\u200d")
    )
    assert kept == unicodedata.normalize("NFC", plain)


def test_no_character_of_unicode_can_change_what_stands_before_one_that_starts_afresh():
    for code in range(sys.maxunicode + 1):
        character = chr(code)
        pair = unicodedata.decomposition(character).split()
        if pair and not pair[0].startswith("<"):
            assert len(pair) < 2 or not text._starts(chr(int(pair[1], 16))) or unicodedata.normalize("NFC", character) != character, hex(
                code
            )
        if text._starts(character):
            assert not unicodedata.combining(unicodedata.normalize("NFD", character)[0]), hex(code)


MEMORY = """
import time
from longshort.ingestion import text
line = {line!r}.encode()
def peak():  # what getrusage says holds the parent's, too
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
def chunks(mib):
    block = (line * (1024 * 1024 // len(line) + 1))[: 1024 * 1024]
    for _ in range(mib): yield block
def read(mib):
    scan = text.Scan("big.txt", errors="replace")
    return sum(len(piece) for piece in text.pieces(chunks(mib), scan)), scan.counts.kept
read(8)
before = peak()
size, lines = read({mib})
print(size, lines, peak() - before)
"""


@pytest.mark.long
@pytest.mark.parametrize("line, mib", [("word after word ", 200), ("nospaceatall", 48), ("unterwegs über Köln ", 48)])
def test_a_single_line_of_any_length_passes_in_little_memory(line, mib):
    done = subprocess.run([sys.executable, "-c", MEMORY.format(line=line, mib=mib)], capture_output=True, text=True, check=True)
    size, lines, grown = map(int, done.stdout.split())
    assert lines == 1 and size > mib * 900_000
    assert grown < 60 * 1024, f"{grown / 1024:.0f} MB more for a file of {mib} MB than for one of 8"


@pytest.mark.parametrize("end, cut", [("\n\n", "paragraph"), ("\n", "line"), (" ", "word"), ("", "character")])
def test_a_long_document_is_several_rows_that_are_cut_where_something_ends(end, cut, monkeypatch):
    monkeypatch.setattr(text, "ROW", 64)
    data = "".join(f"{n:07d}{end}" for n in range(99)) + "x"
    for chunks in cuttings(data.encode(), 5):
        rows: list[str] = []
        account = text.pour(chunks, "story.txt", rows.append)
        assert "".join(rows) == data and account.read_as["characters"] == len(data) and account.table.num_rows == 0
        assert all(32 < len(row) <= 64 and row.endswith(end) for row in rows[:-1]) and len(rows) > 9
    assert text.parse(data[:64].encode(), "story.txt").table["text"].to_pylist() == [data[:64]]


def test_a_row_never_ends_between_a_letter_and_its_mark(monkeypatch):
    monkeypatch.setattr(text, "ROW", 64)
    rows: list[str] = []
    text.pour([("x" * 63 + "q\u0323" * 99).encode()], "story.txt", rows.append)
    assert len(rows) > 2 and not any(row.startswith("\u0323") for row in rows)


WRITING = """
import sys
from pathlib import Path
from longshort import storage
from longshort.ingestion import intake, stage
from longshort.ingestion.dataset import Terms
def peak():  # what getrusage says holds the parent's, too
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
small, large = map(Path, sys.argv[1:3])
stage.write({"small.txt": small}, "language-model", Terms(), small.with_suffix(".parquet"))
before = peak()
copy = intake.source.copy(large, large.with_name("copy.txt"))
made = stage.write({"large.txt": copy}, "language-model", Terms(), large.with_suffix(".parquet"))
print(peak() - before, peak(), made.account["kept"])
"""


@pytest.mark.long
@pytest.mark.parametrize("end", [b" ", b"\n"], ids=["one line", "lines"])
def test_a_large_text_goes_to_its_table_in_little_memory(tmp_path, end):
    words = b" ".join(b"%x" % (n * 2654435761 % 2**32) for n in range(120_000))
    block = end.join(words[start : start + 80].strip() for start in range(0, len(words), 80)) + end
    (tmp_path / "small.txt").write_bytes(block)
    (tmp_path / "large.txt").write_bytes(block * 56)
    done = subprocess.run(
        [sys.executable, "-c", WRITING, str(tmp_path / "small.txt"), str(tmp_path / "large.txt")],
        capture_output=True,
        text=True,
        check=True,
    )
    grown, peak, lines = map(int, done.stdout.split())
    assert lines == block.count(b"\n") * 56 or lines == 1
    assert grown < 240 * 1024 and peak < 500 * 1024, (
        f"{grown / 1024:.0f} MB more for {len(block) * 56 / 1e6:.0f} MB, {peak / 1024:.0f} in all"
    )
    table = storage.read_table(tmp_path / "large.parquet")
    assert set(table["document"].to_pylist()) == {"large.txt"} and table.num_rows > 5
    assert "".join(table["text"].to_pylist()).encode() == block * 56


def test_small_documents_have_a_row_each_and_the_bytes_of_the_whole_table(tmp_path):
    files = {f"{n}.txt": f"{n} {TALE}".encode() * 20 for n in range(30)}
    made = stage.write(files, "language-model", Terms(), tmp_path / "poured.parquet")
    whole = assemble(files, "language-model")
    storage.write_table(tmp_path / "whole.parquet", whole.table)
    assert (tmp_path / "poured.parquet").read_bytes() == (tmp_path / "whole.parquet").read_bytes()
    assert made.account == whole.account and whole.table["document"].to_pylist() == sorted(files)


def test_the_chunks_of_a_file_are_its_bytes_and_those_of_a_packed_one_are_unpacked(tmp_path):
    data = np.random.Generator(np.random.Philox(1)).integers(97, 123, 3_000_000, dtype=np.uint8).tobytes()
    (tmp_path / "story.txt").write_bytes(data)
    (tmp_path / "story.txt.gz").write_bytes(gzip.compress(data))
    for name in ("story.txt", "story.txt.gz"):
        chunks = list(source.chunks(tmp_path / name))
        assert b"".join(chunks) == data and max(map(len, chunks)) == source.CHUNK


# --- packed files -----------------------------------------------------------------------------

PACKED = gzip.compress(TALE.encode() * 99)


@pytest.mark.parametrize("data, options, said", [
    (PACKED[:-9], {}, "the archive is cut short"),
    (PACKED[:12] + b"\xff\xff" + PACKED[14:], {}, "the archive is damaged"),
    (PACKED[:-8] + b"\0\0\0\0" + PACKED[-4:], {}, "the archive is damaged"),
    (PACKED + b"more", {}, "bytes that belong to no archive after 8,316 unpacked bytes"),
    (PACKED + PACKED, {}, "a second archive after 8,316 unpacked bytes"),
    (b"Long ago", {}, "the archive is damaged"),
    (b"", {}, "the archive is cut short"),
    (PACKED, {"most": 8_315}, "unpack to more than 8,315"),
    (gzip.compress(bytes(10**7)), {}, "unpack to more than 1,9"),
], ids=["cut", "damaged", "check sum", "garbage", "second", "no archive", "empty", "size", "ratio"])  # fmt: skip
def test_an_archive_that_is_not_one_sound_file_is_refused(data, options, said):
    with pytest.raises(DataRefused, match=f"story.txt.gz: .*{said}"):
        source.unpack(data, "story.txt.gz", **options)


def test_what_follows_an_archive_is_refused_also_where_a_chunk_ends_with_it(tmp_path, monkeypatch):
    monkeypatch.setattr(source, "CHUNK", len(PACKED))
    (tmp_path / "story.txt.gz").write_bytes(PACKED + b"more")
    with pytest.raises(DataRefused, match="bytes that belong to no archive"):
        list(source.chunks(tmp_path / "story.txt.gz"))


def test_a_bomb_is_refused_before_it_is_unpacked():
    bomb = gzip.compress(bytes(300 * 1024 * 1024), 1)
    script = "import resource, sys; from longshort.ingestion import source; data = sys.stdin.buffer.read()\n"
    script += "resource.setrlimit(resource.RLIMIT_AS, (160 * 2**20,) * 2)\n"
    script += "try: source.unpack(data, 'bomb.gz', most=64 * 2**20)\nexcept source.DataRefused as refusal: print(refusal)"
    done = subprocess.run([sys.executable, "-c", script], input=bomb, capture_output=True)
    assert b"unpack to more than" in done.stdout, done.stderr.decode()[-500:]


@pytest.mark.parametrize("size", [0, 1, source.CHUNK - 1, source.CHUNK, source.CHUNK + 1, 2 * source.CHUNK])
def test_an_archive_of_any_size_comes_out_whole(size):
    data = (TALE.encode() * (size // len(TALE) + 1))[:size]
    assert source.unpack(gzip.compress(data), "story.txt.gz", ratio=2000) == data
    assert source.unpack(data, "story.txt") == data


# --- what a person should look at -------------------------------------------------------------

SECRETS = {  # made here, so that no scanner takes them for real ones
    "private keys": "-----BEGIN RSA " + "PRIVATE KEY-----",
    "access keys of Amazon": "AK" + "IA" + "ABCDEFGH12345678",
    "access keys of GitHub": "gh" + "p_" + "a1" * 18,
    "access keys of Slack": "xo" + "xb-" + "123456789012",
    "access keys that begin with sk-": "s" + "k-" + "abc123" * 5,
    "web tokens (JWT)": "ey" + "JhbGciOiJI.ey" + "JzdWIiOiIx.abc-123",
    "addresses with a password": "https://eve:hunter2" + "@example.org/",
    "e-mail addresses": "eve.adams+ever@post.example.org",
    "numbers of payment cards": "4111 1111 1111 1111",
}


@pytest.mark.parametrize("kind", SECRETS)
def test_a_secret_is_counted_and_never_shown(kind):
    notes = plainly(f"{TALE} {SECRETS[kind]} and ({SECRETS[kind]})\n".encode())[1]
    assert len(notes) == 1 and f"{kind}: 2" in notes[0]
    assert not any(
        part in notes[0] for part in re.split(r"\W+", SECRETS[kind]) if len(part) > 3 and part not in ("BEGIN", "PRIVATE", "https")
    )


@pytest.mark.parametrize("innocent", [
    "task-force-members-of-the-united-nations", "4111 1111 1111 1112", "0000 0000 0000 0000", "3.141592653589793238", "a @ b",
    "@handle", "AKIA",
    "at 12:30 https://example.org/a:b", "2024-01-31 2024-02-29",
])  # fmt: skip
def test_what_only_looks_like_a_secret_is_not_counted(innocent):
    assert plainly(f"{TALE}{innocent}\n".encode())[1] == ()


def test_a_repeated_line_is_found_among_more_lines_than_are_counted_at_once():
    look = suspicion.Suspicions("story.txt")
    for start in range(0, 300_000, 1000):
        look.feed("".join(f"line {n}\n" for n in range(start, start + 980)) + "- footer -\n" * 20)
    look.finish()
    assert len(look.warnings) == 1 and re.match(r"story.txt:\d+:1: this line of 10 characters stands 5,9\d\d times, 2.0%", look.warnings[0])


# --- vocabulary -------------------------------------------------------------------------------


def test_the_order_of_files_is_no_part_of_a_data_set_but_the_order_of_lines_is():
    one = {"a.txt": b"one two\nthree four\n", "b.txt": b"five six\n"}
    two = dict(reversed(one.items()))
    turned = {**one, "a.txt": b"three four\none two\n"}
    first, second, third = (assemble(contents, "language-model") for contents in (one, two, turned))
    assert first.account == second.account and first.table == second.table
    assert third.account["files"][0]["sha256"] != first.account["files"][0]["sha256"]


# --- labelled text ----------------------------------------------------------------------------


def rows(reading) -> list[tuple[str, ...]]:  # type: ignore[no-untyped-def]
    return [tuple(row.values()) for row in reading.table.to_pylist()]


ROWS = [("to be, or\nnot", "verse"), ('say "yes"', "prose")]
FORMS = {
    "a.csv": b'Text,Label\r\n"to be, or\r\nnot",verse\r\n"say ""yes""",prose\r\n',
    "b.csv": b'id,Intent,my text?,Message\n1,verse,,"to be, or\nnot"\n\n2,prose,,"say ""yes"""',
    "c.tsv": b'category\treview\nverse\t"to be, or\nnot"\n'.replace(b'\nnot"', b' not"') + b'prose\tsay "yes"\n',
    "d.jsonl": b'{"sentence": "to be, or\\nnot", "class": "verse", "id": 1}\n\n{"class": "prose", "sentence": "say \\"yes\\""}\n',
    "e.json": b' [{"label": "verse", "text": "to be, or\\nnot"},\n {"label": "prose", "text": "say \\"yes\\""}] ',
    "g.csv": b'text;label\n"to be, or\nnot";verse\n"say ""yes""";prose\n',
    "f.csv.gz": gzip.compress(b'text,label\n"to be, or\nnot",verse\n"say ""yes""",prose\n'),
}


@pytest.mark.parametrize("name", FORMS)
def test_text_and_label_are_read_from_many_forms(name):
    found = labelled.read_table(FORMS[name], name)
    assert [(said.replace("\n", " "), label) for said, label in rows(found)] == [(said.replace("\n", " "), label) for said, label in ROWS]
    assert name == "c.tsv" or rows(found) == ROWS
    assert [str(kind) for kind in found.table.schema.types] == ["string", "string"]
    assert found.counts == Counts(2, 2, 0, 0)


def test_columns_that_are_neither_text_nor_label_are_noted():
    assert labelled.read_table(FORMS["b.csv"], "b.csv").notes == ("ignored columns: 'id', 'my text?'",)
    assert labelled.read_table(FORMS["d.jsonl"], "d.jsonl").notes == ("ignored columns: 'id'",)


def test_a_row_without_text_or_label_is_quarantined_with_its_place_and_all_rows_are_accounted_for():
    data = b'text,label\none,a\n"two\nlines", \n,b\nthree\nfour,d,e\none,a\none,c\n'
    found = labelled.read_table(data, "x.csv")
    assert rows(found) == [("one", "a"), ("one", "a"), ("one", "c")]
    assert [(q.line, q.column, q.rule, q.what) for q in found.quarantined] == [
        (4, 8, "empty", "no label"),
        (5, 1, "empty", "no text"),
        (6, 1, "cells", "1 cells where the header has 2"),
        (7, 1, "cells", "3 cells where the header has 2"),
    ]
    assert found.quarantined[0].raw == '"two\nlines", '
    assert found.counts == Counts(rows_in=7, kept=3, quarantined=4, merged=0)
    assert found.notes == (
        "kept 1 rows that repeat an earlier one exactly",
        "warning: x.csv: 1 texts come with more than one label; is one a mistake?",
    )


def test_json_values_become_text_and_those_that_cannot_are_quarantined():
    lines = [
        {"text": "one", "label": 1},
        {"text": "two", "label": True},
        {"text": None, "label": "x"},
        {"text": ["a"], "label": "x"},
        {"text": "t"},
        {"text": "u", "label": math.nan},
    ]
    found = labelled.read_table("\n".join(map(json.dumps, lines)).encode(), "x.jsonl")
    assert rows(found) == [("one", "1"), ("two", "true")]
    assert [(q.line, q.rule, q.what) for q in found.quarantined] == [
        (3, "empty", "no text"),
        (4, "kind", "text is a list, no text"),
        (5, "empty", "no label"),
        (6, "empty", "no label"),
    ]


@pytest.mark.parametrize("name, data, said", [
    ("x.csv", b"a,b\n1,2\n", "x.csv:1:1: no column for the text among 'a', 'b'"),
    ("x.csv", b"text,b\n1,2\n", "x.csv:1:1: no column for the label among"),
    ("x.csv", b"text,text,label\n1,2,3\n", "x.csv:1:1: two columns are called 'text'"),
    ("x.csv", b'text,label\n"one,a\ntwo,b\n', "x.csv:2:1: a quote opens here"),
    ("x.csv", b'text,label\na,"b" c\n', "x.csv:2:3: a quote opens here"),
    ("x.csv", b"text,label\n", "x.csv:1:1: none of 0 rows"),
    ("x.csv", b"text,label\n,\n", "x.csv:2:1: none of 1 rows can be used: no text"),
    ("x.csv", b'""\n', "x.csv:1:1: no column for the text"),
    ("x.csv", b"text,label\na\xe9,b\n", "x.csv:2:2: byte 0xE9"),
    ("x.jsonl", b'{"text": "a", "label": "b"}\n{"text": ', "x.jsonl:2:10: this is no JSON"),
    ("x.json", b'[{"text": "a", "label": "b"}\n {"text"', "x.json:2:2: the array does not go on here"),
    ("x.json", b'["a"]', "x.json:1:2: a text where an object is expected"),
    ("x.json", b'[{"text": "a", "label": "b"}, ', "x.json:1:31: the array does not go on here"),
    ("x.json", b'[{"text": "a", "label": "b"}]\n [{}]', "x.json:2:2: something stands behind the array"),
    ("x.jsonl", b'{"text": "a", "text": "b", "label": "c"}', "x.jsonl:1:1: this JSON cannot be read .the key 'text' stands twice"),
    ("x.json", b"[" * 99_999, "x.json:1:2: this JSON cannot be read"),
    ("x.jsonl", b'{"text": "a\\ud800", "label": "b"}', r"x.jsonl:1:1: a text holds half of a surrogate pair \(U\+D800\)"),
    ("x.jsonl", b'{"text": "a\\u0000", "label": "b"}', "x.jsonl:1:1: a text holds NUL"),
    ("x.jsonl", b'{"text": "a", "label\\ud800": "b"}', r"x.jsonl:1:1: a text holds half of a surrogate pair \(U\+D800\)"),
    ("x.csv", b"<html><p>", "x.csv:1:1: this is an HTML page"),
])  # fmt: skip
def test_labelled_text_that_cannot_be_read_is_refused_with_its_place(name, data, said):
    with pytest.raises(DataRefused, match=said) as caught:
        labelled.read_table(data, name)
    assert str(caught.value).count("; ") >= 2


def test_a_pair_of_emoji_escapes_in_json_is_one_character():
    assert rows(labelled.read_table(rb'{"text": "\ud83d\ude00", "label": "x"}', "x.jsonl")) == [("😀", "x")]


@pytest.mark.parametrize("paths", [("rt.pos", "rt.neg"), ("pos.txt", "neg.txt")])
def test_the_file_is_the_label_of_its_lines(paths):
    found = labelled.read_files({paths[0]: b"good .\n\nfine .\n", paths[1]: "pass\u00e9 .\n".encode("utf-8")})
    assert rows(found[paths[0]]) == [("good .", "pos"), ("fine .", "pos")] and rows(found[paths[1]]) == [("passé .", "neg")]
    assert found[paths[0]].counts == Counts(2, 2, 0, 0) and found[paths[1]].counts == Counts(1, 1, 0, 0)


def test_the_folder_is_the_label_of_its_files():
    found = labelled.read_files({"pos/1.txt": b"good.\nvery.\n", "neg/1.txt": b"bad."})
    assert [rows(each) for each in found.values()] == [[("bad.", "neg")], [("good.\nvery.", "pos")]]


@pytest.mark.parametrize("paths", [
    ("train/pos/1.txt", "test/neg/1.txt"), ("train/rt.pos", "test/rt.neg"), ("train/pos.txt", "test/neg.txt"),
    ("pos_train.txt", "neg-test.txt"), ("pos/train/1.txt", "neg/test/1.txt"),
])  # fmt: skip
def test_a_name_that_says_the_part_is_no_label(paths):
    found = labelled.read_files({paths[0]: b"good.", paths[1]: b"bad."})
    assert [rows(found[path]) for path in paths] == [[("good.", "pos")], [("bad.", "neg")]]


def test_files_of_one_label_are_refused():
    with pytest.raises(DataRefused, match=r"a\.txt: one label for all of 1 files"):
        labelled.read_files({"a.txt": b"x"})


NAMES = ("train/seq.in", "train/seq.out", "train/label")


def test_words_tags_and_label_belong_together_line_by_line():
    found = labelled.read_tagged(b"to boston\n\nleave\n", b"O B-city\n\nO\n", b"flight\nnone\n \n", NAMES)
    assert rows(found) == [("to boston", "O B-city", "flight")] and found.read_as["tags"] == "2 different ones"
    assert [str(kind) for kind in found.table.schema.types] == ["string"] * 3
    assert [(q.file, q.line, q.what) for q in found.quarantined] == [("train/seq.in", 2, "no text"), ("train/seq.in", 3, "no label")]


@pytest.mark.parametrize("files, said", [
    ((b"a b\nc\n", b"O O\nO O\n", b"x\ny\n"), "seq.out:2:1: 2 tags for the 1 words of seq.in:2"),
    ((b"a b\nc\n", b"O O\n", b"x\ny\n"), "seq.out:2:1: 1 lines, but seq.in has 2"),
    ((b"a b\nc\n", b"O O\nO\n", b"x\ny\nz\n"), "label:3:1: 3 lines, but seq.in has 2"),
])  # fmt: skip
def test_lines_that_do_not_belong_together_are_refused_with_their_place(files, said):
    with pytest.raises(DataRefused, match=said):
        labelled.read_tagged(*files)


def test_pairs_are_read_and_further_columns_noted():
    found = labelled.read_pairs("Go.\tVa\u202f!\tCC-BY 2.0\nRun!\t\nWow\n\nHi.\tSalut.\n".encode(), "fra.txt")
    assert rows(found) == [("Go.", "Va\u202f!"), ("Hi.", "Salut.")]
    assert [(q.line, q.column, q.what) for q in found.quarantined] == [(2, 6, "no target"), (3, 1, "no tab, so no target")]
    assert found.notes == ("ignored 1 further columns behind source and target",) and found.counts.rows_in == 4


def test_sums_are_pairs_of_question_and_answer():
    found = labelled.read_pairs(b"16+75  _91  \n52+607 _659 \n1+x    _2   \n", "addition.txt")
    assert rows(found) == [("16+75", "91"), ("52+607", "659")]
    assert [(q.line, q.what) for q in found.quarantined] == [(3, "no sum such as `16+75  _91`")]


def test_a_tab_separated_cell_keeps_quotes_that_do_not_enclose_it():
    found = labelled.read_table(b'text\tlabel\n"Hello," she said "bye"\ta\n"whole ""cell"""\tb\n"open\tc\n', "x.tsv")
    assert [said for said, _ in rows(found)] == ['"Hello," she said "bye"', 'whole "cell"', '"open']


# --- real files, where they are ---------------------------------------------------------------


def real(*names: str) -> list[bytes]:
    missing = [name for name in names if not (SHARED / name).exists()]
    if missing:
        pytest.skip(f"{SHARED / missing[0]} is not here")
    return [(SHARED / name).read_bytes() for name in names]


@pytest.mark.parametrize("name, lines", [
    ("alice.txt", 3330), ("ptb.train.txt", 42068), ("ptb.valid.txt", 3370), ("ptb.test.txt", 3761), ("story.txt", 1),
    ("tinyshakespeare.txt", 40000),
])  # fmt: skip
def test_a_real_text_is_kept_as_it_is(name, lines):
    [data] = real(f"text/{name}")
    found = text.parse(data, name)
    assert found.table["text"].to_pylist() == [data.decode()]
    assert found.counts == Counts(lines, lines, 0, 0) and found.notes == ()


def test_real_spam_is_read():
    found = labelled.read_table(*real("labelled/sms_spam/spam.csv"), "spam.csv")
    labels = found.table["label"].to_pylist()
    assert (labels.count("ham"), labels.count("spam")) == (4825, 747)
    assert "kept 415 rows that repeat an earlier one exactly" in found.notes


@pytest.mark.parametrize("part, count, broken", [("train", 10003, 13), ("test", 3080, 4)])
def test_real_intents_are_read_and_a_line_break_within_a_cell_is_no_row(part, count, broken):
    [data] = real(f"labelled/banking77/{part}.csv")
    found = labelled.read_table(data, f"{part}.csv")
    assert data.count(b"\n") == count + broken + 1
    assert found.counts == Counts(count, count, 0, 0) and len(set(found.table["label"].to_pylist())) == 77


def test_real_reviews_have_their_file_as_label():
    names = ["rt-polarity.pos", "rt-polarity.neg"]
    found = labelled.read_files(dict(zip(names, real(*(f"labelled/rt_polarity/{name}" for name in names)), strict=True)))
    assert [found[name].labels for name in names] == [{"pos": 5331}, {"neg": 5331}]


@pytest.mark.parametrize("part, count", [("train", 4478), ("valid", 500), ("test", 893)])
def test_real_slots_are_a_tag_a_word(part, count):
    found = labelled.read_tagged(*real(*(f"labelled/atis/{part}/{name}.txt" for name in ("seq.in", "seq.out", "label"))))
    assert found.counts == Counts(count, count, 0, 0)
    assert all(len(row["text"].split()) == len(row["tags"].split()) for row in found.table.to_pylist())


@pytest.mark.long
def test_real_pairs_are_read():
    found = labelled.read_pairs(*real("pairs/fra_every5th.txt"), "fra.txt")
    assert found.counts == Counts(33426, 33426, 0, 0) and rows(found)[0] == ("Go.", "Va !")
    sums = rows(labelled.read_pairs(*real("pairs/addition.txt"), "addition.txt"))
    assert len(sums) == 50000 and all(sum(map(int, source.split("+"))) == int(target) for source, target in sums)
