"""Tasks: what a network is asked, and how its answer is charged.

A task says what its examples are, what stands before and behind the recurrent layers, and what the
loss is. It knows nothing of cells, optimisers, files or MLflow.

    forecast         the next values of a series from the values before
    language_model   the next word at every word of a text
"""
