"""Tracking: what happened, written into MLflow so that runs can be compared there.

MLflow is an index over what the stages wrote and the journals hold; it can be rebuilt at any time by
running again. Training never waits for it: `Follower` tails the journals while training goes on, and
`record` completes every run afterwards, once, whether MLflow was there all the time or not.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from longshort import databases, environment, journal, storage
from longshort.config import Params
from longshort.errors import PartlyDone

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Run

IDENTITY, COMPLETE, KIND = "longshort.identity", "longshort.complete", "longshort.kind"
PARENT = "mlflow.parentRunId"
EPOCH_METRICS = ("train_loss", "validation_loss")
MOST_CHILDREN = 50  # members of a fleet that have a run each
MOST_POINTS = 1000  # that MLflow takes in one request
MOST_NEW = 2**20  # bytes of a new file that goes with a run
# refusals that say something about our request, not about the server
OURS = {"INVALID_PARAMETER_VALUE", "BAD_REQUEST", "INVALID_STATE", "RESOURCE_DOES_NOT_EXIST", "RESOURCE_ALREADY_EXISTS", "ALREADY_EXISTS"}


@dataclass(frozen=True)
class Trained:
    """One seed of one item, as the stages left it.

    history     epochs, oldest first; test: figures on the test part; folder: the model's files
    naive_loss  the validation loss of the best baseline, in the unit of its own
    members     of a seed that is a network a ticker: what became of each, {ticker, identity, best_epoch, history} or {.., dropped}
    earlier     the same seed in the folds before the newest, oldest first: {fold, identity, best_epoch, history, ...}
    """

    item: str
    dataset: str
    task: str
    variant: str
    seed: int
    identity: str
    best_epoch: int
    history: list[dict[str, Any]]
    test: dict[str, float]
    naive_loss: float
    folder: Path
    model_sha256: str
    members: list[dict[str, Any]]
    earlier: list[dict[str, Any]]

    @property
    def name(self) -> str:
        """The run's name in MLflow."""
        return f"{self.item.removeprefix(self.dataset + '-')}-s{self.seed}"

    @property
    def validation_loss(self) -> float:
        """Loss of the weights that were kept."""
        return float(self.history[self.best_epoch - 1]["validation_loss"])


@dataclass(frozen=True)
class Origin:
    """Where a retraining comes from; the tags of every run that it makes."""

    git_commit: str
    dvc_lock_sha256: str
    params_sha256: str
    prefect_flow_run_id: str

    def tags(self, data_sha256: str) -> dict[str, str]:
        """As MLflow tags, with the data set's own digest."""
        return {**vars(self), "data_sha256": data_sha256}


def trained(root: Path, params: Params, item: str) -> list[Trained]:
    """The seeds of an item, from its training and evaluation outputs, each verified.

    raises  CorruptArtefact
    """
    entry = params.training.items[item]
    folder, scored = root / "data/training" / item, root / "data/evaluation" / item
    storage.verify(folder)
    storage.verify(scored)
    metrics = storage.read_json(scored / "metrics.json")
    figures, naive_loss = metrics["seeds"], _naive_loss(metrics["baselines"])
    runs = storage.read_json(folder / "runs.json")
    earlier = [{"fold": number, **run} for number, fold in enumerate(runs.get("earlier", []), start=1) for run in fold]
    return [
        Trained(
            item=item,
            dataset=entry.dataset,
            task=entry.task,
            variant=entry.variant,
            seed=run["seed"],
            identity=run["identity"],
            best_epoch=run["best_epoch"],
            history=run["history"],
            test=figures[str(run["seed"])],
            naive_loss=naive_loss,
            folder=folder / f"seed-{run['seed']}",
            model_sha256=run["model_sha256"],
            members=run.get("members", []),
            earlier=[one for one in earlier if one["seed"] == run["seed"]],
        )
        for run in runs["seeds"]
        if str(run["seed"]) in figures  # others were dropped, in this fold or in an earlier one
    ]


def _naive_loss(baselines: dict[str, dict[str, float]]) -> float:
    """The lowest of those that say how sure they are."""
    return min(figures["validation_loss"] for figures in baselines.values() if "validation_loss" in figures)


# --- the store --------------------------------------------------------------------------------


def uri(root: Path, params: Params) -> str:
    """Where MLflow's store is."""
    local = f"sqlite:///{root}/mlflow/store/mlflow.db"
    return local if params.tracking.uri == "local" else params.tracking.uri


def connect(root: Path, params: Params) -> MlflowClient:
    """A client of a store that answers; a local one's schema is made under a lock (three of four processes that make it at once crash)."""
    import mlflow

    address = uri(root, params)
    mlflow.set_tracking_uri(address)
    mlflow.set_registry_uri(address)
    if params.tracking.uri == "local":
        store = root / "mlflow/store"
        store.mkdir(parents=True, exist_ok=True)
        with (store / "schema.lock").open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            databases.lay("mlflow", store / "mlflow.db")
            return _asked(mlflow.MlflowClient())
    return _asked(mlflow.MlflowClient())


def _asked(client: MlflowClient) -> MlflowClient:
    client.search_experiments(max_results=1)
    return client


@contextlib.contextmanager
def reachable(root: Path, params: Params, again: str = "longshort run") -> Iterator[None]:
    """Turn a store that does not answer into a sentence, and into exit code 6.

    again   the command that does the rest when the store is back
    raises  PartlyDone
    """
    try:
        yield
    except Exception as error:
        if not is_outage(error):
            raise
        reason = str(error).rpartition("Caused by ")[2][:200]  # urllib3's own words come last
        raise PartlyDone(
            f"MLflow at {uri(root, params)} does not answer: {reason}. What it does not have yet is neither logged nor registered; "
            f"no epoch is lost. Start the server, or mend `tracking.uri` in params.yaml; then `{again}` does just the rest."
        ) from None


def is_outage(error: Exception) -> bool:
    """Whether the store did not answer, as against refusing what was asked of it."""
    import requests
    from mlflow.exceptions import MlflowException

    if isinstance(error, MlflowException):
        return error.error_code not in OURS
    return isinstance(error, requests.RequestException | ConnectionError | TimeoutError)


def experiment(client: MlflowClient, root: Path, params: Params, dataset: str) -> str:
    """The id of a data set's experiment, made when it is not there."""
    found = client.get_experiment_by_name(dataset)
    if found is not None:
        return found.experiment_id
    place = str(root / "mlflow/store/artifacts" / dataset) if params.tracking.uri == "local" else None
    return client.create_experiment(dataset, artifact_location=place)


def find_run(client: MlflowClient, experiment_id: str, identity: str) -> Run | None:
    """The run that bears an identity, the oldest if a lost answer made two, or None."""
    found = client.search_runs([experiment_id], f"tags.`{IDENTITY}` = '{identity}'", max_results=1, order_by=["attributes.start_time ASC"])
    return found[0] if found else None


def run_for(client: MlflowClient, experiment_id: str, identity: str, name: str, kind: str) -> Run:
    """The run that bears an identity, begun when there is none."""
    existing = find_run(client, experiment_id, identity)
    return existing or client.create_run(experiment_id, tags={IDENTITY: identity, KIND: kind}, run_name=name)


def log_epochs(client: MlflowClient, run_id: str, history: list[dict[str, Any]], known: set[int] | None = None) -> set[int]:
    """Log the epochs that the run does not have yet; returns the steps that it has now."""
    from mlflow.entities import Metric

    if known is None:
        known = {metric.step for metric in client.get_metric_history(run_id, EPOCH_METRICS[-1])}
    fresh = [entry for entry in history if entry["epoch"] not in known]
    now = int(time.time() * 1000)
    _log_points(client, run_id, [Metric(name, float(entry[name]), now, entry["epoch"]) for entry in fresh for name in EPOCH_METRICS])
    return known | {entry["epoch"] for entry in fresh}


def _log_points(client: MlflowClient, run_id: str, points: list[Metric]) -> None:
    """Log points of curves, in requests of a size that MLflow takes."""
    for first in range(0, len(points), MOST_POINTS):
        client.log_batch(run_id, metrics=points[first : first + MOST_POINTS])


class Follower(threading.Thread):
    """Tails the journals of running trainings into MLflow; when MLflow is away it tries again, and loses nothing."""

    PAUSE_SECONDS = 1.0
    AWAY_SECONDS = 10.0

    def __init__(self, root: Path, params: Params) -> None:
        super().__init__(name="mlflow-follower", daemon=True)
        self.root, self.params = root, params
        self._began = time.time()
        self._stop_asked = threading.Event()
        self._logged: dict[Path, tuple[str, set[int]]] = {}
        self._left: set[Path] = set()  # to `record`

    def __enter__(self) -> Follower:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop_asked.set()
        self.join(timeout=30)

    def run(self) -> None:
        """Follow until asked to stop. Any failure is MLflow's: `record` does what is left."""
        pause = self.PAUSE_SECONDS
        client: MlflowClient | None = None
        while not self._stop_asked.wait(pause):
            try:
                if journals := self._written_to():  # in a run that trains nothing MLflow need not be imported
                    client = client or connect(self.root, self.params)
                    self._pass(client, journals)
                pause = self.PAUSE_SECONDS
            except Exception:  # whatever the store's client raises: training must not notice
                client, pause = None, self.AWAY_SECONDS
                self._logged.clear()  # the answer may be lost but the epochs logged: ask before they are logged again

    def _written_to(self) -> list[Path]:
        """The journals that this run's trainings write."""
        found = sorted((self.root / ".state/journal").glob("*.jsonl"))
        return [path for path in found if path not in self._left and path.stat().st_mtime >= self._began]

    def _pass(self, client: MlflowClient, journals: list[Path]) -> None:
        for path in journals:
            entries = journal.read(path)
            begun = next((entry for entry in entries if entry["kind"] == "begun"), None)
            epochs = {entry["epoch"]: entry for entry in entries if entry["kind"] == "epoch"}
            if begun is None or not epochs:
                continue
            if path not in self._logged:
                item = self.params.training.items[begun["item"]]
                # a run a network would be hundreds, and their journals are long to read; an earlier fold's hangs below the newest's
                if item.per is not None or "fold" in begun:
                    self._left.add(path)
                    continue
                place = experiment(client, self.root, self.params, item.dataset)
                run = run_for(client, place, begun["identity"], f"{item.variant}-{begun['member']}", "training")
                self._logged[path] = (run.info.run_id, log_epochs(client, run.info.run_id, []))
            run_id, known = self._logged[path]
            self._logged[path] = (run_id, log_epochs(client, run_id, list(epochs.values()), known))


# --- the record -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Recorded:
    """What `record` found or made: run ids by identity, and how many were new."""

    parents: dict[str, str]
    runs: dict[str, str]
    models: dict[str, str]
    new: int


def record(client: MlflowClient, root: Path, params: Params, origin: Origin, log_model: Callable[[Trained], str]) -> Recorded:
    """Bring MLflow up to what the stages wrote: a parent a data set, a child a seed, a run a baseline. Doing it twice is doing it once.

    log_model  logs a seed's model into the active run and returns its id
    """
    parents: dict[str, str] = {}
    runs: dict[str, str] = {}
    models: dict[str, str] = {}
    new = 0
    for dataset in params.ingestion.datasets:
        items = [item for item, entry in params.training.items.items() if entry.dataset == dataset]
        if not items:
            continue
        place = experiment(client, root, params, dataset)
        everything = [seed for item in items for seed in trained(root, params, item)]
        tags = origin.tags(storage.verify(root / "data/ingestion" / dataset))
        identity = storage.digest(
            {"retraining": [(s.identity, _evaluation_sha256(root, s.item)) for s in everything], "params": origin.params_sha256}
        )
        parent = run_for(client, place, identity, f"retraining-{identity[:8]}", "retraining")
        parents[dataset] = parent.info.run_id
        for seed in everything:
            run_id, model_id, fresh = _record_seed(client, place, root, seed, tags, parent.info.run_id, log_model)
            runs[seed.identity], models[seed.identity] = run_id, model_id
            new += fresh
        new += _record_baselines(client, place, root, items[0], everything, tags, parent.info.run_id)
        if COMPLETE not in parent.data.tags:
            _complete_parent(client, root, parent, everything, tags)
            new += 1
        _reap(client, place, {**runs, identity: parent.info.run_id})
    return Recorded(parents, runs, models, new)


def _evaluation_sha256(root: Path, item: str) -> str:
    return str(storage.read_json(root / "data/evaluation" / item / storage.MANIFEST)["sha256"])


def record_trend(
    client: MlflowClient,
    root: Path,
    params: Params,
    dataset: str,
    curves: Sequence[tuple[str, int, float]],
    files: Sequence[Path],
    origin: Origin,
) -> None:
    """Bring the run that holds a data set's trend up to these points, (metric, days since 1970, value), and log the files anew.

    origin  of the retraining that adds to it last
    """
    from mlflow.entities import Metric, RunTag

    run_id = run_for(client, experiment(client, root, params, dataset), storage.digest({"trend": dataset}), "trend", "trend").info.run_id
    known = {name: {metric.step for metric in client.get_metric_history(run_id, name)} for name in {name for name, _, _ in curves}}
    fresh = [(name, day, value) for name, day, value in curves if day not in known[name]]
    _log_points(client, run_id, [Metric(name, value, day * 86_400_000, day) for name, day, value in fresh])
    for path in files:
        client.log_artifact(run_id, str(path))
    tags = origin.tags(storage.verify(root / "data/ingestion" / dataset))
    client.log_batch(run_id, tags=[RunTag(name, value) for name, value in tags.items()])
    client.set_terminated(run_id)


def _record_seed(
    client: MlflowClient, place: str, root: Path, seed: Trained, tags: dict[str, str], parent: str, log_model: Callable[[Trained], str]
) -> tuple[str, str, int]:
    import mlflow
    from mlflow.entities import Metric

    run = run_for(client, place, seed.identity, seed.name, "training")
    run_id, scored = run.info.run_id, _evaluation_sha256(root, seed.item)
    if run.data.tags.get(COMPLETE) == scored:
        return run_id, run.data.tags["longshort.model_id"], 0
    log_epochs(client, run_id, seed.history)
    now = int(time.time() * 1000)
    figures = {f"test_{name}": value for name, value in seed.test.items() if name not in ("best_epoch", "validation_loss")}
    figures |= {"best_epoch": seed.best_epoch, "best_validation_loss": seed.validation_loss, "seconds": _seconds(root, seed)}
    client.log_batch(run_id, metrics=[Metric(name, float(value), now, seed.best_epoch) for name, value in figures.items()])
    if "longshort.model_id" not in run.data.tags:
        _log_settings(client, run_id, root, seed, tags)
        for half in client.search_logged_models([place], f"source_run_id = '{run_id}'"):  # of a process that was killed here
            client.delete_logged_model(half.model_id)
        with mlflow.start_run(run_id=run_id):
            model_id = log_model(seed)
        client.set_tag(run_id, "longshort.model_id", model_id)
    else:
        model_id = run.data.tags["longshort.model_id"]
    for kind in ("pictures", "tables"):
        client.log_artifacts(run_id, str(root / "data/evaluation" / seed.item / kind), kind)
    if seed.members:
        _record_members(client, place, seed, run_id)
    for fold in seed.earlier:
        _record_child(client, place, seed, run_id, f"fold-{fold['fold']}", fold, {"fold": str(fold["fold"])})
    own = {"item": seed.item, "variant": seed.variant, "seed": str(seed.seed), "model_sha256": seed.model_sha256}
    already = {} if PARENT in run.data.tags else {**tags, PARENT: parent}
    _end(client, run_id, {**already, **own}, scored)
    return run_id, model_id, 1


def _end(client: MlflowClient, run_id: str, tags: dict[str, str], complete: str) -> None:
    """Tag a run in one request, mark it as complete in the last one, and end it."""
    from mlflow.entities import RunTag

    client.log_batch(run_id, tags=[RunTag(name, value) for name, value in tags.items()])
    client.set_tag(run_id, COMPLETE, complete)
    client.set_terminated(run_id)


def _record_members(client: MlflowClient, place: str, seed: Trained, run_id: str) -> None:
    """A seed that is a network a ticker: a table of all of them, curves of how they spread, and a child run each where they are few."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    from mlflow.entities import Metric

    kept = [member for member in seed.members if "dropped" not in member]
    rows = [
        {
            "ticker": member["ticker"],
            "identity": member["identity"],
            "epochs": len(member.get("history", ())),
            "best_epoch": member.get("best_epoch"),
            "validation_loss": member["history"][member["best_epoch"] - 1]["validation_loss"] if "history" in member else None,
            "dropped": member.get("dropped", ""),
        }
        for member in seed.members
    ]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "members.parquet"
        pq.write_table(pa.Table.from_pylist(rows), path)
        client.log_artifact(run_id, str(path))
    known = {metric.step for metric in client.get_metric_history(run_id, "validation_loss_p50")}
    now, points = int(time.time() * 1000), []
    for number in sorted(set(range(1, max(len(member["history"]) for member in kept) + 1)) - known):
        losses = [member["history"][number - 1]["validation_loss"] for member in kept if number <= len(member["history"])]
        low, middle, high = np.quantile(losses, [0.1, 0.5, 0.9])
        spread = {"p10": low, "p50": middle, "p90": high, "members": len(losses)}
        points += [Metric(f"validation_loss_{name}", float(value), now, number) for name, value in spread.items()]
    _log_points(client, run_id, points)
    if len(seed.members) > MOST_CHILDREN:
        return
    for member in kept:
        _record_child(client, place, seed, run_id, member["ticker"], member, {"ticker": member["ticker"]})


def _record_child(client: MlflowClient, place: str, seed: Trained, run_id: str, name: str, of: dict[str, Any], own: dict[str, str]) -> None:
    """A run below a seed's: the epochs of one network of it, and its ``own`` tags."""
    from mlflow.entities import RunTag

    child = run_for(client, place, of["identity"], f"{name}-{seed.name}", "member")
    log_epochs(client, child.info.run_id, of["history"])
    marks = {PARENT: run_id, "item": seed.item, "variant": seed.variant, "seed": str(seed.seed), **own}
    client.log_batch(child.info.run_id, tags=[RunTag(name, value) for name, value in marks.items()])
    client.set_terminated(child.info.run_id)


def _log_settings(client: MlflowClient, run_id: str, root: Path, seed: Trained, tags: dict[str, str]) -> None:
    from mlflow.entities import Dataset, DatasetInput, InputTag, Param

    card = storage.read_json(seed.folder / "model.json")
    settings = {"seed": seed.seed, **{name: card["origin"][name] for name in ("device", "engine", "torch")}}
    for section in ("variant", "optimisation", "task"):
        settings |= {f"{section}.{name}": value for name, value in card["origin"][section].items()}
    spec = {f"windows.{name}": value for name, value in card["description"]["spec"].items()}
    client.log_batch(run_id, params=[Param(name, str(value)) for name, value in {**settings, **spec}.items()])
    source = f"data/ingestion/{seed.dataset}"
    data = Dataset(seed.dataset, tags["data_sha256"][:32], "dvc", source)
    client.log_inputs(run_id, [DatasetInput(data, [InputTag("mlflow.data.context", "training")])])


def _seconds(root: Path, seed: Trained) -> float:
    """Time that its epochs took, from the journals; 0 where the outputs came from a DVC cache and nothing was trained here."""
    spent = 0.0
    for identity in [member["identity"] for member in seed.members] or [seed.identity, *(fold["identity"] for fold in seed.earlier)]:
        entries = journal.read(root / ".state/journal" / f"{identity[:16]}.jsonl")
        spent += sum({entry["epoch"]: entry["seconds"] for entry in entries if entry["kind"] == "epoch"}.values())
    return spent


def _record_baselines(
    client: MlflowClient, place: str, root: Path, item: str, seeds: list[Trained], tags: dict[str, str], parent: str
) -> int:
    """A run a baseline, its validation loss at every epoch of the longest training, so that a chart shows a line, where it has one."""
    from mlflow.entities import Metric

    figures = storage.read_json(root / "data/evaluation" / item / "metrics.json")["baselines"]
    last = max(len(seed.history) for seed in seeds)
    now, new = int(time.time() * 1000), 0
    for name, values in figures.items():
        identity = storage.digest({"baseline": name, "figures": values, "epochs": last, "data": tags["data_sha256"]})
        run = run_for(client, place, identity, f"baseline-{name.replace('_', '-')}", "baseline")
        if COMPLETE in run.data.tags:
            continue
        points = [Metric(f"test_{key}", value, now, last) for key, value in values.items() if key != "validation_loss"]
        if "validation_loss" in values:
            loss = values["validation_loss"]
            points += [Metric(key, loss, now, step) for key in EPOCH_METRICS for step in range(1, last + 1)]
            points.append(Metric("best_validation_loss", loss, now, last))
        _log_points(client, run.info.run_id, points)
        _end(client, run.info.run_id, {**tags, PARENT: parent, "variant": name}, identity)
        new += 1
    return new


def _complete_parent(client: MlflowClient, root: Path, parent: Run, seeds: list[Trained], tags: dict[str, str]) -> None:
    run_id = parent.info.run_id
    pointers = sorted((root / "data/raw").glob("*.dvc"))
    for path in (root / "params.yaml", root / "dvc.yaml", root / "dvc.lock", *pointers):
        if path.exists():
            client.log_artifact(run_id, str(path))
    if difference := uncommitted(root):
        client.log_text(run_id, difference, "uncommitted.diff")
    client.log_dict(run_id, {seed.name: {"identity": seed.identity, "test": seed.test} for seed in seeds}, "children.json")
    _end(client, run_id, {**tags, "longshort.machine": json.dumps(environment.machine())}, "yes")


def _reap(client: MlflowClient, place: str, current: dict[str, str]) -> None:
    """End runs that a killed process left RUNNING, and delete doubles; the project's lock is ours, so nobody works on them.

    current  run ids by identity
    """
    for run in client.search_runs([place], "attributes.status = 'RUNNING'"):
        known = current.get(run.data.tags.get(IDENTITY, ""))
        if KIND not in run.data.tags or known == run.info.run_id:
            continue
        if known is None:
            client.set_terminated(run.info.run_id, "KILLED")
        else:  # made a second time, because the answer to the first time came too late
            client.delete_run(run.info.run_id)


def origin_of(root: Path, flow_run_id: str) -> Origin:
    """The commit, lock and parameters that the project stands at."""
    lock = root / "dvc.lock"
    return Origin(
        git_commit=git(root, "rev-parse", "HEAD").strip() or "none",
        dvc_lock_sha256=storage.sha256(lock) if lock.exists() else "none",
        params_sha256=storage.sha256(root / "params.yaml"),
        prefect_flow_run_id=flow_run_id,
    )


def uncommitted(root: Path) -> str:
    """What a project's folder holds beside its commit, as a diff: changes, and new files that git does not ignore, if they are small."""
    changes = git(root, "diff", "--binary", "HEAD")
    new = [name for name in git(root, "ls-files", "--others", "--exclude-standard", "-z").split("\0") if name]
    small = [name for name in new if (root / name).is_file() and (root / name).stat().st_size <= MOST_NEW]
    return changes + "".join(git(root, "diff", "--binary", "--no-index", "/dev/null", name, differing=True) for name in small)


def git(root: Path, *arguments: str, differing: bool = False) -> str:
    """What git says, or nothing where there is no git or no commit.

    differing  of files outside of its index, where exit code 1 says that they differ
    """
    import subprocess

    with contextlib.suppress(OSError):
        answer = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, errors="replace")
        if answer.returncode == int(differing):
            return answer.stdout
    return ""
