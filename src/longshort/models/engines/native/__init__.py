"""The engine `native`: the compiled library of `models.compiled` behind torch's arrays.

engine     what it runs
layer      one layer over a batch, with autograd around it
passes     a whole pass over a task's windows in one call
"""

from longshort.models.engines.native.engine import Native

__all__ = ["Native"]
