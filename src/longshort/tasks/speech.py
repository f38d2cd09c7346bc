"""Speech: heads whose answer is a sequence of words of its own length, said one by one (Cho et al., 2014; Sutskever et al., 2014).

The recurrent layers of the decoder are `models.network`'s, of the cell that the encoder has. At every step they read the word
before and the encoder's final state: so any cell can be handed what another has read, whatever states it keeps.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from longshort.config import Attention
from longshort.tasks.layers import Embeddings, Generators, Linears


class Speech(nn.Module):
    """From a decoder's states to scores of words; the scores' weights are the embeddings (Press and Wolf, 2017).

    attention  luong: each state looks back at all states of the encoder by the general score, and what it sees stands beside it
               (Luong et al., 2015); none: it does not
    reads      features of a step that the decoder's layers read
    """

    def __init__(self, words: int, size: int, attention: Attention, width: int, final_width: int, generators: Generators) -> None:
        """width: of the states of encoder and decoder alike; final_width: of the encoder's final state."""
        super().__init__()
        self.reads = size + final_width
        self.embeddings = Embeddings(words, size, generators)
        self.bias = nn.Parameter(torch.zeros(len(generators), words))
        self.score = Linears(width, width, generators) if attention == "luong" else None
        self.readout = Linears(width if self.score is None else 2 * width, size, generators)

    def forward(self, states: Tensor, read: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """What words are scored by, and where the decoder looked.

        states   (K, batch, words, width), of the decoder
        read     (K, batch, steps, width), of the encoder; lengths (K, batch): how many of its steps are a row's own, None: all
        returns  (K, batch, words, size); and (K, batch, words, steps), which sum to 1 and are 0 where padding is, None without attention
        """
        looked = None
        if self.score is not None:
            scores = self.score(states) @ read.transpose(2, 3)
            if lengths is not None:
                behind = torch.arange(read.shape[2], device=read.device) >= lengths.to(read.device).unsqueeze(-1)
                scores = scores.masked_fill(behind.unsqueeze(2), float("-inf"))
            looked = scores.softmax(dim=-1)
            states = torch.cat([looked @ read, states], dim=-1)
        return self.readout(states).tanh(), looked

    def of_member(self, k: int) -> tuple[Tensor, Tensor]:
        """Weight (size, words) and bias (words) of one member's scores."""
        return self.embeddings.table[k].t(), self.bias[k]
