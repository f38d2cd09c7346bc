"""Serving: a registered model answers. Forecasts come with their session, texts word by word, and what is typed with how it may go on.

MLflow loads models through `_load_pyfunc`: a folder of safetensors and JSON, verified before it is
parsed, so `mlflow models serve` and `longshort forecast` give the same numbers from the same bytes.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from longshort import sessions, storage
from longshort.errors import DataRefused, SeriesTooShort, UsageError
from longshort.evaluation import answers, forecasts
from longshort.ingestion.captions import LARGEST
from longshort.ingestion.text import Normaliser
from longshort.models import artefact
from longshort.models.suggesting import Suggester, Suggestion
from longshort.windows import prices, text
from longshort.windows.captions import Scaling, Vectors
from longshort.windows.stage import session_numbers, tidy_columns
from longshort.windows.tokens import SPECIAL, Ids, words_of

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from numpy.typing import NDArray

    from longshort.config import PriceWindows
    from longshort.tracking import Trained

    Rows = dict[str, NDArray[Any]]  # tidy columns

REQUIREMENTS = ("torch", "numpy", "safetensors", "pandas", "pyarrow", "pydantic", "exchange-calendars")
LONGEST_PROMPT = 10_000
SESSION = ("open", "high", "low", "close", "volume")


# --- models in MLflow -------------------------------------------------------------------------


class ForecastService:
    """A forecaster behind MLflow's pyfunc: past windows in natural units in, the target out."""

    def __init__(self, model: artefact.Model) -> None:
        self.model = model

    def predict(self, past: Any, params: dict[str, Any] | None = None) -> np.ndarray[Any, Any]:
        """past (windows, lookback, columns) -> target (windows, horizon), in natural units: log-returns, or levels.

        Where each ticker has a network of its own, past is {"ticker": (windows,), "past": (windows, lookback, columns)}.
        raises  UsageError for a ticker that has none
        """
        if not self.model.tickers:
            return _target(self.model, np.asarray(past))
        tickers, windows = np.asarray(past["ticker"], str).ravel(), np.asarray(past["past"])
        found = np.empty((len(windows), forecasts.spec_of(self.model).horizon))
        for ticker in np.unique(tickers).tolist():
            found[tickers == ticker] = _target(model_for(self.model, ticker), windows[tickers == ticker])
        return found


def _target(model: artefact.Model, past: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    scaler = forecasts.scaler_of(model)
    return scaler.undo_target(model.forecaster.answers(scaler.apply(past)))


def model_for(model: artefact.Model, ticker: str) -> artefact.Model:
    """The network that serves a ticker: its own, or the one that serves all.

    raises  UsageError when each ticker has its own, and this one has none
    """
    if not model.tickers:
        return model
    if ticker not in model.tickers:
        raise UsageError(
            f"the model has a network for each of {len(model.tickers):,} tickers, and none for '{ticker}'; "
            "its series was too short, or it was dropped in training. Ask for another, or promote a model that serves all."
        )
    return model.of(ticker)


class LanguageService:
    """A language model behind MLflow's pyfunc: prompts in, the most probable next word out."""

    def __init__(self, model: artefact.Model) -> None:
        self.model = model

    def predict(self, prompts: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """A column ``prompt`` -> columns ``next_word`` and ``probability``.

        raises  UsageError as `read_prompt`, and when the column is missing
        """
        import pandas as pd

        rows = []
        for prompt in _texts_of(prompts, "prompt"):
            shares = next_word_probabilities(self.model, read_prompt(self.model, prompt)[1])
            best = int(shares[1:].argmax()) + 1  # no text goes on with [UNK]
            rows.append((vocabulary(self.model).words[best], float(shares[best])))
        return pd.DataFrame(rows, columns=["next_word", "probability"])


class RowService:
    """A model of labelled rows behind MLflow's pyfunc: texts in, a label, tags or a translation out; or numbers in, a caption out."""

    def __init__(self, model: artefact.Model) -> None:
        self.model = model

    def predict(self, texts: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """A column ``text`` -> columns ``label`` and ``probability``, or ``tags``, or ``translation``.

        Of a captioner, the columns that it learned -> ``caption``; others are passed over.
        raises  UsageError when a text holds no word, a column is missing, or a number is not finite
        """
        import pandas as pd

        if self.model.task == "caption":
            return pd.DataFrame({"caption": answers.said(self.model, vectors_in(self.model, texts))})
        asked = [readable(self.model, text) for text in _texts_of(texts, "text")]
        if self.model.task != "classify":
            return pd.DataFrame({"tags" if self.model.task == "tag" else "translation": answers.said(self.model, asked)})
        shares, names = answers.shares(self.model, asked), np.array(self.model.card["description"]["labels"])
        return pd.DataFrame({"label": names[shares.argmax(axis=1)], "probability": shares.max(axis=1)})


def _texts_of(frame: pd.DataFrame, column: str) -> list[str]:
    if column not in frame:
        raise UsageError(f"no column '{column}' among {', '.join(map(repr, frame.columns))}. Hand one in, with a text in each row.")
    found = frame[column].tolist()
    for row, cell in enumerate(found, start=1):
        if not isinstance(cell, str):
            what = "empty" if cell is None or cell != cell else f"{cell!r}, no text"  # pandas has None and NaN for it
            raise UsageError(f"row {row}: '{column}' is {what}. Hand in a text in each row.")
    return found


def _load_pyfunc(path: str) -> ForecastService | LanguageService | RowService:
    """MLflow's entry point; see its pyfunc flavour."""
    model = artefact.load(Path(path))
    if model.task == "forecast":
        return ForecastService(model)
    return LanguageService(model) if model.task == "language-model" else RowService(model)


def log_model(seed: Trained) -> str:
    """Log a seed's model into the active MLflow run; returns the logged model's id."""
    import logging
    from importlib.metadata import version

    import mlflow.pyfunc
    from mlflow.models import infer_signature

    logging.getLogger("mlflow").setLevel(logging.ERROR)
    service = _load_pyfunc(str(seed.folder))
    example = example_for(service.model)
    logged = mlflow.pyfunc.log_model(
        name="model",
        loader_module=__name__,
        data_path=str(seed.folder),
        signature=infer_signature(example, service.predict(example)),
        input_example=example,
        # the public version: a local suffix such as +cpu names no release
        pip_requirements=[f"{name}=={version(name).partition('+')[0]}" for name in REQUIREMENTS],
    )
    return str(logged.model_id)


def example_for(model: artefact.Model) -> Any:
    """Two inputs of the form that the model takes (a batch of one would fix the batch size)."""
    import pandas as pd

    if model.task == "forecast":
        spec, scaler = forecasts.spec_of(model), forecasts.scaler_of(model_for(model, model.tickers[0]) if model.tickers else model)
        past = np.broadcast_to(scaler.offset, (2, spec.lookback, len(spec.columns))).copy()
        return {"ticker": np.array([model.tickers[0]] * 2), "past": past} if model.tickers else past
    if model.task == "caption":
        scaling = Scaling.of(model.card["description"]["scaling"])
        return pd.DataFrame([scaling.offset, scaling.offset + scaling.divisor], columns=answers.columns(model))
    if model.task != "language-model":
        known = answers.vocabulary(model)[-2:]  # words that it has learned; what stands before them marks other things
        return pd.DataFrame({"text": [" ".join(known), known[-1]]})
    return pd.DataFrame({"prompt": ["the value of", "this is"]})


# --- forecasts --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Forecast:
    """The next sessions of one ticker: dates and levels, nearest first; ``target`` is what the model said, in its own unit.

    Dates are datetimes where the rows are intraday. ``low`` and ``high`` are levels between which ``coverage`` of what comes shall lie;
    None where nobody can say, since the model has too little of a validation part.
    """

    ticker: str
    last_session: dt.date
    last_price: float
    sessions: list[dt.date]
    levels: list[float]
    target_name: str
    target: list[float]
    coverage: float
    low: list[float | None]
    high: list[float | None]


def forecast(model: artefact.Model, table: pa.Table, ticker: str, coverage: float = 0.9, steps: int | None = None) -> Forecast:
    """Forecast the sessions after a ticker's last one.

    table     the tidy price table
    coverage  share of what comes that each interval shall hold
    steps     how many sessions, default the model's horizon; beyond it recursively, each answer read as if it had come
    raises    UsageError when the table does not hold the ticker; SeriesTooShort when it has too few sessions in a row
    """
    spec, calendar = forecasts.spec_of(model), model.card["description"]["calendar"]
    own = _rows_of(table, ticker)
    series, stretch = _newest_stretch(own, spec, calendar, spec.lookback)
    past = series.values[stretch.stop - spec.lookback : stretch.stop][None]
    last = series.price[stretch.stop - 1 : stretch.stop]
    one, steps = model_for(model, ticker), steps or spec.horizon
    if steps <= spec.horizon:
        answer = _target(one, past)[:, :steps]
        levels, target = forecasts.levels_of(spec, answer, last)[0], answer[0]
    else:
        levels = forecasts.levels(one, past, last, steps)[0]
        target = forecasts.target_of(spec, levels[None], last)[0]
    ends = [_band(model, series, coverage, step) for step in range(1, steps + 1)]
    dates = [series.dates[stretch.stop - 1].item()]
    usual = _usual_step(own["date"])
    for _ in levels:
        every = calendar == sessions.EVERY_ROW  # no exchange tells the next day: as far on as rows usually are
        dates.append(dates[-1] + usual if every else sessions.next_session(calendar, dates[-1]))
    return Forecast(
        ticker=ticker,
        last_session=dates[0],
        last_price=float(last[0]),
        sessions=dates[1:],
        levels=levels.tolist(),
        target_name=spec.target,
        target=target.tolist(),
        coverage=coverage,
        low=[None if end is None else level + end[0] * float(last[0]) for level, end in zip(levels.tolist(), ends, strict=True)],
        high=[None if end is None else level + end[1] * float(last[0]) for level, end in zip(levels.tolist(), ends, strict=True)],
    )


def picture(told: Forecast, table: pa.Table, about: str) -> bytes:
    """A forecast behind the ticker's newest sessions, as PNG; ``about`` says whose it is."""
    from longshort.evaluation import pictures

    own = _rows_of(table, told.ticker)
    low, high = (np.array([np.nan if value is None else value for value in side]) for side in (told.low, told.high))
    level = own["close" if told.target_name == "log_return" else told.target_name]
    days = np.array(told.sessions, own["date"].dtype)
    next_ones = f"{len(days)} next sessions" if len(days) > 1 else "next session"
    title = f"{told.ticker}: the {next_ones}, with intervals of {told.coverage:.0%}"
    return pictures.ahead(own["date"], level, days, told.levels, low, high, title, about)


def _band(model: artefact.Model, series: prices.Series, coverage: float, step: int) -> tuple[float, float] | None:
    """Low and high of the interval so many sessions ahead of a ticker's last one, from the forecast, as shares of its level."""
    try:
        return forecasts.next_band(*forecasts.since_learning(model, series, step), coverage)
    except DataRefused:
        return None


def _rows_of(table: pa.Table, ticker: str) -> Rows:
    """A ticker's tidy columns."""
    columns = tidy_columns(table)
    rows = columns["ticker"] == ticker
    if not rows.any():
        raise UsageError(f"no ticker '{ticker}' in this data set; it holds {', '.join(sorted(set(columns['ticker'].tolist())))}.")
    return {name: values[rows] for name, values in columns.items()}


def _newest_stretch(own: Rows, spec: PriceWindows, calendar: str, needed: int) -> tuple[prices.Series, prices.Segment]:
    """A ticker's series, and its sessions since the last long gap, of which there must be so many."""
    series = prices.make_series(own, spec, session_numbers(calendar, own["date"]))
    stretch = series.segments[-1]
    # a session that stands alone behind a gap is in no stretch
    known = stretch.stop - stretch.start if series.dates[stretch.stop - 1] == own["date"][-1] else 0
    if known < needed:
        raise SeriesTooShort(
            f"{stretch.ticker} has {known} sessions since its last long gap, the model reads {spec.lookback}. "
            "Take in a longer file with `longshort ingest`."
        )
    return series, stretch


def _usual_step(dates: NDArray[np.datetime64]) -> dt.timedelta:
    """The median from row to row, in whole days or seconds."""
    usual = int(np.median(np.diff(dates).astype(np.int64)))
    return dt.timedelta(days=usual) if dates.dtype == "datetime64[D]" else dt.timedelta(seconds=usual)


# --- forecasts, session by session --------------------------------------------------------------


class PriceStream:
    """One ticker's forecasts as its sessions come in; for one thread at a time.

    Each is what `forecast` says once the table ends with that session. What does not hang on the newest one is run ahead of it,
    so between two ticks call `ahead`, when there is time; a tick does it itself where that was not done.
    """

    def __init__(self, model: artefact.Model, table: pa.Table, ticker: str) -> None:
        """Begin behind the last session of a tidy table.

        raises  UsageError when the table does not hold the ticker, or the network is bidirectional; SeriesTooShort
        """
        spec, own = forecasts.spec_of(model), _rows_of(table, ticker)
        series, stretch = _newest_stretch(own, spec, model.card["description"]["calendar"], spec.lookback - 1)
        one = model_for(model, ticker)
        try:
            self._stream = one.forecaster.stream()
        except ValueError as error:
            raise UsageError(f"this model cannot be streamed: {error}") from None
        self.ticker, self._spec, self._scaler = ticker, spec, forecasts.scaler_of(one)
        # row 0 is the last session that is known, row 1 the newest
        self._rows: dict[str, prices.Floats] = {name: np.repeat(own[name][-1:], 2).astype(np.float64) for name in SESSION}
        self._needed = sorted(set().union(*map(prices.reads, [*spec.columns, _level(spec)])))
        self._past = self._scaler.apply(series.values[stretch.stop - spec.lookback + 1 : stretch.stop])
        self._is_ahead = False

    def ahead(self) -> None:
        """Run what is known of the coming window."""
        if not self._is_ahead:
            self._stream.ahead(self._past)
            self._is_ahead = True

    def tick(self, session: Mapping[str, float]) -> NDArray[np.float64]:
        """Forecast from the newest session.

        session  that which follows the last one, with no hole longer than `windows.forecast.max_gap`: those of open, high, low,
                 close and volume that the model's columns are made of; others are passed over
        returns  (horizon,) levels of the sessions after it, nearest first, in the data's own unit
        raises   UsageError when one of them is not there; DataRefused when a column comes to no finite value. Nothing is taken in then
        """
        self.ahead()
        for name in self._needed:
            if name not in session:
                raise UsageError(f"the session has no '{name}', and the model reads {', '.join(self._needed)}. Hand all of them in.")
            self._rows[name][1] = session[name]
        with np.errstate(divide="ignore", invalid="ignore"):
            columns = np.array([prices.COLUMNS[name](self._rows)[1] for name in self._spec.columns])
        if not np.isfinite(columns).all():
            found = ", ".join(f"{name} {value}" for name, value in zip(self._spec.columns, columns.tolist(), strict=True))
            raise DataRefused(f"{self.ticker}: the session comes to {found}, and a model cannot read a hole. Hand in what was traded.")
        newest = self._scaler.apply(columns.astype(np.float32))
        self._is_ahead = False
        target = self._scaler.undo_target(self._stream.tick(newest))
        levels = forecasts.levels_of(self._spec, target[None], np.asarray(self._rows[_level(self._spec)][1:], np.float64))[0]
        self._move_on(newest)
        return levels

    def _move_on(self, newest: NDArray[np.float32]) -> None:
        """The newest session is the last one that is known."""
        for row in self._rows.values():
            row[0] = row[1]
        if len(self._past):
            self._past[:-1] = self._past[1:]
            self._past[-1] = newest


def stream(root: Path, dataset: str, ticker: str | None = None) -> PriceStream:
    """Stream a data set's forecasts from the model that serves it: the champion, or where there is none yet, the challenger.

    root    the project's folder
    ticker  may be left out where the data set holds one
    raises  UsageError, SeriesTooShort: see `PriceStream`; UsageError when no model serves the data set

    >>> prices = serving.stream(Path("."), "goog")                          # doctest: +SKIP
    >>> prices.ahead()                                                      # doctest: +SKIP
    >>> prices.tick({"close": 363.1})                                       # doctest: +SKIP
    array([362.9])
    """
    from longshort import config, tracking
    from longshort.registry import promotion, versions

    table = read_tidy(root, dataset)
    known = sorted(set(table["ticker"].to_pylist()))
    if ticker is None and len(known) > 1:
        raise UsageError(f"data set '{dataset}' holds {len(known):,} tickers: {', '.join(known[:5])}… Say which is to be streamed.")
    client = tracking.connect(root, config.read(root / "params.yaml"))
    version, _ = promotion.serving_version(client, root, f"forecast-{dataset}")
    return PriceStream(versions.open_version(client, version), table, ticker or known[0])


def _level(spec: PriceWindows) -> str:
    """The price that a forecast is turned back into."""
    return "close" if spec.target == "log_return" else spec.target


def read_tidy(root: Path, dataset: str) -> pa.Table:
    """A data set's tidy table, verified first.

    raises  DataRefused when validation refused it: nobody should be answered from it; CorruptArtefact
    """
    folder, judged = root / "data/ingestion" / dataset, root / "data/validation" / dataset
    storage.verify(folder)
    if (judged / "result.json").exists() and not storage.read_json(judged / "result.json")["success"]:
        raise DataRefused(f"{dataset}: validation refused these data, see {judged / 'index.html'}. Mend them, then run `longshort run`.")
    return storage.read_table(folder / "table.parquet")


# --- texts ------------------------------------------------------------------------------------


def vocabulary(model: artefact.Model) -> text.Vocabulary:
    """The words that a language model knows."""
    return text.Vocabulary(tuple(model.card["description"]["vocabulary"]))


def uniform(asked: str) -> str:
    """What is asked, its characters made uniform as those of texts that are taken in: a word that was learned is known however it is typed.

    raises  UsageError when it holds a NUL or half a character, or is longer than 10,000 characters
    """
    if len(asked) > LONGEST_PROMPT:
        raise UsageError(f"the text has {len(asked):,} characters; at most {LONGEST_PROMPT:,} are read. Give a part of it.")
    if bad := re.search("[\0\ud800-\udfff]", asked):
        what = "a NUL" if bad[0] == "\0" else "a byte that is no UTF-8"
        raise UsageError(f"the text holds {what} behind {bad.start():,} characters. Remove it, or write the text in UTF-8.")
    normaliser = Normaliser("the text")
    return normaliser.feed(asked) + normaliser.finish()


def read_prompt(model: artefact.Model, prompt: str) -> tuple[list[str], Ids]:
    """A prompt's words, and their ids.

    raises  UsageError as `uniform`, and when it holds no word
    """
    tokens = words_of(uniform(prompt))
    if not tokens:
        raise UsageError('the prompt holds no word. Give a few to go on from, such as "the value of".')
    return tokens, vocabulary(model).ids(tokens)


def next_word_probabilities(model: artefact.Model, ids: Ids) -> np.ndarray[Any, Any]:
    """The probability of every word of the vocabulary after the given ids: (vocabulary,)."""
    import torch

    read = ids[-int(model.card["description"]["spec"]["lookback"]) :].astype(np.int64)[None]
    scores = torch.from_numpy(model.served.scores(read)[0]) if model.served else model(torch.from_numpy(read))[0, -1]
    return torch.softmax(scores.double(), dim=-1).numpy()


def generate(model: artefact.Model, prompt: str, count: int, seed: int = 0, temperature: float = 0.7) -> tuple[str, int]:
    """Write on from a prompt, drawing each word from the model; [UNK] is never drawn.

    returns  the text, and how many words of the prompt the model does not know
    """
    asked, ids = read_prompt(model, prompt)
    unknown = int((ids == 0).sum())
    words = vocabulary(model).words
    random = np.random.default_rng(seed)
    for _ in range(count):
        shares = next_word_probabilities(model, ids) ** (1 / temperature)
        shares[0] = 0.0
        ids = np.append(ids, np.int32(random.choice(len(words), p=shares / shares.sum())))
    return join(asked + [words[number] for number in ids[len(asked) :]]), unknown


def marks(words: Sequence[str]) -> list[str]:
    """Those without a letter or a digit.

    >>> marks(["the", ",", "n't", "..."])
    [',', '...']
    """
    return [word for word in words if not any(map(str.isalnum, word))]


class Completer:
    """A language model that says while a text is typed how it may go on."""

    def __init__(self, model: artefact.Model, unsaid: Sequence[str] = SPECIAL) -> None:
        """unsaid: words of the vocabulary that stand for others, and are never suggested; nor are marks, which have keys of their own."""
        self._model, self._vocabulary = model, vocabulary(model)
        self._suggester = Suggester(self._vocabulary.words, [*unsaid, *marks(self._vocabulary.words)])

    def suggest(self, typed: str, count: int) -> list[Suggestion]:
        """The most probable ways to go on; a text that ends in white space asks for the next word, any other may be inside of one.

        raises  UsageError as `read_prompt`
        """
        tokens, ids = read_prompt(self._model, typed)
        if uniform(typed)[-1].isspace():
            return self.follow(ids, "", count)
        return self.follow(ids[:-1], tokens[-1], count)

    def follow(self, before: Ids, begun: str, count: int) -> list[Suggestion]:
        """The same behind words by id, of the vocabulary, with what is begun of the next one; see `Suggester.suggest`."""
        if not len(before):
            before = self._vocabulary.ids(["."])  # a text begins as a sentence does
        return self._suggester.suggest(lambda ids: next_word_probabilities(self._model, ids), before, begun, count)


def readable(model: artefact.Model, asked: str) -> str:
    """A text as a model of labelled text can be asked it.

    raises  UsageError as `uniform`, and when it holds no word
    """
    asked = uniform(asked)
    if not answers.words(model, asked):
        raise UsageError(f'the text holds no word. Give some, such as `longshort {model.task} "what time is it"`.')
    return asked


def vectors_in(model: artefact.Model, frame: pd.DataFrame) -> Vectors:
    """The columns of a frame that a captioner reads.

    raises  UsageError when one is missing, stands twice, or holds what is no finite number of 32 bits
    """
    import pandas as pd

    known = [name for name in answers.columns(model) if name in frame]
    if twice := [name for name in known if (frame.columns == name).sum() > 1]:
        raise UsageError(f"the column '{twice[0]}' stands twice, and the model reads one. Hand in each once.")
    values = frame[known].apply(pd.to_numeric, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    if len(wrong := np.argwhere(~(np.abs(values) <= LARGEST))):  # NaN is not
        row, column = wrong[0].tolist()
        raise UsageError(f"row {row + 1}: '{known[column]}' is no finite number of 32 bits, and the model reads each. Hand in numbers.")
    return Vectors(tuple(known), values)


def unknown_words(model: artefact.Model, asked: str) -> list[str]:
    """The words of a text that a model of labelled text does not know."""
    known = set(answers.vocabulary(model))
    return [word for word in answers.words(model, uniform(asked)) if word not in known]


def labels(model: artefact.Model, asked: str) -> dict[str, float]:
    """A classifier's labels of a text, the most probable first."""
    shares = answers.shares(model, [readable(model, asked)])[0]
    names = model.card["description"]["labels"]
    return {names[number]: float(shares[number]) for number in np.argsort(-shares, kind="stable").tolist()}


def join(tokens: list[str]) -> str:
    """Words to a text that reads: no space before a comma, none after an opening bracket.

    >>> join(["see", "(", "below", ")", ",", "or", "not", "."])
    'see (below), or not.'
    """
    joined = ""
    for token in tokens:
        tight = not joined or joined[-1] in "([{" or token[0] in ",.;:!?)]}"
        joined += token if tight else f" {token}"
    return joined
