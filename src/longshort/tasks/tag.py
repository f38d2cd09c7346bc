"""Tag: a tag for every word of a text (many to many, in step)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, cast

from torch import Tensor, nn

from longshort.config import TagTask as TagSettings
from longshort.config import Task as TaskName
from longshort.tasks.classify import charge
from longshort.tasks.layers import Generators, Linears
from longshort.tasks.rows import UNCHARGED, PaddedEmbeddings, at_random, in_order, lengths_of, padded
from longshort.tasks.task import Batch, Charge, Network
from longshort.windows.labelled import Sequences, TagData

if TYPE_CHECKING:
    from longshort.models.encoder import Carried
    from longshort.models.masks import Masks


class TagHead(nn.Module):
    """Each step's state scores every tag."""

    def __init__(self, width: int, tags: int, generators: Generators) -> None:
        super().__init__()
        self.linear = Linears(width, tags, generators)

    def forward(self, states: Tensor, final: Tensor, lengths: Tensor | None) -> Tensor:
        """states (K, batch, steps, width) -> logits (K, batch, steps, tags); those behind a row's end mean nothing."""
        return self.linear(states)


@dataclass(frozen=True)
class TagShape:
    """What a tagger's front and head are built from; enough to build them again beside saved weights.

    inputs   the size of an embedding
    dropout  on the embeddings, and on the states before the head
    """

    inputs: int
    words: int
    tags: int
    dropout: float

    def lengths(self, read: Tensor) -> Tensor:
        """Words of each row, (K, batch)."""
        return lengths_of(read)

    def front(self, generators: Generators) -> nn.Module:
        """From ids to embeddings."""
        return PaddedEmbeddings(self.words, self.inputs, generators)

    def head(self, front: nn.Module, width: int, final_width: int, generators: Generators) -> nn.Module:
        """From states to tags."""
        return TagHead(width, self.tags, generators)


@dataclass(frozen=True)
class TagTask(TagShape):
    """Tagged texts; the loss is the cross-entropy in nats a word, in training smoothed as `ClassifyTask`'s."""

    data: TagData
    smoothing: float = field(default=0.0, kw_only=True)
    name: TaskName = "tag"
    judged: ClassVar[bool] = True
    padding: ClassVar[float] = -1
    uncharged: ClassVar[float] = UNCHARGED
    carried: ClassVar[bool] = False

    @classmethod
    def of(cls, data: TagData, settings: TagSettings) -> TagTask:
        """The task over one data set."""
        sizes = settings.embedding_size, len(data.vocabulary), len(data.tag_names)
        return cls(*sizes, settings.dropout, data, smoothing=settings.label_smoothing)

    def batches(self, part: str, size: int, seed: int, epoch: int) -> Iterator[Batch]:
        """Batches of ids (batch, steps), and the number of each word's tag (batch, steps), `UNCHARGED` behind a row's end."""
        own = self.data.division.parts[part]
        lengths = self.data.texts.lengths(own.start, own.stop)
        tags = Sequences(self.data.tags, self.data.texts.offsets)
        for some in at_random(lengths, size, seed, epoch) if part == "train" else in_order(len(lengths), size):
            yield padded(self.data.texts, own.start + some), padded(tags, own.start + some, UNCHARGED)

    def loss(self, network: Network, read: Tensor, target: Tensor, draw: Masks | None = None, carried: Carried | None = None) -> Charge:
        """Each member's cross-entropy, summed over the words whose tag the training part shows; and how many it named."""
        return charge(cast(nn.Module, network)(read, draw), target, self.smoothing if draw is not None else 0.0)

    def description(self) -> dict[str, Any]:
        """Tags and vocabulary."""
        return {"spec": self.data.spec.model_dump(), "tags": list(self.data.tag_names), "vocabulary": list(self.data.vocabulary.words)}

    def extent(self) -> dict[str, dict[str, Any]]:
        """How many rows each part holds, and which; see `Division.extent`."""
        return self.data.division.extent()

    def earlier(self) -> list[TagTask]:
        """None: rows have no order in time."""
        return []
