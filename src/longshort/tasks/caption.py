"""Caption: one vector in, a row of words out (one to many): a decoder says what an image, or a row of numbers, shows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from longshort.config import CaptionTask as CaptionSettings
from longshort.config import Task as TaskName
from longshort.tasks.layers import Generators
from longshort.tasks.rows import in_order
from longshort.tasks.speech import Speech
from longshort.tasks.spoken import SpokenTask
from longshort.tasks.task import Batch, Numbers
from longshort.windows.captions import CaptionData
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
    """Vectors, each with a caption; the loss is as `SpokenTask`'s.

    smoothing  the share of each training target that is spread over all words (Szegedy et al., 2016)
    """

    data: CaptionData
    smoothing: float = field(default=0.0, kw_only=True)
    name: TaskName = "caption"

    @classmethod
    def of(cls, data: CaptionData, settings: CaptionSettings) -> CaptionTask:
        """The task over one data set."""
        shape = len(data.columns), settings.embedding_size, len(data.vocabulary), settings.dropout
        return cls(*shape, data, smoothing=settings.label_smoothing)

    @property
    def targets(self) -> Sequences:
        """The caption of each vector."""
        return self.data.captions

    @property
    def start(self) -> int:
        """The id that every caption begins with."""
        return self.data.vocabulary.words.index(START)

    @property
    def end(self) -> int:
        """The id that every caption ends with."""
        return self.data.vocabulary.words.index(END)

    def batches(self, part: str, size: int, seed: int, epoch: int) -> Iterator[Batch]:
        """Batches of vectors (batch, 1, inputs), and of captions with their ends (batch, words), `IGNORED` behind."""
        own = self.data.division.parts[part]
        count = own.stop - own.start
        for some in in_order(count, size):
            numbers = own.start + (shuffled(count, seed, epoch, some) if part == "train" else some)
            yield self.read(numbers), self.asked(numbers)

    def read(self, numbers: Numbers) -> Tensor:
        """Some of the vectors, by their numbers in all parts together, as a network reads them."""
        return as_read(self.data.vectors[numbers])

    def description(self) -> dict[str, Any]:
        """The columns and how their numbers are scaled, how many words the longest caption of training has, and the vocabulary."""
        return {
            "spec": self.data.spec.model_dump(),
            "columns": list(self.data.columns),
            "scaling": self.data.scaling.description(),
            "longest": self.data.longest,
            "vocabulary": list(self.data.vocabulary.words),
        }

    def extent(self) -> dict[str, dict[str, Any]]:
        """How many rows each part holds, and which; see `Division.extent`."""
        return self.data.division.extent()


def as_read(vectors: NDArray[np.float32]) -> Tensor:
    """Scaled vectors (rows, inputs) as a network reads them: sequences of one step, (rows, 1, inputs)."""
    return torch.from_numpy(np.ascontiguousarray(vectors)).unsqueeze(1)
