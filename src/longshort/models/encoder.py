"""The recurrent layers of every variant: (batch, steps, inputs) to a state at every step."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from longshort.config import Variant

CELLS: dict[str, Callable[..., nn.RNNBase]] = {
    "rnn": nn.RNN,  # Elman, 1990; tanh
    "lstm": nn.LSTM,  # Hochreiter and Schmidhuber, 1997; with forget gates (Gers et al., 2000), no peepholes
    "gru": nn.GRU,  # Cho et al., 2014; reset after the product
}


class Encoder(nn.Module):
    """Stacked recurrent layers with dropout after each, as the stock tutorial has it.

    Layers are one-layer modules in a row, so that dropout stands between them and not inside.
    """

    def __init__(self, inputs: int, variant: Variant) -> None:
        super().__init__()
        self.hidden_size = variant.hidden_size
        self.bidirectional = variant.bidirectional
        self.width = variant.hidden_size * (2 if variant.bidirectional else 1)
        self.layers = nn.ModuleList(
            CELLS[variant.cell](
                inputs if layer == 0 else self.width,
                variant.hidden_size,
                batch_first=True,
                bidirectional=variant.bidirectional,
            )
            for layer in range(variant.num_layers)
        )
        self.dropout = nn.Dropout(variant.dropout)

    def forward(self, steps: Tensor) -> tuple[Tensor, Tensor]:
        """Read a batch of sequences.

        steps    (batch, steps, inputs)
        returns  states (batch, steps, width), and final (batch, width): what was known when each
                 direction had read everything, which for the backward one is at the first step
        """
        for layer in self.layers:
            steps, _ = layer(steps)
            steps = self.dropout(steps)
        final = steps[:, -1]
        if self.bidirectional:
            final = torch.cat([steps[:, -1, : self.hidden_size], steps[:, 0, self.hidden_size :]], dim=-1)
        return steps, final
