"""The engine `cuda`: whole steps of training on a GPU, recorded once and replayed for every batch.

engine     what it runs
fleets     a layer of many networks in one launch (Triton, which comes with torch's builds for CUDA)
graphs     a function over static tensors, recorded in a CUDA graph
masks      the masks of `models.masks`, made where the network lies
passes     gather, masks, network, loss, gradient, clipping and optimiser as one such function
"""

from longshort.models.engines.cuda.engine import Cuda

__all__ = ["Cuda"]
