"""Decision: what a retraining comes to for one data set; the judge's word, and the move or the refusal that follows from it."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from longshort import storage, tracking
from longshort.config import Params
from longshort.errors import ChampionMoved, CorruptArtefact, DataRefused, UsageError
from longshort.registry import card, ledger, promotion, versions
from longshort.registry.judgement import Verdict, judge
from longshort.registry.versions import CHALLENGER
from longshort.tracking import IDENTITY

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

    from longshort.evaluation.contest import Contest
    from longshort.models import artefact

# decided once, written down once
SAME_DECISION = ("version", "against", "windows_sha256", "data_sha256", "reason")
ATTEMPTS = 5  # at a promotion, each against the champion of the moment


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


def decide(client: MlflowClient, root: Path, params: Params, dataset: str, recorded: tracking.Recorded, occasion: str) -> Decision:
    """Register the best finite model by validation as challenger, and promote it if it beats naive and the champion now.

    A decision over the same models and windows is taken once and written down once.

    occasion  why there was a retraining
    raises  CorruptArtefact: a champion that cannot be read stops the promotion, it does not lose by default
    """
    best = best_of(root, params, dataset)
    name = versions.model_name(best.task, dataset)
    promotion.reconcile(client, root, params, name)
    run_id = recorded.runs[best.identity]
    origin = client.get_run(run_id).data.tags
    tags = {IDENTITY: best.identity, "model_sha256": best.model_sha256, "item": best.item, "seed": str(best.seed)}
    tags |= {key: origin[key] for key in ("data_sha256", "git_commit", "params_sha256") if key in origin}
    version = versions.register(client, root, name, recorded.models[best.identity], run_id, tags)
    _note_retraining(root, dataset, best, version, occasion)
    with promotion.lock(root):
        challenger = versions.at_alias(client, name, CHALLENGER)
        if challenger is None or challenger.version != version.version:
            client.set_registered_model_alias(name, CHALLENGER, version.version)
    verdict = settle(client, root, params, dataset, version)
    serves = ledger.standing(root, name).champion
    return Decision(dataset, name, str(version.version), best.variant, best.seed, verdict.promote, verdict.reason, serves)


def _note_retraining(root: Path, dataset: str, best: tracking.Trained, version: ModelVersion, occasion: str) -> None:
    """Write down, once, why there was a retraining, where its data end, and how much better than naive each seed of the best item is."""
    own = {"version": str(version.version), "data_sha256": storage.verify(root / "data/ingestion" / dataset)}
    if ledger.written(root, ledger.RETRAINED, version.name, own):
        return
    metrics = storage.read_json(root / "data/evaluation" / best.item / "metrics.json")
    facts: dict[str, Any] = {"item": best.item}
    if best.task == "forecast":
        facts |= {"cut_off": data_end(root, dataset), "skills": [figures["skill"] for figures in metrics["seeds"].values()]}
    ledger.note(root, ledger.RETRAINED, version.name, **own, **facts, reason=occasion)


def data_end(root: Path, dataset: str) -> str:
    """The last session of a price data set that its windows know, be it the last of several that one window asks for."""
    windows = root / "data/windows" / dataset
    storage.verify(windows)
    return str(storage.read_json(windows / "windows.json")["parts"]["test"]["last_target"])


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


def settle(client: MlflowClient, root: Path, params: Params, dataset: str, version: ModelVersion, forced: str | None = None) -> Verdict:
    """Judge a version against naive and the champion, both scored now; promote it or write the refusal down.

    forced  why a person promotes it whatever the judge says; a model that is damaged or not finite is refused all the same
    raises  CorruptArtefact: of the challenger, or of a champion, unless the promotion is forced
    """
    for attempt in range(ATTEMPTS):
        standing = promotion.reconcile(client, root, params, version.name)
        champion = standing.champion
        if champion == str(version.version):
            card.write(client, root, version)  # a process may have died before it did
            return Verdict(True, f"v{version.version} is champion already")
        if str(version.version) in standing.later and forced is None:
            verdict, facts = _gone_back_from(version), {"against": champion, "identity": version.tags[IDENTITY]}
        else:
            verdict, facts = _judged(client, root, params, dataset, version, champion, forced)
        try:
            if verdict.promote:
                promotion.promote(client, root, version.name, str(version.version), champion, verdict.reason, **facts)
            else:
                _refuse(root, version, verdict.reason, facts)
            break
        except ChampionMoved:
            if attempt == ATTEMPTS - 1:
                raise
    card.write(client, root, version)
    return verdict


def _gone_back_from(version: ModelVersion) -> Verdict:
    """A retraining with nothing new must not undo what a person did, and the figures that the judge saw then are those of now."""
    how = f"`longshort rollback {version.name} --forward` puts it in service again"
    return Verdict(False, f"kept out: somebody went back from v{version.version}; {how}")


def _judged(
    client: MlflowClient, root: Path, params: Params, dataset: str, version: ModelVersion, champion: str | None, forced: str | None
) -> tuple[Verdict, dict[str, Any]]:
    """The verdict against a champion, and what the ledger is told of it."""
    from longshort.evaluation import contest

    challenger_model = versions.open_version(client, version)
    data_sha256 = storage.verify(root / "data/ingestion" / dataset)
    facts: dict[str, Any] = {"against": champion, "identity": version.tags[IDENTITY], "data_sha256": data_sha256, "run_id": version.run_id}
    facts |= {key: version.tags[key] for key in ("git_commit", "params_sha256") if key in version.tags}
    champion_model, unread = None, ""
    if champion is not None:
        try:
            champion_model = _open_champion(client, version.name, champion)
        except CorruptArtefact as error:
            unread = f"the champion v{champion} cannot be read, so nothing can be compared with it: {error}"
            if forced is None:
                _refuse(root, version, f"kept out: {unread}", facts)
                raise
    scored = contest.hold(root, dataset, params, challenger_model, champion_model)
    facts |= _facts(scored)
    asked = params.registry
    verdict = judge(scored, asked.min_gain, asked.min_windows, asked.significance)
    if forced is not None and (math.isfinite(scored.challenger.error) or scored.count == 0):
        against = unread or verdict.reason
        facts["forced"] = forced
        verdict = Verdict(True, f"forced: {forced} (the judge: {against})", verdict.windows_sha256)
    return verdict, facts


def _open_champion(client: MlflowClient, model: str, champion: str) -> artefact.Model:
    try:
        return versions.open_version(client, versions.find(client, model, champion))
    except UsageError:
        raise CorruptArtefact(f"{model} v{champion} is not in MLflow any more. Run `longshort rollback {model}`.") from None


def _facts(scored: Contest) -> dict[str, Any]:
    """What was measured, as the ledger writes it; JSON has no word for what is not finite."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: plain(own) for name, own in value.items()}
        return str(value) if isinstance(value, float) and not math.isfinite(value) else value

    found = plain(dataclasses.asdict(scored))
    for who in ("challenger", "champion"):
        if found[who]:
            found[who] = {name: own[1] if name in ("learned_until", "cut_off") and own else own for name, own in found[who].items()}
    found["first"] = found["first"] and found["first"][1]
    return dict(found)


def _refuse(root: Path, version: ModelVersion, reason: str, facts: dict[str, Any]) -> None:
    """Write a refusal down, once."""
    told = {**facts, "version": str(version.version), "reason": reason}
    if not ledger.written(root, ledger.REFUSED, version.name, {name: told[name] for name in SAME_DECISION if name in told}):
        ledger.note(root, ledger.REFUSED, version.name, **told)
