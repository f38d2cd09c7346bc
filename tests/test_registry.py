"""Registry: only a better model serves, and every decision is written down once."""

import dataclasses
import math
import re
from types import SimpleNamespace

import clones
import mlflow
import pytest
import torch
from projects import flip

from longshort import config, editing, registry, serving, storage, tracking
from longshort.errors import CorruptArtefact, DataRefused
from longshort.models import artefact
from longshort.registry import CHALLENGER, CHAMPION, PREVIOUS, judge

MODEL = "forecast-goog"


# --- the judge --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("challenger", "champion", "naive", "min_gain", "promoted", "reason"),
    [
        (0.9, None, 1.0, 0.0, True, "promoted: RMSE 0.9, naive 1, no champion yet"),
        (1.0, None, 1.0, 0.0, False, "kept out: RMSE 1, naive 1"),
        (1.1, None, 1.0, 0.0, False, "kept out: RMSE 1.1, naive 1"),
        (0.8, 0.9, 1.0, 0.0, True, "promoted: RMSE 0.8, champion 0.9, naive 1"),
        (0.9, 0.9, 1.0, 0.0, False, "kept out: RMSE 0.9, champion 0.9, needed below 0.9"),
        (0.95, 0.9, 1.0, 0.0, False, "kept out: RMSE 0.95, champion 0.9, needed below 0.9"),
        (1.1, 1.2, 1.0, 0.0, False, "kept out: RMSE 1.1, naive 1"),
        (0.89, 0.9, 1.0, 0.02, False, "kept out: RMSE 0.89, champion 0.9, needed below 0.882"),
        (0.88, 0.9, 1.0, 0.02, True, "promoted: RMSE 0.88, champion 0.9, naive 1"),
        (0.9, None, 1.0, 0.5, True, "promoted: RMSE 0.9, naive 1, no champion yet"),
        (math.nan, None, 1.0, 0.0, False, "kept out: RMSE is nan, the run diverged"),
        (math.inf, 0.9, 1.0, 0.0, False, "kept out: RMSE is inf, the run diverged"),
        (-math.inf, 0.9, 1.0, 0.0, False, "kept out: RMSE is -inf, the run diverged"),
        (0.8, math.nan, 1.0, 0.0, False, "kept out: naive 1 and champion nan cannot be compared with"),
        (0.8, math.inf, 1.0, 0.0, False, "kept out: naive 1 and champion inf cannot be compared with"),
        (0.8, None, math.nan, 0.0, False, "kept out: naive nan and champion None cannot be compared with"),
        (0.8, 0.9, math.inf, 0.0, False, "kept out: naive inf and champion 0.9 cannot be compared with"),
    ],
)
def test_a_challenger_must_be_finite_and_beat_naive_and_the_champion_by_the_gain(challenger, champion, naive, min_gain, promoted, reason):
    assert judge(challenger, champion, naive, min_gain, "RMSE") == registry.Verdict(promoted, reason)


# --- a project with models that beat naive ----------------------------------------------------


def drift_model(seed, share, folder):
    """A forecaster that always answers the same fall; the test part fell, so it beats the last value."""
    model = artefact.load(seed.folder)
    with torch.no_grad():
        for parameter in model.network.head.parameters():
            parameter.zero_()
        model.network.head.linear.bias += share
    variant = config.Variant(**model.card["variant"])
    shape = artefact.SHAPES[model.task](**model.card["shape"])
    card = {"description": model.card["description"], "origin": model.card["origin"]}
    artefact.save(folder, model.task, shape, variant, model.network.state_dict(), card)
    identity = storage.digest({"drift": share})
    return dataclasses.replace(seed, identity=identity, seed=round(share * 1000), folder=folder, model_sha256=storage.verify(folder))


@pytest.fixture
def store(retrained, tmp_path):
    """A copy of the retrained project (its model is v1, kept out), where v2 beats naive and v3 beats v2."""
    root = clones.copy(retrained, tmp_path / "project")
    client, params = clones.mlflow_client(root), config.read(root / "params.yaml")
    one = tracking.trained(root, params, "goog-rnn")[0]
    place = client.get_experiment_by_name("goog").experiment_id
    for share in (-0.15, -0.25):
        made = drift_model(one, share, tmp_path / f"drift{share}" / f"seed-{round(share * 1000)}")
        with mlflow.start_run(experiment_id=place) as run:
            model_id = serving.log_model(made)
        tags = {tracking.IDENTITY: made.identity, "model_sha256": made.model_sha256, "item": made.item, "seed": str(made.seed)}
        registry.register(client, root, MODEL, model_id, run.info.run_id, tags)
    return SimpleNamespace(root=root, client=client, params=params)


def aliases(store):
    """The version that each alias points at."""
    found = {alias: registry.at_alias(store.client, MODEL, alias) for alias in (CHAMPION, PREVIOUS, CHALLENGER)}
    return {alias: str(version.version) for alias, version in found.items() if version}


def events(store):
    """What the ledger says of the model, oldest first."""
    return [(entry["event"], str(entry["version"])) for entry in registry.history(store.root) if entry["model"] == MODEL]


def version(store, number):
    return store.client.get_model_version(MODEL, str(number))


def settle(store, number):
    return registry.settle(store.client, store.root, store.params, "goog", version(store, number))


def damage(store, number, name="weights.safetensors"):
    """Flip one byte of a registered model's file; returns its place."""
    path = registry.fetch(store.client, version(store, number)) / name
    flip(path, -1)
    return path


# --- promoting and going back -----------------------------------------------------------------


def test_a_better_model_becomes_champion_and_the_one_before_can_come_back(store):
    assert aliases(store) == {CHALLENGER: "1"}
    clones.main(store.root, "promote", MODEL, "2")
    assert aliases(store) == {CHALLENGER: "1", CHAMPION: "2"}
    done = clones.main(store.root, "promote", MODEL, "3")
    assert re.search(r"forecast-goog v3: promoted: RMSE \S+, champion \S+, naive \S+", done.stdout)
    assert aliases(store) == {CHALLENGER: "1", CHAMPION: "3", PREVIOUS: "2"}

    done = clones.main(store.root, "promote", MODEL, "2", code=4)
    assert re.search(r"longshort: forecast-goog v2: kept out: RMSE \S+, champion \S+, needed below", done.stderr)
    assert aliases(store) == {CHALLENGER: "1", CHAMPION: "3", PREVIOUS: "2"}

    assert "champion is v2 again (was v3)" in clones.main(store.root, "rollback", MODEL).stdout
    assert aliases(store) == {CHALLENGER: "1", CHAMPION: "2", PREVIOUS: "3"}
    assert "champion is v3 again (was v2)" in clones.main(store.root, "rollback", MODEL).stdout
    assert aliases(store) == {CHALLENGER: "1", CHAMPION: "3", PREVIOUS: "2"}

    registered = [("registered", "1"), ("refused", "1"), ("registered", "2"), ("registered", "3")]
    decided = [("promoted", "2"), ("promoted", "3"), ("refused", "2"), ("rolled-back", "2"), ("rolled-back", "3")]
    assert events(store) == registered + decided
    told = clones.main(store.root, "history").stdout.splitlines()
    assert len([line for line in told if MODEL in line]) == len(registered + decided)
    assert re.search(r"promoted +forecast-goog v3 +promoted: RMSE", told[-4])


def test_a_refusal_is_written_down_once_with_its_reason(store):
    before = events(store)
    for _ in range(2):
        assert clones.main(store.root, "promote", MODEL, code=4).stderr.startswith("longshort: forecast-goog v1: kept out: RMSE ")
    assert events(store) == before  # the retraining wrote it down already
    settle(store, 2)
    for _ in range(2):
        assert not settle(store, 1).promote
    assert events(store) == [*before, ("promoted", "2"), ("refused", "1")]  # against another champion it is another decision
    assert registry.history(store.root)[-1]["reason"].startswith("kept out: RMSE ")


def test_promoting_the_champion_again_changes_nothing(store):
    settle(store, 2)
    before = events(store)
    assert "champion already" in clones.main(store.root, "promote", MODEL, "2").stdout
    assert events(store) == before and aliases(store) == {CHALLENGER: "1", CHAMPION: "2"}


def test_there_is_nothing_to_go_back_to_before_a_second_champion(store):
    assert "no earlier champion" in clones.main(store.root, "rollback", MODEL, code=4).stderr
    settle(store, 2)
    assert "v2 is the first" in clones.main(store.root, "rollback", MODEL, code=4).stderr
    assert aliases(store) == {CHALLENGER: "1", CHAMPION: "2"}


def test_the_champion_answers_and_says_so(store):
    settle(store, 3)
    assert "said by forecast-goog v3, the champion" in clones.main(store.root, "forecast", "GOOG").stdout


def test_the_gain_that_params_yaml_asks_for_is_asked_for(store):
    settle(store, 2)
    editing.assign(store.root / "params.yaml", ["registry.min_gain=0.5"])
    assert "needed below" in clones.main(store.root, "promote", MODEL, "3", code=4).stderr


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["promote", "forecast-gogo"], 2, "no model 'forecast-gogo'. Known: forecast-goog, language-model-topics."),
        (["rollback", "forecast-gogo"], 2, "no model 'forecast-gogo'. Known: forecast-goog, language-model-topics."),
        (["promote", MODEL, "99"], 2, "forecast-goog has no version '99'"),
        (["promote", MODEL, "two"], 2, "forecast-goog has no version 'two'"),
    ],
)
def test_a_model_or_a_version_that_is_not_there_is_named(retrained, arguments, code, said):
    assert said in clones.main(retrained, *arguments, code=code).stderr


# --- damaged models ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["weights.safetensors", "model.json", "manifest.json"])
def test_a_damaged_challenger_is_not_promoted(store, name):
    path = damage(store, 2, name)
    before = events(store)
    done = clones.main(store.root, "promote", MODEL, "2", code=3)
    assert str(path) in done.stderr
    assert aliases(store) == {CHALLENGER: "1"} and events(store) == before


def test_the_files_are_verified_again_before_the_alias_moves(store):
    damage(store, 2)
    with pytest.raises(CorruptArtefact, match=r"weights\.safetensors"):
        registry.promote(store.client, store.root, MODEL, "2", "a judge said so")
    assert aliases(store) == {CHALLENGER: "1"}


def test_a_damaged_champion_stops_the_promotion_and_does_not_lose_by_default(store):
    settle(store, 2)
    path, before = damage(store, 2), events(store)
    with pytest.raises(CorruptArtefact, match=re.escape(str(path))):
        settle(store, 3)
    assert aliases(store) == {CHALLENGER: "1", CHAMPION: "2"} and events(store) == before


def test_going_back_to_a_damaged_model_is_refused(store):
    for number in (2, 3):
        settle(store, number)
    path = damage(store, 2)
    assert str(path) in clones.main(store.root, "rollback", MODEL, code=3).stderr
    assert aliases(store) == {CHALLENGER: "1", CHAMPION: "3", PREVIOUS: "2"}


def test_another_models_files_in_a_versions_place_are_refused(store):
    ours, others = (registry.fetch(store.client, version(store, number)) for number in (2, 3))
    for path in others.iterdir():
        (ours / path.name).write_bytes(path.read_bytes())
    with pytest.raises(CorruptArtefact, match="not the ones that were registered"):
        settle(store, 2)


# --- registering ------------------------------------------------------------------------------


def test_registering_and_deciding_twice_is_once(store):
    root, client, params = store.root, store.client, store.params
    recorded = tracking.record(client, root, params, tracking.origin_of(root, "none"), serving.log_model)
    before, count = registry.history(root), len(client.search_model_versions(f"name = '{MODEL}'"))
    first = registry.decide(client, root, params, "goog", recorded)
    assert first == registry.decide(client, root, params, "goog", recorded)
    assert (first.version, first.promoted, first.champion) == ("1", False, None)
    assert registry.history(root) == before
    assert len(client.search_model_versions(f"name = '{MODEL}'")) == count


def test_the_challenger_is_the_best_by_validation_and_never_by_test(retrained):
    params = config.read(retrained / "params.yaml")
    seeds = [seed for item in ("goog-rnn", "goog-lstm") for seed in tracking.trained(retrained, params, item)]
    best = registry.best_of(retrained, params, "goog")
    assert best.validation_loss == min(seed.validation_loss for seed in seeds)
    (entry,) = [entry for entry in registry.history(retrained) if (entry["event"], entry["model"]) == ("registered", MODEL)]
    assert (entry["item"], entry["seed"]) == (best.item, str(best.seed))


@pytest.mark.parametrize(
    ("scored", "best"),
    [
        # item -> what the naive forecast loses in the item's unit, and each seed's validation loss
        ({"goog-rnn": (2.0, [1.9, 1.8])}, "rnn-s1"),
        ({"goog-rnn": (1.0, [0.95]), "goog-lstm": (2.0, [1.5])}, "lstm-s0"),  # a fleet of a network a ticker has scales of its own
        ({"goog-rnn": (1.0, [0.5]), "goog-lstm": (2.0, [1.5])}, "rnn-s0"),
        ({"goog-rnn": (1.0, [1.2, math.nan]), "goog-lstm": (0.1, [0.2, 0.11])}, "lstm-s1"),
        ({"goog-rnn": (0.0, [0.3, 0.2]), "goog-lstm": (0.0, [0.4])}, "rnn-s1"),  # a validation part that never moves
        ({"goog-rnn": (0.0, [0.1]), "goog-lstm": (1.0, [2.0])}, "lstm-s0"),
    ],
)
def test_the_best_is_lowest_beside_the_naive_loss_in_its_own_unit(retrained, monkeypatch, scored, best):
    params = config.read(retrained / "params.yaml")
    (one, *_) = tracking.trained(retrained, params, "goog-rnn")

    def trained(root, params, item):
        naive, losses = scored.get(item, (1.0, []))
        told = {"item": item, "naive_loss": naive, "best_epoch": 1}
        return [dataclasses.replace(one, seed=k, history=[{"epoch": 1, "validation_loss": loss}], **told) for k, loss in enumerate(losses)]

    monkeypatch.setattr(tracking, "trained", trained)
    assert registry.best_of(retrained, params, "goog").name == best


def test_the_naive_loss_is_that_of_the_best_baseline(retrained):
    params = config.read(retrained / "params.yaml")
    for item in params.training.items:
        baselines = storage.read_json(retrained / "data/evaluation" / item / "metrics.json")["baselines"].values()
        assert {seed.naive_loss for seed in tracking.trained(retrained, params, item)} == {
            min(each["validation_loss"] for each in baselines)
        }


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
def test_a_model_that_is_not_finite_is_never_the_best(retrained, monkeypatch, loss):
    params, trained, finite = config.read(retrained / "params.yaml"), tracking.trained, {"lstm-s1"}

    def diverged(*where):
        bad = {seed.name: [{**epoch, "validation_loss": loss} for epoch in seed.history] for seed in trained(*where)}
        return [seed if seed.name in finite else dataclasses.replace(seed, history=bad[seed.name]) for seed in trained(*where)]

    monkeypatch.setattr(tracking, "trained", diverged)
    assert registry.best_of(retrained, params, "goog").name == "lstm-s1"
    finite.clear()
    with pytest.raises(DataRefused, match=r"goog: no model has a finite validation loss\. Lower the learning rate"):
        registry.best_of(retrained, params, "goog")


def test_a_decision_says_what_was_compared(retrained):
    (entry,) = [entry for entry in registry.history(retrained) if (entry["event"], entry["model"]) == ("refused", MODEL)]
    assert entry["challenger"] >= entry["naive"] and entry["champion"] is None
    assert (entry["measure"], entry["naive_name"], entry["count"]) == ("RMSE", "last value", 209)
    assert entry["data_sha256"] == storage.verify(retrained / "data/ingestion/goog")


def test_nothing_is_registered_under_a_name_that_nobody_asked_for(retrained):
    names = {model.name for model in clones.mlflow_client(retrained).search_registered_models()}
    assert names == {MODEL, "language-model-topics"}
