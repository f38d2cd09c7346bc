"""Training on GPUs, with made ones: members are split over those that are there, and halved where memory is short."""

from __future__ import annotations

import threading

import pytest
import torch
from test_models_cells import variant
from test_models_native import CPU, forecasts, learning

from longshort import journal
from longshort.errors import LongshortError
from longshort.training import checkpoints, fleet, gpus, loop, runs, shards
from longshort.training.loop import Member, train
from longshort.training.runs import Place, Run

KIND, TASK = variant("lstm", hidden_size=4, dropout=0.2), forecasts()


def made_runs(folder, count, **changes):
    """Runs that nobody has begun."""
    members = [Member(f"s{seed}", seed, TASK, learning(**{"batch_size": 20, "max_epochs": 3, **changes})) for seed in range(count)]
    return [Run("aapl-lstm", member, KIND, f"{member.seed:016x}" * 4, folder) for member in members]


@pytest.fixture
def made(monkeypatch):
    """GPUs that are not there: members train side by side on the CPU, and each GPU notes which. Each may hold so many, from an epoch on."""

    class Made:
        def __init__(self):
            self.trained = []  # (device, names, the epochs that each had come to)

        def here(self, count, most=10**9, after=0):
            monkeypatch.setattr(gpus, "there", lambda: [torch.device("cuda", number) for number in range(count)])

            def on_gpu(members, kind, engine, device, resumed, after_epoch, group):
                self.trained.append((device.index, [m.name for m in members], [len(p.history) if p else 0 for p in resumed]))

                def crowded(number, epoch, progress):
                    after_epoch(number, epoch, progress)
                    if len(members) > most and epoch.number == after and number == len(members) - 1:
                        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nMore of it.")

                if len(members) > most and after == 0:
                    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nMore of it.")
                done = list(loop._begun(members, kind, engine, resumed))
                while going := [k for k, progress in enumerate(done) if not progress.is_over(members[k].settings)]:
                    loop.side_by_side(going, members, kind, engine, CPU, done, crowded)
                return done

            monkeypatch.setattr(shards, "train", on_gpu)

    return Made()


def complete(each, **ways):
    where = Place(torch.device("cuda"), "torch", fleet.Cores(each[0].state / "cores", 1))
    return runs.complete(each, where, lambda name, entry: None, **ways)


def test_members_are_split_over_the_gpus_that_are_there(made, tmp_path):
    made.here(3)
    each = made_runs(tmp_path, 7)
    assert len(complete(each)) == 7
    shares = {device: names for device, names, _ in made.trained}
    assert shares == {0: ["s0", "s3", "s6"], 1: ["s1", "s4"], 2: ["s2", "s5"]} and len(made.trained) == 3


def test_there_are_no_more_shares_than_members(made, tmp_path):
    made.here(8)
    complete(made_runs(tmp_path, 2))
    assert sorted(made.trained) == [(0, ["s0"], [0]), (1, ["s1"], [0])]


def test_gpus_work_at_the_same_time():
    both = threading.Barrier(2, timeout=30)
    gpus.spread([0, 1], [torch.device("cuda", 0), torch.device("cuda", 1)], lambda *_: both.wait(), print, threading.Event())


def test_what_members_come_to_hangs_not_on_how_many_gpus_there_are(made, tmp_path):
    made.here(2)
    found = complete(made_runs(tmp_path, 3))
    for member, mine in zip((run.member for run in made_runs(tmp_path, 3)), found, strict=True):
        [alone] = train([member], KIND, "torch", CPU, [None], lambda *_: None)
        torch.testing.assert_close(mine.weights, alone.weights, rtol=1e-4, atol=1e-5)


def test_a_fleet_that_memory_does_not_hold_goes_on_in_halves_and_says_so(made, tmp_path, capsys):
    made.here(1, most=2)
    assert all(progress.history[-1]["epoch"] == 3 for progress in complete(made_runs(tmp_path, 5)))
    names = [names for _, names, _ in made.trained]
    assert names == [["s0", "s1", "s2", "s3", "s4"], ["s0", "s1", "s2"], ["s0", "s1"], ["s2"], ["s3", "s4"]]
    said = capsys.readouterr().err
    assert "aapl-lstm: the memory of cuda:0 does not hold 5 networks side by side: they go on in two halves, of 3 and 2, each from" in said
    assert "does not hold 3 networks" in said


def test_each_half_goes_on_from_its_last_whole_epoch(made, tmp_path):
    made.here(1, most=2, after=2)
    each = made_runs(tmp_path, 4)
    complete(each)
    assert [resumed for _, _, resumed in made.trained] == [[0, 0, 0, 0], [2, 2], [2, 2]]
    for run in each:
        told = journal.read(run.journal)
        assert [entry["epoch"] for entry in told if entry["kind"] == "epoch"] == [1, 2, 3]
        assert [entry["resumed_after"] for entry in told if entry["kind"] == "begun"] == [0, 2]


def test_one_network_that_memory_does_not_hold_is_refused_with_what_to_change(made, tmp_path):
    made.here(1, most=0)
    with pytest.raises(LongshortError, match=r"cuda:0 does not hold one network .*: CUDA out of memory\. .*2\.00 GiB\. Lower `batch_size`"):
        complete(made_runs(tmp_path, 2))


def test_memory_that_is_short_in_a_recording_is_seen_behind_the_recordings_own_complaint():
    tried = []

    def work(places, device):
        tried.append(places)
        if len(places) > 1:
            try:
                raise torch.OutOfMemoryError("CUDA out of memory.")
            finally:
                raise RuntimeError("CUDA error: operation failed due to a previous error during capture")

    gpus.in_halves([4, 5], torch.device("cuda", 0), work, lambda text: None)
    assert tried == [[4, 5], [4], [5]]


def test_any_other_error_is_no_matter_of_memory():
    def work(places, device):
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    with pytest.raises(RuntimeError, match="illegal memory access"):
        gpus.in_halves([4, 5], torch.device("cuda", 0), work, lambda text: None)


def test_when_one_gpu_fails_the_others_stop_at_their_next_epoch_and_the_error_is_told(made, tmp_path, monkeypatch):
    made.here(2)
    on_gpu, begun = shards.train, threading.Event()

    def broken(members, kind, engine, device, resumed, after_epoch, group):
        if device.index == 1:
            begun.wait(30)
            raise RuntimeError("CUDA error: device-side assert triggered")

        def slowly(*told):
            begun.set()
            after_epoch(*told)
            threading.Event().wait(0.05)

        return on_gpu(members, kind, engine, device, resumed, slowly, group)

    monkeypatch.setattr(shards, "train", broken)
    each = made_runs(tmp_path, 2, max_epochs=1000, patience=1000)
    with pytest.raises(RuntimeError, match="device-side assert"):
        complete(each)
    assert 0 < len(checkpoints.load(each[0].checkpoints).history) < 1000


def test_a_judge_is_asked_by_one_thread_at_a_time(made, tmp_path):
    made.here(3)
    asking = threading.Lock()

    def judge(place, history):
        assert asking.acquire(blocking=False)
        threading.Event().wait(0.01)
        asking.release()
        return len(history) == 2

    assert all(progress.pruned and len(progress.history) == 2 for progress in complete(made_runs(tmp_path, 6), judge=judge))
