"""Engines: who carries a layer over a whole sequence. All read the same weights and give the same states.

    reference   an explicit loop over time, every cell, any number format: what other engines are held against
    kernels     the engine `torch`: torch's own LSTM, GRU and RNN, where the cell is one of theirs
    cuda        torch's kernels on a GPU, whole steps of training recorded in a CUDA graph; whole passes without waiting for the host
    native      a compiled library over sixteen lanes or eight, where there was a compiler at installation; whole passes in one call

An engine that cannot run a variant says why; nothing falls back to another in silence.
"""

from longshort.models.engines.cuda import Cuda
from longshort.models.engines.engine import Engine, Inside
from longshort.models.engines.kernels import Kernels
from longshort.models.engines.native import Native
from longshort.models.engines.reference import Reference

# torch first: faster for its LSTMs, as fast for the others; native and cuda last: not every machine has them
ENGINES: dict[str, Engine] = {"torch": Kernels(), "reference": Reference(), "native": Native(), "cuda": Cuda()}

__all__ = ["ENGINES", "Engine", "Inside"]
