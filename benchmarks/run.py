"""Training and forecasting side by side with peers, one figure at a time.

    python benchmarks/run.py train-stock [--json] [--times N]

    train-stock      one epoch of the tutorial's stock network: 4 LSTMs of 50, 60 steps, 1,198 windows of one feature, batch 32,
                     dropout 0.2, Adam; seconds
    train-fleet      16 of them, seeds 0 to 15, an epoch each, over two processes of one thread; windows a second
    train-variants   an epoch of every cell of the engine `native` at these sizes; seconds, and torch's where it has a kernel
    forecast         one window of 60 steps through that network, and the tick of a stream of them, on one core; microseconds, p50 and p99

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
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from peers.peer import latencies
from torch import nn

from longshort import serving
from longshort.config import PriceWindows, Variant
from longshort.models.artefact import Model
from longshort.models.compiled import library
from longshort.models.engines import ENGINES
from longshort.models.engines.engine import Learning
from longshort.models.forecaster import Stream, forecaster
from longshort.models.network import Network
from longshort.sessions import EVERY_ROW
from longshort.tasks.forecast import ForecastTask
from longshort.training.loop import generator_of
from longshort.training.optimisers import EPSILON, KEEPS, Rows
from longshort.windows.files import PriceData
from longshort.windows.prices import Scaler, Segment, Series, Windows

WINDOWS, LOOKBACK, HIDDEN, DEPTH, BATCH, DROPOUT, RATE = 1198, 60, 50, 4, 32, 0.2, 0.001
Epoch = Callable[[], dict[str, float] | None]  # what it took, where the process is another
Round = Callable[[], dict[str, float]]  # p50 and p99 of some forecasts


def series() -> np.ndarray:
    """A scaled price: a random walk, (steps, 1)."""
    walk = np.cumsum(np.random.Generator(np.random.Philox(0)).normal(size=WINDOWS + LOOKBACK))
    return ((walk - walk.min()) / (walk.max() - walk.min())).astype(np.float32)[:, None]


def torchs(layers: Callable[[int], nn.Module]) -> Epoch:
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

    return epoch


def stock_network(cell: str, engine: str, seed: int = 0) -> tuple[ForecastTask, Network]:
    """The tutorial's network, untrained, and its task."""
    values = series()
    spec = PriceWindows(
        lookback=LOOKBACK, horizon=1, target="close", features=["close"], scaler="minmax", gap=1, max_gap=5, validation=0.1, test=0.1
    )
    dates = np.datetime64("2000-01-01") + np.arange(len(values))
    data = Series(values, values[:, 0].astype(np.float64), dates, (Segment("W1", 0, len(values)),))
    parts = {"train": Windows(np.array([0]), np.array([len(values)]), LOOKBACK, 1)}
    task = ForecastTask.of(PriceData(spec, data, parts, Scaler(np.zeros(1), np.ones(1)), EVERY_ROW))
    variant = Variant(cell=cell, hidden_size=HIDDEN, num_layers=DEPTH, bidirectional=False, dropout=DROPOUT)  # type: ignore[arg-type]
    return task, Network(task, variant, engine, [generator_of(seed)])


def ours(cell: str, engine: str, threads: int, seed: int = 0) -> Epoch:
    """The same network under an engine of ours, as the training loop drives it."""
    task, network = stock_network(cell, engine, seed)
    rows = Rows(network)
    averages = tuple(torch.zeros_like(rows.weights[0]) for _ in range(2))
    inside = ENGINES[engine].epochs(network, task)
    assert inside is not None
    past = {"steps": 0, "epoch": 0}

    def epoch() -> None:
        torch.set_num_threads(threads)
        past["epoch"] += 1
        how = Learning(seed, past["epoch"], BATCH, "adam", RATE, 1.0, *KEEPS["adam"], EPSILON)
        past["steps"] = inside.learn(rows.weights[0], averages, past["steps"], how).steps

    return epoch


PEERS: dict[str, Callable[[], Epoch]] = {"torch": lambda: torchs(lambda inputs: nn.LSTM(inputs, HIDDEN, batch_first=True))}


# the script beside peers/peer.py, and what it needs
APART = {
    "keras-tensorflow": ("keras_tensorflow.py", ("keras==3.15.1", "tensorflow-cpu==2.21.0")),
    "jax": ("jax_scan.py", ("jax==0.10.2",)),
    "onnxruntime": ("onnx_runtime.py", ("onnxruntime==1.31.1", "onnx==1.23.2")),
}
TRAIN = ("keras-tensorflow", "jax")


def apart(name: str) -> Round | None:
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


def interleaved(epochs: dict[str, Epoch], times: int) -> dict[str, dict[str, float]]:
    """The shortest wall time and processor time of each, one after the other in every round; the first round is not counted."""
    best = {name: {"seconds": float("inf"), "processor_seconds": float("inf")} for name in epochs}
    for number in range(times + 1):
        for name, epoch in epochs.items():
            wall, processor = time.perf_counter(), time.process_time()
            own = epoch()
            found = own or {"seconds": time.perf_counter() - wall, "processor_seconds": time.process_time() - processor}
            if number:
                best[name] = {key: min(best[name][key], value) for key, value in found.items()}
    return best


def stock(times: int) -> dict[str, Any]:
    """train-stock."""
    epochs = {f"native, {threads} thread{'s' * (threads > 1)}": ours("lstm", "native", threads) for threads in (1, 2)}
    peers = {name: make() for name, make in PEERS.items()} | {name: made for name in TRAIN if (made := apart(name))}
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
    _MADE["own"] = ours("lstm", "native", 1) if name == "native" else PEERS["torch"]()


def _own_epoch(_: int) -> None:
    _MADE["own"]()


def variants(times: int) -> dict[str, Any]:
    """train-variants."""
    from longshort.editing import NATIVE

    epochs = {cell: ours(cell, "native", 1) for cell in NATIVE if cell != "alstm"}
    epochs |= {
        "torch lstm": PEERS["torch"](),
        "torch gru": torchs(lambda inputs: nn.GRU(inputs, HIDDEN, batch_first=True)),
        "torch rnn": torchs(lambda inputs: nn.RNN(inputs, HIDDEN, batch_first=True)),
    }
    found = interleaved(epochs, times)
    lstm, gru = found["lstm"]["processor_seconds"], found["gru"]["processor_seconds"]
    slowest = max(NATIVE, key=lambda cell: found.get(cell, {"processor_seconds": 0.0})["processor_seconds"])
    ratios = {"torch": found["torch gru"]["processor_seconds"] / gru}
    told = {"unit": "processor seconds an epoch of a GRU", "value": gru, "ratio_vs": ratios, "slowest": slowest}
    return {**told, "slowest_vs_lstm": found[slowest]["processor_seconds"] / lstm, "all": found}


def ticks(stream: Stream, past: np.ndarray) -> Round:
    """A round of a stream: what is run ahead is not counted."""
    newest = past[-1]
    return lambda: latencies(lambda: stream.tick(newest), lambda: stream.ahead(past[:-1]))


def sessions_of(task: ForecastTask, network: Network) -> Round:
    """The same by `longshort.serving`: prices in, prices out."""
    series, some = task.data.series, slice(LOOKBACK)
    fields = dict.fromkeys(("open", "high", "low", "close", "volume"), series.price[some])
    rows = {"ticker": ["W1"] * LOOKBACK, "date": pa.array(series.dates[some].tolist(), pa.date32()), **fields}
    card = {"description": task.description(), "variant": network.encoder.variant.model_dump()}
    stream = serving.PriceStream(Model("forecast", network, card, ""), pa.table(rows), "W1")
    return lambda: latencies(lambda: stream.tick({"close": 0.5}), stream.ahead)


def torch_windows(window: np.ndarray) -> Round:
    """nn.LSTM and nn.Linear in evaluation, without gradients, on one thread."""
    layers, head = nn.LSTM(1, HIDDEN, DEPTH, batch_first=True).eval(), nn.Linear(HIDDEN, 1).eval()

    @torch.inference_mode()
    def forecast() -> np.ndarray:
        return head(layers(torch.from_numpy(window))[0][:, -1]).numpy()  # type: ignore[no-any-return]

    return lambda: latencies(forecast)


def forecast(times: int) -> dict[str, Any]:
    """forecast."""
    torch.set_num_threads(1)
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})  # peers that are started from here on too
    task, network = stock_network("lstm", "native")
    own, window = forecaster(network.eval(), LOOKBACK), series()[None, :LOOKBACK]
    rounds: dict[str, Round] = {
        "window": lambda: latencies(lambda: own.answers(window)),
        "tick": ticks(own.stream(), window[0]),
        "tick, prices in and out": sessions_of(task, network),
        "torch": torch_windows(window),
    }
    if peer := apart("onnxruntime"):
        rounds["onnxruntime"] = peer
    found: dict[str, dict[str, float]] = {}
    for _ in range(times + 1):  # the first warms up, and is seldom the quickest
        for name, once in rounds.items():
            found[name] = min(found.get(name, {"p50": float("inf")}), once(), key=lambda told: told["p50"])
    peers = [name for name in rounds if name in (*PEERS, *APART)]
    window_vs, tick_vs = ({peer: found[peer]["p50"] / found[name]["p50"] for peer in peers} for name in ("window", "tick"))
    told = {"unit": "microseconds a window, p50", "value": found["window"]["p50"], "ratio_vs": window_vs}
    return {**told, "tick": found["tick"]["p50"], "tick_ratio_vs": tick_vs, "all": found}


FIGURES = {"train-stock": stock, "train-fleet": fleet, "train-variants": variants, "forecast": forecast}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=FIGURES)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--times", type=int, default=7, help="rounds, of which the shortest is taken")
    arguments = parser.parse_args()
    if reason := library.absent():
        sys.exit(f"the engine 'native' is not there: {reason}.")
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
