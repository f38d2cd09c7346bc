"""Decoding: what a network with a decoder says, word by word, each fed to it before the next: greedily, or by beam search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from longshort.models.encoder import Carried
from longshort.models.network import Network
from longshort.tasks.speech import Speech
from longshort.windows.labelled import END, START
from longshort.windows.tokens import UNKNOWN

NEVER = float("-inf")


@dataclass(frozen=True)
class Tongue:
    """The words of a target.

    start, end  ids that every target begins and ends with
    unsaid      further ids that are never said, such as that of unknown words
    longest     words of a target at most, without its end
    """

    start: int
    end: int
    unsaid: tuple[int, ...]
    longest: int

    @classmethod
    def of(cls, words: Sequence[str], longest: int) -> Tongue:
        """Of a target's vocabulary; where it holds what is unknown, that is never said."""
        return cls(words.index(START), words.index(END), tuple(n for n, word in enumerate(words) if word == UNKNOWN), longest)


@torch.inference_mode()
def search(network: Network, read: Tensor, tongue: Tongue, beam: int) -> list[list[int]]:
    """What a lone network says to each row, without start and end.

    A target is worth ln p of its words and its end, over how many these are: a sum alone would favour the short. At each word the
    ``beam`` best beginnings are kept by their sums; an end that is among the best ``beam`` ways to go on completes a target, and a row is
    done with as many complete ones. A beam of 1 is greedy; one that is as wide as all beginnings finds the best target of all.

    read     (batch, steps), or of a captioner (batch, 1, numbers), as the task reads
    returns  a list of ids a row
    """
    states, final = network.encode(read.unsqueeze(0))
    batch, device = len(read), read.device
    lengths = network.lengths(read.unsqueeze(0))
    heard = _again(states, beam), _again(final, beam), None if lengths is None else _again(lengths, beam)
    weight, bias = _scores_of(network)
    barred = torch.tensor([tongue.start, *tongue.unsaid], device=device)
    sums = torch.full((batch, beam), NEVER, device=device)  # ln p of each beginning; of the first alone there is one
    sums[:, 0] = 0.0
    words = torch.full((batch, beam, 0), tongue.end, device=device)
    best, best_words = torch.full((batch,), NEVER, device=device), torch.full((batch, tongue.longest), tongue.end, device=device)
    complete = torch.zeros(batch, dtype=torch.int64, device=device)
    newest, carried = torch.full((1, batch * beam, 1), tongue.start, device=device), Carried()
    for number in range(tongue.longest + 1):
        said, _ = network.decode(newest, heard, carried=carried)
        chances = torch.addmm(bias, said[0, :, 0], weight).index_fill(1, barred, NEVER).log_softmax(-1)
        ways = sums.unsqueeze(2) + chances.view(batch, beam, -1)
        ended = ways[:, :, tongue.end].clone()
        if number < tongue.longest:  # a target that is as long as any can only end
            least = ways.flatten(1).topk(min(beam, ways[0].numel())).values[:, -1:]
            ended = ended.masked_fill(ended < least, NEVER)
        counted = (ended > NEVER) & (complete < beam).unsqueeze(1)
        worth, which = (ended / (number + 1)).masked_fill(~counted, NEVER).max(dim=1)
        better = worth > best
        best = torch.where(better, worth, best)
        own = words[torch.arange(batch, device=device), which]
        best_words[better] = torch.nn.functional.pad(own, (0, tongue.longest - number), value=tongue.end)[better]
        complete += counted.sum(1)
        if number == tongue.longest or bool((complete >= beam).all()):
            break
        ways[:, :, tongue.end] = NEVER
        sums, chosen = ways.flatten(1).topk(beam)
        before, word = chosen // ways.shape[2], chosen % ways.shape[2]
        words = torch.cat([words.gather(1, before.unsqueeze(2).expand(-1, -1, number)), word.unsqueeze(2)], dim=2)
        rows = (torch.arange(batch, device=device).unsqueeze(1) * beam + before).flatten()
        carried = Carried({layer: {name: state[:, rows] for name, state in own.items()} for layer, own in carried.layers.items()})
        newest = word.view(1, -1, 1)
    return [row[: row.index(tongue.end)] if tongue.end in row else row for row in best_words.tolist()]


def _again(heard: Tensor, beam: int) -> Tensor:
    """(1, batch, ...) to (1, batch · beam, ...): what a row heard, for each of its beginnings."""
    return heard.repeat_interleave(beam, dim=1)


def _scores_of(network: Network) -> tuple[Tensor, Tensor]:
    if not isinstance(network.head, Speech):
        raise ValueError("this network has no decoder: its task asks for no sequence of words.")
    return network.head.of_member(0)
