"""The engine `native`: a small compiled library, built at installation where there is a C++ compiler.

lanes, philox, products, cells, layer, epoch (.h)   the arithmetic, over sixteen lanes; layer.h draws the memory
width, native (.cpp)                                one vector width; the library's functions, threads
build      compiles it
library    opens it
cells      where its cells find their weights
layer      one layer over a batch, with autograd around it
epochs     a whole pass over a forecaster's windows in one call
"""

from longshort.models.engines.native.engine import Native

__all__ = ["Native"]
