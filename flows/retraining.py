"""Retraining: new data in, every stage that must run, models registered, a better one promoted.

The graph comes from dvc.yaml at run time; everything right of evaluation is an effect on MLflow.
"""

# no `from __future__ import annotations`: in the process of a scheduled run Prefect cannot resolve parameters' types from text

import datetime as dt
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.client.schemas import State
from prefect.context import FlowRunContext
from prefect.states import Completed

from flows.stages import refresh_sources, store_was_away, walk
from longshort import clock, config, console, graph, lastrun, tracking
from longshort.config import Params
from longshort.errors import LongshortError
from longshort.ingestion import staleness
from longshort.ingestion.staleness import Stale
from longshort.registry import decision, promotion, versions


@task(name="record", retries=2, retry_delay_seconds=[1, 5], retry_condition_fn=store_was_away)
def record_runs(root: Path, params: Params, flow_run_id: str) -> tracking.Recorded:
    """Bring MLflow up to what the stages wrote."""
    from longshort import serving  # torch with it, which a scheduled run that is skipped does not need

    with tracking.reachable(root, params):
        client = tracking.connect(root, params)
        return tracking.record(client, root, params, tracking.origin_of(root, flow_run_id), serving.log_model)


@task(name="registry", task_run_name="registry-{dataset}", retries=2, retry_delay_seconds=[1, 5], retry_condition_fn=store_was_away)
def decide(root: Path, params: Params, dataset: str, recorded: tracking.Recorded, reason: str) -> decision.Decision:
    """Register the best model as challenger; make it champion if it earned that."""
    with tracking.reachable(root, params):
        client = tracking.connect(root, params)
        decided = decision.decide(client, root, params, dataset, recorded, reason)
        if moved := promotion.drift(client, root, decided.model):
            get_run_logger().warning(moved)
            console.say(moved)
        return decided


@task(name="forecast", task_run_name="forecast-{dataset}", retries=2, retry_delay_seconds=[1, 5], retry_condition_fn=store_was_away)
def say_next(root: Path, params: Params, dataset: str, model: str) -> str:
    """What the model that serves says of the next session, as a sentence; or why it says nothing, which is no fault of the retraining."""
    from longshort import serving

    with tracking.reachable(root, params):
        client = tracking.connect(root, params)
        version, alias = promotion.serving_version(client, root, model)
        served = versions.open_version(client, version)
    table = serving.read_tidy(root, dataset)
    ticker = str(table["ticker"][0])
    try:
        told = serving.forecast(served, table, ticker, params.evaluation.coverage)
    except LongshortError as error:
        return f"no forecast of {ticker}: {error}"
    day, level = told.sessions[0], told.levels[0]
    band = f", {told.coverage:.0%} between {told.low[0]:.2f} and {told.high[0]:.2f}" if told.low[0] and told.high[0] else ""
    said = f"{day:%a} {day}  {level:.2f}{band}  (last {told.last_price:.2f}), said by {alias} v{version.version}"
    return f"next session of {told.ticker}: {said}"


@task(name="trend", task_run_name="trend-{dataset}", retries=2, retry_delay_seconds=[1, 5], retry_condition_fn=store_was_away)
def keep_trend(root: Path, params: Params, dataset: str, flow_run_id: str) -> None:
    """Skill by date across retrainings, as a picture, a page and in MLflow."""
    from longshort.monitoring import trend

    with tracking.reachable(root, params):
        client = tracking.connect(root, params)
        trend.keep(client, root, params, trend.read(client, root, params, dataset), tracking.origin_of(root, flow_run_id))


def _skipped(root: Path, stale: list[Stale]) -> str:
    said = staleness.skipped(root, stale)
    (get_run_logger().error if said.startswith("ALARM") else get_run_logger().warning)(said)
    console.say(f"skipped: {said}")
    return said


@flow(name="retraining")
def retraining(root: Path, reason: str | None = None, as_of: dt.datetime | None = None) -> State[Any]:
    """Retrain what changed, and let only a better model serve. Where sources have stopped, a scheduled run is skipped.

    reason  why, for the ledger; default: that it was scheduled, or asked for
    as_of   the logical date, of a replay of history
    """
    context = FlowRunContext.get()
    flow_run_id = str(context.flow_run.id) if context and context.flow_run else "none"
    scheduled = bool(context and context.flow_run and context.flow_run.auto_scheduled)
    why = reason or ("scheduled" if scheduled else "asked for")
    with clock.at(as_of), graph.lock(root, console.say):
        params = config.read(root / "params.yaml")
        fresh, stale = refresh_sources(root, params)
        for one in stale:
            console.say(str(one))
        if stale and not fresh and scheduled:
            return Completed(name="Skipped", message=_skipped(root, stale))
        staleness.resumed(root)
        with tracking.Follower(root, params), console.Ticker(root):
            ran = walk(root, graph.read(root), graph.slots(params))
            graph.put_lock_in_order(root)
        last = None if fresh or any(ran) else lastrun.standing(root, params)
        nothing_new = last is not None
        if last is None:
            recorded = record_runs(root, params, flow_run_id)
            decisions = [decide(root, params, dataset, recorded, why) for dataset in recorded.parents]
            priced = [one for one in decisions if one.model.startswith("forecast-")]
            for decided in priced:
                keep_trend(root, params, decided.dataset, flow_run_id)
            forecasts = [say_next(root, params, one.dataset, one.model) for one in priced]
            last = {"decisions": [vars(one) for one in decisions], "forecasts": forecasts}
            nothing_new = not (fresh or any(ran) or recorded.new)
        lastrun.keep(root, {**last, "flow_run_id": flow_run_id, "nothing_new": nothing_new})
    return Completed(name="Nothing new" if nothing_new else "Completed", message=f"{sum(ran)} of {len(ran)} stages ran")
