"""The engine `native`: the compiled library of `models.compiled` behind torch's arrays.

engine     what it runs
layer      one layer over a batch, with autograd around it
told       what the library is told of a whole network
passes     a whole pass over a task's windows in one call
forecaster one window at a time, and streams of them
"""

from longshort.models.engines.native.engine import Native

__all__ = ["Native"]
