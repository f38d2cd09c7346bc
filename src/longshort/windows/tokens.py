"""Tokens: documents become one array of word numbers, by whole columns.

No word stands across white space, so a text is split at it by pyarrow, and what stands between, a chunk, is cut into words
once, however often it is met: of 100 MB there are some million different ones among eighteen million. Paragraphs are found
by counting the chunks of each line. A few MiB of text are held at a time; what is kept is a number a chunk.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import repeat
from typing import Any

import numpy as np
from numpy.typing import NDArray

UNKNOWN, NUMBER, ADDRESS = "[UNK]", "[NUM]", "[URL]"
SPECIAL = (UNKNOWN, NUMBER, ADDRESS)
LONGEST = 2000  # words of a paragraph; a longer one is a text without blank lines, or a table

# an address, a number, a word with inner apostrophes, or a run of one punctuation mark
_WORD = re.compile(r"(?P<url>https?://\S+|www\.\S+)|(?P<num>\d+(?:[.,]\d+)*)|\w+(?:['’]\w+)*|([^\w\s])\3*")
_BLOCK = 2**23  # characters that are split at a time
_SLICE = 2**18  # chunks whose words are looked up at a time

Ids = NDArray[np.int32]
Counts = NDArray[np.int64]
Split = tuple[list[str], Ids, Counts]


def words_of(text: str) -> list[str]:
    """Split into lower-case words and punctuation; numbers and addresses become one word each.

    >>> words_of("See https://example.org: it's 3.14, or more...")
    ['see', '[URL]', "it's", '[NUM]', ',', 'or', 'more', '...']
    """
    return [ADDRESS if m["url"] else NUMBER if m["num"] else m[0].lower() for m in _WORD.finditer(text)]


@dataclass(frozen=True)
class Paragraphs:
    """Paragraphs in reading order: all their words as numbers, and of each how many there are.

    ids         the words, one after the other
    lengths     words of each paragraph; their sum is the length of ids
    characters  that each took in the text, runs of white space counting one
    """

    ids: Ids
    lengths: Counts
    characters: Counts

    def __len__(self) -> int:
        return len(self.lengths)

    def between(self, first: int, last: int) -> Paragraphs:
        """Those from ``first`` to ``last``, exclusive, without a copy."""
        start, stop = int(self.lengths[:first].sum()), int(self.lengths[:last].sum())
        return Paragraphs(self.ids[start:stop], self.lengths[first:last], self.characters[first:last])

    def only(self, kept: NDArray[np.bool_]) -> Paragraphs:
        """Those that are ``kept``, true or false of each."""
        return Paragraphs(self.ids[np.repeat(kept, self.lengths)], self.lengths[kept], self.characters[kept])


def tokenise(rows: Iterable[tuple[str, str]]) -> tuple[Paragraphs, list[str]]:
    """Cut documents at blank lines into paragraphs, and those into words.

    A paragraph of more than 2,000 chunks is cut at the ends of its lines, and a line of more than 2,000 every 2,000.

    rows     (name of a document, text); rows that follow each other under one name are one text
    returns  the paragraphs that have words, and the word of each number, in the order in which they first stand

    >>> found, spelt = tokenise([("a", "To be,\\nor\\n\\nnot "), ("a", "to be")])
    >>> found.lengths.tolist(), [spelt[number] for number in found.ids]
    ([4, 3], ['to', 'be', ',', 'or', 'not', 'to', 'be'])
    """
    spelling = _Spelling()
    chunks = [np.zeros(0, np.int32)]
    lines, last = [], 0  # chunks of each line; the last line of a block goes on in the next one
    for different, places, counts in _ahead(_split, _blocks(rows)):
        chunks.append(spelling.numbers(different)[places])
        counts[0] += last
        lines.append(counts[:-1])
        last = counts[-1]
    return spelling.spell(np.concatenate(chunks), _pieces(np.append(np.concatenate(lines), last)))


def _ahead(work: Callable[[str], Split], blocks: Iterable[str]) -> Iterator[Split]:
    """Do work on each block, on the next one in a thread while the caller is at the one before: pyarrow lets go of Python's lock."""
    with ThreadPoolExecutor(1) as pool:
        waiting: deque[Future[Split]] = deque()
        for block in blocks:
            waiting.append(pool.submit(work, block))
            if len(waiting) > 1:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _split(block: str) -> Split:
    """The different chunks of a block, the place among them of each that stands in it, and how many stand in each of its lines."""
    import pyarrow as pa
    import pyarrow.compute as pc

    split: Any = pc.utf8_split_whitespace(pc.split_pattern(pa.array([block], pa.large_string()), "\n").flatten())
    found = split.flatten().dictionary_encode()
    offsets, places = split.offsets.to_numpy(), found.indices.to_numpy()
    counts = np.diff(offsets).astype(np.int64)
    different = found.dictionary.to_pylist()
    if "" in different:  # what stands before white space at a line's beginning, or behind it at its end
        empty = np.flatnonzero(places == different.index(""))
        counts -= np.bincount(np.searchsorted(offsets, empty, "right") - 1, minlength=len(counts))
        places = np.delete(places, empty)
    return different, places, counts


def _blocks(rows: Iterable[tuple[str, str]]) -> Iterator[str]:
    """The text in stretches that end where white space begins; a blank line stands between documents."""
    held, size, before = [], 0, None
    for name, text in rows:
        if name != before:
            text = f"\n\n{text}"
        before = name
        held.append(text)
        size += len(text)
        if size < _BLOCK or (cut := max(text.rfind("\n"), text.rfind(" "))) < 0:
            continue  # a stretch without any white space is held until its end comes
        held[-1] = text[:cut]
        yield "".join(held)
        held, size = [text[cut:]], len(text) - cut
    yield "".join(held)


def _pieces(lines: Counts) -> Counts:
    """Where paragraphs end, in chunks, from the number of chunks of each line."""
    blank = lines == 0
    paragraph, own, ends = np.cumsum(blank)[~blank], lines[~blank], np.cumsum(lines)[~blank]
    cut = np.diff(paragraph, append=-1) != 0
    cut |= np.bincount(paragraph, own)[paragraph] > LONGEST if len(own) else False
    within = [np.arange(end - count + LONGEST, end, LONGEST) for end, count in zip(ends[own > LONGEST], own[own > LONGEST], strict=True)]
    return np.sort(np.concatenate([ends[cut], *within]).astype(np.int64))


class _Spelling:
    """Chunks and words by number, in the order in which they first stand.

    Of chunk c the words are ``flat[starts[c] : starts[c] + counts[c]]``.
    """

    def __init__(self) -> None:
        self._chunks: dict[str, int] = {}
        self._words: dict[str, int] = {}
        self._flat: list[int] = []
        self._counts: list[int] = []

    def numbers(self, different: list[str]) -> Ids:
        """The number of each chunk; -1 of an empty one."""
        for chunk in different:
            if chunk and chunk not in self._chunks:
                self._chunks[chunk] = len(self._chunks)
                own = [chunk.lower()] if chunk.isalpha() else words_of(chunk)
                self._flat.extend([self._words.setdefault(word, len(self._words)) for word in own])
                self._counts.append(len(own))
        return np.fromiter(map(self._chunks.get, different, repeat(-1)), np.int32, len(different))

    def spell(self, chunks: Ids, ends: Counts) -> tuple[Paragraphs, list[str]]:
        """Paragraphs of words, from chunks and where among them each paragraph ends."""
        flat, counts = np.array(self._flat, np.int32), np.array(self._counts, np.int32)
        starts = np.cumsum(counts, dtype=np.int32) - counts
        sizes = np.fromiter(map(len, self._chunks), np.int32, len(self._chunks)) + np.int32(1)  # and the white space behind it
        spelt = list(self._words)
        del self._chunks, self._words, self._flat, self._counts  # what follows needs the room
        ids = [np.zeros(0, np.int32)]
        totals, read = np.zeros((2, len(ends) + 1), np.int64), np.zeros((2, 1), np.int64)  # of words and of characters
        for first in range(0, len(chunks), _SLICE):
            some = chunks[first : first + _SLICE]
            count = counts[some]
            behind = np.cumsum([count, sizes[some]], axis=1, dtype=np.int64)
            # a word's place in its chunk is its place among all, less that of the chunk's first
            ids.append(flat[np.repeat(starts[some] - (behind[0] - count), count) + np.arange(behind[0, -1])])
            ended = slice(*np.searchsorted(ends, [first, first + len(some)], "right"))
            totals[:, 1:][:, ended] = read + behind[:, ends[ended] - first - 1]
            read += behind[:, -1:]
        return Paragraphs(np.concatenate(ids), *np.diff(totals)), spelt
