"""Translate: a sequence for a sequence, of another length (many to many): an encoder reads the source, a decoder says the target."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from longshort.config import Attention
from longshort.config import Task as TaskName
from longshort.config import TranslateTask as TranslateSettings
from longshort.tasks.layers import Generators
from longshort.tasks.rows import PADDING, PaddedEmbeddings, at_random, in_order, lengths_of, padded
from longshort.tasks.speech import Speech
from longshort.tasks.spoken import SpokenTask
from longshort.tasks.task import Batch, Numbers
from longshort.windows.labelled import END, START, Sequences, TranslateData


@dataclass(frozen=True)
class TranslateShape:
    """What a translator's front and head are built from; enough to build them again beside saved weights.

    inputs         the size of an embedding, of both sides
    source_words   of the source's vocabulary; target_words: of the target's
    dropout        on the embeddings of both sides, and on the states of encoder and decoder that the head reads
    """

    inputs: int
    source_words: int
    target_words: int
    dropout: float
    attention: Attention

    def lengths(self, read: Tensor) -> Tensor:
        """Of the sources."""
        return lengths_of(read)

    def front(self, generators: Generators) -> nn.Module:
        """From a source's ids to embeddings."""
        return PaddedEmbeddings(self.source_words, self.inputs, generators)

    def head(self, front: nn.Module, width: int, final_width: int, generators: Generators) -> nn.Module:
        """From what was read to the target's words."""
        return Speech(self.target_words, self.inputs, self.attention, width, final_width, generators)


@dataclass(frozen=True)
class TranslateTask(TranslateShape, SpokenTask):
    """Pairs; the loss is the cross-entropy in nats a token of the target, its end counted, in training smoothed.

    reversed_source  whether a source is read from its last token to its first (Sutskever et al., 2014)
    smoothing        the share of each training target that is spread over all words (Szegedy et al., 2016)
    """

    data: TranslateData
    reversed_source: bool = field(default=True, kw_only=True)
    smoothing: float = field(default=0.0, kw_only=True)
    name: TaskName = "translate"

    @classmethod
    def of(cls, data: TranslateData, settings: TranslateSettings) -> TranslateTask:
        """The task over one data set."""
        words = len(data.source_vocabulary), len(data.target_vocabulary)
        shape = settings.embedding_size, *words, settings.dropout, settings.attention
        return cls(*shape, data, reversed_source=settings.reversed_source, smoothing=settings.label_smoothing)

    @property
    def targets(self) -> Sequences:
        """The target of each pair."""
        return self.data.targets

    @property
    def start(self) -> int:
        """The id that every target begins with."""
        return self.data.target_vocabulary.words.index(START)

    @property
    def end(self) -> int:
        """The id that every target ends with."""
        return self.data.target_vocabulary.words.index(END)

    def batches(self, part: str, size: int, seed: int, epoch: int) -> Iterator[Batch]:
        """Batches of sources (batch, steps), `PADDING` behind, and of targets with their ends (batch, words), `IGNORED` behind."""
        first, end = self.range_of(part)
        sources, targets = (side.lengths(first, end) for side in (self.data.sources, self.data.targets))
        if part != "train":
            batches = in_order(end - first, size)
        else:  # alike in both lengths, and first in that of the target, whose words are each scored against all
            batches = at_random(targets * (int(sources.max()) + 1) + sources, size, seed, epoch)
        for some in batches:
            yield self.read(first + some), self.asked(first + some)

    def read(self, numbers: Numbers) -> Tensor:
        """Some of the sources, by their numbers in all parts together, as the encoder reads them."""
        ids = padded(self.data.sources, numbers)
        return turned(ids) if self.reversed_source else ids

    def range_of(self, part: str) -> tuple[int, int]:
        """The numbers of a part's first pair and of the one behind its last."""
        return self.data.division.parts[part].start, self.data.division.parts[part].stop

    def description(self) -> dict[str, Any]:
        """How sources are read, how many words the longest target of training has, and the vocabularies."""
        return {
            "spec": self.data.spec.model_dump(),
            "reversed_source": self.reversed_source,
            "longest": self.data.longest,
            "source_vocabulary": list(self.data.source_vocabulary.words),
            "target_vocabulary": list(self.data.target_vocabulary.words),
        }

    def extent(self) -> dict[str, dict[str, Any]]:
        """How many pairs each part holds, and which; see `Division.extent`."""
        return self.data.division.extent()


def turned(ids: Tensor) -> Tensor:
    """(rows, steps) back to front, each row's own ids only: padding stays behind."""
    lengths = (ids != PADDING).sum(1, keepdim=True)
    steps = torch.arange(ids.shape[1])
    return ids.gather(1, torch.where(steps < lengths, lengths - 1 - steps, steps))
