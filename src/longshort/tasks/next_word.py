"""Next word: some words in, the one behind them out (many to one), at every place of a text."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from longshort.tasks.cross_entropy import IGNORED
from longshort.tasks.language_model import LanguageModelTask
from longshort.tasks.layers import Embeddings, Generators
from longshort.tasks.task import Charge, Network
from longshort.windows.order import shuffled

if TYPE_CHECKING:
    from longshort.models.encoder import Carried
    from longshort.models.masks import Masks


class WordNumbers(Embeddings):
    """A word is read as one number, its place in the vocabulary, from -1 of the first to 1 of the last: a table that nothing moves."""

    fixed: ClassVar[bool] = True

    def __init__(self, vocabulary: int, members: int) -> None:
        nn.Module.__init__(self)
        self.table = nn.Parameter(torch.linspace(-1, 1, vocabulary).repeat(members, 1).unsqueeze(-1))


@dataclass(frozen=True)
class NextWordTask(LanguageModelTask):
    """Windows of a text, one at every place; the loss is the cross-entropy of the word behind each, in nats.

    numbers  words are read as their numbers, and not as embeddings
    """

    numbers: bool = field(default=False, kw_only=True)
    judged: ClassVar[bool] = True

    def front(self, generators: Generators) -> nn.Module:
        """From ids to embeddings, or to numbers."""
        return WordNumbers(self.vocabulary_size, len(generators)) if self.numbers else super().front(generators)

    def head(self, front: nn.Module, width: int, final_width: int, generators: Generators) -> nn.Module:
        """From the state to the vocabulary. Where words are numbers it begins wide, normal with deviation 1, as the tutorial's does: one
        window a step moves it little from there, and what is learned is to answer in a code that is given.
        """
        head = super().head(front, width, final_width, generators)
        if self.numbers:
            for parameter in head.parameters():
                parameter.data = torch.stack([torch.empty(parameter.shape[1:]).normal_(generator=own) for own in generators])
        return head

    def windows(self, part: str, seed: int, epoch: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Where the windows of a pass begin, in its order; the last word of each is charged."""
        stretch = self.data.stretches[part]
        starts = np.arange(stretch.start, stretch.stop - self.data.spec.lookback)
        if part == "train":
            starts = starts[shuffled(len(starts), seed, epoch, np.arange(len(starts)))]
        return starts, np.ones(len(starts), np.int64)

    def loss(self, network: Network, read: Tensor, target: Tensor, draw: Masks | None = None, carried: Carried | None = None) -> Charge:
        """As a language model's; and how often the word that came was scored highest."""
        states, _ = network.encode(read, draw, carried)
        logits = network.head(states[:, :, -1:], None)
        words = target[:, :, -1]
        losses = [
            nn.functional.cross_entropy(own[:, 0], word, ignore_index=IGNORED, reduction="sum")
            for own, word in zip(logits, words, strict=True)
        ]
        return Charge(torch.stack(losses), (words != IGNORED).sum(1), (logits[:, :, 0].argmax(-1) == words).sum(1))
