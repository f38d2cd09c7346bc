"""Models: recurrent networks in one form, whatever the task before and behind them.

    encoder    the recurrent layers: cell, layers, direction, dropout, all from settings
    network    a task's front, an encoder and the task's head
    artefact   a trained network on disk: safetensors and JSON, no pickle

A network knows nothing of optimisers, files or MLflow.
"""
