"""Registry: which model serves, why, and how anyone can check it.

    judgement     whether a challenger has earned it: a pure function over what was measured
    ledger        who was champion when, why, and who was refused: append-only, and the truth about who serves
    versions      models in MLflow's registry: made once, found, fetched, verified
    local         the registry in a project's own file, without MLflow: for what must be quick
    golden        what a version answered when it was registered, asked again before it serves
    promotion     moving the champion, one process at a time; going back; what a crash left; what was moved by hand
    card          a page a version, for people
    decision      what a retraining comes to for one data set: the judge and the promotion together
    reproduction  a run made again from its commit, its data and its settings, and compared

Aliases in MLflow are `champion` (serves), `challenger` (best of the newest retraining) and `previous` (where a rollback goes).
They follow the ledger; where they differ, somebody moved them by hand, and the ledger is kept to.
"""
