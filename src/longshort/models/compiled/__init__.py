"""A small compiled library, built at installation where there is a C++ compiler: what the engine `native` computes with.

    lanes, philox, products, cells, layer, text, epoch (.h)
               the arithmetic, over sixteen lanes or eight; layer.h draws the memory
    forecast (.h)
               one window at a time, with units in the lanes
    width, native (.cpp)
               one vector width; the library's functions, threads
    build      compiles it
    library    opens it
    cells      which cells it has, and where they find their weights

Nothing here imports torch: whether it is there, and what it can run, is asked before anything slow begins.
"""
