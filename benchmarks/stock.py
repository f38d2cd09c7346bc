"""The tutorial's stock network, 4 LSTMs of 50 over 60 steps, trained by us and by others."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from side import Round, apart, interleaved
from torch import nn

from longshort.config import Precision, PriceWindows, Variant
from longshort.models.compiled import library
from longshort.models.engines import ENGINES
from longshort.models.engines.engine import Learning
from longshort.models.network import Network
from longshort.sessions import EVERY_ROW
from longshort.tasks.forecast import ForecastTask
from longshort.tasks.task import Task
from longshort.training.loop import generator_of
from longshort.training.optimisers import BETAS, EPSILON, Rows
from longshort.windows.files import PriceData
from longshort.windows.prices import Scaler, Segment, Series, Windows

WINDOWS, LOOKBACK, HIDDEN, DEPTH, BATCH, DROPOUT, RATE = 1198, 60, 50, 4, 32, 0.2, 0.001
EPOCHS = 100  # of a whole process
SAID: dict[str, Precision] = {"": "float32", " in bfloat16": "bfloat16"}
PEERS = ("keras-tensorflow", "jax", "darts", "neuralforecast")


def series() -> np.ndarray:
    """A scaled price: a random walk, (steps, 1)."""
    walk = np.cumsum(np.random.Generator(np.random.Philox(0)).normal(size=WINDOWS + LOOKBACK))
    return ((walk - walk.min()) / (walk.max() - walk.min())).astype(np.float32)[:, None]


def torchs(layers: Callable[[int], nn.Module]) -> tuple[nn.Module, Round]:
    """A plain script in torch: its module, nn.Dropout, torch.optim.Adam, batches by index. One thread: two are no faster, and stall
    for seconds where another process is busy.
    """
    values = torch.from_numpy(series())
    past = values.unfold(0, LOOKBACK, 1)[:WINDOWS].transpose(1, 2).contiguous()
    future = values[LOOKBACK:]

    class Stock(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList([layers(1 if depth == 0 else HIDDEN) for depth in range(DEPTH)])
            self.dropout, self.head = nn.Dropout(DROPOUT), nn.Linear(HIDDEN, 1)

        def forward(self, read: torch.Tensor) -> torch.Tensor:
            for layer in self.layers:
                read = self.dropout(layer(read)[0])
            return self.head(read[:, -1])

    net, loss = Stock(), nn.MSELoss()
    optimiser = torch.optim.Adam(net.parameters(), lr=RATE)

    def epoch() -> None:
        torch.set_num_threads(1)  # two are no faster, and stall for minutes where another process is busy
        order = torch.randperm(WINDOWS)
        for start in range(0, WINDOWS, BATCH):
            some = order[start : start + BATCH]
            optimiser.zero_grad()
            loss(net(past[some]), future[some]).backward()
            optimiser.step()

    return net, epoch


def prices(features: list[str]) -> PriceWindows:
    """Windows of the network's length over these columns."""
    own = {"scaler": "minmax", "gap": 1, "max_gap": 5, "validation": 0.1, "test": 0.1}
    return PriceWindows(lookback=LOOKBACK, horizon=1, target="close", features=features, **own)  # type: ignore[arg-type]


def network(cell: str, engine: str) -> tuple[ForecastTask, Network]:
    """The network, untrained, and its task."""
    values = series()
    dates = np.datetime64("2000-01-01") + np.arange(len(values))
    data = Series(values, values[:, 0].astype(np.float64), dates, (Segment("W1", 0, len(values)),))
    parts = {"train": Windows(np.array([0]), np.array([len(values)]), LOOKBACK, 1)}
    task = ForecastTask.of(PriceData(prices(["close"]), data, parts, Scaler(np.zeros(1), np.ones(1)), EVERY_ROW))
    variant = Variant(cell=cell, hidden_size=HIDDEN, num_layers=DEPTH, bidirectional=False, dropout=DROPOUT)  # type: ignore[arg-type]
    return task, Network(task, variant, engine, [generator_of(0)])


def ours(
    cell: str, engine: str, threads: int, precision: Precision = "float32", losses: list[float] | None = None
) -> tuple[nn.Module, Round]:
    """The same under an engine of ours, as the training loop drives it."""
    task, own = network(cell, engine)
    return own, driven(own, task, engine, threads, BATCH, precision, losses)


def driven(
    network: Network, task: Task, engine: str, threads: int, batch: int, precision: Precision = "float32", losses: list[float] | None = None
) -> Round:
    """A network's epochs, one after the other; each adds its loss to ``losses``."""
    rows = Rows(network)
    averages = tuple(torch.zeros_like(rows.weights) for _ in range(2))
    inside = ENGINES[engine].epochs(network, [task])
    assert inside is not None
    past = {"steps": 0, "epoch": 0}

    def epoch() -> None:
        torch.set_num_threads(threads)
        past["epoch"] += 1
        how = Learning(0, past["epoch"], batch, "adam", RATE, 1.0, *BETAS, EPSILON, precision)
        passed = inside.learn(rows.weights, averages, [past["steps"]], {0: how})[0]
        past["steps"] = passed.steps
        if losses is not None:
            losses.append(passed.mean)

    return epoch


def torchs_lstm() -> tuple[nn.Module, Round]:
    """Torch's own layers."""
    return torchs(lambda inputs: nn.LSTM(inputs, HIDDEN, batch_first=True))


def stock(times: int) -> dict[str, Any]:
    """train-stock."""
    own, short = (
        {f"native{said}, {threads} thread{'s' * (threads > 1)}": ours("lstm", "native", threads, precision)[1] for threads in (1, 2)}
        for said, precision in SAID.items()
    )
    peers = {"torch": torchs_lstm()[1]} | {name: made for name in PEERS if (made := apart(name))}
    found = interleaved(own | short | peers, times)
    quickest, shortest = (min(found[name]["seconds"] for name in each) for each in (own, short))
    return {
        "unit": "s an epoch",
        "value": quickest,
        "ratio_vs": {peer: found[peer]["seconds"] / quickest for peer in peers},
        "bfloat16": {
            "by": library.tiles()[0],
            "value": shortest,
            "ratio_vs": {peer: found[peer]["seconds"] / shortest for peer in peers},
            "loss_off": loss_off(),
        },
        "all": found,
    }


def loss_off() -> float:
    """How far the losses of EPOCHS epochs in bfloat16 are from those in float32, at most: a share."""
    curves: list[list[float]] = []
    for precision in SAID.values():
        curves.append([])
        epoch = ours("lstm", "native", len(os.sched_getaffinity(0)), precision, curves[-1])[1]
        for _ in range(EPOCHS):
            epoch()
    return float(np.max(np.abs(np.divide(*curves) - 1)))


def fleet(times: int) -> dict[str, Any]:
    """train-fleet."""
    found: dict[str, float] = {}
    for _ in range(times):
        for name in ("native", "native in bfloat16", "torch"):
            with multiprocessing.get_context("fork").Pool(2, _begin, (name,)) as pool:
                pool.map(_own_epoch, range(4), chunksize=1)  # all is set up
                began = time.perf_counter()
                pool.map(_own_epoch, range(16), chunksize=1)
                found[name] = max(found.get(name, 0.0), 16 * WINDOWS / (time.perf_counter() - began))
    ratios = {"torch": found["native"] / found["torch"]}
    return {"unit": "windows a second", "value": found["native"], "ratio_vs": ratios, "bfloat16": {"by": library.tiles()[0]}, "all": found}


_MADE: dict[str, Round] = {}


def _begin(name: str) -> None:
    torch.set_num_threads(1)
    _MADE["own"] = torchs_lstm()[1] if name == "torch" else ours("lstm", "native", 1, SAID[name.removeprefix("native")])[1]


def _own_epoch(_: int) -> None:
    _MADE["own"]()


def variants(times: int) -> dict[str, Any]:
    """train-variants."""
    from longshort.editing import NATIVE

    epochs = {cell: ours(cell, "native", 1)[1] for cell in NATIVE if cell != "alstm"}
    epochs |= {
        "torch lstm": torchs_lstm()[1],
        "torch gru": torchs(lambda inputs: nn.GRU(inputs, HIDDEN, batch_first=True))[1],
        "torch rnn": torchs(lambda inputs: nn.RNN(inputs, HIDDEN, batch_first=True))[1],
    }
    found = interleaved(epochs, times)
    lstm, gru = found["lstm"]["processor_seconds"], found["gru"]["processor_seconds"]
    slowest = max(NATIVE, key=lambda cell: found.get(cell, {"processor_seconds": 0.0})["processor_seconds"])
    ratios = {"torch": found["torch gru"]["processor_seconds"] / gru}
    told = {"unit": "processor seconds an epoch of a GRU", "value": gru, "ratio_vs": ratios, "slowest": slowest}
    return {**told, "slowest_vs_lstm": found[slowest]["processor_seconds"] / lstm, "all": found}


def wall(times: int) -> dict[str, Any]:
    """train-stock-wall."""

    def process(engine: str) -> Round:
        def run() -> dict[str, float]:
            with tempfile.TemporaryDirectory() as folder:
                began, before = time.perf_counter(), os.times()
                subprocess.run([sys.executable, __file__, engine, folder], check=True)
                seconds, after = time.perf_counter() - began, os.times()
            spent = after.children_user + after.children_system - before.children_user - before.children_system
            return {"seconds": seconds, "processor_seconds": spent}

        return run

    found = interleaved({engine: process(engine) for engine in ("native", "native in bfloat16", "torch")}, times, warm=False)
    ours_, theirs = found["native"]["seconds"], found["torch"]["seconds"]
    by = {"by": library.tiles()[0]}
    return {"unit": "s of a process", "value": ours_, "ratio_vs": {"torch": theirs / ours_}, "bfloat16": by, "all": found}


def alone(engine: str, folder: Path) -> None:
    """What a process of `wall` does."""
    threads = len(os.sched_getaffinity(0))
    network, epoch = torchs_lstm() if engine == "torch" else ours("lstm", "native", threads, SAID[engine.removeprefix("native")])
    for _ in range(EPOCHS):
        epoch()
    save_file({name: weight.detach() for name, weight in network.state_dict().items()}, folder / "model.safetensors")


if __name__ == "__main__":
    alone(sys.argv[1], Path(sys.argv[2]))
