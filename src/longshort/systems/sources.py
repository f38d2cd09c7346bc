"""Sources: the texts that language models of the systems learn from, as ids in three parts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from longshort.config import TextWindows
from longshort.errors import DataRefused
from longshort.ingestion import embedded
from longshort.ingestion import text as documents
from longshort.systems import originals
from longshort.systems.occasion import Occasion
from longshort.windows import stage, text
from longshort.windows.files import TextData
from longshort.windows.text import Stretch, Vocabulary
from longshort.windows.tokens import tokenise

if TYPE_CHECKING:
    import pyarrow as pa

TEXT = TextWindows(lookback=35, min_count=2, max_vocabulary=20_000, validation=0.1, test=0.1)
PENN = TextWindows(lookback=35, min_count=1, max_vocabulary=50_000, validation=0.1, test=0.1)
FILES = {"train": "ptb.train.txt", "validation": "ptb.valid.txt", "test": "ptb.test.txt"}
END, UNKNOWN = "<eos>", "<unk>"
LEAST = 2_000  # words of a text, and of each of the three files
FEW_DOCUMENTS, FEW_WORDS = 25, 4_000  # of a fast run: of the topics, and of each of the three files


@dataclass(frozen=True)
class Source:
    """A text to learn from.

    name      in words
    test      the words of the test part as they stand in the text, also those that the vocabulary does not hold
    penn      whether it is in the form of the Penn Treebank's
    treebank  whether it is the Penn Treebank, all of it, which published figures are about
    """

    name: str
    data: TextData
    test: Sequence[str]
    penn: bool = False
    treebank: bool = False


def read(occasion: Occasion) -> Source:
    """A person's text or three files where there are any, else the documentation topics.

    raises  DataRefused, SeriesTooShort
    """
    if occasion.data is None:
        return topics(FEW_DOCUMENTS if occasion.fast else None)
    if occasion.data.is_file():
        name = occasion.data.name
        return _of_table(documents.parse(occasion.data.read_bytes(), name).table, name)
    return penn_treebank(occasion.data, FEW_WORDS if occasion.fast else None)


def topics(most: int | None = None) -> Source:
    """The documentation topics of the Python language; most: so many of them, by alphabet."""
    return _of_table(embedded.load("topics").table.slice(0, most), "documentation topics")


def _of_table(table: pa.Table, name: str) -> Source:
    """A tidy table of documents, in the parts and with the vocabulary that the windows room gives them."""
    blocks, spelt = tokenise(stage.rows(table))
    if len(blocks.ids) < LEAST:
        raise DataRefused(f"{name}: {len(blocks.ids):,} words, and a language model takes {LEAST:,} to learn from. Give a longer text.")
    parts, dropped, stood = text.split(blocks, TEXT)
    try:
        data = stage.text_of_parts(parts, dropped, stood, spelt, text.count(parts["train"].ids, spelt), TEXT)
    except DataRefused as error:  # what it says to set in params.yaml is not asked here
        raise DataRefused(f"{name}: {str(error).partition('. ')[0]}. Give a longer text, or one that repeats itself less.") from None
    return Source(f"{name}, {len(data.ids):,} words", data, [spelt[number] for number in parts["test"].ids])


def penn_treebank(folder: Path, most: int | None = None) -> Source:
    """Three files in the form of the Penn Treebank's: words between spaces, rare ones already <unk>; a line's end is the word <eos>.

    The vocabulary is that of train, all of it, <unk> first and then the most frequent. Characters are those of the words,
    and behind each one space or the line's end.

    most    words of each part; None: all
    raises  DataRefused when a file is not there, is too short or no UTF-8, or has a word that train has not, and no <unk> to stand for it
    """
    tokens = {part: _words(folder / name)[:most] for part, name in FILES.items()}
    counts = Counter(tokens["train"])
    known = sorted(counts.keys() - {UNKNOWN}, key=lambda word: (-counts[word], word))
    stretches, start = {}, 0
    for part, own in tokens.items():
        if most is None and UNKNOWN not in counts and (strange := set(own) - counts.keys()):
            raise DataRefused(
                f"{folder / FILES[part]}: has {len(strange):,} words that {FILES['train']} has not, such as '{min(strange)}', and no "
                f"{UNKNOWN} to stand for them. Write {UNKNOWN} for rare words in all three files."
            )
        stretches[part] = Stretch(start, start + len(own), sum(len(word) + 1 for word in own if word != END))
        start += len(own)
    vocabulary = Vocabulary((UNKNOWN, *known))
    ids = np.concatenate([vocabulary.ids(own) for own in tokens.values()])
    data = TextData(PENN, ids, stretches, vocabulary, dict.fromkeys(FILES, 0), [])
    treebank = originals.is_one(("Penn Treebank",), *tokens.values())
    called = "ptb" if treebank else folder.resolve().name
    return Source(f"{called}, {len(ids):,} words, {len(vocabulary):,} different", data, tokens["test"], penn=True, treebank=treebank)


def _words(path: Path) -> list[str]:
    """The words of a file, and the end of each line as one more. raises  DataRefused"""
    if not path.is_file():
        raise DataRefused(f"{path}: there is no such file. Give a folder with {', '.join(FILES.values())}, or one text file.")
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise DataRefused(f"{path}: byte {error.start}: no UTF-8 text. Save it as UTF-8.") from None
    words = [word for line in lines for word in (*line.split(), END)]
    if len(words) < LEAST:
        raise DataRefused(f"{path}: {len(words):,} words with the ends of lines, and {LEAST:,} are needed. Give the whole file.")
    return words
