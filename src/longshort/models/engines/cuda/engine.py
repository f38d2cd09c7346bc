"""The engine as others see it: what it runs, and why not the rest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from longshort.models.engines.engine import Epochs
from longshort.models.engines.kernels import Kernels

if TYPE_CHECKING:
    from longshort.models.network import Network
    from longshort.tasks.task import Task


class Cuda(Kernels):
    """Runs the cells that torch has, whose kernels on a GPU are cuDNN's; a fleet's members one after the other, since those read one
    network at a time.
    """

    def absent(self) -> str | None:
        """None when torch sees a GPU, else the reason why not, as the rest of a sentence that says how to get it."""
        if torch.cuda.is_available():
            return None
        return "torch sees no CUDA device here: it takes an NVIDIA GPU, its driver, and a torch that was built for CUDA"

    def epochs(self, network: Network, tasks: Sequence[Task]) -> Epochs | None:
        """Of forecasters and language models."""
        from longshort.models.engines.cuda.passes import WholePasses, source_of

        source = source_of(tasks, next(network.parameters()).device)
        return None if source is None else WholePasses(network, tasks, source)
