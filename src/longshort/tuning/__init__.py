"""Tuning: a search over the settings of one item, compared in the end with what there was.

    space       what may be tried, and the settings of a trial; what the rules refuse is refused before anything starts
    study       what is tried next, what is given up early, and the record of what has ended; Optuna stands behind it
    search      the shell: rounds of trials through the one training loop, then the best beside the present over all seeds
    record      trials as runs in MLflow

A trial is judged by its validation loss, never by the test part.
"""
