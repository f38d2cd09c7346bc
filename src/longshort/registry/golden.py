"""Golden predictions: what a version answered when it was registered, asked again before it serves.

Sums of files find changed bytes; these find that the same bytes say something else, after a change of our code, of torch or of the
compiled library. On the same kind of machine the answers must be the same bits; elsewhere they may differ by rounding.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from longshort import environment
from longshort.config import Variant
from longshort.errors import CorruptArtefact

if TYPE_CHECKING:
    from longshort.models.artefact import Model

Answers = NDArray[np.float64]
WINDOWS = 8  # asked of each network
MOST_TICKERS = 8  # whose networks are asked, where each has its own
KEPT = 64  # answers that are kept in full, evenly among all; of the others only their sum
RELATIVE, ABSOLUTE = 1e-3, 1e-5  # how far an answer may be off on another kind of machine


def make(model: Model) -> dict[str, Any]:
    """What a model answers to inputs that hang on nothing but its form, as JSON."""
    from longshort.models.encoder import at_hand

    answers = _answers(model)
    return {
        "sha256": hashlib.sha256(answers.tobytes()).hexdigest(),
        "kept": _kept(answers).tolist(),
        "machine": environment.machine(),
        "engine": at_hand(model.card["origin"]["engine"], Variant(**model.card["variant"])),
    }


def check(model: Model, golden: dict[str, Any], name: str) -> str:
    """Ask again, and compare; returns how: "bitwise" or "within 0.001".

    name    of the version, for the sentence
    raises  CorruptArtefact with the first answer that differs
    """
    now, before = make(model), golden
    if not np.isfinite(now["kept"]).all():
        raise CorruptArtefact(f"{name}: its files are whole, but its answers are not finite. Retrain with `longshort run`.")
    if now["sha256"] == before["sha256"]:
        return "bitwise"
    same_machine = all(now[key] == before[key] for key in ("machine", "engine"))
    found, stated = np.array(now["kept"]), np.array(before["kept"])
    if not same_machine and len(found) == len(stated) and np.allclose(found, stated, RELATIVE, ABSOLUTE):
        return f"within {RELATIVE:g}"
    differs = np.flatnonzero(found != stated) if len(found) == len(stated) else [0]
    first = int(differs[0]) if len(differs) else None
    what = "an answer that is not kept" if first is None else f"golden prediction {first} is {found[first]:.9g}, was {stated[first]:.9g}"
    asked = "the same bits, on the same kind of machine" if same_machine else f"{RELATIVE:g} of it at most, on another kind of machine"
    raise CorruptArtefact(
        f"{name}: its files are whole, but it answers otherwise than when it was registered: {what}; asked is {asked}. "
        "Something that runs it has changed: go back to the versions that it was registered with, or retrain with `longshort run`."
    )


def _kept(answers: Answers) -> Answers:
    return answers[np.unique(np.linspace(0, len(answers) - 1, min(KEPT, len(answers))).astype(int))]


def _answers(model: Model) -> Answers:
    """Every answer, one after the other; on one thread, since sums of shares round otherwise."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _forecasts(model) if model.task == "forecast" else _words(model)
    finally:
        torch.set_num_threads(threads)


def _forecasts(model: Model) -> Answers:
    """In the target's own unit, as they are served: through the scaler and the network that serving asks."""
    from longshort.evaluation import forecasts

    spec = forecasts.spec_of(model)
    asked = model.tickers[:: max(len(model.tickers) // MOST_TICKERS, 1)][:MOST_TICKERS]
    found = []
    for one in [model.of(ticker) for ticker in asked] or [model]:
        scaler = forecasts.scaler_of(one)
        draw = np.random.Generator(np.random.Philox(0)).normal(size=(WINDOWS, spec.lookback, len(spec.columns)))
        past = (scaler.offset + scaler.scale * draw).astype(np.float32)
        found.append(scaler.undo_target(one.forecaster.answers(scaler.apply(past))))
    return np.concatenate(found).astype(np.float64).ravel()


def _words(model: Model) -> Answers:
    """The score of every word of the vocabulary after each of some made-up passages."""
    import torch

    description = model.card["description"]
    shape = (WINDOWS, int(description["spec"]["lookback"]))
    ids = np.random.Generator(np.random.Philox(0)).integers(0, len(description["vocabulary"]), shape)
    return model(torch.from_numpy(ids))[:, -1].numpy().astype(np.float64).ravel()
