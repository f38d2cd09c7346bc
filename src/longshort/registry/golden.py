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
from longshort.config import PriceWindows, Variant
from longshort.errors import CorruptArtefact
from longshort.windows.files import scaler_from

if TYPE_CHECKING:
    from collections.abc import Callable

    from longshort.models.artefact import Model
    from longshort.models.compiled.served import Served

Answers = NDArray[np.float64]
WINDOWS = 8  # asked of each network
STEPS = 12  # words of each, of networks that read rows as long as they come
MOST_TICKERS = 8  # whose networks are asked, where each has its own
KEPT = 64  # answers that are kept in full, evenly among all; of the others only their sum
LIBRARY = "library"  # who answered, where it was the compiled library alone
RELATIVE, ABSOLUTE = 1e-3, 1e-5  # how far an answer may be off on another kind of machine


def make(model: Model) -> dict[str, Any]:
    """What a model answers, as it is served, to inputs that hang on nothing but its form, as JSON."""
    by = LIBRARY if model.task != "forecast" and model.served else None
    return {**_of(_answers(model, by)), **_where(model.card), **({"by": by} if by else {})}


def check(model: Model, golden: dict[str, Any], name: str) -> str:
    """Ask again, and compare; returns how: "bitwise" or "within 0.001".

    name    of the version, for the sentence
    raises  CorruptArtefact with the first answer that differs
    """
    by = golden.get("by") if model.served else None
    return _compared(_answers(model, by), model.card, golden, name, by)


def check_served(model: Served, golden: dict[str, Any], name: str) -> str | None:
    """The same without torch; None where the answers were an engine's, which cannot be asked without it."""
    if model.card["task"] == "forecast":  # which is served by the library, whatever trained it
        return _compared(_of_forecasters(model.card, model.forecasts), model.card, golden, name, golden.get("by"))
    if golden.get("by") != LIBRARY:
        return None
    return _compared(_by_library(model), model.card, golden, name, LIBRARY)


def _compared(answers: Answers, card: dict[str, Any], before: dict[str, Any], name: str, by: str | None) -> str:
    now = _of(answers)
    if not np.isfinite(now["kept"]).all():
        raise CorruptArtefact(f"{name}: its files are whole, but its answers are not finite. Retrain with `longshort run`.")
    if now["sha256"] == before["sha256"]:
        return "bitwise"
    here = _where(card)  # only now: it asks torch
    same_machine = all(here[key] == before[key] for key in here) and by == before.get("by")
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


def _of(answers: Answers) -> dict[str, Any]:
    return {"sha256": hashlib.sha256(answers.tobytes()).hexdigest(), "kept": _kept(answers).tolist()}


def _where(card: dict[str, Any]) -> dict[str, Any]:
    """The kind of machine, and the engine that runs a model on it."""
    from longshort.models.encoder import at_hand

    return {"machine": environment.machine(), "engine": at_hand(card["origin"]["engine"], Variant(**card["variant"]))}


def _kept(answers: Answers) -> Answers:
    return answers[np.unique(np.linspace(0, len(answers) - 1, min(KEPT, len(answers))).astype(int))]


def _answers(model: Model, by: str | None) -> Answers:
    """Every answer, one after the other; on one thread, since sums of shares round otherwise."""
    import torch

    if by == LIBRARY and model.served:
        return _by_library(model.served)

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        if model.task in ("translate", "caption"):
            return _targets(model)
        return _forecasts(model) if model.task == "forecast" else _words(model)
    finally:
        torch.set_num_threads(threads)


def _forecasts(model: Model) -> Answers:
    """In the target's own unit, as they are served: through the scaler and the network that serving asks."""
    return _of_forecasters(model.card, lambda k, past: (model.of(model.tickers[k]) if model.tickers else model).forecaster.answers(past))


def _by_library(model: Served) -> Answers:
    """Of a language model."""
    return model.scores(_passages(model.card)).astype(np.float64).ravel()


def _of_forecasters(card: dict[str, Any], ask: Callable[[int, NDArray[np.float32]], NDArray[np.float32]]) -> Answers:
    """ask: a member's place and windows, scaled, to its answers, scaled."""
    spec, members = PriceWindows(**card["description"]["spec"]), card.get("members", ())
    found = []
    for k in range(len(members))[:: max(len(members) // MOST_TICKERS, 1)][:MOST_TICKERS] or [0]:
        scaler = scaler_from((members[k] if members else card["description"])["scaler"])
        draw = np.random.Generator(np.random.Philox(0)).normal(size=(WINDOWS, spec.lookback, len(spec.columns)))
        past = (scaler.offset + scaler.scale * draw).astype(np.float32)
        found.append(scaler.undo_target(ask(k, scaler.apply(past))))
    return np.concatenate(found).astype(np.float64).ravel()


def _words(model: Model) -> Answers:
    """Scores after made-up passages: of every word of the vocabulary, or of every label; or of every tag at each of their words."""
    import torch

    scores = model(torch.from_numpy(_passages(model.card)))
    return (scores[:, -1] if model.task == "language-model" else scores).numpy().astype(np.float64).ravel()


def _targets(model: Model) -> Answers:
    """The score of every word of the target's vocabulary behind each word of made-up targets of made-up sources, or vectors."""
    import torch

    known = len(model.card["description"]["target_vocabulary" if model.task == "translate" else "vocabulary"])
    fed = np.random.Generator(np.random.Philox(1)).integers(0, known, (1, WINDOWS, STEPS))
    asked = _passages(model.card) if model.task == "translate" else _vectors(model.card)
    read = torch.from_numpy(asked).unsqueeze(0)
    with torch.inference_mode():
        said, _ = model.network.decode(torch.from_numpy(fed), (*model.network.encode(read), model.network.lengths(read)))
        weight, bias = model.speech.of_member(0)
        return (said[0] @ weight + bias).numpy().astype(np.float64).ravel()


def _vectors(card: dict[str, Any]) -> NDArray[np.float32]:
    """As scaled ones are: of mean 0 and deviation 1, each a sequence of one step."""
    return np.random.Generator(np.random.Philox(0)).normal(size=(WINDOWS, 1, card["shape"]["inputs"])).astype(np.float32)


def _passages(card: dict[str, Any]) -> NDArray[np.int64]:
    description = card["description"]
    words = description["source_vocabulary" if card["task"] == "translate" else "vocabulary"]
    return np.random.Generator(np.random.Philox(0)).integers(0, len(words), (WINDOWS, int(description["spec"].get("lookback", STEPS))))
