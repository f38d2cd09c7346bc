"""Caption windows: rows of numbers, a caption each, become scaled vectors and ids in three parts.

Rows are shared out as in `labelled`: by a hash, where files do not say the parts; rows of one vector stay together, whatever
captions they have. What scales the numbers, and which words are known, is the training part's alone. Pure NumPy.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from longshort.config import CaptionWindows
from longshort.errors import DataRefused
from longshort.windows import labelled
from longshort.windows.labelled import END, START, Division, Sequences
from longshort.windows.text import Vocabulary
from longshort.windows.tokens import UNKNOWN

if TYPE_CHECKING:
    import pyarrow as pa

CAPTION, PART = "caption", "part"  # the columns of a tidy table that are no numbers
FURTHEST = 1e4  # deviations: a mark such as -3.4e38 for what was not measured would make sums of 32 bits infinite
LEAST_TOKENS = 2  # of a vocabulary: what always says one word says nothing

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Vectors:
    """Rows of numbers as they came.

    values  (rows, columns), in the order of ``columns``
    """

    columns: tuple[str, ...]
    values: Floats

    @classmethod
    def from_table(cls, table: pa.Table) -> Vectors:
        """Those of a tidy table: its captions and parts are passed over."""
        names = tuple(name for name in table.column_names if name not in (CAPTION, PART))
        return cls(names, np.column_stack([table[name].to_numpy() for name in names]).astype(np.float64))

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, rows: slice | NDArray[np.int64]) -> Vectors:
        return Vectors(self.columns, self.values[rows])

    def holds(self, columns: Sequence[str]) -> bool:
        """Whether all these columns are among them."""
        return set(columns) <= set(self.columns)

    def of(self, columns: Sequence[str]) -> Floats:
        """The numbers of some columns, in their order."""
        return self.values[:, [self.columns.index(column) for column in columns]]


@dataclass(frozen=True)
class Scaling:
    """What is taken from each number, and what it is divided by; both (columns,). A divisor of 0: the number is 0, whatever it is."""

    offset: Floats
    divisor: Floats

    @classmethod
    def fit(cls, values: Floats) -> Scaling:
        """Mean and standard deviation of each column, the divisor 0 where it never moves."""
        moves = values.max(axis=0) > values.min(axis=0)  # the deviation of equal numbers may be 1e-17
        return cls(values.mean(axis=0), np.where(moves, values.std(axis=0), 0.0))

    def apply(self, values: Floats) -> NDArray[np.float32]:
        """(rows, columns), as a network reads them: no further from the mean than `FURTHEST`."""
        there = self.divisor > 0
        with np.errstate(over="ignore"):
            scaled = np.where(there, (values - self.offset) / np.where(there, self.divisor, 1.0), 0.0)
        return np.clip(scaled, -FURTHEST, FURTHEST).astype(np.float32)

    @classmethod
    def of(cls, description: Mapping[str, list[float]]) -> Scaling:
        """The one that was described so."""
        return cls(np.array(description["offset"], np.float64), np.array(description["divisor"], np.float64))

    def description(self) -> dict[str, list[float]]:
        """What JSON keeps of it: its fields by name, exactly."""
        return {"offset": self.offset.tolist(), "divisor": self.divisor.tolist()}


@dataclass(frozen=True)
class CaptionData:
    """Vectors and a caption each, ready for training.

    columns  the names of the numbers, in the order of the file
    vectors  (rows, columns), as ``scaling`` made them
    """

    spec: CaptionWindows
    columns: tuple[str, ...]
    vectors: NDArray[np.float32]
    scaling: Scaling
    captions: Sequences
    vocabulary: Vocabulary
    division: Division

    @property
    def longest(self) -> int:
        """Tokens of the longest caption of the training part."""
        train = self.division.parts["train"]
        return int(self.captions.lengths(train.start, train.stop).max())


def digests(values: Floats) -> list[str]:
    """What tells a row by its numbers alone; 0 and -0 are one number."""
    return [hashlib.blake2b(row.tobytes(), digest_size=16).hexdigest() for row in np.ascontiguousarray(values + 0.0, "<f8")]


def keys_of(values: Floats) -> labelled.Keys:
    """The keys that a division has of such rows."""
    return np.fromiter((labelled.key_of(digest) for digest in digests(values)), np.uint64, len(values))


def caption_data(vectors: Vectors, captions: Sequence[str], named: Sequence[str] | None, spec: CaptionWindows) -> CaptionData:
    """Vectors, a caption each, and the part of each where files say it.

    raises  DataRefused when a part would be empty, too few words are known, or no number of the training part moves
    """
    section = "windows.caption"
    keys = digests(vectors.values)
    before = labelled.share_out(keys, [""] * len(keys), named, spec)
    parts = labelled.drop_repeats(before, keys)
    labelled.refuse_empty(parts, section)
    kind = spec.tokens
    if kind == "auto":
        kind = "words" if any(len(captions[row].split()) > 1 for row in parts["train"]) else "characters"
    tokens = [labelled.pair_tokens(one, kind) for one in captions]
    parts = {**parts, "train": [row for row in parts["train"] if len(tokens[row]) <= spec.max_length]}
    labelled.refuse_empty(parts, section)
    scaling = Scaling.fit(vectors.values[parts["train"]])
    if not scaling.divisor.any():
        raise DataRefused(
            f"none of the {len(vectors.columns)} columns of numbers moves in the training part, so nothing can be told by them. "
            "Take in rows whose numbers differ."
        )
    order = [row for rows in parts.values() for row in rows]
    special = (UNKNOWN, START, END)
    vocabulary = labelled.make_vocabulary((tokens[row] for row in parts["train"]), spec, section, special, LEAST_TOKENS)
    found = labelled.sequences([tokens[row] for row in order], vocabulary)
    division = labelled.division_of(parts, before, keys, found, [()] * len(keys), [])
    scaled = scaling.apply(vectors.values[order])
    return CaptionData(spec.model_copy(update={"tokens": kind}), vectors.columns, scaled, scaling, found, vocabulary, division)
