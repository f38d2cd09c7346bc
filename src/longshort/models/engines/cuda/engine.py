"""The engine as others see it: what it runs, and why not the rest."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from longshort.models.cells import Cell
from longshort.models.engines.engine import Epochs, Inside, States
from longshort.models.engines.kernels import Kernels

if TYPE_CHECKING:
    from longshort.models.network import Network
    from longshort.tasks.task import Task, WindowedTask


class Cuda(Kernels):
    """Runs the cells that torch has, whose kernels on a GPU are cuDNN's; those read one network at a time, so fleets have kernels of
    their own, where there are some.
    """

    def absent(self) -> str | None:
        """None when torch sees a GPU, else the reason why not, as the rest of a sentence that says how to get it."""
        if torch.cuda.is_available():
            return None
        return "torch sees no CUDA device here: it takes an NVIDIA GPU, its driver, and a torch that was built for CUDA"

    def epochs(self, network: Network, tasks: Sequence[Task]) -> Epochs | None:
        """Of forecasters and language models that carry no states: of those, the last batch is shorter than what would be recorded."""
        if any(task.carried for task in tasks):
            return None
        from longshort.models.engines.cuda.passes import WholePasses, source_of

        source = source_of(tasks, next(network.parameters()).device)
        return None if source is None else WholePasses(network, cast("Sequence[WindowedTask]", tasks), source)

    def forward(self, cell: Cell, activation: str, weights: Mapping[str, Tensor], steps: Tensor, inside: Inside) -> Tensor:
        """See `Engine`."""
        return self.carry(cell, activation, weights, steps, inside, {})[0]

    def carry(
        self, cell: Cell, activation: str, weights: Mapping[str, Tensor], steps: Tensor, inside: Inside, before: States
    ) -> tuple[Tensor, States]:
        """See `Engine`. A fleet in one launch where `fleets` has a rule for it and Triton is there, else one member after the other."""
        if len(steps) > 1 and steps.device.type == "cuda" and importlib.util.find_spec("triton"):
            from longshort.models.engines.cuda import fleets

            if fleets.fits(cell, activation, weights["R"].shape[1]):
                return fleets.carry(cell, activation, weights, steps, before)
        return super().carry(cell, activation, weights, steps, inside, before)
