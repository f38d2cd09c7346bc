"""Caption: one vector in, a row of words out (one to many): a decoder says what an image shows."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from longshort.config import Task as TaskName
from longshort.tasks.layers import Generators
from longshort.tasks.rows import in_order
from longshort.tasks.speech import Speech
from longshort.tasks.spoken import SpokenTask
from longshort.tasks.task import Batch, Numbers
from longshort.windows.images import ImageData
from longshort.windows.labelled import END, START, Sequences
from longshort.windows.order import shuffled


@dataclass(frozen=True)
class CaptionShape:
    """What a captioner's front and head are built from; enough to build them again beside saved weights.

    inputs   numbers of a vector
    size     of a word's embedding
    dropout  on the vector and the embeddings, and on the states that the head reads
    """

    inputs: int
    size: int
    words: int
    dropout: float

    def lengths(self, read: Tensor) -> None:
        """A vector is a sequence of one step: the recurrent layers make of it what a decoder reads, whatever their cell."""

    def front(self, generators: Generators) -> nn.Module:
        """A vector needs nothing before the recurrent layers."""
        return nn.Identity()

    def head(self, front: nn.Module, width: int, final_width: int, generators: Generators) -> nn.Module:
        """From what was read to words. There is one state to look at, so nothing has to choose among them."""
        return Speech(self.words, self.size, "none", width, final_width, generators)


@dataclass(frozen=True)
class CaptionTask(CaptionShape, SpokenTask):
    """Images, each with the caption of its label; the loss is as `SpokenTask`'s.

    captions  what is said of an image, by its label, as ids; vocabulary: their words, start and end before them
    """

    data: ImageData
    captions: tuple[tuple[int, ...], ...]
    vocabulary: tuple[str, ...]
    smoothing: float = field(default=0.0, kw_only=True)
    name: TaskName = "translate"

    @classmethod
    def of(cls, data: ImageData, captions: Sequence[Sequence[str]], size: int, dropout: float) -> CaptionTask:
        """The task over one data set. captions: the words that stand for each of its labels."""
        vocabulary = (START, END, *sorted({word for caption in captions for word in caption}))
        ids = tuple(tuple(vocabulary.index(word) for word in caption) for caption in captions)
        return cls(data.rows * data.columns, size, len(vocabulary), dropout, data, ids, vocabulary)

    @functools.cached_property
    def targets(self) -> Sequences:
        """The caption of each image."""
        rows = [self.captions[label] for label in self.data.labels.tolist()]
        return Sequences(np.concatenate([np.array(row, np.int32) for row in rows]), np.cumsum([0, *map(len, rows)]))

    @property
    def start(self) -> int:
        """The id that every caption begins with."""
        return self.vocabulary.index(START)

    @property
    def end(self) -> int:
        """The id that every caption ends with."""
        return self.vocabulary.index(END)

    def batches(self, part: str, size: int, seed: int, epoch: int) -> Iterator[Batch]:
        """Batches of vectors (batch, 1, inputs), and of captions with their ends (batch, words), `IGNORED` behind."""
        first, end = self.data.parts[part]
        for some in in_order(end - first, size):
            own = first + (shuffled(end - first, seed, epoch, some) if part == "train" else some)
            yield self.read(own), self.asked(own)

    def read(self, numbers: Numbers) -> Tensor:
        """Some of the images, by their numbers in all parts together, as a network reads them."""
        return torch.from_numpy(self.data.scaled(numbers).reshape(len(numbers), 1, self.inputs))

    def description(self) -> dict[str, Any]:
        """Words, captions, and the size of an image."""
        return {**self.data.description(), "vocabulary": list(self.vocabulary), "captions": [list(each) for each in self.captions]}

    def extent(self) -> dict[str, dict[str, Any]]:
        """How many images each part holds."""
        return {part: {"rows": end - first} for part, (first, end) in self.data.parts.items()}
