"""A search over settings: what it may try, what it gives up, how it goes on after a kill, and what it says in the end."""

from __future__ import annotations

import dataclasses
import itertools
import json
import multiprocessing
import os
import re
import signal
import subprocess
import time
import warnings
from pathlib import Path

import clones
import neighbours
import projects
import pytest
from optuna.storages import RDBStorage
from optuna.trial import TrialState

from longshort import cli, config, editing, journal, storage, tracking, trials
from longshort.errors import ConfigError, CorruptArtefact, TrainingDiverged, UsageError
from longshort.training import loop
from longshort.training.runs import of_one_shape
from longshort.tuning import record, search, space, study
from longshort.tuning.search import Contender, judge
from longshort.tuning.study import Trial

ITEM = "goog-lstm"
SPACE = "{hidden_size: [2, 6], num_layers: [1, 2], dropout: [0.0, 0.5], learning_rate: [0.0003, 0.1], cell: [lstm, gru]}"
SETTINGS = (
    "training.seeds=[0, 1]",
    "resources.workers=2",
    "models.variants.lstm.hidden_size=4",
    "training.forecast={optimizer: adam, learning_rate: 0.01, batch_size: 30, max_epochs: 4, patience: 3, clip_norm: 1.0}",
    "training.language-model={optimizer: adam, learning_rate: 0.01, batch_size: 8, max_epochs: 2, patience: 5, clip_norm: 1.0}",
    "tuning.trials=11",
    "tuning.round=4",
    f"tuning.space={SPACE}",
)


def made(folder, *settings):
    """A small project whose windows are cut."""
    root = projects.project(folder, *SETTINGS, *settings)
    projects.take_in(root, "goog", projects.prices(projects.days(300)))
    projects.run_stage(root, "windows", "goog")
    return root


def planned(root, item=ITEM):
    return search.plan(Path(root), item, config.read(Path(root) / "params.yaml"))


def searched(root, item=ITEM, say=lambda line: None):
    """What a search comes to, in this process."""
    return search.search(planned(root, item), say, lambda told: None)


def begun(root):
    """Every training that began, by identity -> how often."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a line that is being written
        found = [journal.read(path) for path in (Path(root) / f".state/tuning/{ITEM}/journal").glob("*.jsonl")]
    return {entries[0]["identity"]: entries for entries in found if entries}


def times_begun(root):
    return {identity: sum(entry["kind"] == "begun" for entry in entries) for identity, entries in begun(root).items()}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return made(tmp_path_factory.mktemp("tune") / "project")


@pytest.fixture(scope="module")
def findings(root):
    """What a search comes to that nobody killed."""
    return searched(root)


@pytest.fixture(scope="module")
def params(root):
    return config.read(root / "params.yaml")


# --- the space --------------------------------------------------------------------------------


def parsed(text):
    """A space as params.yaml has it."""
    from ruamel.yaml import YAML

    return config.Space.model_validate(YAML(typ="safe").load(text))


def base(**changes):
    """An item's settings: an LSTM of eight units, with changes."""
    variant = {"cell": "lstm", "hidden_size": 8, "num_layers": 1, "bidirectional": False, "dropout": 0.0}
    learning = {"optimizer": "adam", "learning_rate": 0.01, "batch_size": 30, "max_epochs": 5, "patience": 3, "clip_norm": 1.0}
    return space.Settings(config.Variant(**variant), config.Optimisation(**learning)).changed(changes)


LSTMP = {"cell": "lstmp", "projection_size": 4}
REFUSED = [
    (
        "{projection_size: [2, 16]}",
        {"cell": "lstmp", "projection_size": 4},
        "forecast",
        "projection_size is 16 but hidden_size is 8",
    ),
    (
        "{hidden_size: [4, 8], projection_size: [2, 4]}",
        {"cell": "lstmp", "projection_size": 2},
        "forecast",
        "projection_size is 4 but hidden_size is 4",
    ),
    ("{bidirectional: [false, true]}", {}, "language-model", "at each step it has already read the next word, which is the answer"),
    ("{cell: [lstm, alstm]}", {}, "language-model", "a language model answers at every step"),
    ("{projection_size: [0, 4]}", {}, "forecast", "`projection_size` is not defined for cell 'lstm'"),
    ("{cell: [lstm, lstmp]}", {}, "forecast", "cell 'lstmp' projects its state"),
    ("{residual: [false, true], num_layers: [1, 3]}", {}, "forecast", "num_layers is 1. Set num_layers to 2 or more"),
    ("{chrono_steps: [0, 60]}", {}, "forecast", "chrono_steps is 1, and memories are drawn"),
    ("{chrono_steps: [3, 60]}", {"forget_bias": 1.0}, "forecast", "chrono_steps and forget_bias both say"),
    ("{zoneout: [0.0, 0.2]}", {}, "forecast", "engine 'torch' cannot train it: `zoneout` acts inside the loop over time"),
    ("{cell: [lstm, janet]}", {}, "forecast", "torch has no kernel for cell 'janet'"),
]


@pytest.mark.parametrize(("allowed", "changes", "task", "said"), REFUSED)
def test_a_space_of_which_a_trial_could_be_refused_is_refused_with_the_trials_sentence(allowed, changes, task, said):
    with pytest.raises(ConfigError, match=re.escape(said)) as told:
        space.refuse(parsed(allowed), base(**changes), task, "torch")
    assert str(told.value).startswith("params.yaml: tuning.space: a trial could be refused: ")


def test_a_space_that_leaves_whole_passes_is_refused_to_an_item_in_bfloat16():
    tried, own = parsed("{weight_dropout: [0.0, 0.2]}"), base()
    space.refuse(tried, own, "forecast", "native")
    own = dataclasses.replace(own, optimisation=own.optimisation.model_copy(update={"precision": "bfloat16"}))
    with pytest.raises(
        ConfigError, match="its precision is bfloat16, and `weight_dropout` takes its network through training batch by batch"
    ):
        space.refuse(tried, own, "forecast", "native")


@pytest.mark.parametrize("allowed", ["{zoneout: [0.0, 0.2]}", "{cell: [lstm, slstm]}"])
def test_what_the_engine_native_cannot_train_is_refused_too(allowed):
    with pytest.raises(ConfigError, match="engine 'native' cannot train it"):
        space.refuse(parsed(allowed), base(), "forecast", "native")


@pytest.mark.parametrize(
    ("allowed", "changes", "engine"),
    [
        ("{projection_size: [2, 7]}", LSTMP, "torch"),
        ("{cell: [lstm, janet]}", {}, "native"),
        ("{chrono_steps: [3, 60]}", {}, "torch"),
        ("{zoneout: [0.0, 0.2], cell: [lstm, janet]}", {}, "reference"),
        ("{bidirectional: [false, true], residual: [false, true], num_layers: [2, 3]}", {}, "torch"),
    ],
)
def test_a_space_that_holds_no_refused_setting_is_taken(allowed, changes, engine):
    assert space.refuse(parsed(allowed), base(**changes), "forecast", engine) is None


def test_a_head_that_is_the_embeddings_fixes_the_size_of_a_state():
    tied = dataclasses.replace(base(hidden_size=32), state_size=32)
    assert space.refuse(parsed("{num_layers: [1, 3]}"), tied, "language-model", "native") is None
    with pytest.raises(ConfigError, match=r"gives states of 16, and with `tasks.language-model.tied` its head is the embeddings"):
        space.refuse(parsed("{num_layers: [1, 3], hidden_size: [16, 32]}"), tied, "language-model", "native")


def test_two_settings_that_do_not_go_together_are_found_though_each_goes_with_the_first_of_the_other():
    for fine in ("{cell: [lstm, minlstm]}", "{weight_dropout: [0.0, 0.3], cell: [lstm, gru]}"):
        assert space.refuse(parsed(fine), base(), "forecast", "reference") is None
    with pytest.raises(ConfigError, match=r"`weight_dropout` is not defined for cell 'minlstm': it has no recurrent matrix"):
        space.refuse(parsed("{weight_dropout: [0.0, 0.3], cell: [lstm, minlstm]}"), base(), "forecast", "reference")


@pytest.mark.parametrize("hidden", ["[2, 4]", "[5, 6]"])
@pytest.mark.parametrize("projected", ["[0, 3]", "[1, 4]", "[1, 6]"])
@pytest.mark.parametrize("chrono", ["[0, 3]", "[1, 4]", "[2, 5]", "[3, 5]"])
@pytest.mark.parametrize("cells", ["[lstm, gru]", "[lstm, lstmp]"])
def test_the_corners_find_whatever_is_refused_anywhere_in_a_space(hidden, projected, chrono, cells):
    allowed = parsed(f"{{hidden_size: {hidden}, projection_size: {projected}, chrono_steps: {chrono}, cell: {cells}}}")
    whole = [range(low, high + 1) for low, high in (allowed.hidden_size, allowed.projection_size, allowed.chrono_steps)]
    names = ("hidden_size", "projection_size", "chrono_steps", "cell")
    everything = (dict(zip(names, values, strict=True)) for values in itertools.product(*whole, allowed.cell))
    refused = any(space.misfit(base(), values, "forecast", "torch") for values in everything)
    try:
        space.refuse(allowed, base(), "forecast", "torch")
    except ConfigError:
        assert refused
    else:
        assert not refused


def test_every_setting_of_a_space_is_one_of_a_variant_or_of_its_optimiser_and_is_checked_alike():
    for name, field in config.Space.model_fields.items():
        section = config.Variant if name in config.Variant.model_fields else config.Optimisation
        theirs = section.model_fields[name]
        (listed, _) = field.annotation.__args__
        (value,) = listed.__args__ if not hasattr(listed, "__metadata__") else listed.__origin__.__args__
        own = getattr(value, "__origin__", value) if hasattr(value, "__metadata__") else value
        kinds = [theirs.annotation, *getattr(theirs.annotation, "__args__", ())]
        assert own in kinds, name
    left_out = {*config.Variant.model_fields, *config.Optimisation.model_fields} - set(config.Space.model_fields)
    # smoothing: of one optimiser alone, and there to be as another library has it; decay and averaging hang on how many epochs there are
    assert left_out == {"max_epochs", "patience", "precision", "smoothing", "decay", "averaged_after"}


# --- what is tried ----------------------------------------------------------------------------


def trial(number, values, losses, state="complete"):
    best = [loss == min(losses[: place + 1]) for place, loss in enumerate(losses)]
    history = [
        {"epoch": place, "train_loss": loss, "validation_loss": loss, "best": better}
        for place, (loss, better) in enumerate(zip(losses, best, strict=True), start=1)
    ]
    return Trial(number, values, state, history, "" if state != "failed" else "epoch 1, step 1: loss nan")


WIDE = "{hidden_size: [1, 1000], learning_rate: [0.00001, 1.0], dropout: [0.0, 0.9], bidirectional: [false, true], batch_size: [8, 16, 32]}"


def tried(count, allowed=WIDE, seed=3, size=4):
    """So many trials of a space, by rounds; a smaller hidden size is better."""
    found = []
    for number in range(count):
        first = number // size * size
        values = study.suggest(parsed(allowed), seed, number, found[:first], [each.values for each in found[first:]])
        found.append(trial(number, values, [values["hidden_size"] / 1000]))
    return found


def test_what_is_tried_lies_in_the_space_and_has_three_digits():
    for each in tried(24):
        assert space.holds(parsed(WIDE), each.values)
        assert isinstance(each.values["hidden_size"], int) and isinstance(each.values["bidirectional"], bool)
        for name in ("learning_rate", "dropout"):
            assert each.values[name] == float(f"{each.values[name]:.3g}")


def test_sizes_and_rates_are_drawn_by_factors_and_the_rest_evenly():
    found = [study.suggest(parsed(WIDE), 0, number, [], []) for number in range(200)]
    assert 60 < sum(values["hidden_size"] < 31 for values in found) < 140  # half of the factors lies below √1000
    assert 60 < sum(values["learning_rate"] < 0.00316 for values in found) < 140
    assert 60 < sum(values["dropout"] < 0.45 for values in found) < 140


def test_what_is_tried_hangs_on_seed_number_and_what_came_before_alone():
    once, again = tried(16), tried(16)
    assert once == again
    earlier, beside = once[:12], [each.values for each in once[12:14]]
    assert study.suggest(parsed(WIDE), 3, 14, earlier, beside) == once[14].values
    assert study.suggest(parsed(WIDE), 4, 14, earlier, beside) != once[14].values
    assert study.suggest(parsed(WIDE), 3, 14, earlier[:8], beside) != once[14].values
    assert study.suggest(parsed(WIDE), 3, 14, earlier, [each.values for each in once[:2]]) != once[14].values


def test_later_trials_learn_from_earlier_ones():
    found = [each.values["hidden_size"] for each in tried(40)]
    assert sorted(found[20:])[10] < sorted(found[:10])[5]


def test_present_settings_outside_the_space_are_no_obstacle():
    outside = {**tried(1)[0].values, "hidden_size": 5000}
    found = tried(12)
    assert study.suggest(parsed(WIDE), 3, 12, [trial(0, outside, [0.1]), *found[1:]], [outside]).keys() == outside.keys()


def test_where_trials_diverged_fewer_are_tried():
    allowed = parsed("{learning_rate: [0.0001, 1.0]}")
    good = [trial(k, {"learning_rate": 0.0001 * 1.95**k}, [1.0 - k / 20]) for k in range(12)]  # up to 0.155 the better the higher
    bad = [trial(12 + k, {"learning_rate": 0.3 + k / 10}, [], "failed") for k in range(6)]

    def high(earlier):
        return sum(study.suggest(allowed, seed, 18, earlier, [])["learning_rate"] > 0.25 for seed in range(40))

    assert high([*good, *bad]) < high(good) / 2


# --- what is given up -------------------------------------------------------------------------


def test_a_trial_is_given_up_when_its_best_epoch_is_worse_than_the_median_of_earlier_ones():
    earlier = [trial(k, {}, [5.0, 4.0, 1.0 + k, 1.0 + k]) for k in range(5)]  # at epoch 3 the median is 3
    lost = study.hopeless(earlier)
    history = lambda *losses: trial(9, {}, list(losses)).history  # noqa: E731
    assert lost(history(9.0, 9.0, 3.5)) and not lost(history(9.0, 9.0, 2.5)) and not lost(history(2.5, 9.0, 9.0))
    assert not lost(history(9.0, 9.0)), "too early to tell"
    assert not study.hopeless(earlier[1:])(history(9.0, 9.0, 9.0)), "too few to tell by"
    others = [trial(k, {}, [0.1, 0.1, 0.1], state) for k, state in ((5, "pruned"), (6, "failed"))]
    assert not study.hopeless([*earlier, *others])(history(9.0, 9.0, 2.5)), "only what came to its end is a measure"
    assert not lost(history(9.0, 9.0, 2.5, 9.0, 9.0, 9.0)), "nobody else came as far"


def test_what_is_pruned_stops_there_and_keeps_what_it_came_to(findings):
    by_round = {number: number // 4 * 4 for number in range(len(findings.trials))}
    pruned = [each for each in findings.trials if each.state == "pruned"]
    assert pruned, "this space has trials that are worth giving up"
    for each in findings.trials:
        lost = study.hopeless(findings.trials[: by_round[each.number]])
        assert lost(each.history) == (each.state == "pruned")
        assert not any(lost(each.history[:epochs]) for epochs in range(1, len(each.history)))
    assert {each.number for each in pruned} & set(range(4)) == set()


def test_members_side_by_side_are_pruned_one_by_one(root, params):
    plan = planned(root)
    members = [loop.Member(f"m{k}", k, plan.task, plan.base.optimisation) for k in range(3)]
    done = list(loop._begun(members, plan.base.variant, "torch", [None] * 3))

    def after_epoch(place, epoch, progress):
        progress.pruned = place == 1 and epoch.number == 2

    while going := [k for k in range(3) if not done[k].is_over(members[k].settings)]:
        loop.side_by_side(going, members, plan.base.variant, "torch", plan.where.device, done, after_epoch)
    assert [len(progress.history) == 2 for progress in done] == [False, True, False]


def test_runs_of_one_shape_make_a_fleet(root):
    plan = planned(root)
    different = [
        {},
        {"learning_rate": 0.1},
        {"hidden_size": 3},
        {"batch_size": 5},
        {"clip_norm": 0.5},
        {"optimizer": "rmsprop"},
        {"hidden_size": 3},
    ]
    runs = [plan.run(f"t{k}", plan.base.changed(each), 0) for k, each in enumerate(different)]
    assert of_one_shape(runs, range(7)) == [[0, 1, 4], [2, 6], [3], [5]]
    assert of_one_shape(runs, [1, 5, 4]) == [[1, 4], [5]]


# --- the record -------------------------------------------------------------------------------


def test_the_record_is_a_study_that_optuna_reads(root, findings):
    plan = planned(root)
    assert plan.record == root / f".state/tuning/{ITEM}.db"
    with study.opened(plan.record, plan.identity) as held:
        assert study.ended(held) == findings.trials
        assert held.best_trial.number == min(findings.trials, key=lambda each: (each.state != "complete", each.loss)).number
        assert [each.params for each in held.trials] == [each.values for each in findings.trials]
        states = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}
        assert [each.state for each in held.trials] == [states[each.state] for each in findings.trials]


def test_a_trial_is_in_the_record_whole_or_not_at_all(tmp_path, monkeypatch):
    allowed, one = parsed(WIDE), tried(1)[0]

    class Killed(BaseException):
        pass

    def killed(*_):
        raise Killed

    with study.opened(tmp_path / "x.db", "a study") as held:
        study.add(held, allowed, one)
        monkeypatch.setattr(RDBStorage, "_set_trial_intermediate_value_without_commit", killed)  # the last that is written of a trial
        with pytest.raises(Killed):
            study.add(held, allowed, dataclasses.replace(one, number=1))
    with study.opened(tmp_path / "x.db", "a study") as held:
        assert study.ended(held) == [one]


def test_a_record_that_is_damaged_is_named_with_the_remedy(tmp_path):
    (tmp_path / "x.db").write_bytes(b"no database, " * 200)
    with (
        pytest.raises(CorruptArtefact, match=r"x\.db: cannot be read or written: .*not a database.* Remove it, and the search begins anew"),
        study.opened(tmp_path / "x.db", "a study"),
    ):
        pass


# --- the search -------------------------------------------------------------------------------


def test_the_first_trial_is_the_item_as_it_stands_trained_by_the_same_loop(root, findings, params):
    projects.run_stage(root, "training", ITEM)
    seeds = {entry["seed"]: entry for entry in storage.read_json(root / "data/training" / ITEM / "runs.json")["seeds"]}
    assert findings.trials[0].history == seeds[0]["history"]
    kept = {seed: min(epoch["validation_loss"] for epoch in entry["history"]) for seed, entry in seeds.items()}
    assert findings.present.losses == kept
    assert findings.trials[0].values == space.of_item(params, ITEM).values(params.tuning.space)


def test_the_best_trial_is_trained_with_every_seed_and_stands_beside_the_naive_loss(root, findings):
    from longshort.evaluation.stage import naive_losses

    best = min((each for each in findings.trials if each.state == "complete"), key=lambda each: each.loss)
    assert findings.found is not None and findings.found.trial == best.number and findings.found.values == best.values
    assert list(findings.found.losses) == [0, 1] and findings.found.losses[0] == best.loss != findings.found.losses[1]
    assert findings.naive == naive_losses(planned(root).task.data) and list(findings.naive) == ["last_value"]


def test_a_search_that_is_done_does_nothing_again(root, findings):
    before = times_begun(root)
    assert searched(root) == findings
    assert times_begun(root) == before and set(before.values()) == {1}
    assert not list((root / f".state/tuning/{ITEM}/checkpoints").rglob("*.pt"))


@pytest.mark.long
def test_the_same_search_elsewhere_and_with_one_process_comes_to_the_same(tmp_path, findings):
    assert searched(made(tmp_path / "another", "resources.workers=1")) == findings


@pytest.mark.long
def test_more_trials_go_on_from_those_that_ended(tmp_path, findings, monkeypatch):
    known, hopeless, suggest = set(), study.hopeless, study.suggest
    monkeypatch.setattr(study, "hopeless", lambda earlier: known.add(len(earlier)) or hopeless(earlier))
    monkeypatch.setattr(study, "suggest", lambda *asked: known.add(len(asked[3])) or suggest(*asked))
    root = made(tmp_path, "tuning.trials=6")  # which ends within a round
    first = searched(root)
    assert first.trials == findings.trials[:6]
    before = times_begun(root)
    editing.assign(root / "params.yaml", ["tuning.trials=11"])
    assert searched(root) == findings
    assert before.items() <= times_begun(root).items()
    assert known == {0, 4, 8}, "trials know of earlier rounds only"
    editing.assign(root / "params.yaml", ["tuning.trials=6"])
    assert searched(root) == first


@pytest.mark.parametrize(
    ("setting", "same"),
    [
        ("tuning.trials=5", True),
        ("training.seeds=[0, 5]", True),
        ("training.seeds=[5, 0]", False),
        ("tuning.round=3", False),
        ("tuning.space.dropout=[0.0, 0.4]", False),
        ("training.forecast.patience=2", False),
        ("models.variants.lstm.dropout=0.1", False),
        (f"training.items.{ITEM}.learning_rate=0.02", False),
        ("training.language-model.patience=2", True),
    ],
)
def test_a_study_is_another_one_when_its_trials_would_be(tmp_path, root, setting, same):
    (tmp_path / "params.yaml").write_bytes((root / "params.yaml").read_bytes())
    editing.assign(tmp_path / "params.yaml", [setting])
    assert (search.plan(root, ITEM, config.read(tmp_path / "params.yaml")).identity == planned(root).identity) == same


processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload(["longshort.tuning.search", "longshort.tasks.forecast", "optuna", "sqlalchemy"])


def killed(root, when):
    """Start a search, and kill it as soon as ``when`` says so; returns whether it was in time."""
    child, deadline = processes.Process(target=searched, args=(str(root),)), time.monotonic() + 300
    child.start()
    while child.is_alive() and not when(root) and time.monotonic() < deadline:
        time.sleep(0.002)
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    return child.exitcode == -signal.SIGKILL


def in_record(root):
    plan = planned(root)
    with study.opened(plan.record, plan.identity) as held:
        return study.ended(held)


def epochs_of(root, members):
    """Epochs told by the trainings of these names."""
    own = [entries for entries in begun(root).values() if entries[0]["member"] in members]
    return sum(entry["kind"] == "epoch" for entries in own for entry in entries)


@pytest.mark.long
@pytest.mark.parametrize(
    ("when", "ended"),
    [
        pytest.param(lambda root: epochs_of(root, {"t0", "t1", "t2", "t3"}) >= 3, 0, id="in the first round"),
        pytest.param(lambda root: epochs_of(root, {"t8", "t9", "t10"}) >= 2, 8, id="in a later round"),
        pytest.param(
            lambda root: any(entries[0]["member"].endswith("-s1") for entries in begun(root).values()), 14, id="in the comparison"
        ),
    ],
)
def test_a_search_that_is_killed_goes_on_to_the_same_and_repeats_no_trial(tmp_path, findings, when, ended):
    root = made(tmp_path)
    assert killed(root, when)
    there = in_record(root)
    assert there == findings.trials[:ended]
    before = times_begun(root)
    assert searched(root) == findings
    after = times_begun(root)
    first = plan_identities(root, there)
    assert {identity: after[identity] for identity in first} == {identity: before[identity] for identity in first}
    assert any(entry["resumed_after"] for entries in begun(root).values() for entry in entries if entry["kind"] == "begun") or ended == 11


def plan_identities(root, told):
    """The trainings of trials that have ended."""
    plan = planned(root)
    return {plan.run("", plan.base.changed(each.values), plan.seeds[0]).identity for each in told}


@pytest.mark.long
def test_a_kill_while_a_round_is_written_loses_nothing(tmp_path, findings, monkeypatch):
    root, written, add = made(tmp_path), [], study.add

    class Killed(BaseException):
        pass

    def at_the_sixth(held, allowed, one):
        if len(written) == 6:
            raise Killed
        written.append(one)
        add(held, allowed, one)

    monkeypatch.setattr(study, "add", at_the_sixth)
    with pytest.raises(Killed):
        searched(root)
    monkeypatch.undo()
    before = times_begun(root)
    assert in_record(root) == findings.trials[:6]
    assert searched(root) == findings
    assert before.items() <= times_begun(root).items(), "checkpoints of the round were still there"


def test_a_trial_that_diverges_is_told_and_the_rest_go_on(tmp_path):
    lines = []
    space_ = "{learning_rate: [0.001, 1e30]}"
    found = searched(made(tmp_path, f"tuning.space={space_}", "tuning.trials=6"), say=lines.append)
    states = {each.state for each in found.trials}
    assert states >= {"failed", "complete"}
    failed = next(each for each in found.trials if each.state == "failed")
    assert re.match(r"epoch \d, step \d+: loss .*Lower its `learning_rate`", failed.reason)
    assert any(f"trial {failed.number}" in line and failed.reason in line for line in lines)
    assert f"trial {failed.number} failed: {failed.reason}" in trials.lines(found)
    json.dumps(found.as_json(), allow_nan=False)


def test_a_search_of_which_every_trial_diverges_ends_with_the_reason(tmp_path):
    root = made(tmp_path, "tuning.space={learning_rate: [1e25, 1e30]}", "tuning.trials=2", "training.forecast.learning_rate=1e28")
    with pytest.raises(TrainingDiverged, match=rf"{ITEM}: no trial came to anything. Trial 0: epoch 1, step \d+: loss"):
        searched(root)


def test_what_was_tried_before_is_not_trained_again(tmp_path):
    root = made(tmp_path, "tuning.space={num_layers: [1, 2]}", "tuning.trials=7", "training.seeds=[0]")
    found = searched(root)
    by_layers = {each.values["num_layers"]: each for each in found.trials}
    assert len(by_layers) == 2 and sum(times_begun(root).values()) == 2
    for each in found.trials:
        assert dataclasses.replace(each, number=0) == dataclasses.replace(by_layers[each.values["num_layers"]], number=0)


def test_a_language_model_is_searched_too_beside_its_baselines(tmp_path):
    allowed = "{hidden_size: [3, 6], learning_rate: [0.001, 0.1]}"
    root = projects.project(tmp_path, *SETTINGS, f"tuning.space={allowed}", "tuning.trials=3")
    projects.take_in(root, "topics", projects.texts())
    projects.run_stage(root, "windows", "topics")
    found = searched(root, "topics-lstm")
    assert set(found.naive) == {"unigram", "trigram"} and len(found.trials) == 3
    editing.assign(root / "params.yaml", ["tuning.space.bidirectional=[false, true]"])
    with pytest.raises(ConfigError, match="already read the next word, which is the answer"):
        planned(root, "topics-lstm")


# --- the verdict ------------------------------------------------------------------------------


def contender(*losses):
    return Contender(0, {}, dict(enumerate(losses)))


@pytest.mark.parametrize(
    ("present", "found", "better", "said"),
    [
        ((1.0, 1.1, 1.2), (0.5, 0.6, 0.7), True, "0.6000 against 1.1000; the difference 0.5000 is more than two standard errors (0.1633)"),
        ((1.0, 1.1, 1.2), (0.9, 1.0, 1.1), False, "the difference 0.1000 is within two standard errors (0.1633)"),
        ((1.0, 1.1, 1.2), (1.1, 1.2, 1.3), False, "over all seeds 1.2000 against 1.1000"),
        ((1.0,), (0.5,), False, "with one seed, which does not tell luck from gain"),
        ((1.0, None), (0.5, 0.5), True, "which diverged with seed 1"),
        ((1.0, 1.0), (0.5, None), False, "with seed 1 it diverged"),
        ((1.0, 1.0), None, False, "no trial had a lower validation loss"),
    ],
)
def test_the_verdict_says_whether_a_gain_is_more_than_noise(present, found, better, said):
    verdict = judge(contender(*present), found and contender(*found))
    assert verdict.better == better and said in verdict.reason
    assert better or "no better" in verdict.reason or "one seed" in verdict.reason


# --- adopting ---------------------------------------------------------------------------------


def pasted(lines):
    """What a shell makes of the command that is shown: the arguments of longshort."""
    command = "\n".join(lines[lines.index("") + 2 :])
    done = subprocess.run(["sh", "-c", f"longshort() {{ printf '%s\\0' \"$@\"; }}\n{command}"], capture_output=True, text=True, check=True)
    return done.stdout.split("\0")[:-1]


@pytest.mark.parametrize(
    ("own", "changes", "item"),
    [
        (True, {"hidden_size": 7, "learning_rate": 0.00001, "dropout": 0.25}, ITEM),
        (True, {"cell": "gru", "optimizer": "rmsprop", "clip_norm": 10.0, "batch_size": 5}, ITEM),
        (
            False,
            {"hidden_size": 7, "learning_rate": 0.0321, "initialisation": "keras", "bidirectional": True, "forget_bias": 1.0},
            "goog-lstm_tuned",
        ),
        (False, {"learning_rate": 0.0321}, ITEM),
    ],
)
def test_the_command_that_is_shown_adopts_what_was_found_and_nothing_else(tmp_path, findings, own, changes, item):
    root = projects.project(tmp_path, *SETTINGS)
    path = root / "params.yaml"
    if own:
        editing.assign(path, [f"training.items={{{ITEM}: {{dataset: goog, task: forecast, variant: lstm}}}}"])
    before = config.read(path)
    wanted = space.of_item(before, ITEM).changed(changes)
    shown = dataclasses.replace(findings, adopt=space.adoption(before, ITEM, wanted))
    command, *arguments = pasted(trials.lines(shown))
    assert command == "run" and set(arguments[::2]) == {"--set"}
    editing.assign(path, arguments[1::2])
    after = config.read(path)
    assert space.of_item(after, item) == wanted
    for other in before.training.items.keys() - {item}:
        assert space.of_item(after, other) == space.of_item(before, other)
    assert after.training.items.keys() == before.training.items.keys() | {item}


def test_a_second_tuned_variant_leaves_the_first_alone(tmp_path):
    path = projects.project(tmp_path, *SETTINGS) / "params.yaml"
    for size, name in ((5, "lstm_tuned"), (6, "lstm_tuned2")):
        params = config.read(path)
        editing.assign(path, space.adoption(params, ITEM, space.of_item(params, ITEM).changed({"hidden_size": size})))
        assert config.read(path).models.variants[name].hidden_size == size
    assert config.read(path).models.variants["lstm_tuned"].hidden_size == 5


# --- what is refused before it starts ---------------------------------------------------------


def test_an_item_that_cannot_be_tuned_is_refused_with_what_to_do(tmp_path, root):
    with pytest.raises(UsageError, match=r"there is no item 'goog-lstn' to tune\. Known: goog-rnn, goog-lstm"):
        planned(root, "goog-lstn")
    other = projects.project(tmp_path, "training.items.goog-lstm-per-ticker={dataset: goog, task: forecast, variant: lstm, per: ticker}")
    with pytest.raises(UsageError, match=r"a network for each ticker.* without `per`"):
        planned(other, "goog-lstm-per-ticker")
    with pytest.raises(UsageError, match=r"data/windows/goog: there are no windows yet\. Run `dvc repro windows@goog`, or `longshort run`"):
        planned(other)
    assert not (other / ".state").exists(), "nothing was begun"


# --- MLflow -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def logged(root, findings):
    """The search in MLflow, round by round and then whole; a client."""
    plan = planned(root)
    client = tracking.connect(root, plan.params)
    record.log_trials(client, root, plan, findings.trials[:4])
    record.log_findings(client, root, plan, findings)
    return client


def everything(client):
    place = client.get_experiment_by_name("goog").experiment_id
    return {run.info.run_name: run for run in client.search_runs([place])}


def test_a_search_is_a_parent_in_mlflow_and_each_trial_a_child_with_its_settings_curves_and_state(root, findings, logged):
    runs, plan = everything(logged), planned(root)
    name = f"tune-lstm-{plan.identity[:8]}"
    parent = runs.pop(name)
    assert parent.data.tags["item"] == ITEM and parent.data.tags["verdict"] == findings.verdict.reason and parent.info.status == "FINISHED"
    assert (
        parent.data.metrics["found_mean"] == findings.found.mean and parent.data.metrics["naive_last_value"] == findings.naive["last_value"]
    )
    assert runs.keys() == {f"trial-{each.number}" for each in findings.trials}
    for each in findings.trials:
        run = runs[f"trial-{each.number}"]
        assert run.data.tags[tracking.PARENT] == parent.info.run_id and run.data.tags["state"] == each.state
        assert run.info.status == "FINISHED" and run.data.metrics["best_validation_loss"] == each.loss
        assert run.data.params["variant.hidden_size"] == str(each.values["hidden_size"])
        assert float(run.data.params["optimisation.learning_rate"]) == each.values["learning_rate"]
        curve = logged.get_metric_history(run.info.run_id, "validation_loss")
        assert [(point.step, point.value) for point in curve] == [(epoch["epoch"], epoch["validation_loss"]) for epoch in each.history]


def test_to_log_a_search_once_more_adds_nothing(root, findings, logged):
    before = {name: run.info.run_id for name, run in everything(logged).items()}
    plan = planned(root)
    record.log_findings(logged, root, plan, findings)
    assert {name: run.info.run_id for name, run in everything(logged).items()} == before
    points = logged.get_metric_history(before["trial-0"], "validation_loss")
    assert len(points) == len(findings.trials[0].history)


def test_a_failed_trial_is_logged_with_its_reason(root, findings, logged):
    plan = planned(root)
    bad = Trial(99, findings.trials[0].values, "failed", [], "epoch 1, step 2: loss nan")
    record.log_trials(logged, root, plan, [bad])
    run = everything(logged)["trial-99"]
    assert (run.info.status, run.data.tags["state"], run.data.tags["reason"]) == ("FAILED", "failed", bad.reason)
    logged.delete_run(run.info.run_id)


# --- the command ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def project(retrained, tmp_path_factory):
    """A project after its first run, where a search takes seconds."""
    folder = clones.copy(retrained, tmp_path_factory.mktemp("tuned") / "project")
    editing.assign(folder / "params.yaml", ["tuning.trials=3", "tuning.round=3", f"tuning.space={SPACE}"])
    return folder


def test_the_command_shows_trials_seeds_verdict_and_the_way_to_adopt(project):
    done = clones.main(project, "tune", "goog-rnn", "--set", "tuning.space={hidden_size: [2, 6], learning_rate: [0.001, 0.1]}")
    assert "0 (present)" in done.stdout and "last value" in done.stdout and "goog-rnn: " in done.stdout
    assert "+  space: {hidden_size: [2, 6], learning_rate: [0.001, 0.1]}" in done.stderr
    assert [line.split()[:2] for line in done.stderr.splitlines() if line.startswith("  trial ")][:3] == [
        ["trial", str(k)] for k in range(3)
    ]
    again = clones.main(project, "tune", "goog-rnn", "--json")
    told = json.loads(again.stdout)
    assert len(told["trials"]) == 3 and told["trials"][0]["number"] == 0 and set(told["present"]["losses"]) == {"0", "1"}
    assert "3 of 3 trials have ended before" in again.stderr
    names = [run.info.run_name for run in clones.mlflow_runs(project) if run.data.tags.get("item") == "goog-rnn"]
    assert [names.count(f"trial-{k}") for k in range(4)] == [1, 1, 1, 0]


def test_without_mlflow_a_search_ends_with_its_result_and_the_way_on(project):
    address = f"http://{neighbours.HOST}:{neighbours.free_port()}"
    before = (project / "params.yaml").read_bytes()
    try:
        done = clones.main(project, "tune", "goog-rnn", "--set", f"tracking.uri={address}", "--set", "tuning.trials=4", code=6)
    finally:
        (project / "params.yaml").write_bytes(before)
    assert "0 (present)" in done.stdout and "then `longshort tune goog-rnn` does just the rest" in done.stderr


def test_windows_that_are_not_what_their_inputs_give_are_refused_with_what_to_run(project):
    before = (project / "params.yaml").read_bytes()
    try:
        done = clones.main(project, "tune", "goog-rnn", "--set", "windows.forecast.lookback=12", code=2)
    finally:
        (project / "params.yaml").write_bytes(before)
    assert "data/windows/goog: not what its inputs give now: windows@goog must run first. Run `dvc repro windows@goog`" in done.stderr


def test_a_stage_reads_nothing_of_the_search(project):
    before = (project / "params.yaml").read_bytes()
    editing.assign(project / "params.yaml", ["tuning.trials=50"])
    try:
        assert "50                # settings that are tried" in (project / "params.yaml").read_text(), "comments are kept"
        from longshort import graph

        assert not [address for address in graph.changed(project) if address.startswith(("windows", "training", "evaluation"))]
    finally:
        (project / "params.yaml").write_bytes(before)


def test_the_command_is_in_the_help():
    assert "tune" in {command.name or command.callback.__name__ for command in cli.app.registered_commands}


def test_the_page_shows_the_section_that_ships_and_the_refusal_that_is_said():
    page, shipped = (clones.ROOT / "docs/tuning.md").read_text(), config.read(clones.ROOT / "params.yaml")
    from ruamel.yaml import YAML

    assert config.Tuning.model_validate(YAML(typ="safe").load(page.split("```")[1])["tuning"]) == shipped.tuning
    allowed = re.search(r'--set "tuning.space=(\{.*\})"', page)[1]
    with pytest.raises(ConfigError) as told:
        space.refuse(parsed(allowed), space.of_item(shipped, ITEM), "forecast", "torch")
    assert f"longshort: {told.value}\n" in page


def test_the_section_that_ships_can_be_searched_for_every_item():
    shipped = config.read(clones.ROOT / "params.yaml")
    for name, item in shipped.training.items.items():
        assert space.refuse(shipped.tuning.space, space.of_item(shipped, name), item.task, shipped.engine_of(name)) is None
