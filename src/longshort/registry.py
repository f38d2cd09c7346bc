"""Registry: which model serves. A pure judge, aliases in MLflow, and a ledger that forgets nothing.

Aliases are `champion` (serves), `challenger` (best of the newest retraining) and `previous` (the
champion before). Every decision, also a refusal, is an entry of the ledger, an append-only journal
beside the MLflow store.
"""

from __future__ import annotations

import contextlib
import fcntl
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from longshort import journal, storage, tracking
from longshort.config import Params
from longshort.errors import CorruptArtefact, DataRefused, PromotionRefused, UsageError
from longshort.tracking import IDENTITY

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

    from longshort.models import artefact

CHAMPION, CHALLENGER, PREVIOUS = "champion", "challenger", "previous"
SAME_DECISION = ("identity", "against", "windows_sha256", "data_sha256")  # decided once, written down once


@dataclass(frozen=True)
class Verdict:
    """Whether the challenger becomes champion, and why, in words with the numbers."""

    promote: bool
    reason: str


def judge(challenger: float, champion: float | None, naive: float, min_gain: float, measure: str) -> Verdict:
    """Decide whether the challenger replaces the champion. Pure.

    challenger, champion, naive  errors on the same unseen windows, lower is better; champion None: there is none yet
    min_gain                     the relative improvement asked for: 0.02 means at least 2 % lower than the champion's
    measure                      what the errors are, for the sentence: "RMSE"

    >>> judge(15.10, None, 15.02, 0.0, "RMSE")
    Verdict(promote=False, reason='kept out: RMSE 15.1, naive 15.02')
    >>> judge(1.52, 1.55, 1.59, 0.0, "bits per character").reason
    'promoted: bits per character 1.52, champion 1.55, naive 1.59'
    """
    if not math.isfinite(challenger):
        return Verdict(False, f"kept out: {measure} is {challenger}, the run diverged")
    if not math.isfinite(naive) or (champion is not None and not math.isfinite(champion)):
        return Verdict(False, f"kept out: naive {naive:.4g} and champion {champion} cannot be compared with")
    if challenger >= naive:
        return Verdict(False, f"kept out: {measure} {challenger:.4g}, naive {naive:.4g}")
    if champion is None:
        return Verdict(True, f"promoted: {measure} {challenger:.4g}, naive {naive:.4g}, no champion yet")
    needed = champion * (1 - min_gain)
    if challenger < needed:
        return Verdict(True, f"promoted: {measure} {challenger:.4g}, champion {champion:.4g}, naive {naive:.4g}")
    return Verdict(False, f"kept out: {measure} {challenger:.4g}, champion {champion:.4g}, needed below {needed:.4g}")


def model_name(task: str, dataset: str) -> str:
    """The registered model's name: one a task and data set."""
    return f"{task}-{dataset}"


# --- the ledger -------------------------------------------------------------------------------


def ledger(root: Path) -> Path:
    """Where the registry's decisions are written."""
    return root / "mlflow/store/ledger.jsonl"


def history(root: Path) -> list[dict[str, Any]]:
    """Every decision, oldest first."""
    return journal.read(ledger(root))


def note(root: Path, event: str, model: str, **facts: Any) -> None:
    """Write a decision down. ``event`` is registered, promoted, refused or rolled-back."""
    when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    journal.append(ledger(root), {"event": event, "model": model, "time": when, **facts})


# --- versions and aliases ---------------------------------------------------------------------


@contextlib.contextmanager
def lock(root: Path) -> Iterator[None]:
    """MLflow's aliases are last writer wins: ours change one process at a time."""
    path = root / ".state/registry.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def at_alias(client: MlflowClient, model: str, alias: str) -> ModelVersion | None:
    """The version that an alias points at, or None."""
    from mlflow.exceptions import MlflowException, RestException

    try:
        return client.get_model_version_by_alias(model, alias)
    except (MlflowException, RestException) as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise


def find(client: MlflowClient, model: str, version: str) -> ModelVersion:
    """A version by its number.

    raises  UsageError naming those that there are
    """
    versions = {str(found.version): found for found in client.search_model_versions(f"name = '{model}'")}
    if version not in versions:
        raise UsageError(
            f"{model} has no version '{version}'. Known: {', '.join(sorted(versions, key=int)) or 'none; run `longshort run` first'}."
        )
    return versions[version]


def find_version(client: MlflowClient, model: str, identity: str) -> ModelVersion | None:
    """The version that was registered from a training run, or None."""
    found = client.search_model_versions(f"name = '{model}' and tags.`{IDENTITY}` = '{identity}'", max_results=1)
    return found[0] if found else None


def register(client: MlflowClient, root: Path, model: str, model_id: str, run_id: str, tags: dict[str, str]) -> ModelVersion:
    """Register a logged model, once: the same training run is never registered twice.

    tags  of the version; ``longshort.identity`` among them
    """
    from mlflow.exceptions import MlflowException

    version = find_version(client, model, tags[IDENTITY])
    if version is None:
        # it may exist already; MLflow has no call that says so without raising
        with contextlib.suppress(MlflowException):
            client.create_registered_model(model)
        # a server wants the model named twice, a store in a file does not mind
        version = client.create_model_version(model, f"models:/{model_id}", run_id=run_id, tags=tags, model_id=model_id)
    # asked for apart: the version may be there and the answer, and with it this line, lost
    if not _written_down(root, "registered", model, {IDENTITY: tags[IDENTITY], "version": str(version.version)}):
        note(root, "registered", model, version=str(version.version), **tags)
    return version


def fetch(client: MlflowClient, version: ModelVersion) -> Path:
    """The local folder with a version's model files (safetensors, JSON, manifest), not yet verified.

    raises  CorruptArtefact when they are not there; what MLflow raised when its server is away
    """
    import mlflow
    from mlflow.exceptions import MlflowException

    try:
        place = Path(mlflow.artifacts.download_artifacts(f"models:/{version.name}/{version.version}"))
    except (MlflowException, OSError) as error:
        if mlflow.get_tracking_uri().startswith("http") and tracking.is_outage(error):
            raise
        raise CorruptArtefact(
            f"{version.name} v{version.version}: its files cannot be had ({error}). Run `longshort rollback {version.name}`."
        ) from None
    manifests = sorted(place.glob(f"data/*/{storage.MANIFEST}"))
    if not manifests:
        raise CorruptArtefact(
            f"{version.name} v{version.version}: no {storage.MANIFEST} in {place}: the model's files are gone. "
            f"Run `longshort rollback {version.name}`, or `longshort doctor --fix` if its training output is still there."
        )
    return manifests[0].parent


def open_version(client: MlflowClient, version: ModelVersion) -> artefact.Model:
    """A version's model, every byte verified before it is parsed.

    raises  CorruptArtefact
    """
    from longshort.models import artefact

    model = artefact.load(fetch(client, version))
    stated = version.tags.get("model_sha256")
    if stated and stated != model.sha256:
        raise CorruptArtefact(
            f"{version.name} v{version.version}: its files are whole but not the ones that were registered ({model.sha256[:12]}…)."
        )
    return model


def promote(client: MlflowClient, root: Path, model: str, version: str, reason: str, **facts: Any) -> None:
    """Point `champion` at a version, after its files were verified; the old champion becomes `previous`."""
    with lock(root):
        open_version(client, client.get_model_version(model, version))
        old = at_alias(client, model, CHAMPION)
        if old is not None and str(old.version) == str(version):
            return
        if old is not None:
            client.set_registered_model_alias(model, PREVIOUS, old.version)
        client.set_registered_model_alias(model, CHAMPION, version)
        note(root, "promoted", model, version=str(version), old=old and str(old.version), reason=reason, **facts)


def rollback(client: MlflowClient, root: Path, model: str) -> tuple[str, str]:
    """Put the previous champion back, after its files were verified; returns (old, new) versions.

    raises  PromotionRefused when there is none to go back to
    """
    with lock(root):
        champion, previous = at_alias(client, model, CHAMPION), at_alias(client, model, PREVIOUS)
        if champion is None or previous is None:
            had = f"v{champion.version} is the first" if champion else "it has none"
            raise PromotionRefused(f"{model}: there is no earlier champion to go back to ({had}). See `longshort history`.")
        open_version(client, previous)
        client.set_registered_model_alias(model, CHAMPION, previous.version)
        client.set_registered_model_alias(model, PREVIOUS, champion.version)
        note(root, "rolled-back", model, version=str(previous.version), old=str(champion.version), reason="asked for")
        return str(champion.version), str(previous.version)


def serving_version(client: MlflowClient, model: str) -> tuple[ModelVersion, str]:
    """The version to answer with, and its alias: the champion, else the challenger.

    raises  UsageError when the model is not registered
    """
    for alias in (CHAMPION, CHALLENGER):
        if version := at_alias(client, model, alias):
            return version, alias
    raise UsageError(f"no model '{model}' is registered. Run `longshort run` first.")


# --- the decision -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Decision:
    """What a retraining came to for one data set."""

    dataset: str
    model: str
    version: str
    variant: str
    seed: int
    promoted: bool
    reason: str
    champion: str | None  # the version that serves now


def decide(client: MlflowClient, root: Path, params: Params, dataset: str, recorded: tracking.Recorded) -> Decision:
    """Register the best finite model by validation as challenger, and promote it if it beats naive and the champion now.

    A decision over the same models and windows is taken once and written down once.

    raises  CorruptArtefact: a champion that cannot be read stops the promotion, it does not lose by default
    """
    best = best_of(root, params, dataset)
    name = model_name(best.task, dataset)
    tags = {IDENTITY: best.identity, "model_sha256": best.model_sha256, "item": best.item, "seed": str(best.seed)}
    version = register(client, root, name, recorded.models[best.identity], recorded.runs[best.identity], tags)
    with lock(root):
        challenger = at_alias(client, name, CHALLENGER)
        if challenger is None or challenger.version != version.version:
            client.set_registered_model_alias(name, CHALLENGER, version.version)
    verdict = settle(client, root, params, dataset, version)
    champion = at_alias(client, name, CHAMPION)
    serves = str(champion.version) if champion else None
    return Decision(dataset, name, str(version.version), best.variant, best.seed, verdict.promote, verdict.reason, serves)


def best_of(root: Path, params: Params, dataset: str) -> tracking.Trained:
    """The seed with the lowest finite validation loss beside the naive one in the same unit; never chosen by the test part.

    raises  DataRefused when none is finite
    """
    items = [item for item, entry in params.training.items.items() if entry.dataset == dataset]
    seeds = [seed for item in items for seed in tracking.trained(root, params, item) if math.isfinite(seed.validation_loss)]
    if not seeds:
        raise DataRefused(f"{dataset}: no model has a finite validation loss. Lower the learning rate in params.yaml.")
    # a validation part that never moves leaves the naive loss 0, which nothing can beat: the loss itself is compared then
    beside = [seed.validation_loss / seed.naive_loss if seed.naive_loss > 0 else math.inf for seed in seeds]
    return min(zip(beside, seeds, strict=True), key=lambda pair: (pair[0], pair[1].validation_loss))[1]


def settle(client: MlflowClient, root: Path, params: Params, dataset: str, version: ModelVersion) -> Verdict:
    """Judge a version against naive and the champion, both scored now; promote it or write the refusal down."""
    from longshort.evaluation import contest

    champion = at_alias(client, version.name, CHAMPION)
    if champion is not None and champion.version == version.version:
        if _champion_in_ledger(root, version.name) != str(version.version):
            note(root, "promoted", version.name, version=str(version.version), reason="found as champion in MLflow")
        return Verdict(True, f"v{version.version} is champion already")
    challenger_model = open_version(client, version)
    champion_model = open_version(client, champion) if champion else None
    scored = contest.hold(root, dataset, params, challenger_model, champion_model)
    verdict = judge(scored.challenger, scored.champion, scored.naive, params.registry.min_gain, scored.measure)
    facts = {
        **vars(scored),
        "identity": version.tags[IDENTITY],
        "against": champion and str(champion.version),
        "data_sha256": storage.verify(root / "data/ingestion" / dataset),
    }
    if verdict.promote:
        promote(client, root, version.name, version.version, verdict.reason, **facts)
    elif not _written_down(root, "refused", version.name, {name: facts[name] for name in SAME_DECISION}):
        note(root, "refused", version.name, version=str(version.version), reason=verdict.reason, **facts)
    return verdict


def _written_down(root: Path, event: str, model: str, facts: dict[str, Any]) -> bool:
    """Whether the ledger has an entry of that kind with these facts."""
    same = [entry for entry in history(root) if (entry["event"], entry["model"]) == (event, model)]
    return any(all(entry.get(key) == value for key, value in facts.items()) for entry in same)


def _champion_in_ledger(root: Path, model: str) -> str | None:
    """The version that serves by the ledger's last word."""
    moves = [entry for entry in history(root) if entry["model"] == model and entry["event"] in ("promoted", "rolled-back")]
    return moves[-1]["version"] if moves else None
