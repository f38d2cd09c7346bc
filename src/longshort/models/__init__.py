"""Models: recurrent networks in one form, whatever the task before and behind them.

    cells      the catalogue: each cell's rule, equations and paper
    engines    who carries a layer over a sequence: a loop over the rule, torch's kernels, or the compiled library
    compiled   that library: the same cells in C++, for whole passes over a training set
    masks      dropout of every kind, drawn from where a value stands
    weights    the parameters of a fleet, and what they begin with
    encoder    the recurrent layers: cell, layers, direction, options, all from settings
    network    a task's front, an encoder and the task's head
    catalogue  the cells as a person reads them
    choice     which engine trains which cell, and who stands in where one is not built
    forecaster a trained network as it is asked in service: windows as they come in, or a stream of steps
    decoding   what a network with a decoder says: greedily, or by beam search
    suggesting what is most probably typed next
    artefact   a trained network on disk: safetensors and JSON, no pickle

A fleet of networks of one shape has one axis more, in front. A network knows nothing of optimisers, files or MLflow.
"""
