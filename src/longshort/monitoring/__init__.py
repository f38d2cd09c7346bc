"""Monitoring: whether the model that serves still does what it did when it was judged, and what retraining has been worth.

    drift      has a distribution changed, has a mean moved: statistics, and what is usual for them
    record     forecasts as they were written, before anybody knew what would come
    hindsight  what versions said, or would have said, of sessions that have come since
    watch      the checks of a data set's model, and whether they call for a retraining
    trend      skill by calendar date across retrainings, and what the policy of retraining was worth

Everything is read from what is there already: the ledger, the registry, the tidy table. Nothing here trains.
"""
