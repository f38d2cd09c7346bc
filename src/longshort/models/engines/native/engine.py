"""The engine as others see it: what it runs, and why not the rest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from torch import Tensor

from longshort.config import Variant
from longshort.models.cells import CELLS, Cell
from longshort.models.engines.engine import Epochs, Inside, member_by_member
from longshort.models.engines.native import layer, library
from longshort.models.engines.native.cells import GATES

if TYPE_CHECKING:
    from longshort.models.network import Network
    from longshort.tasks.task import Task

IN_LOOP = ("variational_dropout", "recurrent_dropout", "zoneout")


class Native:
    """Runs the cells of `native.cells.GATES` in float32 on the CPU."""

    def runs(self, variant: Variant) -> str | None:
        """None when it can run the variant, else the reason why not, as the rest of a sentence."""
        if variant.cell not in GATES:
            return f"the library has no cell '{variant.cell}', only {', '.join(GATES)}"
        for option in IN_LOOP:
            if getattr(variant, option):
                return f"`{option}` acts inside the loop over time, where the library drops nothing"
        usual = CELLS[variant.cell].activation
        if variant.activation not in (None, usual) and not (variant.cell in RECTIFIED and variant.activation in ("tanh", "relu")):
            return f"the library's cell '{variant.cell}' has no activation '{variant.activation}'"
        return None

    def absent(self) -> str | None:
        """See `library.absent`."""
        return library.absent()

    def epochs(self, network: Network, task: Task) -> Epochs | None:
        """Of a forecaster whose final state is that of its last step, or a language model; with R whole."""
        from longshort.models.engines.native.epochs import ForecastPasses, LanguageModelPasses
        from longshort.tasks.forecast import ForecastTask
        from longshort.tasks.language_model import LanguageModelTask

        if network.encoder.variant.weight_dropout:
            return None
        if isinstance(task, LanguageModelTask):
            return LanguageModelPasses(network, task)
        return ForecastPasses(network, task) if isinstance(task, ForecastTask) and not network.encoder.cell.attends else None

    def forward(self, cell: Cell, activation: str, weights: Mapping[str, Tensor], steps: Tensor, inside: Inside) -> Tensor:
        """See `Engine`. Each member has the bytes that it has alone, and each row of a batch those that it has in any."""
        name = named(cell, activation)
        return member_by_member(lambda weights, steps, inside: layer.forward(name, weights, steps), weights, steps, inside)


RECTIFIED = {"rnn": {"tanh": "rnn", "relu": "rnn_relu"}, "rnn_relu": {"tanh": "rnn", "relu": "rnn_relu"}}


def named(cell: Cell, activation: str) -> str:
    """The library's cell for one of the catalogue."""
    name = next(name for name, known in CELLS.items() if known is cell)
    return RECTIFIED[name][activation] if name in RECTIFIED else name
