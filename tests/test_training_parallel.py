"""One network trained by several processes together, real ones that really exchange sums, on the CPU."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import threading
import time
import warnings

import psutil
import pytest
import torch
from projects import contents, project, run_stage, run_training, take_in, texts

from longshort import config, editing, journal, storage
from longshort.errors import ConfigError, LongshortError
from longshort.models import masks
from longshort.models.masks import Draw
from longshort.tasks.task import open_task
from longshort.training import parallel, runs
from longshort.training.group import Group, joined
from longshort.training.loop import Member, train

CPU = torch.device("cpu")
ITEM = "topics-stacked"
LEARNING = "{optimizer: adam, learning_rate: 0.01, batch_size: 5, max_epochs: 4, patience: 9, clip_norm: 0.1}"
SLOWER = f"training.language-model={LEARNING.replace('max_epochs: 4', 'max_epochs: 12')}"
SETTINGS = (
    "training.seeds=[1]",
    "resources.workers=2",
    f"training.language-model={LEARNING}",
    f"training.items={{{ITEM}: {{dataset: topics, task: language-model, variant: stacked, data_parallel: 2}}}}",
)
INSIDE = "{cell: lstm, hidden_size: 4, num_layers: 2, bidirectional: false, dropout: 0.2, variational_dropout: 0.2, recurrent_dropout: 0.3"
KINDS = {
    "dropout behind each layer": (),
    "every other dropout, that of weights too": (
        f"models.variants.stacked={INSIDE}, zoneout: 0.1, weight_dropout: 0.3}}",
        f"training.items.{ITEM}.engine=reference",
    ),
    "tied, with another optimiser": ("tasks.language-model.tied=true", "training.language-model.optimizer=rmsprop"),
    "states carried from window to window of each stream": ("tasks.language-model.carried=true",),
    "batches that are not divided evenly, of one row in the end": ("training.language-model.batch_size=4",),
}


def made(folder, *settings):
    """A project whose windows are cut."""
    root = take_in(project(folder, *SETTINGS, *settings), "topics", texts())
    run_stage(root, "windows", "topics")
    return root


@pytest.fixture(scope="module")
def roots(tmp_path_factory):
    return {kind: made(tmp_path_factory.mktemp("kind"), *settings) for kind, settings in KINDS.items()}


def learn(root, group):
    """Train the item of a project as one of a group."""
    params = config.read(root / "params.yaml")
    member = Member("s1", 1, open_task("language-model", root / "data/windows/topics", params), params.optimisation_of(ITEM))
    [progress] = train([member], params.models.variants["stacked"], params.engine_of(ITEM), CPU, [None], lambda *_: None, group)
    return progress


def learn_together(roots, rank, size, folder):
    """What a process does: all projects, one after the other; what it came to lies in a file."""
    torch.set_num_threads(1)
    with joined(rank, size, CPU, folder / "meeting") as group:
        found = {kind: vars(learn(root, group)) for kind, root in roots.items()}
    torch.save(found, folder / f"{rank}.pt")


@pytest.fixture(scope="module", params=[2, 3])
def ranks(request, roots, tmp_path_factory):
    """What each process came to with each kind."""
    folder, context = tmp_path_factory.mktemp("ranks"), multiprocessing.get_context("spawn")
    started = [context.Process(target=learn_together, args=(roots, rank, request.param, folder)) for rank in range(request.param)]
    for process in started:
        process.start()
    for process in started:
        process.join()
        assert process.exitcode == 0
    return [torch.load(folder / f"{rank}.pt") for rank in range(request.param)]


@pytest.mark.few(1)
@pytest.mark.parametrize("kind", KINDS)
def test_losses_are_those_of_one_process_and_weights_are_the_same_in_all_to_the_byte(roots, ranks, kind):
    torch.set_num_threads(1)
    alone, first = learn(roots[kind], Group()), ranks[0][kind]
    assert [entry["epoch"] for entry in first["history"]] == [1, 2, 3, 4]
    for mine, other in zip(first["history"], alone.history, strict=True):
        assert mine["best"] == other["best"]
        for part in ("train_loss", "validation_loss"):
            assert mine[part] == pytest.approx(other[part], rel=1e-5)
    torch.testing.assert_close(first["weights"], alone.weights, rtol=1e-3, atol=1e-4)
    for other in ranks[1:]:
        assert other[kind]["history"] == first["history"] and other[kind]["steps"] == first["steps"] == alone.steps
        for name in ("weights", "best_weights"):
            assert torch.equal(other[kind][name], first[name])
        assert all(map(torch.equal, other[kind]["averages"], first["averages"]))


# --- shares -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("rows", "size"), itertools.product((1, 2, 5, 8), (1, 2, 3)))
def test_every_row_is_in_one_share_and_who_has_none_has_one_that_is_not_charged(rows, size):
    read = torch.arange(rows).view(1, rows, 1)
    shares = [Group(rank, size).share((read, 10 + read), -100) for rank in range(size)]
    charged = [(first, own[target != -100].tolist()) for own, target, first in shares]
    assert [row for _, own in charged for row in own] == list(range(rows))
    for (first, own), (_, target, _) in zip(charged, shares, strict=True):
        assert target.shape[1] >= 1 and own == list(range(first, first + len(own)))


KINDS_OF_MASKS = [masks.FRONT, masks.OUTPUT, masks.HEAD, masks.INPUT, masks.STATE, masks.UPDATE, masks.ZONEOUT]


@pytest.mark.parametrize("kind", KINDS_OF_MASKS)
def test_the_masks_of_a_share_are_those_of_its_rows_in_the_batch(kind):
    whole, share = Draw((3, 4), 2, 40), Draw((3, 4), 2, 40, first=2)
    assert (share.dropped(kind, 1, 0.5, (3, 7, 20)) == whole.dropped(kind, 1, 0.5, (5, 7, 20))[:, 2:]).all()


def test_all_shares_of_a_batch_drop_the_same_weights():
    whole, share = Draw((3, 4), 2, 40), Draw((3, 4), 2, 40, first=2)
    assert (share.dropped(masks.WEIGHT, 0, 0.5, (1, 7, 20)) == whole.dropped(masks.WEIGHT, 0, 0.5, (1, 7, 20))).all()


# --- the stage --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    """A project whose item two processes have trained."""
    root = made(tmp_path_factory.mktemp("together"), SLOWER)
    run_stage(root, "training", ITEM)
    return root


def told(root):
    """The entries of the journal, without what is another on every run."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a line that is being written
        [lines] = [journal.read(path) for path in (root / ".state/journal").glob("*.jsonl")] or [[]]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


@pytest.mark.long
def test_the_stage_leaves_one_model_and_one_journal(together):
    assert [line["kind"] for line in told(together)] == ["begun", *["epoch"] * 12, "finished"]
    assert not list((together / ".state/checkpoints").rglob("*.pt"))
    assert sorted(path.name for path in (together / "data/training" / ITEM).iterdir()) == ["manifest.json", "runs.json", "seed-1"]
    assert storage.read_json(together / f"data/training/{ITEM}/seed-1/model.json")["origin"]["data_parallel"] == 2


@pytest.mark.long
def test_the_stage_comes_to_the_losses_of_one_process_and_is_another_run(tmp_path, together):
    root = made(tmp_path, SLOWER, f"training.items={{{ITEM}: {{dataset: topics, task: language-model, variant: stacked}}}}")
    run_stage(root, "training", ITEM)
    [mine], [other] = (storage.read_json(one / f"data/training/{ITEM}/runs.json")["seeds"] for one in (together, root))
    assert mine["identity"] != other["identity"] and mine["best_epoch"] == other["best_epoch"]
    for one, two in zip(mine["history"], other["history"], strict=True):
        assert one["train_loss"] == pytest.approx(two["train_loss"], rel=1e-5)


def ranks_of(process):
    """The processes that train, of a stage; there may be one more that tracks what they share."""
    return [child for child in process.children() if "spawn_main" in " ".join(child.cmdline())]


def wait_for(what, seconds=120):
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.long
@pytest.mark.parametrize("number", [0, 1])
def test_a_process_that_dies_ends_the_stage_with_a_sentence_and_the_next_run_goes_on(tmp_path, together, capsys, number):
    root = made(tmp_path, SLOWER)

    def shoot():
        wait_for(lambda: sum(line["kind"] == "epoch" for line in told(root)) >= 2)
        os.kill(ranks_of(psutil.Process())[number].pid, signal.SIGKILL)

    hunter = threading.Thread(target=shoot)
    hunter.start()
    with pytest.raises(
        LongshortError,
        match=rf"^of 2 processes that train one network together, number {number + 1} ended with -9; .*Run this again: it goes on from the",
    ):
        run_stage(root, "training", ITEM)
    hunter.join()
    assert "training on cpu (2 processes of one thread train one network), engine torch" in capsys.readouterr().err
    assert not ranks_of(psutil.Process()) and not (root / "data/training" / ITEM).exists()
    run_stage(root, "training", ITEM)
    assert contents(root / "data/training") == contents(together / "data/training")
    assert [line["epoch"] for line in told(root) if line["kind"] == "epoch"] == list(range(1, 13))
    assert [line["resumed_after"] for line in told(root) if line["kind"] == "begun"][1] >= 2


@pytest.mark.long
def test_when_the_stage_dies_those_who_train_for_it_end_within_their_epoch(tmp_path):
    root = take_in(project(tmp_path, *SETTINGS, "training.language-model.batch_size=2"), "topics", texts(6000))
    run_stage(root, "windows", "topics")  # an epoch of 3,600 steps
    stage = multiprocessing.get_context("spawn").Process(target=run_training, args=(str(root), ITEM))
    stage.start()
    wait_for(lambda: told(root))
    started = ranks_of(psutil.Process(stage.pid))
    os.kill(stage.pid, signal.SIGKILL)
    stage.join()
    _, alive = psutil.wait_procs(started, timeout=5)
    assert len(started) == 2 and not alive
    assert [line["kind"] for line in told(root)] == ["begun"]


@pytest.mark.long
def test_a_network_that_diverges_is_dropped_in_all_processes_with_its_reason(tmp_path):
    root = made(tmp_path, "training.language-model.learning_rate=1e37")
    with pytest.raises(LongshortError, match=r"every seed diverged\. s1: epoch 1, step \d+: loss .* Lower its `learning_rate`"):
        run_stage(root, "training", ITEM)
    assert [line["kind"] for line in told(root)] == ["begun", "dropped"]


# --- refusals ---------------------------------------------------------------------------------


FORECAST = "training.items={goog-lstm: {dataset: goog, task: forecast, variant: lstm, data_parallel: 2}}"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ((FORECAST,), r"goog-lstm: data_parallel is 2, and networks of a forecast item are small: .* Leave data_parallel out\."),
        (
            ("training.seeds=[0, 1, 2]",),
            r"data_parallel is 2, and `training\.seeds` has 3, .* Write one seed, or leave data_parallel out\.",
        ),
        (("training.engine=native",), r"data_parallel is 2, and engine 'native' makes whole passes by itself\. Write `engine: torch` into"),
        (("training.engine=cuda",), r"and engine 'cuda' makes whole passes by itself\."),
        (("training.engine=auto",), r"and engine 'auto' makes whole passes by itself\."),
        (("resources.engine=ray",), r"and processes of a cluster share no batch\. Set `resources\.engine` to 'local', or leave"),
        (("training.language-model.batch_size=1",), r"and a batch has 1 rows to share\. Write a `batch_size` of 2 or more\."),
        ((f"training.items.{ITEM}.data_parallel=1",), r"data_parallel: input should be greater than or equal to 2 \(found 1\)"),
    ],
)
def test_data_parallel_is_refused_where_it_makes_no_sense(tmp_path, settings, said):
    root = project(tmp_path, *SETTINGS)
    with pytest.raises(ConfigError, match=rf"params\.yaml:\d+: training\.items\..*{said}"):
        editing.assign(root / "params.yaml", list(settings))
        config.read(root / "params.yaml")


def test_fewer_gpus_than_processes_are_refused_before_anything_begins(tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "choose_device", lambda *_: torch.device("cuda"))
    monkeypatch.setattr(runs.shards, "steady", lambda _: None)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    root = made(tmp_path)
    with pytest.raises(
        ConfigError, match=r"data_parallel is 2, and this stage sees 1 of the machine's GPUs\. .* `resources\.workers` to 1"
    ):
        run_stage(root, "training", ITEM)
    assert not (root / "data/training").exists()


def test_each_process_has_a_gpu_of_its_own(monkeypatch):
    devices = []

    class Process:
        def __init__(self, target, args, daemon):
            devices.append(args[0].device)

        start = terminate = join = lambda self: None

    context = multiprocessing.get_context("spawn")
    monkeypatch.setattr(type(context), "Process", Process)
    monkeypatch.setattr(parallel, "_listen", lambda *_: None)
    shard = parallel.Shard((), None, "torch", "cuda", ())
    parallel._together(shard, 3, print)
    assert devices == ["cuda:0", "cuda:1", "cuda:2"]
