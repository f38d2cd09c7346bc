"""Answers of registered models: on the command line, and over HTTP by MLflow's own server."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import json
import sys
import urllib.error
from collections.abc import Iterator
from pathlib import Path

import clones
import neighbours
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from projects import PER_TICKER

from longshort import config, serving, tracking
from longshort.errors import DataRefused, SeriesTooShort, UsageError
from longshort.evaluation import forecasts
from longshort.models import artefact
from longshort.models.network import Network
from longshort.registry import versions
from longshort.tasks.forecast import ForecastShape
from longshort.windows import prices
from longshort.windows.stage import session_numbers, tidy_columns
from longshort.windows.tokens import words_of


def registered(root: Path, name: str) -> artefact.Model:
    """A model, as the registry has it."""
    client = tracking.connect(root, config.read(root / "params.yaml"))
    return versions.open_version(client, versions.at_alias(client, name, versions.CHALLENGER))


@pytest.fixture(scope="module")
def forecaster(retrained: Path) -> artefact.Model:
    return registered(retrained, "forecast-goog")


@pytest.fixture(scope="module")
def writer(retrained: Path) -> artefact.Model:
    return registered(retrained, "language-model-topics")


@pytest.fixture(scope="module")
def table(retrained: Path):
    return serving.read_tidy(retrained, "goog")


# --- forecasts --------------------------------------------------------------------------------


def test_a_forecast_is_the_models_own_and_names_it(retrained, forecaster, table):
    told = json.loads(clones.longshort(retrained, "forecast", "GOOG", "--json").stdout)
    own = serving.forecast(forecaster, table, "GOOG")
    assert (told["levels"], told["target"]) == (own.levels, own.target)
    assert (told["model"], told["version"], told["alias"]) == ("forecast-goog", "1", "challenger")
    assert (told["ticker"], told["last_session"], told["sessions"]) == ("GOOG", "2008-10-14", ["2008-10-15"])


def test_a_forecast_level_is_the_last_price_moved_by_the_log_return(forecaster, table):
    told = serving.forecast(forecaster, table, "GOOG")
    assert told.levels[0] == pytest.approx(told.last_price * np.exp(told.target[0]))


@pytest.mark.parametrize(
    ("last", "following"),
    [("2008-10-10", "2008-10-13"), ("2008-07-03", "2008-07-07"), ("2007-12-31", "2008-01-02"), ("2008-10-14", "2008-10-15")],
    ids=["after Friday", "over Independence Day", "over New Year", "overnight"],
)
def test_the_day_of_a_forecast_is_the_next_session(forecaster, table, last, following):
    known = table.filter(pc.less_equal(table["date"], dt.date.fromisoformat(last)))
    assert serving.forecast(forecaster, known, "GOOG").sessions == [dt.date.fromisoformat(following)]


def test_where_every_row_is_a_step_the_next_is_as_far_on_as_rows_usually_are(forecaster, table):
    monthly = [dt.date(1930 + place // 12, place % 12 + 1, 1) for place in range(60)]
    rows = table.slice(0, 60).set_column(1, "date", pa.array(monthly, pa.date32()))
    card = {**forecaster.card, "description": {**forecaster.card["description"], "calendar": "none"}}
    told = serving.forecast(dataclasses.replace(forecaster, card=card), rows, "GOOG")
    assert (told.last_session, told.sessions) == (dt.date(1934, 12, 1), [dt.date(1935, 1, 1)])


def test_a_forecast_reads_nothing_older_than_its_lookback(forecaster, table):
    short = table.slice(len(table) - 11)  # ten log-returns need eleven prices
    told = serving.forecast(forecaster, short, "GOOG")
    assert told.levels == serving.forecast(forecaster, table, "GOOG").levels
    assert told.low == [None]  # what it has missed so far lies before that
    with pytest.raises(SeriesTooShort):
        serving.forecast(forecaster, table.slice(len(table) - 10), "GOOG")


def test_an_unknown_ticker_is_refused(retrained):
    assert "longshort ingest" in clones.longshort(retrained, "forecast", "MSFT", code=2).stderr


# --- forecasts, a network a ticker ------------------------------------------------------------


@pytest.fixture(scope="module")
def networks(tickers: Path) -> artefact.Model:
    """A network for AAA and one for BBB; the data set has a CCC too."""
    return artefact.load(tickers / "data/training" / PER_TICKER / "seed-0")


def test_a_ticker_is_forecast_by_its_own_network(tickers, networks):
    table = serving.read_tidy(tickers, "goog")
    for ticker, other in (("AAA", "BBB"), ("BBB", "AAA")):
        told = serving.forecast(networks, table, ticker)
        assert told == serving.forecast(networks.of(ticker), table, ticker)
        assert told.target != serving.forecast(networks.of(other), table, ticker).target
        assert told.levels[0] == pytest.approx(told.last_price * np.exp(told.target[0]))


def test_a_ticker_without_a_network_is_refused_with_the_reason_and_the_way_on(tickers, networks):
    said = r"a network for each of 2 tickers, and none for 'CCC'; .* too short, or it was dropped in training\. Ask for another"
    with pytest.raises(UsageError, match=said):
        serving.forecast(networks, serving.read_tidy(tickers, "goog"), "CCC")
    with pytest.raises(UsageError, match="none for 'CCC'"):
        serving.ForecastService(networks).predict({"ticker": np.array(["AAA", "CCC"]), "past": np.zeros((2, 8, 2))})


@pytest.mark.parametrize("shape", [(5,), (5, 1)], ids=["a row", "a column"])
def test_windows_of_several_tickers_are_answered_in_their_order_each_by_its_own_network(networks, shape):
    names = ["BBB", "AAA", "AAA", "BBB", "AAA"]
    past = np.random.default_rng(0).normal(0, 0.02, (5, 8, 2))
    told = serving.ForecastService(networks).predict({"ticker": np.array(names, object).reshape(shape), "past": past.tolist()})
    alone = [serving.ForecastService(networks.of(name)).predict(window[None])[0] for name, window in zip(names, past, strict=True)]
    assert told == pytest.approx(np.array(alone), rel=1e-5)
    assert told[0] != pytest.approx(serving.ForecastService(networks.of("AAA")).predict(past[:1])[0], rel=1e-3)


def test_the_example_of_a_model_is_of_the_form_that_it_takes(networks):
    for model in (networks, networks.of("AAA")):
        assert serving.ForecastService(model).predict(serving.example_for(model)).shape == (2, 1)


# --- forecasts, session by session --------------------------------------------------------------


def told_by_stream(stream, table, ticker, sessions):
    """The levels after each of the last sessions of a ticker, handed in one by one."""
    rows = [row for row in table.to_pylist() if row["ticker"] == ticker][-sessions:]
    return [stream.tick(row).tolist() for row in rows]


def told_by_forecasts(model, table, ticker, sessions):
    """The same, of tables that end with each of them."""
    own = table.filter(pc.equal(table["ticker"], ticker))
    return [serving.forecast(model, own.slice(0, len(own) - left), ticker).levels for left in reversed(range(sessions))]


def test_a_stream_forecasts_what_a_table_that_ends_there_does(retrained, forecaster, table):
    stream = serving.PriceStream(forecaster, table.slice(0, len(table) - 30), "GOOG")
    assert told_by_stream(stream, table, "GOOG", 30) == told_by_forecasts(forecaster, table, "GOOG", 30)


def test_the_stream_of_a_project_is_of_the_model_that_serves_it(retrained, forecaster, table):
    stream = serving.stream(retrained, "goog")
    stream.ahead()
    newest = table.slice(len(table) - 1).to_pylist()[0] | {"date": dt.date(2008, 10, 15), "close": 366.5, "high": 370.0, "volume": 9e6}
    longer = pa.concat_tables([table, pa.Table.from_pylist([newest], table.schema)])
    assert stream.ticker == "GOOG" and stream.tick(newest).tolist() == serving.forecast(forecaster, longer, "GOOG").levels


def test_a_stream_of_one_ticker_of_several_has_its_own_network(tickers, networks):
    table = serving.read_tidy(tickers, "goog")
    for ticker in ("AAA", "BBB"):
        own = table.filter(pc.equal(table["ticker"], ticker))
        stream = serving.PriceStream(networks, own.slice(0, len(own) - 5), ticker)
        assert told_by_stream(stream, own, ticker, 5) == told_by_forecasts(networks, own, ticker, 5)


def test_a_session_without_what_the_model_reads_is_refused_and_nothing_of_it_is_taken_in(forecaster, table):
    stream = serving.PriceStream(forecaster, table.slice(0, len(table) - 1), "GOOG")
    (last,) = table.slice(len(table) - 1).to_pylist()
    with pytest.raises(UsageError, match="the session has no 'close', and the model reads "):
        stream.tick({"date": "2008-10-14"})
    with pytest.raises(DataRefused, match=r"GOOG: the session comes to .*, and a model cannot read a hole"):
        stream.tick(last | {"close": float("nan")})
    assert stream.tick(last).tolist() == serving.forecast(forecaster, table, "GOOG").levels


def test_a_stream_needs_the_sessions_before_the_newest(forecaster, table):
    lookback = forecasts.spec_of(forecaster).lookback
    serving.PriceStream(forecaster, table.slice(len(table) - lookback), "GOOG")
    with pytest.raises(SeriesTooShort):
        serving.PriceStream(forecaster, table.slice(len(table) - lookback + 1), "GOOG")


def test_a_session_alone_behind_a_long_gap_is_no_past(forecaster, table):
    alone = table.slice(len(table) - 1).to_pylist()[0] | {"date": dt.date(2008, 12, 15)}
    longer = pa.concat_tables([table, pa.Table.from_pylist([alone], table.schema)])
    for begin in (serving.forecast, serving.PriceStream):
        with pytest.raises(SeriesTooShort, match="GOOG has 0 sessions since its last long gap"):
            begin(forecaster, longer, "GOOG")


def test_a_stream_of_a_data_set_of_several_tickers_asks_which(tickers):
    with pytest.raises(UsageError, match=r"holds 3 tickers: AAA, BBB, CCC… Say which is to be streamed"):
        serving.stream(tickers, "goog")


def test_a_bidirectional_model_is_not_streamed(forecaster, table):
    variant = {**forecaster.card["variant"], "bidirectional": True}
    shape = forecasts.spec_of(forecaster)
    both = Network(ForecastShape(len(shape.columns), shape.horizon), config.Variant(**variant), "reference").eval()
    model = artefact.Model("forecast", both, {**forecaster.card, "variant": variant}, "")
    with pytest.raises(UsageError, match="this model cannot be streamed: the network is bidirectional"):
        serving.PriceStream(model, table, "GOOG")


# --- texts ------------------------------------------------------------------------------------


def test_generate_goes_on_from_the_prompt_the_same_way_each_time(retrained, writer):
    told = json.loads(clones.longshort(retrained, "generate", "the value of", "-n", "32", "--json").stdout)
    assert told["text"].startswith("the value of") and told["unknown_words_in_prompt"] == 0
    assert (told["model"], told["version"], told["alias"]) == ("language-model-topics", "1", "challenger")
    assert told["text"] == serving.generate(writer, "the value of", 32, seed=0)[0]


def test_another_seed_writes_another_text(writer):
    assert serving.generate(writer, "the value of", 32, seed=1) != serving.generate(writer, "the value of", 32, seed=0)


def test_generate_writes_no_word_that_it_does_not_know(writer):
    written = serving.generate(writer, "the value of", 200)[0]
    assert len(words_of(written)) >= 203 and "[UNK]" not in written


def test_words_that_the_model_does_not_know_are_counted(writer):
    assert serving.generate(writer, "the qwxyz value", 1)[1] == 1


@pytest.mark.parametrize("prompt", ["", "  \n", "\u200b", "the\0value", "the \udcffvalue", "the value of " * 1000])
def test_a_prompt_without_a_word_or_with_what_is_no_text_or_too_long_is_refused(writer, prompt):
    with pytest.raises(UsageError):
        serving.generate(writer, prompt, 1)


def test_a_word_is_known_however_it_was_typed(writer):
    asked, plain = (serving.read_prompt(writer, prompt) for prompt in ("\ufeffthe val\u200bue\r\nof", "the value\nof"))
    assert asked[0] == plain[0] == ["the", "value", "of"] and (asked[1] == plain[1]).all()
    assert serving.uniform("cafe\u0301 ") == "café "
    found = [serving.Completer(writer).suggest(typed, 3) for typed in ("the value of \u200b", "the value of ")]
    assert found[0] == found[1] and not found[0][0].finishes


def test_the_service_of_words_names_no_stand_in_and_is_asked_with_texts(writer, monkeypatch):
    service = serving.LanguageService(writer)
    wrong = (
        ({"text": ["the"]}, "no column 'prompt' among 'text'"),
        ({"prompt": ["the", None]}, "row 2: 'prompt' is empty"),
        ({"prompt": pd.Series(["the", None], dtype=object)}, "row 2: 'prompt' is empty"),
        ({"prompt": [5, "the"]}, "row 1: 'prompt' is 5, no text"),
    )
    for given, said in wrong:
        with pytest.raises(UsageError, match=said):
            service.predict(pd.DataFrame(given))
    monkeypatch.setattr(serving, "next_word_probabilities", lambda *_: np.array([0.9, 0.06, 0.04]))
    answer = service.predict(pd.DataFrame({"prompt": ["the"]}))
    assert answer.to_dict("records") == [{"next_word": serving.vocabulary(writer).words[1], "probability": 0.06}]


def test_a_refused_prompt_ends_with_exit_2_and_the_way_on(retrained):
    assert "Give a few to go on from" in clones.longshort(retrained, "generate", "", code=2).stderr


def test_a_prompt_of_the_greatest_length_is_read(writer):
    assert serving.generate(writer, "value " * (serving.LONGEST_PROMPT // 6), 1)[1] == 0


@pytest.mark.parametrize(("typed", "ids"), [("the value of ", "the value of"), ("the value of the ", "the value of the")])
def test_behind_a_space_the_most_probable_words_of_the_model_are_suggested(writer, typed, ids):
    shares = serving.next_word_probabilities(writer, serving.read_prompt(writer, ids)[1])
    words = serving.vocabulary(writer).words
    ranked = [words[number] for number in np.argsort(-shares, kind="stable")]
    found = serving.Completer(writer).suggest(typed, 5)
    assert [one.word for one in found] == [word for word in ranked if word.isalpha() or word.isidentifier()][:5]
    assert not any(one.finishes for one in found)


def test_a_word_that_is_begun_is_finished_also_where_nothing_stands_before_it(writer):
    for typed in ("the va", "Va"):
        found = serving.Completer(writer).suggest(typed, 3)
        assert found and all(one.finishes and one.word.startswith("va") for one in found)


def test_the_command_suggests_what_the_registered_model_does(retrained, writer):
    told = json.loads(clones.longshort(retrained, "complete", "the value of ", "--count", "3", "--json").stdout)
    assert [one["word"] for one in told["suggestions"]] == [one.word for one in serving.Completer(writer).suggest("the value of ", 3)]
    assert (told["model"], told["alias"]) == ("language-model-topics", "challenger")


# --- over HTTP, by `mlflow models serve` ------------------------------------------------------


@pytest.fixture(scope="module")
def served(retrained: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, int]]:
    """The ports at which MLflow's own server answers for the two challengers."""
    logs = tmp_path_factory.mktemp("served")
    store = f"sqlite:///{retrained}/mlflow/store/mlflow.db"
    ports = {name: neighbours.free_port() for name in ("forecast-goog", "language-model-topics")}
    with contextlib.ExitStack() as stack:
        for name, port in ports.items():
            command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", f"models:/{name}@challenger"]
            command += ["--env-manager", "local", "--host", neighbours.HOST, "--port", str(port)]
            process = neighbours.start(logs, *command, log=logs / f"{name}.log", MLFLOW_TRACKING_URI=store, MLFLOW_DISABLE_TELEMETRY="true")
            stack.callback(neighbours.stop, process)
            neighbours.wait_for(lambda port=port: neighbours.get(f"http://{neighbours.HOST}:{port}/ping") is not None, 400, process)
        yield ports


def invoke(port: int, body: dict) -> dict:
    """Ask a served model."""
    return neighbours.ask(f"http://{neighbours.HOST}:{port}/invocations", body)


def test_mlflows_server_forecasts_the_same_numbers(served, forecaster, table):
    spec, own = forecasts.spec_of(forecaster), tidy_columns(table)
    series = prices.make_series(own, spec, session_numbers("XNYS", own["date"]))
    past = series.values[-spec.lookback :][None]
    answer = invoke(served["forecast-goog"], {"inputs": past.tolist()})
    assert answer["predictions"] == [serving.forecast(forecaster, table, "GOOG").target]


def test_mlflows_server_takes_any_number_of_windows(served, forecaster):
    windows = np.repeat(serving.example_for(forecaster)[:1], 7, axis=0)
    predictions = invoke(served["forecast-goog"], {"inputs": windows.tolist()})["predictions"]
    assert np.array(predictions) == pytest.approx(np.full((7, 1), predictions[0][0]), rel=1e-5)


def test_mlflows_server_names_the_same_next_word(served, writer):
    prompts = ["the value of", "this is"]
    answer = invoke(served["language-model-topics"], {"dataframe_split": {"columns": ["prompt"], "data": [[prompt] for prompt in prompts]}})
    words = serving.vocabulary(writer).words
    shares = [serving.next_word_probabilities(writer, serving.read_prompt(writer, prompt)[1]) for prompt in prompts]
    best = [int(share[1:].argmax()) + 1 for share in shares]  # of words, and no stand-in
    assert answer["predictions"] == [
        {"next_word": words[at], "probability": float(share[at])} for at, share in zip(best, shares, strict=True)
    ]


def test_mlflows_server_refuses_a_window_of_another_shape(served):
    with pytest.raises(urllib.error.HTTPError) as refused:
        invoke(served["forecast-goog"], {"inputs": [[[0.0]]]})
    assert refused.value.code == 400
