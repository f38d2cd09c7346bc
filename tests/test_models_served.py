"""Models, served: the compiled library asks a model's files without torch, and answers as the model that torch has read."""

from __future__ import annotations

import dataclasses

import numpy as np
import projects
import pytest
import torch
from test_models_cells import variant
from test_models_native import nowhere  # noqa: F401

from longshort import storage
from longshort.errors import CorruptArtefact
from longshort.models import artefact
from longshort.models.compiled import served
from longshort.models.network import Network
from longshort.registry import golden
from longshort.tasks.forecast import ForecastShape
from longshort.tasks.language_model import LanguageModelShape

pytestmark = projects.native_is_built
LOOKBACK, WORDS = 7, 23
KINDS = {
    "lstm": variant("lstm", hidden_size=5),
    "two layers, both ways": variant("lstm", hidden_size=5, num_layers=2, bidirectional=True),
    "gru, residual": variant("gru", hidden_size=4, num_layers=3, residual=True, dropout=0.3),
    "relu, learned start": variant("rnn", hidden_size=6, activation="relu", initial_state="learned"),
    "peephole": variant("lstm_peephole", hidden_size=3),
}
SPEC = {"lookback": LOOKBACK, "horizon": 2, "target": "log_return", "features": ["log_return", "log_range"], "scaler": "standard"}
SPEC |= {"gap": 2, "max_gap": 9, "validation": 0.2, "test": 0.2}
SCALER = {"offset": [0.1, 0.2], "scale": [1.5, 0.5]}


def saved(folder, kind, shape, engine="native", count=1, **card):
    """The files of a network whose every weight is drawn, the states before the first step too."""
    network = Network(shape, kind, engine, [torch.Generator().manual_seed(seed) for seed in range(count)])
    with torch.no_grad():
        for place, weight in enumerate(network.parameters()):
            weight.uniform_(-0.7, 0.7, generator=torch.Generator().manual_seed(place))
    task = "forecast" if isinstance(shape, ForecastShape) else "language-model"
    description = (
        {"spec": SPEC, "scaler": SCALER}
        if task == "forecast"
        else {"spec": {"lookback": LOOKBACK}, "vocabulary": [*map(str, range(WORDS))]}
    )
    artefact.save(folder, task, shape, kind, network.state_dict(), {"description": description, "origin": {"engine": engine}, **card})
    return folder


@pytest.mark.parametrize("name", KINDS)
def test_a_forecast_has_the_bits_of_the_model_that_torch_has_read(tmp_path, name):
    folder = saved(tmp_path / "model", KINDS[name], ForecastShape(2, 2))
    past = np.random.default_rng(0).normal(size=(4, LOOKBACK, 2)).astype(np.float32)
    own, model = served.opened(folder), artefact.load(folder)
    assert (own.forecasts(0, past) == model.forecaster.answers(past)).all() and own.sha256 == model.sha256


def test_each_ticker_is_asked_its_own_network(tmp_path):
    members = [{"ticker": ticker, "scaler": SCALER} for ticker in ("AAA", "BBB", "CCC")]
    folder = saved(tmp_path / "model", KINDS["lstm"], ForecastShape(2, 2), count=3, members=members)
    own, model = served.opened(folder), artefact.load(folder)
    past = np.random.default_rng(0).normal(size=(2, LOOKBACK, 2)).astype(np.float32)
    answers = [own.forecasts(k, past) for k in range(3)]
    for k, ticker in enumerate(model.tickers):
        assert (answers[k] == model.of(ticker).forecaster.answers(past)).all()
    assert (answers[0] != answers[1]).any()
    assert golden.check_served(own, golden.make(model), "v1") == "bitwise"


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if not kind.bidirectional])
def test_a_language_model_scores_words_as_its_engine_does(tmp_path, name, tied):
    size = KINDS[name].hidden_size if tied else 4
    folder = saved(tmp_path / "model", KINDS[name], LanguageModelShape(size, WORDS, 0.2, tied=tied))
    own, model = served.opened(folder), artefact.load(folder)
    for length in (LOOKBACK, 3, 1):
        ids = np.random.default_rng(length).integers(0, WORDS, (5, length))
        np.testing.assert_allclose(own.scores(ids), model(torch.from_numpy(ids))[:, -1].numpy(), rtol=1e-5, atol=1e-6)
        assert (model.served.scores(ids) == own.scores(ids)).all()


def test_golden_predictions_of_a_language_model_say_who_answered(tmp_path):
    folder = saved(tmp_path / "model", KINDS["lstm"], LanguageModelShape(4, WORDS, 0.2))
    own, model = served.opened(folder), artefact.load(folder)
    made = golden.make(model)
    assert made["by"] == golden.LIBRARY
    assert golden.check_served(own, made, "v1") == golden.check(model, made, "v1") == "bitwise"
    # of a version that was registered before, its engine answered: only torch can ask that again
    answers = golden._answers(model, None)
    before = {**golden._of(answers), **golden._where(model.card)}
    assert golden.check_served(own, before, "v1") is None and golden.check(model, before, "v1") == "bitwise"
    # and where the library is not there, what it said is asked of the engine, to the rounding
    without = dataclasses.replace(model)
    without.__dict__["served"] = None
    assert golden.check(without, made, "v1") == "within 0.001"
    with pytest.raises(CorruptArtefact, match=r"v1: its files are whole, but it answers otherwise .* asked is the same bits"):
        golden.check_served(own, {**made, "sha256": "other", "kept": [value * 1.001 for value in made["kept"]]}, "v1")


@pytest.mark.parametrize("kind", [variant("alstm"), variant("lstm", recurrent_dropout=0.1), variant("lstmp", projection_size=2)])
def test_what_the_library_cannot_run_is_left_to_torch(tmp_path, kind):
    assert served.opened(saved(tmp_path / "model", kind, ForecastShape(2, 2), engine="reference")) is None


def test_without_the_library_all_is_left_to_torch(tmp_path, nowhere):  # noqa: F811
    folder = saved(tmp_path / "model", KINDS["lstm"], ForecastShape(2, 2), engine="torch")
    assert served.opened(folder) is None and artefact.load(folder).served is None


@pytest.mark.parametrize("what", ["a parameter", "a layer's shape", "the head's shape", "the engine"])
def test_files_of_another_form_are_left_to_torch_which_says_what_is_wrong(tmp_path, what):
    folder = saved(tmp_path / "model", KINDS["lstm"], ForecastShape(2, 2))
    model, card = artefact.load(folder), storage.read_json(folder / artefact.CARD)
    state = dict(model.network.state_dict())
    if what == "a parameter":
        del state["encoder.layers.0.0.R"]
    elif what == "a layer's shape":
        state["encoder.layers.0.0.R"] = torch.zeros(1, 5, 16)
    elif what == "the head's shape":
        state["head.linear.weight"] = torch.zeros(1, 4, 2)
    else:
        del card["origin"]["engine"]
    artefact.save(folder, "forecast", ForecastShape(2, 2), KINDS["lstm"], state, {name: card[name] for name in ("description", "origin")})
    assert served.opened(folder) is None
    with pytest.raises(CorruptArtefact, match=r"the weights do not fit the architecture|an older longshort"):
        artefact.load(folder)


def test_a_flipped_bit_is_found(tmp_path):
    folder = saved(tmp_path / "model", KINDS["lstm"], ForecastShape(2, 2))
    projects.flip(folder / artefact.WEIGHTS, -1)
    with pytest.raises(CorruptArtefact, match=r"weights\.safetensors"):
        served.opened(folder)
