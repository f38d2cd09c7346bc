"""Retraining: new data in, every stage that must run, models registered, a better one promoted.

The graph comes from dvc.yaml at run time, a task a stage; what DVC skips is shown as Cached. Stages
that wait for nobody run side by side. Everything right of evaluation is an effect on MLflow.
"""

# no `from __future__ import annotations`: in the process of a scheduled run Prefect cannot resolve parameters' types from text

import datetime as dt
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas import State
from prefect.context import FlowRunContext
from prefect.futures import PrefectFuture, as_completed
from prefect.states import Completed

from longshort import config, console, forkserver, graph, lastrun, tracking
from longshort.config import Params
from longshort.errors import LongshortError, PartlyDone
from longshort.ingestion import intake, staleness
from longshort.ingestion.staleness import Stale
from longshort.registry import decision, promotion, versions


@task(name="sources", cache_policy=NO_CACHE)
def refresh_sources(root: Path, params: Params) -> tuple[list[str], list[Stale]]:
    """Read the sources of `ingestion.sources` again; returns the data sets whose content changed, and those that lack sessions."""
    found = intake.refresh(root, params)
    now = dt.datetime.now(dt.UTC)
    stale = [staleness.judge(taken.dataset, taken.account, now, params.ingestion.stale_after) for taken in found]
    return [taken.dataset for taken in found if taken.changed], [one for one in stale if one is not None]


@task(name="stage", task_run_name="{address}", cache_policy=NO_CACHE)
def run_stage(root: Path, address: str, unchanged: bool, upstream: list[Any], slot: graph.Slot) -> State[Any]:
    """One stage of dvc.yaml. Its result says whether its command ran; where nothing upstream did, DVC need not be asked again."""
    if unchanged and not any(upstream):
        console.stage_ended(graph.Outcome(address, ran=False, seconds=0.0))
        return Completed(name="Cached", message="nothing it reads has changed", data=False)
    console.stage_begun(address)
    outcome = graph.reproduce(root, address, slot, get_run_logger().info)
    console.stage_ended(outcome)
    if outcome.ran:
        return Completed(message=f"{outcome.seconds:.1f} s", data=True)
    return Completed(name="Cached", message="DVC found nothing to do", data=False)


def store_was_away(_: object, __: object, state: State[Any]) -> bool:
    """Only what the network broke is worth another try."""
    return isinstance(state.result(raise_on_failure=False), PartlyDone)


@task(name="record", retries=2, retry_delay_seconds=[1, 5], retry_condition_fn=store_was_away)
def record_runs(root: Path, params: Params, flow_run_id: str) -> tracking.Recorded:
    """Bring MLflow up to what the stages wrote."""
    from longshort import serving  # torch with it, which a scheduled run that is skipped does not need

    with tracking.reachable(root, params):
        client = tracking.connect(root, params)
        return tracking.record(client, root, params, tracking.origin_of(root, flow_run_id), serving.log_model)


@task(name="registry", task_run_name="registry-{dataset}", retries=2, retry_delay_seconds=[1, 5], retry_condition_fn=store_was_away)
def decide(root: Path, params: Params, dataset: str, recorded: tracking.Recorded) -> decision.Decision:
    """Register the best model as challenger; make it champion if it earned that."""
    with tracking.reachable(root, params):
        client = tracking.connect(root, params)
        decided = decision.decide(client, root, params, dataset, recorded)
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
        told = serving.forecast(served, table, ticker)
    except LongshortError as error:
        return f"no forecast of {ticker}: {error}"
    day, level = told.sessions[0], told.levels[0]
    said = f"{day:%a} {day}  {level:.2f}  (last {told.last_price:.2f}), said by {alias} v{version.version}"
    return f"next session of {told.ticker}: {said}"


def walk(root: Path, stages: list[graph.Stage], slots: list[graph.Slot]) -> list[bool]:
    """Run the graph side by side, one stage a slot; returns, a stage each, whether its command ran.

    raises  the first failed stage's error, after everything that does not wait for it has ended
    """
    changed = graph.changed(root)
    if changed:
        forkserver.start(root)
    console.planned(len(stages))
    futures: dict[str, PrefectFuture[Any]] = {}
    ended: dict[str, bool] = {}  # whether it ended well; to ask a future is a question to Prefect's server
    free, busy = list(slots), {}
    waiting = list(stages)
    while True:
        for stage in [s for s in waiting if all(ended.get(up) for up in s.upstream)][: len(free)]:
            waiting.remove(stage)
            slot = busy[stage.address] = free.pop(0)
            upstream = [futures[address] for address in stage.upstream]
            futures[stage.address] = run_stage.submit(root, stage.address, stage.address not in changed, upstream, slot)
        if not busy:
            break  # all is done, or what is left waits for a stage that failed
        try:
            done = next(as_completed([futures[address] for address in busy]))
        except BaseException:  # Prefect was told to stop this flow
            graph.stop_running()
            raise
        address = next(address for address in busy if futures[address] is done)
        done.wait()
        ended[address] = done.state.is_completed()
        free.append(busy.pop(address))
    return [bool(future.result()) for future in futures.values()]  # raises what a stage raised


def _skipped(root: Path, stale: list[Stale]) -> str:
    said = staleness.skipped(root, stale)
    (get_run_logger().error if said.startswith("ALARM") else get_run_logger().warning)(said)
    console.say(f"skipped: {said}")
    return said


@flow(name="retraining")
def retraining(root: Path) -> State[Any]:
    """Retrain what changed, and let only a better model serve. Where sources have stopped, a scheduled run is skipped."""
    context = FlowRunContext.get()
    flow_run_id = str(context.flow_run.id) if context and context.flow_run else "none"
    with graph.lock(root, console.say):
        params = config.read(root / "params.yaml")
        fresh, stale = refresh_sources(root, params)
        for one in stale:
            console.say(str(one))
        if stale and not fresh and context and context.flow_run and context.flow_run.auto_scheduled:
            return Completed(name="Skipped", message=_skipped(root, stale))
        staleness.resumed(root)
        with tracking.Follower(root, params), console.Ticker(root):
            ran = walk(root, graph.read(root), graph.slots(params))
            graph.put_lock_in_order(root)
        last = None if fresh or any(ran) else lastrun.standing(root, params)
        nothing_new = last is not None
        if last is None:
            recorded = record_runs(root, params, flow_run_id)
            decisions = [decide(root, params, dataset, recorded) for dataset in recorded.parents]
            forecasts = [say_next(root, params, one.dataset, one.model) for one in decisions if one.model.startswith("forecast-")]
            last = {"decisions": [vars(one) for one in decisions], "forecasts": forecasts}
            nothing_new = not (fresh or any(ran) or recorded.new)
        lastrun.keep(root, {**last, "flow_run_id": flow_run_id, "nothing_new": nothing_new})
    return Completed(name="Nothing new" if nothing_new else "Completed", message=f"{sum(ran)} of {len(ran)} stages ran")
