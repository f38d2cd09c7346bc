"""Watching: after each session, is the model that serves still what it was judged to be? Where it is not, it is retrained, with the reason.

New data are taken in and validated, and nothing else of the graph runs unless a retraining is called for.
"""

# no `from __future__ import annotations`: in the process of a scheduled run Prefect cannot resolve parameters' types from text

import datetime as dt
from dataclasses import asdict
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.client.schemas import State
from prefect.states import Completed

from flows.retraining import retraining
from flows.stages import store_was_away, take_in
from longshort import clock, console, graph, journal, tracking
from longshort.config import Params


@task(name="watch", task_run_name="watch-{dataset}", retries=2, retry_delay_seconds=[1, 5], retry_condition_fn=store_was_away)
def look(root: Path, params: Params, dataset: str) -> dict[str, Any]:
    """Look at a data set and the model that serves it, and write down what was seen."""
    from longshort.monitoring import watch

    with tracking.reachable(root, params, "longshort watch"):
        seen = asdict(watch.look(tracking.connect(root, params), root, params, dataset, clock.now()))
    journal.append(watch.place(root, dataset), {"time": clock.stamp(clock.now()), **seen})
    said = f"{seen['model']} v{seen['version']}: {'to be retrained' if seen['retrain'] else 'not retrained'}: {seen['reason']}"
    get_run_logger().info(said)
    console.say(said)
    return seen


@flow(name="watching")
def watching(root: Path, as_of: dt.datetime | None = None) -> State[Any]:
    """Look at every price data set; retrain where that is called for. Data that are refused end it: what serves stays.

    as_of  the logical date, of a replay of history
    """
    with clock.at(as_of), graph.lock(root, console.say):
        params = take_in(root)
        seen = [look(root, params, dataset) for dataset in params.forecast_datasets()]
    reasons = [f"{one['dataset']}: {one['reason']}" if len(seen) > 1 else one["reason"] for one in seen if one["retrain"]]
    if not reasons:
        return Completed(message="; ".join(one["reason"] for one in seen) or "no price data set is trained on")
    retraining(root, "; ".join(reasons), as_of)
    return Completed(name="Retrained", message="; ".join(reasons))
