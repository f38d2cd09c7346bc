"""Forecasting: what the models that serve say of every ticker's next sessions, with intervals, written before anybody knows.

New data are taken in and validated first; forecasts from data that were refused are never written.
"""

# no `from __future__ import annotations`: in the process of a scheduled run Prefect cannot resolve parameters' types from text

import datetime as dt
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.client.schemas import State
from prefect.states import Completed

from flows.stages import store_was_away, take_in
from longshort import clock, console, graph, tracking
from longshort.config import Params


@task(name="forecasts", task_run_name="forecasts-{dataset}", retries=2, retry_delay_seconds=[1, 5], retry_condition_fn=store_was_away)
def write_next(root: Path, params: Params, dataset: str) -> str:
    """Write the next forecasts of a data set's tickers; returns what came of it, as a sentence."""
    from longshort import serving
    from longshort.monitoring import record
    from longshort.registry import promotion, versions

    with tracking.reachable(root, params, "longshort forecast"):
        client = tracking.connect(root, params)
        version, alias = promotion.serving_version(client, root, versions.model_name("forecast", dataset))
        served = versions.open_version(client, version)
    by = {"model": version.name, "version": str(version.version), "alias": alias}
    count, silent = record.write(root, dataset, serving.read_tidy(root, dataset), served, by, params.evaluation.coverage)
    for sentence in silent:
        get_run_logger().warning(sentence)
        console.say(sentence)
    return f"{count:,} tickers by {version.name} v{version.version}, the {alias}: {record.newest(root, dataset).relative_to(root)}"


@flow(name="forecasting")
def forecasting(root: Path, as_of: dt.datetime | None = None) -> State[Any]:
    """Write the next forecasts of every price data set.

    as_of  the logical date, of a replay of history
    """
    with clock.at(as_of), graph.lock(root, console.say):
        params = take_in(root)
        said = [write_next(root, params, dataset) for dataset in params.forecast_datasets()]
        for sentence in said:
            console.say(sentence)
    return Completed(message="; ".join(said) or "no price data set is trained on")
