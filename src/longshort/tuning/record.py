"""A search in MLflow: a parent run a study, a child run a trial. An index, brought up to date from the record and made anew when lost."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

from longshort import storage, tracking
from longshort.tuning.search import Findings, Plan
from longshort.tuning.study import Trial

if TYPE_CHECKING:
    from pathlib import Path

    from mlflow import MlflowClient


def log_trials(client: MlflowClient, root: Path, plan: Plan, trials: list[Trial]) -> str:
    """Log the trials that are not there yet; returns the parent's run id. Doing it twice is doing it once."""
    place = tracking.experiment(client, root, plan.params, plan.dataset)
    name = f"tune-{plan.item.removeprefix(plan.dataset + '-')}-{plan.identity[:8]}"
    parent = tracking.run_for(client, place, plan.identity, name, "tuning")
    run_id = parent.info.run_id
    if tracking.COMPLETE not in parent.data.tags:
        _describe(client, root, plan, run_id)
    asked = f"tags.`{tracking.PARENT}` = '{run_id}' and tags.`{tracking.COMPLETE}` != ''"
    found = client.search_runs([place], asked, max_results=max(len(trials), 1))
    there = {run.data.tags[tracking.IDENTITY] for run in found}
    for trial in trials:
        if (identity := storage.digest({"study": plan.identity, "trial": trial.number})) not in there:
            _log_trial(client, place, plan, run_id, trial, identity)
    client.set_terminated(run_id)
    return run_id


def log_findings(client: MlflowClient, root: Path, plan: Plan, findings: Findings) -> None:
    """Log all trials, and what they came to as figures and a file of the parent."""
    from mlflow.entities import Metric

    run_id = log_trials(client, root, plan, findings.trials)
    now, figures = int(time.time() * 1000), {f"naive_{name}": loss for name, loss in findings.naive.items()}
    for name, contender in (("present", findings.present), ("found", findings.found)):
        if contender is not None and contender.kept:
            figures |= {f"{name}_mean": contender.mean, f"{name}_sd": contender.sd}
    client.log_batch(run_id, metrics=[Metric(name, value, now, len(findings.trials)) for name, value in figures.items()])
    client.log_text(run_id, json.dumps(findings.as_json(), indent=2), "findings.json")
    client.set_tag(run_id, "verdict", findings.verdict.reason)


def _describe(client: MlflowClient, root: Path, plan: Plan, run_id: str) -> None:
    from mlflow.entities import Param, RunTag

    space = {f"space.{name}": allowed for name, allowed in plan.tuning.space.allowed.items()}
    settings = {"round": plan.tuning.round, "seed": plan.seeds[0], **space}
    client.log_batch(run_id, params=[Param(name, str(value)) for name, value in settings.items()])
    origin = tracking.origin_of(root, "none")
    tags = {"item": plan.item, "variant": plan.variant, "git_commit": origin.git_commit, "params_sha256": origin.params_sha256}
    marks = {**tags, "windows_sha256": plan.origin["windows_sha256"], tracking.COMPLETE: "yes"}
    client.log_batch(run_id, tags=[RunTag(name, value) for name, value in marks.items()])


def _log_trial(client: MlflowClient, place: str, plan: Plan, parent: str, trial: Trial, identity: str) -> None:
    from mlflow.entities import Metric, Param, RunTag

    run_id = tracking.run_for(client, place, identity, f"trial-{trial.number}", "trial").info.run_id
    settings = plan.base.changed(trial.values)
    params = {f"variant.{name}": value for name, value in settings.variant.model_dump().items()}
    params |= {f"optimisation.{name}": value for name, value in settings.optimisation.model_dump().items()}
    tracking.log_epochs(client, run_id, trial.history)
    metrics = []
    if trial.best is not None:
        now, epoch = int(time.time() * 1000), trial.best["epoch"]
        metrics = [Metric("best_validation_loss", trial.loss, now, epoch), Metric("best_epoch", epoch, now, epoch)]
    client.log_batch(run_id, metrics=metrics, params=[Param(name, str(value)) for name, value in {**params, "seed": plan.seeds[0]}.items()])
    tags = {tracking.PARENT: parent, "item": plan.item, "variant": plan.variant, "seed": str(plan.seeds[0]), "state": trial.state}
    if trial.reason:
        tags["reason"] = trial.reason
    client.log_batch(run_id, tags=[RunTag(name, value) for name, value in {**tags, tracking.COMPLETE: identity}.items()])
    client.set_terminated(run_id, "FAILED" if trial.state == "failed" else "FINISHED")
