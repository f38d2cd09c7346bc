"""Stages: the steps that every occasion shares: sources are read again, and the graph of dvc.yaml is walked side by side.

A task a stage; what DVC skips is shown as Cached. Stages that wait for nobody run side by side.
"""

# no `from __future__ import annotations`: in the process of a scheduled run Prefect cannot resolve parameters' types from text

from pathlib import Path
from typing import Any

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas import State
from prefect.futures import PrefectFuture, as_completed
from prefect.states import Completed

from longshort import clock, config, console, forkserver, graph
from longshort.config import Params
from longshort.errors import PartlyDone
from longshort.ingestion import intake, staleness
from longshort.ingestion.staleness import Stale


@task(name="sources", cache_policy=NO_CACHE)
def refresh_sources(root: Path, params: Params) -> tuple[list[str], list[Stale]]:
    """Read the sources of `ingestion.sources` again; returns the data sets whose content changed, and those that lack sessions."""
    found = intake.refresh(root, params)
    stale = [staleness.judge(taken.dataset, taken.account, clock.now(), params.ingestion.stale_after) for taken in found]
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


def take_in(root: Path) -> Params:
    """Read the settings and the sources, and run no more of the graph than brings new data in and judges them.

    raises  DataRefused when they are refused: what was learned from earlier data stays in service
    """
    params = config.read(root / "params.yaml")
    refresh_sources(root, params)
    early = [stage for stage in graph.read(root) if stage.address.partition("@")[0] in ("ingestion", "validation")]
    with console.Ticker(root):
        walk(root, early, graph.slots(params))
        graph.put_lock_in_order(root)
    return params
