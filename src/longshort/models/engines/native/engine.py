"""The engine as others see it: what it runs, and why not the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from longshort.config import Variant
from longshort.models.cells import Cell
from longshort.models.compiled import cells, library
from longshort.models.compiled.told import named
from longshort.models.engines.engine import Epochs, Inside, OneByOne, States, member_by_member
from longshort.models.engines.native import layer

if TYPE_CHECKING:
    from longshort.models.network import Network
    from longshort.tasks.task import Task


class Native:
    """Runs the cells of `compiled.cells.GATES` in float32 on the CPU."""

    def runs(self, variant: Variant) -> str | None:
        """None when it can run the variant, else the reason why not, as the rest of a sentence."""
        return cells.without(variant)

    def absent(self) -> str | None:
        """See `library.absent`."""
        return library.absent()

    def epochs(self, network: Network, tasks: Sequence[Task]) -> Epochs | None:
        """Of a forecaster or a language model whose cell does not attend, with R whole."""
        from longshort.models.engines.native.passes import ForecastPasses, LanguageModelPasses
        from longshort.tasks.forecast import ForecastTask
        from longshort.tasks.language_model import LanguageModelTask

        if network.encoder.variant.weight_dropout or network.encoder.cell.attends:
            return None
        if all(isinstance(task, LanguageModelTask) for task in tasks):
            return OneByOne([LanguageModelPasses(network, task) for task in tasks if isinstance(task, LanguageModelTask)])
        own = [ForecastPasses(network, task) for task in tasks if isinstance(task, ForecastTask)]
        return OneByOne(own) if len(own) == len(tasks) else None

    def forward(self, cell: Cell, activation: str, weights: Mapping[str, Tensor], steps: Tensor, inside: Inside) -> Tensor:
        """See `Engine`. Each member has the bytes that it has alone, and each row of a batch those that it has in any."""
        name = named(cell, activation)
        return member_by_member(lambda weights, steps, *_: (layer.forward(name, weights, steps), {}), weights, steps, inside, {})[0]

    def carry(
        self, cell: Cell, activation: str, weights: Mapping[str, Tensor], steps: Tensor, inside: Inside, before: States
    ) -> tuple[Tensor, States]:
        """See `Engine`; bytes as in `forward`."""
        name = named(cell, activation)

        def run(weights: Mapping[str, Tensor], steps: Tensor, inside: Inside, before: States) -> tuple[Tensor, States]:
            carried = layer.carried(before, steps, weights["W"].shape[-1] // len(cell.gates))
            states = layer.forward(name, weights, steps, carried=carried, goes_on=bool(before))
            return states, {state: carried[place : place + 1] for place, state in enumerate(cell.states)}

        return member_by_member(run, weights, steps, inside, before)
