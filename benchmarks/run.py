"""Training and windows side by side with peers, one figure at a time.

    python benchmarks/run.py train-stock [--json] [--times N]

    train-stock      one epoch of the tutorial's stock network: 4 LSTMs of 50, 60 steps, 1,198 windows of one feature, batch 32,
                     dropout 0.2, Adam; seconds
    train-fleet      16 of them, seeds 0 to 15, an epoch each, over two processes of one thread; windows a second
    train-variants   an epoch of every cell of the engine `native` at these sizes; seconds, and torch's where it has a kernel
    train-stock-wall the stock network again, as a process: its start, 100 epochs, its model on the disk; seconds
    train-ptb        a language model: embeddings of 200, 2 LSTMs of 200, 10,000 words, 35 steps, batch 20; words a second
    windows          every 60-step window of 5,000 series of 5,000 days and 5 features: found, and gathered by 1,024; seconds, MB

All that is compared runs in one interleaved run, and the shortest of at least five is taken; seconds of wall time, and of the processors.
Peers that are no dependency of ours get an environment each, made when they are first asked for (some 2 GB in .state/peers), and run in a
process that answers for an epoch at a time. PEERS and APART name them, so another is a line.
"""

from __future__ import annotations

import argparse
import atexit
import json
import multiprocessing
import os
import platform
import resource
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
from torch import nn

from longshort.config import LanguageModelTask as LanguageModelSettings
from longshort.config import PriceWindows, TextWindows, Variant
from longshort.models.compiled import library
from longshort.models.engines import ENGINES
from longshort.models.engines.engine import Learning
from longshort.models.network import Network
from longshort.tasks.forecast import ForecastTask
from longshort.tasks.language_model import LanguageModelTask
from longshort.tasks.task import Task
from longshort.training.loop import generator_of
from longshort.training.optimisers import EPSILON, KEEPS, Rows
from longshort.windows.files import PriceData, TextData
from longshort.windows.prices import Scaler, Segment, Series, Windows, make_parts
from longshort.windows.text import Stretch, Vocabulary

WINDOWS, LOOKBACK, HIDDEN, DEPTH, BATCH, DROPOUT, RATE = 1198, 60, 50, 4, 32, 0.2, 0.001
Epoch = Callable[[], dict[str, float] | None]  # what it took, where the process is another


def series() -> np.ndarray:
    """A scaled price: a random walk, (steps, 1)."""
    walk = np.cumsum(np.random.Generator(np.random.Philox(0)).normal(size=WINDOWS + LOOKBACK))
    return ((walk - walk.min()) / (walk.max() - walk.min())).astype(np.float32)[:, None]


def torchs(layers: Callable[[int], nn.Module]) -> tuple[nn.Module, Epoch]:
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


def _prices(features: list[str]) -> PriceWindows:
    own = {"scaler": "minmax", "gap": 1, "max_gap": 5, "validation": 0.1, "test": 0.1}
    return PriceWindows(lookback=LOOKBACK, horizon=1, target="close", features=features, **own)  # type: ignore[arg-type]


def ours(cell: str, engine: str, threads: int, seed: int = 0) -> tuple[nn.Module, Epoch]:
    """The same network under an engine of ours, as the training loop drives it."""
    values, spec = series(), _prices(["close"])
    dates = np.datetime64("2000-01-01") + np.arange(len(values))
    data = Series(values, values[:, 0].astype(np.float64), dates, (Segment("W1", 0, len(values)),))
    parts = {"train": Windows(np.array([0]), np.array([len(values)]), LOOKBACK, 1)}
    task = ForecastTask.of(PriceData(spec, data, parts, Scaler(np.zeros(1), np.ones(1)), "XNYS"))
    variant = Variant(cell=cell, hidden_size=HIDDEN, num_layers=DEPTH, bidirectional=False, dropout=DROPOUT)  # type: ignore[arg-type]
    network = Network(task, variant, engine, [generator_of(seed)])
    return network, _driven(network, task, engine, threads, seed, BATCH)


def _driven(network: Network, task: Task, engine: str, threads: int, seed: int, batch: int) -> Epoch:
    rows = Rows(network)
    averages = tuple(torch.zeros_like(rows.weights[0]) for _ in range(2))
    inside = ENGINES[engine].epochs(network, task)
    assert inside is not None
    past = {"steps": 0, "epoch": 0}

    def epoch() -> None:
        torch.set_num_threads(threads)
        past["epoch"] += 1
        how = Learning(seed, past["epoch"], batch, "adam", RATE, 1.0, *KEEPS["adam"], EPSILON)
        past["steps"] = inside.learn(rows.weights[0], averages, past["steps"], how).steps

    return epoch


def torchs_lstm() -> tuple[nn.Module, Epoch]:
    """Torch's own layers."""
    return torchs(lambda inputs: nn.LSTM(inputs, HIDDEN, batch_first=True))


PEERS: dict[str, Callable[[], Epoch]] = {"torch": lambda: torchs_lstm()[1]}


# the script beside peers/peer.py, and what it needs
APART = {
    "keras-tensorflow": ("keras_tensorflow.py", ("keras==3.15.1", "tensorflow-cpu==2.21.0")),
    "jax": ("jax_scan.py", ("jax==0.10.2",)),
}


def apart(name: str) -> Epoch | None:
    """A peer in a process and an environment of its own; None, and it is said, where it cannot be had."""
    script, needed = APART[name]
    place = Path(".state/peers") / name
    try:
        if not (place / "installed").exists():
            print(f"making the environment of {name} in {place}", file=sys.stderr)
            subprocess.run([sys.executable, "-m", "venv", "--clear", str(place)], check=True)
            subprocess.run([str(place / "bin/pip"), "install", "--quiet", "--disable-pip-version-check", *needed], check=True)
            (place / "installed").touch()
    except subprocess.CalledProcessError as error:
        print(f"without {name}: {error}", file=sys.stderr)
        return None
    command = [str(place / "bin/python"), str(Path(__file__).parent / "peers" / script)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    atexit.register(process.kill)
    asked, told = process.stdin, process.stdout
    assert asked is not None and told is not None
    print(json.loads(told.readline())["version"], file=sys.stderr)

    def epoch() -> dict[str, float]:
        asked.write("\n")
        asked.flush()
        return dict(json.loads(told.readline()))

    return epoch


def interleaved(epochs: dict[str, Epoch], times: int, warm: bool = True) -> dict[str, dict[str, float]]:
    """The shortest wall time and processor time of each, one after the other in every round.

    warm  whether there is a first round that is not counted
    """
    best = {name: {"seconds": float("inf"), "processor_seconds": float("inf")} for name in epochs}
    for number in range(0 if warm else 1, times + 1):
        for name, epoch in epochs.items():
            wall, processor = time.perf_counter(), time.process_time()
            own = epoch()
            found = own or {"seconds": time.perf_counter() - wall, "processor_seconds": time.process_time() - processor}
            if number:
                best[name] = {key: min(best[name][key], value) for key, value in found.items()}
    return best


def stock(times: int) -> dict[str, Any]:
    """train-stock."""
    epochs = {f"native, {threads} thread{'s' * (threads > 1)}": ours("lstm", "native", threads)[1] for threads in (1, 2)}
    peers = {name: make() for name, make in PEERS.items()} | {name: made for name in APART if (made := apart(name))}
    found = interleaved(epochs | peers, times)
    quickest = min(own["seconds"] for name, own in found.items() if name.startswith("native"))
    return {"unit": "s an epoch", "value": quickest, "ratio_vs": {peer: found[peer]["seconds"] / quickest for peer in peers}, "all": found}


def fleet(times: int) -> dict[str, Any]:
    """train-fleet."""
    found: dict[str, float] = {}
    for _ in range(times):
        for name in ("native", "torch"):
            with multiprocessing.get_context("fork").Pool(2, _begin, (name,)) as pool:
                pool.map(_own_epoch, range(4), chunksize=1)  # all is set up
                began = time.perf_counter()
                pool.map(_own_epoch, range(16), chunksize=1)
                found[name] = max(found.get(name, 0.0), 16 * WINDOWS / (time.perf_counter() - began))
    return {"unit": "windows a second", "value": found["native"], "ratio_vs": {"torch": found["native"] / found["torch"]}, "all": found}


_MADE: dict[str, Epoch] = {}


def _begin(name: str) -> None:
    torch.set_num_threads(1)
    _MADE["own"] = ours("lstm", "native", 1)[1] if name == "native" else PEERS["torch"]()


def _own_epoch(_: int) -> None:
    _MADE["own"]()


def variants(times: int) -> dict[str, Any]:
    """train-variants."""
    from longshort.editing import NATIVE

    epochs = {cell: ours(cell, "native", 1)[1] for cell in NATIVE if cell != "alstm"}
    epochs |= {
        "torch lstm": PEERS["torch"](),
        "torch gru": torchs(lambda inputs: nn.GRU(inputs, HIDDEN, batch_first=True))[1],
        "torch rnn": torchs(lambda inputs: nn.RNN(inputs, HIDDEN, batch_first=True))[1],
    }
    found = interleaved(epochs, times)
    lstm, gru = found["lstm"]["processor_seconds"], found["gru"]["processor_seconds"]
    slowest = max(NATIVE, key=lambda cell: found.get(cell, {"processor_seconds": 0.0})["processor_seconds"])
    ratios = {"torch": found["torch gru"]["processor_seconds"] / gru}
    told = {"unit": "processor seconds an epoch of a GRU", "value": gru, "ratio_vs": ratios, "slowest": slowest}
    return {**told, "slowest_vs_lstm": found[slowest]["processor_seconds"] / lstm, "all": found}


# --- as a process -----------------------------------------------------------------------------

EPOCHS = 100


def wall(times: int) -> dict[str, Any]:
    """train-stock-wall."""

    def process(engine: str) -> Epoch:
        def run() -> None:
            with tempfile.TemporaryDirectory() as folder:
                subprocess.run([sys.executable, __file__, "alone", "--engine", engine, "--into", folder], check=True)

        return run

    found = interleaved({engine: process(engine) for engine in ("native", "torch")}, times, warm=False)
    ours_, theirs = found["native"]["seconds"], found["torch"]["seconds"]
    return {"unit": "s of a process", "value": ours_, "ratio_vs": {"torch": theirs / ours_}, "all": found}


def alone(engine: str, folder: Path) -> None:
    """What a process of `wall` does."""
    network, epoch = ours("lstm", "native", len(os.sched_getaffinity(0))) if engine == "native" else torchs_lstm()
    for _ in range(EPOCHS):
        epoch()
    save_file({name: weight.detach() for name, weight in network.state_dict().items()}, folder / "model.safetensors")


# --- a language model -------------------------------------------------------------------------

WORDS, EMBEDDING, STEPS, ROWS, BATCHES = 10_000, 200, 35, 20, 40


def text() -> np.ndarray:
    """Words at random, frequent ones first, enough for the batches of an epoch."""
    draw = np.random.Generator(np.random.Philox(0))
    return np.minimum(draw.zipf(1.2, STEPS * ROWS * BATCHES + 1) - 1, WORDS - 1).astype(np.int32)


def ptb(times: int) -> dict[str, Any]:
    """train-ptb."""
    found = interleaved({"native": _our_language_model(), "torch": _torchs_language_model()}, times)
    words = {name: STEPS * ROWS * BATCHES / own["seconds"] for name, own in found.items()}
    return {"unit": "words a second", "value": words["native"], "ratio_vs": {"torch": words["native"] / words["torch"]}, "all": words}


def _our_language_model() -> Epoch:
    ids = text()
    spec = TextWindows(lookback=STEPS, min_count=1, max_vocabulary=WORDS, validation=0.1, test=0.1)
    data = TextData(spec, ids, {"train": Stretch(0, len(ids), 1)}, Vocabulary(tuple(map(str, range(WORDS)))), {}, [])
    task = LanguageModelTask.of(data, LanguageModelSettings(embedding_size=EMBEDDING, dropout=0.2, tied=False))
    variant = Variant(cell="lstm", hidden_size=EMBEDDING, num_layers=2, bidirectional=False, dropout=0.2)
    return _driven(Network(task, variant, "native", [generator_of(0)]), task, "native", len(os.sched_getaffinity(0)), 0, ROWS)


def _torchs_language_model() -> Epoch:
    ids = torch.from_numpy(text().astype(np.int64))
    read, target = ids[:-1].view(ROWS, -1, STEPS).transpose(0, 1), ids[1:].view(ROWS, -1, STEPS).transpose(0, 1)
    table, layers, head = (
        nn.Embedding(WORDS, EMBEDDING),
        nn.LSTM(EMBEDDING, EMBEDDING, 2, batch_first=True, dropout=0.2),
        nn.Linear(EMBEDDING, WORDS),
    )
    dropout, loss = nn.Dropout(0.2), nn.CrossEntropyLoss()
    optimiser = torch.optim.Adam([*table.parameters(), *layers.parameters(), *head.parameters()], lr=RATE)

    def epoch() -> None:
        torch.set_num_threads(len(os.sched_getaffinity(0)))
        for some, wanted in zip(read, target, strict=True):
            optimiser.zero_grad()
            states, _ = layers(dropout(table(some)))
            loss(head(dropout(states)).flatten(0, 1), wanted.flatten()).backward()
            optimiser.step()

    return epoch


# --- windows ----------------------------------------------------------------------------------

SERIES, DAYS, FEATURES, GATHERED = 5_000, 5_000, 5, 1_024


def windows(times: int) -> dict[str, Any]:
    """windows."""
    values = np.zeros((SERIES * DAYS, FEATURES), np.float32)
    values += np.arange(FEATURES, dtype=np.float32)  # touched, so that the memory is there
    dates = np.tile(np.datetime64("2000-01-01") + np.arange(DAYS), SERIES)
    segments = tuple(Segment(f"S{n}", n * DAYS, (n + 1) * DAYS) for n in range(SERIES))
    series_ = Series(values, values[:, 0], dates, segments)
    spec = _prices(["close", "open", "high", "low", "volume"])
    before, own = _most_memory(), {"found": float("inf"), "gathered": float("inf")}
    for _ in range(times):
        began = time.perf_counter()
        parts = make_parts(series_, spec)
        own["found"] = min(own["found"], time.perf_counter() - began)
        train = parts["train"]
        began = time.perf_counter()
        for first in range(0, 100 * GATHERED, GATHERED):
            train.gather(values, np.arange(first, first + GATHERED) * 7919 % len(train))
        own["gathered"] = min(own["gathered"], time.perf_counter() - began)
    count = sum(len(part) for part in parts.values())
    told = {"windows": count, "more_memory_MB": (_most_memory() - before) / 2**20, "gathered_a_second": 100 * GATHERED / own["gathered"]}
    return {"unit": "s to find all windows", "value": own["found"], "ratio_vs": {}, **told}


def _most_memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


FIGURES = {
    "train-stock": stock,
    "train-fleet": fleet,
    "train-variants": variants,
    "train-stock-wall": wall,
    "train-ptb": ptb,
    "windows": windows,
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=[*FIGURES, "alone"])
    parser.add_argument("--engine", help=argparse.SUPPRESS)
    parser.add_argument("--into", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--times", type=int, default=7, help="rounds, of which the shortest is taken")
    arguments = parser.parse_args()
    if reason := library.absent():
        sys.exit(f"the engine 'native' is not there: {reason}.")
    if arguments.name == "alone":
        return alone(arguments.engine, arguments.into)
    before = os.getloadavg()[0]
    found = FIGURES[arguments.name](arguments.times)
    machine = {"cores": os.cpu_count(), "machine": platform.machine(), "vectors": library.widths()[0], "torch": torch.__version__}
    said = {"name": arguments.name, **machine, "load": [before, os.getloadavg()[0]], "times": arguments.times, **found}
    if arguments.json:
        print(json.dumps(said, indent=2))
        return
    for key, value in said.items():
        print(f"{key:<12}{value}")


if __name__ == "__main__":
    main()
