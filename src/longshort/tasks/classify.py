"""Classify: one label for a whole sequence, a text or an image read row by row (many to one)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np
import torch
from torch import Tensor, nn

from longshort.config import ClassifyTask as ClassifySettings
from longshort.config import Pooling
from longshort.config import Task as TaskName
from longshort.tasks.layers import Generators, Linears
from longshort.tasks.rows import UNCHARGED, PaddedEmbeddings, at_random, in_order, lengths_of, padded
from longshort.tasks.task import Batch, Charge, Network, Numbers
from longshort.windows.images import ImageData
from longshort.windows.labelled import ClassifyData
from longshort.windows.order import shuffled

if TYPE_CHECKING:
    from longshort.models.encoder import Carried
    from longshort.models.masks import Masks


class LabelHead(nn.Module):
    """What the states come to scores every label.

    pooling  final: the state when each direction has read everything; mean or max: of each unit over the sequence's own steps
    """

    def __init__(self, width: int, classes: int, pooling: Pooling, generators: Generators) -> None:
        super().__init__()
        self.pooling = pooling
        self.linear = Linears(width, classes, generators)

    def forward(self, states: Tensor, final: Tensor, lengths: Tensor | None) -> Tensor:
        """states (K, batch, steps, width), final (K, batch, final_width), lengths (K, batch) -> logits (K, batch, classes)."""
        return self.linear(final if self.pooling == "final" else pooled(states, lengths, self.pooling))


def pooled(states: Tensor, lengths: Tensor | None, pooling: Pooling) -> Tensor:
    """The mean or the maximum of each unit over a sequence's own steps: (K, batch, steps, width) to (K, batch, width)."""
    if lengths is None:
        return states.mean(2) if pooling == "mean" else states.amax(2)
    lengths = lengths.to(states.device).unsqueeze(-1)
    if pooling == "mean":  # states are 0 behind a row's end
        return states.sum(2) / lengths
    behind = torch.arange(states.shape[2], device=states.device) >= lengths
    return states.masked_fill(behind.unsqueeze(-1), float("-inf")).amax(2)


@dataclass(frozen=True)
class ClassifyShape:
    """What a classifier's front and head are built from; enough to build them again beside saved weights.

    inputs   features of a step: the size of an embedding, or the pixels of an image's row
    words    of the vocabulary; 0 where steps are numbers as they come
    dropout  on what the recurrent layers read, and on the states that are pooled
    """

    inputs: int
    words: int
    classes: int
    dropout: float
    pooling: Pooling

    def lengths(self, read: Tensor) -> Tensor | None:
        """Of texts; images are of one size."""
        return lengths_of(read) if self.words else None

    def front(self, generators: Generators) -> nn.Module:
        """From ids to embeddings; pixels need nothing."""
        return PaddedEmbeddings(self.words, self.inputs, generators) if self.words else nn.Identity()

    def head(self, front: nn.Module, width: int, final_width: int, generators: Generators) -> nn.Module:
        """From states to labels."""
        return LabelHead(final_width if self.pooling == "final" else width, self.classes, self.pooling, generators)


@dataclass(frozen=True)
class ClassifyTask(ClassifyShape):
    """Labelled sequences; the loss is the cross-entropy in nats a sequence, in training smoothed.

    smoothing  the share of each training target that is spread over all labels (Szegedy et al., 2016)
    """

    data: ClassifyData | ImageData
    smoothing: float = field(default=0.0, kw_only=True)
    name: TaskName = "classify"
    judged: ClassVar[bool] = True
    padding: ClassVar[float] = -1
    uncharged: ClassVar[float] = UNCHARGED
    carried: ClassVar[bool] = False

    @classmethod
    def of(cls, data: ClassifyData | ImageData, settings: ClassifySettings) -> ClassifyTask:
        """The task over one data set; images have no embeddings, so their size is not asked."""
        images = isinstance(data, ImageData)
        sizes = (data.columns, 0) if isinstance(data, ImageData) else (settings.embedding_size, len(data.vocabulary))
        shape = *sizes, len(data.names), 0.0 if images else settings.dropout, settings.pooling
        return cls(*shape, data, smoothing=settings.label_smoothing)

    def batches(self, part: str, size: int, seed: int, epoch: int) -> Iterator[Batch]:
        """Batches of ids (batch, steps) or pixels (batch, rows, columns), and the number of each one's label (batch,)."""
        for numbers in self._numbers(part, size, seed, epoch):
            yield self.read(numbers), torch.from_numpy(self.data.labels[numbers].astype(np.int64))

    def read(self, numbers: Numbers) -> Tensor:
        """Some of the sequences, by their numbers in all parts together, as a network reads them."""
        return torch.from_numpy(self.data.scaled(numbers)) if isinstance(self.data, ImageData) else padded(self.data.texts, numbers)

    def range_of(self, part: str) -> tuple[int, int]:
        """The numbers of a part's first sequence and of the one behind its last."""
        if isinstance(self.data, ImageData):
            return self.data.parts[part]
        return self.data.division.parts[part].start, self.data.division.parts[part].stop

    def _numbers(self, part: str, size: int, seed: int, epoch: int) -> Iterator[Numbers]:
        first, end = self.range_of(part)
        if part != "train":
            batches = in_order(end - first, size)
        elif isinstance(self.data, ImageData):
            batches = (shuffled(end - first, seed, epoch, some) for some in in_order(end - first, size))
        else:
            batches = at_random(self.data.texts.lengths(first, end), size, seed, epoch)
        for some in batches:
            yield first + some

    def loss(self, network: Network, read: Tensor, target: Tensor, draw: Masks | None = None, carried: Carried | None = None) -> Charge:
        """Each member's cross-entropy, summed over the sequences whose label the training part shows; and how many it named."""
        return charge(cast(nn.Module, network)(read, draw), target, self.smoothing if draw is not None else 0.0)

    def description(self) -> dict[str, Any]:
        """Labels, and the vocabulary or the size of an image."""
        if isinstance(self.data, ImageData):
            return self.data.description()
        return {"spec": self.data.spec.model_dump(), "labels": list(self.data.names), "vocabulary": list(self.data.vocabulary.words)}

    def extent(self) -> dict[str, dict[str, Any]]:
        """How many sequences each part holds; of texts also which, see `Division.extent`."""
        if isinstance(self.data, ImageData):
            return {part: {"rows": end - first} for part, (first, end) in self.data.parts.items()}
        return self.data.division.extent()

    def earlier(self) -> list[ClassifyTask]:
        """None: sequences have no order in time."""
        return []


def charge(logits: Tensor, target: Tensor, smoothing: float) -> Charge:
    """Each member's cross-entropy in nats, summed over what is charged, and how often the highest score was the target's.

    logits  (K, ..., classes); target (K, ...), `UNCHARGED` where nothing is asked
    """
    losses, right = [], []
    for own, wanted in zip(logits.flatten(1, -2), target.flatten(1), strict=True):
        losses.append(nn.functional.cross_entropy(own, wanted, ignore_index=int(UNCHARGED), reduction="sum", label_smoothing=smoothing))
        right.append((own.argmax(-1) == wanted).sum())
    return Charge(torch.stack(losses), (target != UNCHARGED).flatten(1).sum(1), torch.stack(right))
