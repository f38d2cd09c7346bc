"""Training on a Ray cluster: the bytes and the journal of this machine's own processes, whatever dies meanwhile.

Most of it runs against `processes_as_ray`, which stands in for Ray; what needs Ray itself starts a cluster of two nodes here.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import warnings
from dataclasses import replace

import processes_as_ray
import psutil
import pytest
from projects import PER_TICKER, contents, days, native_is_built, prices, project, run_stage, take_in

from longshort import config, editing, journal, storage
from longshort.errors import ConfigError, LongshortError, UsageError
from longshort.training import checkpoints, cluster, dispatch, runs
from longshort.training.dispatch import Ended, Lost
from longshort.training.shards import Shard, Told

ITEM = "goog-stacked"
SETTINGS = (
    "training.seeds=[0, 1]",
    "resources.workers=1",
    "resources.engine=ray",
    "training.forecast={optimizer: adam, learning_rate: 0.01, batch_size: 30, max_epochs: 4, patience: 4, clip_norm: 1.0}",
)
needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason=f"Ray is not installed: {cluster.INSTALL}")


def made(folder, *settings):
    """A project whose windows are cut, and which asks for a cluster."""
    root = take_in(project(folder, *SETTINGS, *settings), "goog", prices(days(300)))
    run_stage(root, "windows", "goog")
    return root


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """A project that was trained by this machine."""
    root = made(tmp_path_factory.mktemp("alone"), "resources.engine=local")
    run_stage(root, "training", ITEM)
    return root


@pytest.fixture
def ray(monkeypatch):
    """A stand-in for Ray, of two nodes of one CPU."""
    return processes_as_ray.installed(processes_as_ray.Ray(1, 1), monkeypatch)


def told(root):
    """Seed -> the entries of its journal, without what is another on every run."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a line that is being written
        found = [journal.read(path) for path in (root / ".state/journal").glob("*.jsonl")]
    return {lines[0]["seed"]: [{k: v for k, v in line.items() if k != "seconds"} for line in lines] for lines in found if lines}


def epochs(lines):
    return [line["epoch"] for line in lines if line["kind"] == "epoch"]


def trained(root, item=ITEM):
    return contents(root / "data/training" / item)


def untrained(root, folder):
    """A project that has its windows, and nothing trained."""
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy(root / name, folder)
    shutil.copytree(root / "data/windows", folder / "data/windows")
    editing.assign(folder / "params.yaml", ["resources.engine=ray"])
    return folder


# --- against the stand-in ---------------------------------------------------------------------


def test_a_cluster_leaves_the_bytes_and_the_journal_of_one_machine(tmp_path, alone, ray, capsys):
    root = made(tmp_path)
    run_stage(root, "training", ITEM)
    assert trained(root) == trained(alone)
    assert told(root) == told(alone) and [line["kind"] for line in told(root)[1]] == ["begun", *["epoch"] * 4, "finished"]
    assert not list((root / ".state/checkpoints").rglob("*.pt"))
    assert "training on cpu (one thread a network; Ray, 2 nodes, 2 CPUs), engine torch" in capsys.readouterr().err


def test_a_lost_process_costs_the_epoch_in_work_and_no_other(tmp_path, alone, ray, monkeypatch, capsys):
    # objects come in twos: the first process is shot after its second epoch, and its successor when it has begun
    monkeypatch.setattr(ray, "dies", lambda stream, taken: (stream, taken) in {(0, 6), (2, 2)})
    root = made(tmp_path)
    run_stage(root, "training", ITEM)
    assert trained(root) == trained(alone)
    resumed = [line["resumed_after"] for line in told(root)[0] if line["kind"] == "begun"]
    assert len(resumed) == 3 and resumed[0] == 0 and 2 <= resumed[1] == resumed[2] <= 3
    assert [epochs(lines) for lines in told(root).values()] == [[1, 2, 3, 4]] * 2
    assert capsys.readouterr().err.count(f"s0: its process was lost in epoch {resumed[1] + 1}; another goes on from there") == 2


def test_a_stage_that_is_behind_writes_the_newest_checkpoint_only_and_every_epoch(tmp_path, alone, ray, monkeypatch):
    stored, fetched, store, get = [], [], checkpoints.store, ray.get

    def slowly(folder, number, checkpoint):
        stored.append((folder.parent.name, number))
        time.sleep(0.5)
        store(folder, number, checkpoint)

    def counting(ref, timeout=None):
        found = get(ref, timeout)
        fetched.append(isinstance(found, bytes))
        return found

    monkeypatch.setattr(checkpoints, "store", slowly)
    monkeypatch.setattr(ray, "get", counting)
    root = made(tmp_path)
    run_stage(root, "training", ITEM)
    assert trained(root) == trained(alone) and told(root) == told(alone)
    assert sum(fetched) == len(stored) < 8 and {(f"{ITEM}-s{seed}", 4) for seed in (0, 1)} <= set(stored)


def test_data_travel_once_and_not_with_each_member(tmp_path, ray, monkeypatch):
    root, sizes = made(tmp_path, "training.seeds=[0, 1, 2]", "training.forecast.max_epochs=1"), []
    send = processes_as_ray.Function.remote

    def weighed(self, *arguments):
        if self.given.get("num_returns") == "streaming":
            sizes.append(len(processes_as_ray.cloudpickle.dumps([one for one in arguments if not isinstance(one, processes_as_ray.Ref)])))
        return send(self, *arguments)

    monkeypatch.setattr(processes_as_ray.Function, "remote", weighed)
    run_stage(root, "training", ITEM)
    assert len(ray.puts) == 1 and len(sizes) == 3
    assert max(sizes) < 3_000 < len(ray.puts[0])


def test_a_network_a_ticker_goes_through_a_cluster_with_the_data_of_its_ticker(tmp_path, tickers, ray):
    root = untrained(tickers, tmp_path)
    run_stage(root, "training", PER_TICKER)
    assert trained(root, PER_TICKER) == trained(tickers, PER_TICKER)
    assert len(ray.puts) == 2, "two tickers, each with two seeds"


def test_a_search_may_prune_what_a_cluster_trains(tmp_path, alone, ray):
    root = made(tmp_path)
    fleet = fleet_of(root)
    [first, second] = runs.complete(fleet, place(root), lambda *_: None, lambda number, history: number == 0 and len(history) == 2)
    assert (first.pruned, len(first.history)) == (True, 2) and (second.pruned, len(second.history)) == (False, 4)
    assert told(root)[0][-1] == {"kind": "pruned", "best_epoch": first.best_epoch, "epochs": 2}


def test_a_member_that_diverges_is_dropped_there_with_its_reason(tmp_path, ray):
    root = made(tmp_path)
    wild, calm = fleet_of(root)
    settings = wild.member.settings.model_copy(update={"learning_rate": 1e30})
    wild = replace(wild, member=replace(wild.member, settings=settings))
    [dropped, other] = runs.complete([wild, calm], place(root), lambda *_: None)
    assert re.match(r"epoch 1, step 2: loss .* Lower its `learning_rate`", dropped.dropped) and not other.dropped
    assert told(root)[0][1:] == [{"kind": "dropped", "reason": dropped.dropped}]


def fleet_of(root):
    """The two seeds of the item."""
    from longshort.tasks.task import open_task
    from longshort.training.loop import Member

    params = config.read(root / "params.yaml")
    task, variant = open_task("forecast", root / "data/windows/goog", params), params.models.variants["stacked"]
    members = [Member(f"s{seed}", seed, task, params.optimisation_of(ITEM)) for seed in (0, 1)]
    return [runs.Run(ITEM, member, variant, storage.digest(member.name), root / ".state") for member in members]


def place(root):
    params = config.read(root / "params.yaml")
    return runs.prepared(root, "cpu", "torch", params.resources)


# --- the dispatch, step by step ---------------------------------------------------------------


class Script:
    """A pool that tells what a test has written down: a list of news a shard, in the order in which shards are sent."""

    def __init__(self, *scripts, room=2):
        self.scripts, self.open, self.sent, self.most, self._room = list(scripts), {}, [], 0, room

    def room(self):
        return self._room

    def send(self, shard):
        self.open[len(self.sent)] = list(self.scripts[len(self.sent)])
        self.sent.append(shard)
        self.most = max(self.most, sum(bool(left) for left in self.open.values()))
        return len(self.sent) - 1

    def news(self):
        for mark, left in list(self.open.items()):
            if left:
                news = left.pop(0)
                yield mark, [news] if isinstance(news, Told) else news


def epoch(number):
    return Told(0, {"kind": "epoch", "epoch": number}, number, b"")


def dispatched(pool, members=1):
    """What is recorded of each member, what is shown, and what is said."""
    recorded, shown, said = {place: [] for place in range(members)}, [], []

    def shard(place):
        return Shard((Named(f"m{place}"),), None, "torch", "cpu", (max(recorded[place], default=0),))

    def record(place, news):
        recorded[place] += [told.epochs for told in news]

    dispatch.dispatch(pool, range(members), shard, record, lambda place, entry: shown.append((place, entry["epoch"])), said.append)
    return recorded, shown, said


class Named:
    def __init__(self, name):
        self.name = name


def test_no_more_shards_are_sent_than_there_is_room_for():
    pool = Script(*([epoch(1), epoch(2), Ended()] for _ in range(7)), room=3)
    recorded, shown, _ = dispatched(pool, 7)
    assert pool.most == 3 and recorded == {place: [1, 2] for place in range(7)} and len(shown) == 14


def test_who_goes_on_is_handed_what_was_recorded_last_and_not_what_was_sent_first():
    pool = Script([epoch(1), epoch(2), Lost("gone")], [epoch(3), Ended()])
    assert dispatched(pool) == (
        {0: [1, 2, 3]},
        [(0, 1), (0, 2), (0, 3)],
        ["m0: its process was lost in epoch 3; another goes on from there"],
    )
    assert [shard.resumed for shard in pool.sent] == [(0,), (2,)]


def test_a_process_that_was_given_up_is_not_heard_any_more():
    pool = Script([epoch(1), Lost("gone"), epoch(2), epoch(3)], [epoch(2), Ended()])
    assert dispatched(pool)[0] == {0: [1, 2]}


def test_a_member_whose_processes_are_lost_in_one_epoch_again_and_again_ends_the_training_with_a_sentence():
    with pytest.raises(
        LongshortError, match=r"m0: 3 processes in a row were lost in its epoch 2: shot\. .* out of memory\. Run this again"
    ):
        dispatched(Script([epoch(1), Lost("shot")], [Lost("shot")], [Lost("shot")]))
    dispatched(Script([Lost("a")], [Lost("b")], [epoch(1), Lost("c")], [Lost("d")], [Ended()]))


# --- refusals ---------------------------------------------------------------------------------


CLOSED = "127.0.0.1:1"  # a port that nothing listens at


@pytest.mark.parametrize(
    ("nodes", "address", "said"),
    [
        ((), None, "this machine is in no cluster: Could not find any running Ray instance"),
        ((1,), CLOSED, f"no cluster answers at {CLOSED}: .*refused"),
        ((1,), "ray://10.0.0.1:10001", "no cluster answers at ray://10.0.0.1:10001: it has to be the HOST:PORT"),
        ((1,), "local", "no cluster answers at local: it has to be the HOST:PORT"),  # Ray would start one
        ((1,), "10.0.0.1", "no cluster answers at 10.0.0.1: "),
        ((0, 0), None, "no node of the cluster lends a CPU"),
    ],
)
def test_without_a_cluster_nothing_begins(tmp_path, alone, monkeypatch, nodes, address, said):
    ray = processes_as_ray.installed(processes_as_ray.Ray(*nodes), monkeypatch)
    if address:
        monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(
        ConfigError, match=rf"^params\.yaml: `resources\.engine` is 'ray', but {said}.* `ray start.*set `resources\.engine` to 'local'\.$"
    ):
        refused(tmp_path, alone)
    assert not ray.streams


def test_a_cluster_that_was_not_stopped_but_is_gone_is_not_waited_for(tmp_path, alone, ray, monkeypatch):
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray/ray_current_cluster").write_text(CLOSED)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    with pytest.raises(ConfigError, match=rf"but no cluster answers at {CLOSED}: .*refused"):
        refused(tmp_path, alone)


def refused(folder, alone):
    """Train, and see that nothing has begun."""
    root = untrained(alone, folder)
    try:
        run_stage(root, "training", ITEM)
    finally:
        assert not (root / "data/training").exists() and not (root / ".state").exists()


def test_without_ray_a_sentence_says_how_to_install_it(tmp_path, alone, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(
        ConfigError, match=r"but Ray is not installed here\. Install it with `python -m pip install -e '\.\[ray\]'`, or set"
    ):
        refused(tmp_path, alone)


def test_a_cluster_is_not_for_networks_on_cuda(tmp_path, ray, monkeypatch):
    monkeypatch.setattr(runs, "choose_device", lambda *_: runs.torch.device("cuda"))
    monkeypatch.setattr(runs.torch, "use_deterministic_algorithms", lambda _: None)
    with pytest.raises(ConfigError, match=r"`resources\.engine` is 'ray', .* Set `training\.device` to 'cpu', or `resources\.engine` to"):
        place(made(tmp_path))


FACTS = {name: f"another {name}" for name in cluster.facts_here("native")}


@pytest.mark.parametrize("name", [pytest.param(name, marks=[native_is_built] * ("native" in name)) for name in FACTS])
def test_a_node_that_would_compute_other_bytes_is_refused_before_anything_begins(tmp_path, alone, ray, name):
    engine = "native" if "native" in name else "torch"
    ray.answers[1] = cluster.facts_here(engine) | {name: FACTS[name]}
    root = untrained(alone, tmp_path)
    editing.assign(root / "params.yaml", [f"training.engine={engine}"])
    with pytest.raises(UsageError, match=rf"^Ray's node 10\.0\.0\.1: {re.escape(name)}: another .*; this machine: .* Install the same"):
        run_stage(root, "training", ITEM)
    assert not (root / ".state").exists() and not ray.streams


def test_a_node_without_longshort_is_refused(tmp_path, alone, ray):
    ray.answers[0] = "No module named 'longshort'"
    with pytest.raises(UsageError, match=r"^Ray's node 10\.0\.0\.0: No module named 'longshort'\. Install longshort there as it is here"):
        refused(tmp_path, alone)


def test_a_node_that_leaves_before_it_answers_is_no_reason_to_stop(tmp_path, alone, ray):
    ray.answers[0] = processes_as_ray.WorkerCrashedError("gone")
    assert cluster.joined("torch").cpus == 2


def test_a_node_that_came_later_and_differs_stops_the_training_with_its_sentence(tmp_path, ray, monkeypatch):
    root = made(tmp_path)
    monkeypatch.setattr(cluster, "_compare", lambda *_: None)
    where = place(root)
    strange = runs.Place(where.device, where.engine, replace(where.crew, facts=where.crew.facts | {"torch": "1.0"}))
    with pytest.raises(UsageError, match=r"torch: 2\.\d+\.\d+; this machine: 1\.0"):
        runs.complete(fleet_of(root), strange, lambda *_: None)


def test_a_cluster_has_two_shards_a_cpu_and_one_whose_last_cpu_is_gone_is_not_waited_for(ray):
    assert cluster.Tasks(ray, {}).room() == 4
    tasks = cluster.Tasks(ray, {})
    ray.cpus.clear()
    with pytest.raises(LongshortError, match=r"lends no CPU any more\. Let machines join it .* goes on from the last checkpoints"):
        tasks.room()


# --- against Ray itself -----------------------------------------------------------------------

COMMAND = [sys.executable, "-c", "from longshort.cli import main; main()", "stage", "training", "--item", ITEM]
SLOWER = ("training.forecast.max_epochs=12", "training.forecast.batch_size=6", "training.forecast.patience=12")


@pytest.fixture(scope="module")
def nodes():
    """A cluster on this machine: a head that computes nothing, and two nodes of one CPU."""
    from ray.cluster_utils import Cluster

    here = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    here.add_node(num_cpus=1)
    here.add_node(num_cpus=1)
    yield here
    here.shutdown()


@pytest.fixture(scope="module")
def slower(tmp_path_factory):
    """A project that takes longer, trained by this machine."""
    root = made(tmp_path_factory.mktemp("slower"), *SLOWER, "resources.engine=local")
    run_stage(root, "training", ITEM)
    return root


def start(root, nodes):
    """The stage, as a person starts it."""
    environment = {**os.environ, "RAY_ADDRESS": nodes.address}
    return subprocess.Popen(COMMAND, cwd=root, env=environment, stderr=subprocess.PIPE, text=True)


def when(root, child, is_so):
    """Wait until the journals say so."""
    deadline = time.monotonic() + 120
    while not is_so(told(root)):
        assert child.poll() is None and time.monotonic() < deadline, child.stderr.read()
        time.sleep(0.01)


def computing():
    """The processes of the cluster that compute."""
    return [one for one in psutil.Process().children(recursive=True) if one.name().startswith("ray::train")]


def on_their_way(lines):
    """Both members have come to their third epoch."""
    return len(lines) == 2 and all(len(epochs(each)) >= 3 for each in lines.values())


def whole(root, slower, child):
    """The bytes are those of one machine, and no epoch is in the journal twice."""
    _, errors = child.communicate(timeout=180)
    assert child.returncode == 0, errors
    assert trained(root) == trained(slower)
    assert [epochs(lines) for lines in told(root).values()] == [list(range(1, 13))] * 2
    return errors


def resumptions(root):
    return sorted(line["resumed_after"] for lines in told(root).values() for line in lines if line["kind"] == "begun")


@needs_ray
def test_rays_cluster_leaves_the_bytes_and_the_journal_of_one_machine(tmp_path, slower, nodes):
    root = made(tmp_path, *SLOWER)
    errors = whole(root, slower, start(root, nodes))
    assert told(root) == told(slower)
    assert "training on cpu (one thread a network; Ray, 2 nodes, 2 CPUs), engine torch" in errors


@needs_ray
def test_a_shot_process_of_ray_costs_the_epoch_in_work_and_no_other(tmp_path, slower, nodes):
    root = made(tmp_path, *SLOWER)
    child = start(root, nodes)
    when(root, child, on_their_way)
    computing()[0].send_signal(signal.SIGKILL)
    assert "its process was lost in epoch" in whole(root, slower, child)
    assert len(resumptions(root)) == 3 and resumptions(root)[2] >= 3


@needs_ray
def test_a_lost_node_of_ray_costs_the_epoch_in_work_and_no_other(tmp_path, slower, nodes):
    root = made(tmp_path, *SLOWER)
    third = nodes.add_node(num_cpus=1)
    nodes.wait_for_nodes()
    child = start(root, nodes)
    when(root, child, on_their_way)
    for node in list(nodes.worker_nodes):  # the two that compute are among them
        if node is not third:
            nodes.remove_node(node, allow_graceful=False)
    assert "its process was lost in epoch" in whole(root, slower, child)
    assert len(resumptions(root)) >= 3 and resumptions(root)[-1] >= 3
    nodes.add_node(num_cpus=1)


@needs_ray
def test_a_stage_that_is_shot_goes_on_from_what_the_cluster_had_told(tmp_path, slower, nodes):
    root = made(tmp_path, *SLOWER)
    child = start(root, nodes)
    when(root, child, on_their_way)
    child.kill()
    child.communicate()
    assert not (root / "data/training" / ITEM).exists()
    told_then = {seed: len(epochs(lines)) for seed, lines in told(root).items()}
    child = start(root, nodes)
    _, errors = child.communicate(timeout=180)
    assert child.returncode == 0, errors
    assert trained(root) == trained(slower)
    for seed, lines in told(root).items():
        after = [line["resumed_after"] for line in lines if line["kind"] == "begun"][-1] or 12  # who had ended does not begin again
        # epochs whose checkpoint was not yet written are told again, as on one machine: those that had come in together
        assert told_then[seed] - cluster.UNREAD // 2 <= after <= told_then[seed]
        assert epochs(lines) == [*range(1, told_then[seed] + 1), *range(after + 1, 13)]
    assert len(resumptions(root)) > 2


@needs_ray
def test_ray_that_is_not_there_is_refused_by_the_command_with_exit_code_2(tmp_path, slower, nodes):
    root = untrained(slower, tmp_path)
    done = subprocess.run(COMMAND, cwd=root, env={**os.environ, "RAY_ADDRESS": CLOSED}, capture_output=True, text=True)
    assert done.returncode == 2 and f"no cluster answers at {CLOSED}" in done.stderr, done.stderr
    assert not (root / "data/training").exists()
