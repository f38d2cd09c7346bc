"""Forecasts one at a time: a window, and the tick of a stream, beside torch and ONNX Runtime."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from peers.peer import latencies
from side import apart
from stock import DEPTH, HIDDEN, LOOKBACK, network, series
from torch import nn

from longshort import serving
from longshort.models.artefact import Model
from longshort.models.forecaster import Stream, forecaster
from longshort.models.network import Network
from longshort.tasks.forecast import ForecastTask

Round = Callable[[], dict[str, float]]  # p50 and p99 of some forecasts


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
    task, untrained = network("lstm", "native")
    own, window = forecaster(untrained.eval(), LOOKBACK), series()[None, :LOOKBACK]
    rounds: dict[str, Round] = {
        "window": lambda: latencies(lambda: own.answers(window)),
        "tick": ticks(own.stream(), window[0]),
        "tick, prices in and out": sessions_of(task, untrained),
        "torch": torch_windows(window),
    }
    if peer := apart("onnxruntime"):
        rounds["onnxruntime"] = peer
    found: dict[str, dict[str, float]] = {}
    for _ in range(times + 1):  # the first warms up, and is seldom the quickest
        for name, once in rounds.items():
            found[name] = min(found.get(name, {"p50": float("inf")}), once(), key=lambda told: told["p50"])
    peers = [name for name in rounds if name in ("torch", "onnxruntime")]
    window_vs, tick_vs = ({peer: found[peer]["p50"] / found[name]["p50"] for peer in peers} for name in ("window", "tick"))
    told = {"unit": "microseconds a window, p50", "value": found["window"]["p50"], "ratio_vs": window_vs}
    return {**told, "tick": found["tick"]["p50"], "tick_ratio_vs": tick_vs, "all": found}
