"""A function over static tensors, launched as one: a small network's step is some thousand kernels, each shorter than its launch.

CUDA graphs (Gray, 2019, Getting started with CUDA graphs, NVIDIA): what a stream is given is recorded once with its addresses, and
replayed with one call. So a recorded function reads and writes tensors that stay where they are, and asks nothing of what they hold.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch

Work = Callable[[], None]
WARM_UP = 3  # runs before the recording, in which libraries choose kernels and take their memory


class Recorder(Protocol):
    """Records what a device is told to do."""

    def run(self, work: Work) -> None:
        """Do it once, as it stands."""

    def record(self, work: Work) -> Work:
        """Note what it does, which is not done meanwhile; returns what does it again."""


class Streams:
    """Recorder of a GPU."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._aside: torch.cuda.Stream | None = None

    def run(self, work: Work) -> None:
        """On a stream of its own: what runs on the default one cannot be recorded afterwards."""
        if self._aside is None:
            self._aside = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
        usual = torch.cuda.current_stream(self._device)
        self._aside.wait_stream(usual)
        with torch.cuda.stream(self._aside):
            work()
        usual.wait_stream(self._aside)

    def record(self, work: Work) -> Work:
        """See `Recorder`. Other threads may use other GPUs meanwhile."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.device(self._device), torch.cuda.graph(graph, stream=self._aside, capture_error_mode="thread_local"):
            work()
        return graph.replay


class Graphed:
    """Work that is recorded after some runs, and from then on replayed. The runs before are runs too: what they change stays."""

    def __init__(self, work: Work, recorder: Recorder | None) -> None:
        """recorder: None where there is nothing to record, as on a CPU: the work is called each time."""
        self._work, self._recorder = work, recorder
        self._runs = 0
        self._replay: Work | None = None

    def __call__(self) -> None:
        """Do the work once."""
        if self._recorder is None:
            self._work()
        elif self._replay is not None:
            self._replay()
        elif self._runs < WARM_UP:
            self._runs += 1
            self._recorder.run(self._work)
        else:
            self._replay = self._recorder.record(self._work)
            self._replay()
