"""Systems: the twenty systems of five well-known tutorials, each a task, a data set and a few settings, with its published figure.

`catalogue` says what there is. A system's module bears its name and has one function, `run`: it trains by the same rooms as the
pipeline, and gives figures, tables and pictures back; `occasion` says what it is handed and what it owes, `record` where that goes.
"""
