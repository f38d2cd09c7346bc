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
    told       what it is told of a whole network
    forecaster one window at a time, and streams of them
    served     a trained network's files, asked as they are served

Nothing here imports torch: whether it is there, and what it can run, is asked before anything slow begins, and a rollback, which verifies
what a model answers, is over before torch is imported.
"""
