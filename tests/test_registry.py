"""Registry: only a better model serves, and every decision is written down once."""

import dataclasses
import math
import re
import resource
import signal
from types import SimpleNamespace

import clones
import mlflow
import pytest
import safetensors.torch
import torch
from projects import flip

from longshort import config, editing, serving, storage, tracking
from longshort.audit.proof import Proof, keep
from longshort.errors import CorruptArtefact, DataRefused
from longshort.evaluation import contest
from longshort.models import artefact
from longshort.registry import card, decision, golden, ledger, promotion, versions
from longshort.registry.versions import CHALLENGER, CHAMPION, PREVIOUS
from longshort.windows import prices

MODEL = "forecast-goog"


# --- a project with models that beat naive ----------------------------------------------------


def drift_model(seed, share, folder):
    """A forecaster that nearly always answers the same fall; the test part fell, so it beats the last value."""
    model = artefact.load(seed.folder)
    with torch.no_grad():
        for parameter in model.network.head.parameters():
            parameter *= 0.01
        model.network.head.linear.bias += share
    variant = config.Variant(**model.card["variant"])
    shape = artefact.SHAPES[model.task](**model.card["shape"])
    card = {name: model.card[name] for name in ("description", "extent", "origin")}
    artefact.save(folder, model.task, shape, variant, model.network.state_dict(), card)
    identity = storage.digest({"drift": share})
    return dataclasses.replace(seed, identity=identity, seed=round(share * 1000), folder=folder, model_sha256=storage.verify(folder))


@pytest.fixture
def store(retrained, tmp_path):
    """A copy of the retrained project (its model is v1, kept out), where v2 beats naive and v3 beats v2, if only by chance."""
    root = clones.copy(retrained, tmp_path / "project")
    editing.assign(root / "params.yaml", ["registry.significance=null"])
    client, params = clones.mlflow_client(root), config.read(root / "params.yaml")
    one = tracking.trained(root, params, "goog-rnn")[0]
    place = client.get_experiment_by_name("goog").experiment_id
    for share in (-0.15, -0.25):
        made = drift_model(one, share, tmp_path / f"drift{share}" / f"seed-{round(share * 1000)}")
        with mlflow.start_run(experiment_id=place) as run:
            model_id = serving.log_model(made)
        tags = {tracking.IDENTITY: made.identity, "model_sha256": made.model_sha256, "item": made.item, "seed": str(made.seed)}
        versions.register(client, root, MODEL, model_id, run.info.run_id, tags)
    return SimpleNamespace(root=root, client=client, params=params)


def aliases(store):
    """The version that each alias points at."""
    found = {alias: versions.at_alias(store.client, MODEL, alias) for alias in (CHAMPION, PREVIOUS, CHALLENGER)}
    return {alias: str(version.version) for alias, version in found.items() if version}


def events(store):
    """What the ledger says came of the model, oldest first."""
    own = [entry for entry in ledger.history(store.root) if entry["model"] == MODEL]
    return [(entry["event"], str(entry["version"])) for entry in own if entry["event"] != ledger.INTENDED]


def version(store, number):
    return store.client.get_model_version(MODEL, str(number))


def settle(store, number):
    return decision.settle(store.client, store.root, store.params, "goog", version(store, number))


def damage(store, number, name="weights.safetensors"):
    """Flip one byte of a registered model's file; returns its place."""
    path = versions.fetch(store.client, version(store, number)) / name
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
    assert aliases(store) == {CHALLENGER: "1", CHAMPION: "2"}
    assert "champion is v3 again (was v2)" in clones.main(store.root, "rollback", MODEL, "--forward").stdout
    assert aliases(store) == {CHALLENGER: "1", CHAMPION: "3", PREVIOUS: "2"}
    assert "v3 is the newest" in clones.main(store.root, "rollback", MODEL, "--forward", code=4).stderr

    registered = [("registered", "1"), ("retrained", "1"), ("refused", "1"), ("registered", "2"), ("registered", "3")]
    decided = [("promoted", "2"), ("promoted", "3"), ("refused", "2"), ("rolled-back", "2"), ("rolled-forward", "3")]
    assert events(store) == registered + decided
    said = clones.main(store.root, "history").stdout.splitlines()
    told = [line for line in said if f"  {MODEL} v" in line]
    assert len(told) == len(registered + decided)
    assert said[-2].startswith(f"{MODEL}: v3 serves since 20") and said[-1] == "language-model-topics: no champion yet"
    assert re.search(r"promoted +forecast-goog v3 +promoted: RMSE", "\n".join(told))


def test_a_refusal_is_written_down_once_with_its_reason(store):
    before = events(store)
    for _ in range(2):
        assert clones.main(store.root, "promote", MODEL, code=4).stderr.startswith("longshort: forecast-goog v1: kept out: RMSE ")
    assert events(store) == before  # the retraining wrote it down already
    settle(store, 2)
    for _ in range(2):
        assert not settle(store, 1).promote
    assert events(store) == [*before, ("promoted", "2"), ("refused", "1")]  # against another champion it is another decision
    assert ledger.history(store.root)[-1]["reason"].startswith("kept out: RMSE ")


def test_a_model_that_somebody_went_back_from_is_not_promoted_again_by_itself(store):
    for number in (2, 3):
        settle(store, number)
    promotion.rollback(store.client, store.root, MODEL)
    for _ in range(2):
        verdict = settle(store, 3)
        assert not verdict.promote and verdict.reason.startswith("kept out: somebody went back from v3; `longshort rollback")
    assert [event for event, number in events(store) if number == "3"][-2:] == ["promoted", "refused"] and aliases(store)[CHAMPION] == "2"
    clones.main(store.root, "promote", MODEL, "3", "--force", "it was not the model")
    assert aliases(store)[CHAMPION] == "3"


def test_promoting_the_champion_again_changes_nothing(store):
    settle(store, 2)
    before = events(store)
    assert "champion already" in clones.main(store.root, "promote", MODEL, "2").stdout
    assert events(store) == before and aliases(store) == {CHALLENGER: "1", CHAMPION: "2"}


def test_a_challenger_is_judged_again_where_another_became_champion_meanwhile(store, monkeypatch):
    hold, held = contest.hold, []

    def slowly(*asked):
        held.append(hold(*asked))
        if len(held) == 1:
            promotion.promote(store.client, store.root, MODEL, "2", None, "another process")
        return held[-1]

    monkeypatch.setattr(contest, "hold", slowly)
    assert settle(store, 3).promote
    assert [entry.champion is not None for entry in held] == [False, True]
    assert [ledger.history(store.root)[-1][key] for key in ("old", "against")] == ["2", "2"]


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


@pytest.mark.few(1)
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
        promotion.promote(store.client, store.root, MODEL, "2", None, "a judge said so")
    assert aliases(store) == {CHALLENGER: "1"}


def test_a_damaged_champion_stops_the_promotion_and_does_not_lose_by_default(store):
    settle(store, 2)
    path, before = damage(store, 2), events(store)
    with pytest.raises(CorruptArtefact, match=re.escape(str(path))):
        settle(store, 3)
    assert aliases(store) == {CHALLENGER: "1", CHAMPION: "2"} and events(store) == [*before, ("refused", "3")]
    assert ledger.history(store.root)[-1]["reason"].startswith("kept out: the champion v2 cannot be read")


def test_going_back_to_a_damaged_model_is_refused(store):
    for number in (2, 3):
        settle(store, number)
    path = damage(store, 2)
    assert str(path) in clones.main(store.root, "rollback", MODEL, code=3).stderr
    assert aliases(store) == {CHALLENGER: "1", CHAMPION: "3", PREVIOUS: "2"}


def test_another_models_files_in_a_versions_place_are_refused(store):
    ours, others = (versions.fetch(store.client, version(store, number)) for number in (2, 3))
    for path in others.iterdir():
        (ours / path.name).write_bytes(path.read_bytes())
    with pytest.raises(CorruptArtefact, match="not the ones that were registered"):
        settle(store, 2)


# --- what makes a contest fair ----------------------------------------------------------------


def remade(store, number, change):
    """A version's registered model, with its card changed and sealed again, so that only the judge can tell."""
    place = versions.fetch(store.client, version(store, number))
    told = storage.read_json(place / "model.json")
    change(told)
    (place / "manifest.json").unlink()
    storage.write_json(place / "model.json", told)
    storage.seal(place)
    store.client.set_model_version_tag(MODEL, str(number), "model_sha256", storage.verify(place))


def learned_until(day):
    return lambda told: told["extent"]["validation"].update(last_target=day)


def test_a_model_is_judged_on_no_session_that_either_has_learned_from(store):
    remade(store, 2, learned_until("2008-06-30"))
    settle(store, 2)
    facts = ledger.history(store.root)[-1]
    assert (facts["first"], facts["count"]) == ("2008-07-01", 74)
    settle(store, 3)  # v3 could be asked for more, but its champion learned from it
    assert [ledger.history(store.root)[-1][key] for key in ("first", "count")] == ["2008-07-01", 74]


def test_a_champion_that_learned_from_nearly_all_leaves_not_enough_to_judge_by(store):
    settle(store, 2)
    remade(store, 2, learned_until("2008-09-30"))
    verdict = settle(store, 3)
    assert not verdict.promote and aliases(store)[CHAMPION] == "2"
    ends = "the challenger learned from data until 2007-12-13 and the champion learned from data until 2008-09-30"
    assert verdict.reason == f"kept out: not enough to judge by: 10 unseen, asked 30 (`registry.min_windows`); {ends}"


def test_a_model_that_does_not_say_what_it_learned_from_is_kept_out(store):
    remade(store, 2, lambda told: told.pop("extent"))
    verdict = settle(store, 2)
    unknown = "where the data end that the challenger learned from is not known of this data set"
    assert verdict.reason == f"kept out: not enough to judge by: 0 unseen, asked 30 (`registry.min_windows`); {unknown}"


def test_a_model_of_older_data_never_replaces_a_newer_one_unless_forced_with_a_reason(store):
    settle(store, 2)
    remade(store, 3, lambda told: told["extent"]["test"].update(last_target="2008-10-13"))
    done = clones.main(store.root, "promote", MODEL, "3", code=4)
    assert "kept out: its data end at 2008-10-13, the champion's at 2008-10-14" in done.stderr
    assert "--force wants a reason" in clones.main(store.root, "promote", MODEL, "3", "--force", " ", code=2).stderr
    assert aliases(store)[CHAMPION] == "2"
    clones.main(store.root, "promote", MODEL, "3", "--force", "the last day was wrong")
    assert aliases(store) == {CHALLENGER: "1", CHAMPION: "3", PREVIOUS: "2"}
    entry = ledger.history(store.root)[-1]
    assert entry["forced"] == "the last day was wrong"
    assert entry["reason"].startswith("forced: the last day was wrong (the judge: kept out: its data end at 2008-10-13")


def reweighted(store, number, change):
    """A version whose weights are others, sealed again: what training or a disk may do."""
    place = versions.fetch(store.client, version(store, number))
    tensors = {name: change(name, tensor) for name, tensor in safetensors.torch.load_file(place / "weights.safetensors").items()}
    (place / "manifest.json").unlink()
    storage.write_bytes(place / "weights.safetensors", safetensors.torch.save(tensors))
    storage.seal(place)
    store.client.set_model_version_tag(MODEL, str(number), "model_sha256", storage.verify(place))


def test_a_constant_forecast_is_kept_out_whatever_its_error(store):
    reweighted(store, 3, lambda name, tensor: tensor * (0 if name.startswith("head") and "weight" in name else 1))
    verdict = settle(store, 3)
    assert verdict.reason.startswith("kept out: a constant forecast: it varies by ") and aliases(store) == {CHALLENGER: "1"}


def test_a_model_that_is_not_finite_is_kept_out_even_by_force(store):
    reweighted(store, 3, lambda name, tensor: tensor * math.nan)
    assert settle(store, 3).reason == "kept out: RMSE is nan, the run diverged"
    assert "kept out" in clones.main(store.root, "promote", MODEL, "3", "--force", "I like it", code=4).stderr
    remade(store, 3, learned_until("2008-10-14"))  # where nothing can be scored, its answers are looked at all the same
    assert "answers are not finite" in clones.main(store.root, "promote", MODEL, "3", "--force", "I like it", code=3).stderr
    assert aliases(store) == {CHALLENGER: "1"}


def test_a_lead_that_may_be_chance_is_not_enough_where_that_is_asked(store):
    editing.assign(store.root / "params.yaml", ["registry.significance=0.000001"])
    assert re.search(r"which may be chance: p 0\.\d+, asked below 1e-06", clones.main(store.root, "promote", MODEL, "2", code=4).stderr)


def test_a_damaged_champion_is_replaced_only_by_force(store):
    settle(store, 2)
    damage(store, 2)
    clones.main(store.root, "promote", MODEL, "3", "--force", "v2 is lost")
    assert aliases(store)[CHAMPION] == "3" and "the champion v2 cannot be read" in ledger.history(store.root)[-1]["reason"]


# --- golden predictions -----------------------------------------------------------------------


def test_a_model_that_answers_otherwise_than_when_it_was_registered_does_not_serve(store, monkeypatch):
    for number in (2, 3):
        settle(store, number)
    undo = prices.Scaler.undo_target
    monkeypatch.setattr(prices.Scaler, "undo_target", lambda self, scaled: undo(self, scaled) * (1 + 1e-12))
    said = clones.main(store.root, "rollback", MODEL, code=3).stderr
    assert "forecast-goog v2: its files are whole, but it answers otherwise than when it was registered: golden prediction 0 is" in said
    assert aliases(store) == {CHALLENGER: "1", CHAMPION: "3", PREVIOUS: "2"}


def test_on_another_machine_golden_predictions_may_differ_by_rounding_and_no_more(store, monkeypatch):
    model = versions.open_version(store.client, version(store, 2))
    made = golden.make(model)
    assert golden.check(model, made, "v2") == "bitwise"
    elsewhere = {**made, "machine": {**made["machine"], "cpu": "another"}, "sha256": "other"}
    assert golden.check(model, elsewhere, "v2") == "within 0.001"
    with pytest.raises(CorruptArtefact, match=r"golden prediction 0 is .* asked is 0\.001 of it at most"):
        golden.check(model, {**elsewhere, "kept": [value * 1.01 + 1 for value in made["kept"]]}, "v2")


def processor_seconds(command):
    """What a command that is started and waited for takes of a core."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = command()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return done, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_going_back_takes_less_than_five_seconds(store):
    for number in (2, 3):
        settle(store, number)
    done, seconds = processor_seconds(lambda: clones.longshort(store.root, "rollback", MODEL, cold=True))
    assert seconds < 5 and "champion is v2 again" in done.stdout
    assert ledger.history(store.root)[-1]["verified"] == "bitwise"


# --- killed in between ------------------------------------------------------------------------


@pytest.mark.few(1)
@pytest.mark.parametrize(
    ("point", "became", "champion"),
    [
        ("promotion-intended", "abandoned", "2"),
        ("promotion-previous-moved", "abandoned", "2"),
        ("promotion-champion-moved", "promoted", "3"),
    ],
)
def test_a_promotion_that_was_killed_is_done_or_given_up_at_the_next_start(store, point, became, champion):
    assert point in promotion.FAULTS
    settle(store, 2)
    clones.longshort(store.root, "promote", MODEL, "3", code=-signal.SIGKILL, LONGSHORT_FAULT=point)
    assert ledger.standing(store.root, MODEL).champion == "2"
    assert "intended" in clones.main(store.root, "history").stdout  # which is no drift: nobody moved anything by hand
    assert "said by forecast-goog v2, the champion" in clones.main(store.root, "forecast", "GOOG").stdout
    promotion.reconcile(store.client, store.root, store.params, MODEL)
    assert events(store)[-1] == (became, "3") and "intended" not in clones.main(store.root, "history").stdout
    assert ledger.standing(store.root, MODEL).champion == aliases(store)[CHAMPION] == champion
    assert aliases(store).get(PREVIOUS) == ("2" if champion == "3" else None)
    before = ledger.history(store.root)
    promotion.reconcile(store.client, store.root, store.params, MODEL)
    assert ledger.history(store.root) == before
    assert settle(store, 3).promote and aliases(store) == {CHALLENGER: "1", CHAMPION: "3", PREVIOUS: "2"}


def test_every_point_at_which_a_promotion_may_die_is_named():
    source = (clones.ROOT / "src/longshort/registry/promotion.py").read_text()
    assert tuple(re.findall(r'faults\.point\("(.*?)"\)', source)) == promotion.FAULTS


# --- moved by hand ----------------------------------------------------------------------------


@pytest.mark.few(1)
@pytest.mark.parametrize(
    ("moved", "said"),
    [
        (lambda client: client.set_registered_model_alias(MODEL, CHAMPION, "1"), "the alias `champion` points at v1"),
        (lambda client: client.delete_registered_model_alias(MODEL, CHAMPION), "the alias `champion` is gone"),
    ],
)
def test_an_alias_that_was_moved_by_hand_is_told_and_the_ledger_is_kept_to(store, moved, said):
    settle(store, 2)
    assert clones.main(store.root, "history").stderr == ""
    moved(store.client)
    assert said in clones.main(store.root, "history").stderr
    done = clones.main(store.root, "forecast", "GOOG")
    assert "said by forecast-goog v2, the champion" in done.stdout and said in done.stderr
    assert said in clones.main(store.root, "doctor", code=3).stdout
    assert "put back where the ledger says" in clones.main(store.root, "doctor", "--fix").stdout
    assert aliases(store) == {CHALLENGER: "1", CHAMPION: "2"} and clones.main(store.root, "history").stderr == ""
    assert ledger.history(store.root)[-1]["event"] == ledger.PUT_BACK


def test_an_alias_that_was_set_by_hand_makes_no_champion(store):
    store.client.set_registered_model_alias(MODEL, CHAMPION, "1")
    assert "the ledger says no champion" in clones.main(store.root, "history").stderr
    assert "said by forecast-goog v1, the challenger" in clones.main(store.root, "forecast", "GOOG").stdout
    assert settle(store, 2).promote and aliases(store) == {CHALLENGER: "1", CHAMPION: "2"}


def test_a_champion_that_was_deleted_in_mlflow_is_missed_and_not_replaced(store):
    settle(store, 2)
    store.client.delete_model_version(MODEL, "2")
    assert "v2: it is the champion, and not in MLflow any more" in clones.main(store.root, "forecast", "GOOG", code=3).stderr
    assert "v2 cannot be read" not in clones.main(store.root, "promote", MODEL, "3", code=3).stdout
    assert ledger.standing(store.root, MODEL).champion == "2"


# --- the card ---------------------------------------------------------------------------------


def test_every_version_that_was_judged_has_a_card_in_mlflow_and_in_reports(retrained):
    client = clones.mlflow_client(retrained)
    for model in (MODEL, "language-model-topics"):
        text = card.place(retrained, model, "1").read_text()
        assert client.get_model_version(model, "1").description == text and len(text) < 5000
        for heading in ("Verdict", "Data", "Figures on the test part", "Environment", "Limits", "Made again by"):
            assert f"\n## {heading}\n" in text
        run_id = client.get_model_version(model, "1").run_id
        assert f"`longshort reproduce {run_id}`" in text and "audit" not in text
        assert ledger.history(retrained)[-1]["data_sha256"][:8] in text or model == MODEL
    prices_card = card.place(retrained, MODEL, "1").read_text()
    assert "validation: 2007-05-04 to 2007-12-13" in prices_card and re.search(r"\| last value \| 15\.0", prices_card)


def test_a_card_says_what_intervals_held_and_what_the_audit_of_these_data_came_to(retrained, tmp_path):
    root = clones.copy(retrained, tmp_path / "project")
    client = tracking.connect(root, config.read(root / "params.yaml"))
    version = client.get_model_version(MODEL, "1")
    data_sha256 = storage.verify(root / "data/ingestion/goog")
    assert re.search(r"- intervals held \d\d\.\d % of the test part, interval score ", card.card(client, root, version))
    keep(root, version.tags["item"], "of other data", [Proof("weights", False, "differ")])
    assert "audit" not in card.card(client, root, version)
    keep(root, version.tags["item"], data_sha256, [Proof("features", True, "as they were"), Proof("weights", False, "they differ")])
    assert "- audit: 1 of 2 proofs hold that nothing of the future reaches it; not: weights (they differ)" in card.card(
        client, root, version
    )


# --- registering ------------------------------------------------------------------------------


def test_registering_and_deciding_twice_is_once(store):
    root, client, params = store.root, store.client, store.params
    recorded = tracking.record(client, root, params, tracking.origin_of(root, "none"), serving.log_model)
    before, count = ledger.history(root), len(client.search_model_versions(f"name = '{MODEL}'"))
    first = decision.decide(client, root, params, "goog", recorded, "asked for")
    assert first == decision.decide(client, root, params, "goog", recorded, "asked for")
    assert (first.version, first.promoted, first.champion) == ("1", False, None)
    assert ledger.history(root) == before
    assert len(client.search_model_versions(f"name = '{MODEL}'")) == count


def test_the_challenger_is_the_best_by_validation_and_never_by_test(retrained):
    params = config.read(retrained / "params.yaml")
    seeds = [seed for item in ("goog-rnn", "goog-lstm") for seed in tracking.trained(retrained, params, item)]
    best = decision.best_of(retrained, params, "goog")
    assert best.validation_loss == min(seed.validation_loss for seed in seeds)
    (entry,) = [entry for entry in ledger.history(retrained) if (entry["event"], entry["model"]) == ("registered", MODEL)]
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
    assert decision.best_of(retrained, params, "goog").name == best


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
    assert decision.best_of(retrained, params, "goog").name == "lstm-s1"
    finite.clear()
    with pytest.raises(DataRefused, match=r"goog: no model has a finite validation loss\. Lower the learning rate"):
        decision.best_of(retrained, params, "goog")


def test_a_decision_says_what_was_compared(retrained):
    (entry,) = [entry for entry in ledger.history(retrained) if (entry["event"], entry["model"]) == ("refused", MODEL)]
    assert entry["challenger"]["error"] >= entry["naive"] and entry["champion"] is None
    assert (entry["challenger"]["learned_until"], entry["first"]) == ("2007-12-13", "2007-12-17")
    assert (entry["measure"], entry["naive_name"], entry["count"]) == ("RMSE", "last value", 209)
    assert entry["data_sha256"] == storage.verify(retrained / "data/ingestion/goog")


def test_nothing_is_registered_under_a_name_that_nobody_asked_for(retrained):
    names = {model.name for model in clones.mlflow_client(retrained).search_registered_models()}
    assert names == {MODEL, "language-model-topics"}
