"""Language model: the next word at every word of a text (many to many of equal length)."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Self, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from longshort.config import LanguageModelTask as LanguageModelSettings
from longshort.config import Task as TaskName
from longshort.tasks.cross_entropy import IGNORED, summed_cross_entropy
from longshort.tasks.layers import Embeddings, Generators, Linears
from longshort.tasks.task import Batch, Charge, Network, Stretch
from longshort.windows import text
from longshort.windows.files import TextData
from longshort.windows.order import shuffled

if TYPE_CHECKING:
    from longshort.models.encoder import Carried
    from longshort.models.masks import Masks


class NextWordHead(nn.Module):
    """Each step's state scores every word of the vocabulary."""

    def __init__(self, width: int, vocabulary: int, generators: Generators) -> None:
        super().__init__()
        self.linear = Linears(width, vocabulary, generators)

    def of_member(self, k: int) -> tuple[Tensor, Tensor]:
        """Weight (width, vocabulary) and bias (vocabulary) of one member."""
        return self.linear.weight[k], self.linear.bias[k]

    def forward(self, states: Tensor, final: Tensor, lengths: None = None) -> Tensor:
        """states (K, batch, steps, width) -> logits (K, batch, steps, vocabulary)."""
        return self.linear(states)


class TiedHead(nn.Module):
    """The same by the embeddings: a word is likely where the state lies in its direction (Press and Wolf, 2017; Inan et al., 2017).

    A bias of its own, and no other parameter: the table is the front's.
    """

    def __init__(self, embeddings: Embeddings) -> None:
        super().__init__()
        members, vocabulary, _ = embeddings.table.shape
        self.bias = nn.Parameter(torch.zeros(members, vocabulary))
        self._front = (embeddings,)  # in a tuple: as a module of ours it would be saved twice

    def of_member(self, k: int) -> tuple[Tensor, Tensor]:
        """Weight (width, vocabulary) and bias (vocabulary) of one member."""
        return self._front[0].table[k].t(), self.bias[k]

    def forward(self, states: Tensor, final: Tensor, lengths: None = None) -> Tensor:
        """states (K, batch, steps, width) -> logits (K, batch, steps, vocabulary)."""
        table = self._front[0].table
        return torch.stack([torch.nn.functional.linear(own, table[k], self.bias[k]) for k, own in enumerate(states)])


@dataclass(frozen=True)
class LanguageModelShape:
    """What a language model's front and head are built from; enough to build them again beside saved weights.

    dropout  on the embeddings and before the head (Zaremba et al., 2014)
    tied     whether the head's weights are the embeddings; models of before it was asked have none
    """

    inputs: int
    vocabulary_size: int
    dropout: float
    tied: bool = field(default=False, kw_only=True)

    def lengths(self, read: Tensor) -> None:
        """Windows are of one length."""

    def front(self, generators: Generators) -> nn.Module:
        """From ids to embeddings."""
        return Embeddings(self.vocabulary_size, self.inputs, generators)

    def head(self, front: nn.Module, width: int, final_width: int, generators: Generators) -> nn.Module:
        """From states to the vocabulary. Where it is tied, states are as wide as embeddings: `config.unfit` refuses others."""
        return TiedHead(cast(Embeddings, front)) if self.tied else NextWordHead(width, self.vocabulary_size, generators)


@dataclass(frozen=True)
class LanguageModelTask(LanguageModelShape):
    """Windows of a text; the loss is the cross-entropy in nats a token.

    carried  windows are read in the text's order, in streams side by side, and states go on from one to the next; else each
             begins from the initial state, and they are shuffled
    """

    data: TextData
    name: TaskName = "language-model"
    carried: bool = field(default=False, kw_only=True)
    judged: ClassVar[bool] = False
    padding: ClassVar[float] = 0
    uncharged: ClassVar[float] = IGNORED

    @classmethod
    def of(cls, data: TextData, settings: LanguageModelSettings) -> LanguageModelTask:
        """The task over one data set."""
        shape = settings.embedding_size, len(data.vocabulary), settings.dropout
        return cls(*shape, data, tied=settings.tied, carried=settings.carried)

    def batches(self, part: str, size: int, seed: int, epoch: int) -> Iterator[Batch]:
        """Batches of ids (batch, lookback) and the ids one step later, (batch, lookback).

        In training every window is charged whole. Elsewhere windows overlap by half, and every token of
        the part is charged once, in the window that gives it the longer past; the others are `IGNORED`.
        Where states are carried, a row is a stream, and every token is charged once in training too; the last batch is shorter in
        steps, and outside training there are as many rows as `text.scoring_streams` has, whatever ``size`` says.
        """
        for stretch in self.order(part, seed, epoch, size, most=1):
            yield self._gather(stretch)

    def order(self, part: str, seed: int, epoch: int, size: int, most: int) -> Iterator[Stretch]:
        """See `Task`."""
        if self.carried:
            yield from self._streams(part, size, most)
            return
        starts, counts = self.windows(part, seed, epoch)
        for first in range(0, len(starts), at_once := max(most // size, 1) * size):
            some = slice(first, first + at_once)
            steps = self.data.spec.lookback
            yield Stretch(first, np.ascontiguousarray(starts[some]), np.ascontiguousarray(counts[some], np.int64), steps, size)

    def _streams(self, part: str, size: int, most: int) -> Iterator[Stretch]:
        stretch, lookback = self.data.stretches[part], self.data.spec.lookback
        streams = text.training_streams(stretch, lookback, size) if part == "train" else text.scoring_streams(stretch, lookback)
        windows, rows = streams.starts.shape
        whole = windows - (streams.last < lookback)
        edges = [*range(0, whole, max(most // rows, 1)), whole, windows]
        for first, end in itertools.pairwise(edges):
            if first < end:
                steps = lookback if first < whole else streams.last
                yield Stretch(first * rows, streams.starts[first:end].ravel(), streams.counts[first:end].ravel(), steps, rows)

    def windows(self, part: str, seed: int, epoch: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Where the windows of a pass begin, in its order, and how many of the last tokens of each are charged."""
        stretch, lookback = self.data.stretches[part], self.data.spec.lookback
        if part != "train":
            return text.scoring_windows(stretch, lookback)
        starts = text.training_starts(stretch, lookback, epoch, seed)
        return starts[shuffled(len(starts), seed, epoch, np.arange(len(starts)))], np.full(len(starts), lookback)

    def _gather(self, stretch: Stretch) -> Batch:
        steps, counts = stretch.steps, stretch.counts
        assert counts is not None
        ids = self.data.ids[stretch.starts[:, None] + np.arange(steps + 1)].astype(np.int64)
        target = np.where(np.arange(steps) >= steps - counts[:, None], ids[:, 1:], IGNORED)
        return torch.from_numpy(ids[:, :-1]), torch.from_numpy(target)

    def loss(self, network: Network, read: Tensor, target: Tensor, draw: Masks | None = None, carried: Carried | None = None) -> Charge:
        """Each member's cross-entropy in nats, summed over the tokens that are charged."""
        states, _ = network.encode(read, draw, carried)
        charged = target != IGNORED
        head = cast(NextWordHead | TiedHead, network.head)
        tokens, words = states.flatten(1, 2), target.flatten(1)
        sums = [summed_cross_entropy(tokens[k], *head.of_member(k), words[k]) for k in range(len(read))]
        return Charge(torch.stack(sums), charged.flatten(1).sum(1))

    def description(self) -> dict[str, Any]:
        """Spec and vocabulary, and whether states are carried from window to window."""
        return {**self.data.description(), "carried": self.carried}

    def extent(self) -> dict[str, dict[str, Any]]:
        """See `Task`."""
        return self.data.extent()

    def earlier(self) -> list[Self]:
        """See `Task`; each fold has as many words to tell apart as its vocabulary holds."""
        return [dataclasses.replace(self, data=fold, vocabulary_size=len(fold.vocabulary)) for fold in self.data.earlier]
