"""Intraday series that were asked for with --calendar none, through the rooms: each row a step, at its second."""

from __future__ import annotations

import csv
import dataclasses
import datetime as dt
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from projects import ROOT, described, project, run_stage
from test_models_cells import variant

from longshort import accounts, config, serving, storage
from longshort.errors import DataRefused
from longshort.evaluation import contest, pictures
from longshort.evaluation import stage as evaluation
from longshort.ingestion import intake, versions
from longshort.ingestion.dataset import Terms, account_of, assemble
from longshort.ingestion.prices import Asked
from longshort.ingestion.stage import write
from longshort.models.artefact import Model
from longshort.models.network import Network
from longshort.tasks.forecast import ForecastShape
from longshort.validation import drawing, profiles
from longshort.validation.stage import examine
from longshort.windows import files

EVERY_ROW = Terms(calendar="none")
OF_SPY = Terms(Asked(ticker="SPY"), calendar="none")
TAXI = ROOT.parent / "shared/data/nab/realKnownCause/nyc_taxi.csv"
FIRST = dt.datetime(2024, 1, 2, 9, 30)


def times(count: int = 400) -> list[dt.datetime]:
    """Every five minutes of a day's trade, 78 a day, weekends too."""
    return [FIRST + dt.timedelta(days=n // 78, minutes=5 * (n % 78)) for n in range(count)]


def bars(of: list[dt.datetime], seed: int = 0) -> bytes:
    """A random walk of prices, as such files are written."""
    close = 100 * np.exp(np.cumsum(np.random.Generator(np.random.Philox(seed)).normal(0, 0.002, len(of))))
    lines = [
        f"{time},{p * 0.999:.4f},{p * 1.002:.4f},{p * 0.998:.4f},{p:.4f},{n + 500}"
        for n, (time, p) in enumerate(zip(of, close, strict=True))
    ]
    return "\n".join(["timestamp,open,high,low,close,volume", *lines, ""]).encode()


def made(root: Path, content: bytes, *settings: str) -> Path:
    """What ingestion, validation and windows make of a raw file."""
    project(root, "ingestion.datasets.mine={task: forecast, source: raw, read: {calendar: none}}", *settings)
    (root / "data/raw/mine").mkdir(parents=True)
    (root / "data/raw/mine/SPY.csv").write_bytes(content)
    for stage in ("ingestion", "validation", "windows"):
        run_stage(root, stage, "mine")
    return root


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("intraday"), bars(times()))


def level(root: Path) -> Model:
    """A model that forecasts a log return of 0, which is the last price."""
    data = files.read_prices(root / "data/windows/mine")
    network = Network(ForecastShape(len(data.spec.columns), data.spec.horizon), variant("rnn", hidden_size=2), "reference")
    with torch.no_grad():
        network.head.linear.weight.zero_()
        network.head.linear.bias.fill_(-float(data.scaler.offset[0] / data.scaler.scale[0]))
    return Model("forecast", network.eval(), {"description": data.description()}, "")


# --- ingestion --------------------------------------------------------------------------------


def test_the_tidy_table_has_a_row_a_second_in_the_same_column(run):
    table = storage.read_table(run / "data/ingestion/mine/table.parquet")
    assert table.schema.field("date").type == pa.timestamp("ms") and table["date"].to_pylist() == times()
    entry = storage.read_json(run / "data/ingestion/mine/account.json")["files"][0]
    said = (entry["read_as"]["first"], entry["read_as"]["last"], entry["read_as"]["times"])
    assert said == ("2024-01-02 09:30:00", str(times()[-1]), "as written")
    assert f"SPY, 2024-01-02 09:30:00 to {times()[-1]}, times as written" in "\n".join(accounts.file_lines(entry))


def test_without_being_asked_for_it_is_refused_and_told_how_to_ask():
    with pytest.raises(DataRefused, match=r"SPY\.csv:2:1: SPY: an intraday series, 78 rows a day.*--calendar none"):
        assemble({"SPY.csv": bars(times())}, "forecast", Terms())


def test_tickers_in_files_of_their_own_are_one_table_by_ticker_and_second():
    content = {"B.csv": bars(times(), 1), "A.csv": bars(times(100), 2)}
    whole = assemble(content, "forecast", EVERY_ROW)
    assert whole.table["ticker"].to_pylist() == ["A"] * 100 + ["B"] * 400
    assert whole.table["date"].to_pylist() == times(100) + times()
    assert account_of(content, "forecast", EVERY_ROW) == whole.account


def test_files_that_could_be_poured_one_by_one_are_written_with_their_seconds(tmp_path):
    paths = {name: tmp_path / name for name in ("A.csv", "B.csv")}
    for place, path in enumerate(paths.values()):
        path.write_bytes(bars(times(), place))
    write(paths, "forecast", EVERY_ROW, tmp_path / "table.parquet")
    assert storage.read_table(tmp_path / "table.parquet").equals(assemble(paths, "forecast", EVERY_ROW).table)


def test_files_of_one_ticker_that_overlap_are_merged_by_the_second():
    lines = bars(times()).splitlines(keepends=True)
    whole = assemble({"a.csv": b"".join(lines[:301]), "b.csv": b"".join([lines[0], *lines[201:]])}, "forecast", OF_SPY)
    assert whole.table["date"].to_pylist() == times() and whole.account["merged"] == 100


def test_files_of_one_ticker_that_contradict_one_another_are_refused_with_the_second():
    lines = bars(times()).decode().splitlines(keepends=True)
    other = [lines[0], lines[250].rpartition(",")[0] + ",1\n", *lines[251:]]
    with pytest.raises(DataRefused, match=f"SPY on {times()[249]} has volume"):
        assemble({"a.csv": "".join(lines).encode(), "b.csv": "".join(other).encode()}, "forecast", OF_SPY)


@pytest.mark.parametrize("names", [("A.csv", "B.csv"), ("B.csv", "A.csv")])
def test_rows_by_the_day_and_rows_by_the_second_are_no_one_data_set(names):
    daily = b"\n".join(line.replace(b" 09:30:00", b"") for line in bars([FIRST + dt.timedelta(days=n) for n in range(90)]).splitlines())
    with pytest.raises(DataRefused, match=rf"{names[0]}:1:1: an intraday series, and {names[1]} has a row a date.*as two"):
        assemble(dict(zip(names, (bars(times()), daily), strict=True)), "forecast", EVERY_ROW)


def test_a_new_version_is_compared_second_by_second():
    before, after = (assemble({"SPY.csv": bars(times(count))}, "forecast", EVERY_ROW).table for count in (300, 310))
    assert versions.compare(before, after) == {"held": 300, "new": 10, "gone": 0, "changed": 0}
    close = after["close"].to_pylist()
    close[100] += 1
    told = versions.compare(before, after.set_column(5, "close", pa.array(close)))
    assert (told["changed"], told["first"]["date"]) == (1, str(times()[100]))


# --- validation -------------------------------------------------------------------------------


def test_validation_lets_it_pass_and_shows_its_times(run):
    result = storage.read_json(run / "data/validation/mine/result.json")
    assert result["success"] and not result["not_asked"]
    page = (run / "data/validation/mine/quality.html").read_text(encoding="utf-8")
    assert f"<time>{times()[0]}</time>" in page and f"<time>{times()[-1]}</time>" in page and "400 rows" in page
    assert "Daily log returns" not in page and "Log returns" in page


def test_a_second_that_is_twice_in_the_table_is_found_and_named(run):
    table = storage.read_table(run / "data/ingestion/mine/table.parquet")
    twice = pa.concat_tables([table.slice(0, 11), table.slice(10)])
    params = config.read(run / "params.yaml")
    found = examine(twice, "mine", params, "none", ("open", "high", "low", "close"))
    broken = [finding for finding in found["expectations"] if not finding["success"]]
    assert [finding["sentence"] for finding in broken] == ["No ticker has a date twice."]
    assert str(times()[10]) in str(broken[0]["examples"][0])


def test_the_picture_of_a_table_has_its_rows_in_order_of_time(run):
    found = profiles.of_prices(storage.read_table(run / "data/ingestion/mine/table.parquet"))
    assert found.intraday and found.when(found.days[-1]) == times()[-1] and (np.diff(found.days) > 0).all()


@pytest.mark.parametrize(
    ("hours", "names"),
    [
        (3, ["01-02 10:00", "01-02 11:00", "01-02 12:00"]),
        (60, ["01-02 12:00", "01-03 00:00", "01-03 12:00", "01-04 00:00", "01-04 12:00"]),
        (24 * 9, [f"2024-01-{day:02}" for day in range(3, 12)]),
        (24 * 100, ["2024-02", "2024-03", "2024-04"]),
    ],
)
def test_an_axis_of_seconds_has_whole_hours_days_or_months(hours, names):
    first = int(FIRST.replace(tzinfo=dt.UTC).timestamp())
    assert [name for _, name in drawing.time_ticks(first, first + 3600 * hours, most=9 if hours > 3 else 3)] == names


# --- windows, evaluation, serving -------------------------------------------------------------


def test_windows_are_cut_by_the_second_and_every_row_is_a_step(run):
    data = files.read_prices(run / "data/windows/mine")
    assert data.series.dates.tolist() == times()[1:] and len(data.series.segments) == 1
    told = described(run / "data/windows/mine")
    assert (told["dates"], told["calendar"]) == ("s", "none")
    assert told["parts"]["test"]["last_target"] == times()[-1].isoformat()


def test_the_scores_name_the_second_of_each_forecast(run):
    data = files.read_prices(run / "data/windows/mine")
    report = evaluation.report_prices(
        data, [{0: level(run)}], "mine", config.Evaluation(confidence=0.95, coverage=0.9, cost=0.0005, steps=5)
    )
    rows = list(csv.reader(evaluation._csv(report.header, report.rows).decode().splitlines()))
    assert [row[1] for row in rows[1:]] == [time.isoformat() for time in times()[-len(rows) + 1 :]]
    assert report.seeds[0]["rmse"] == pytest.approx(report.baselines["last_value"]["rmse"], rel=1e-4)
    assert report.pictures["forecast.png"].startswith(b"\x89PNG")


def test_the_bars_of_a_picture_are_as_wide_as_a_step():
    seconds = np.array(times(50), "datetime64[s]")
    assert pictures._bar_width(seconds) == pytest.approx(0.8 * 5 / 1440)
    assert pictures._bar_width(seconds.astype("datetime64[D]")) == 0.8


def test_champion_and_challenger_meet_on_each_second(run):
    table = storage.read_table(run / "data/ingestion/mine/table.parquet")
    data = files.read_prices(run / "data/windows/mine")
    model = level(run)
    model = dataclasses.replace(model, card={**model.card, "extent": data.extent()})
    held = contest.contest_of_prices(table, data, [model, model])
    assert held.count == len(data.parts["test"]) and held.challenger == held.champion
    assert held.first.name == data.extent()["test"]["first_target"]


def test_a_forecast_is_of_the_next_seconds_as_far_on_as_rows_usually_are(run):
    table = storage.read_table(run / "data/ingestion/mine/table.parquet")
    told = serving.forecast(level(run), table, "SPY")
    assert told.last_session == times()[-1] and told.sessions == [times()[-1] + dt.timedelta(minutes=5)]
    assert told.levels == [pytest.approx(told.last_price)]


# --- a real file ------------------------------------------------------------------------------


@pytest.mark.skipif(not TAXI.exists(), reason="the shared data are not here")
def test_taxi_trips_by_the_half_hour_go_through_all_rooms(tmp_path):
    made(tmp_path, TAXI.read_bytes())
    account = storage.read_json(tmp_path / "data/ingestion/mine/account.json")
    assert (account["kept"], account["quarantined"], account["merged"]) == (10_320, 0, 0)
    data = files.read_prices(tmp_path / "data/windows/mine")
    assert (np.diff(data.series.dates) == np.timedelta64(30, "m")).all() and len(data.series.segments) == 1
    assert str(data.series.dates[-1]) == "2015-01-31T23:30:00"


def test_the_settings_of_a_data_set_ask_for_every_row(tmp_path):
    path = tmp_path / "SPY.csv"
    path.write_bytes(
        b"".join(
            line + (b"-05:00,", b",")[not n] + rest
            for n, (line, _, rest) in enumerate(each.partition(b",") for each in bars(times()).splitlines(True))
        )
    )
    params = intake.with_dataset(config.read(ROOT / "params.yaml"), intake.CHECKED, "forecast", {"calendar": "none"})
    account = intake.inspect(intake.collect([str(path)]), params, intake.CHECKED)
    assert (account["kept"], account["calendar"], account["files"][0]["read_as"]["times"]) == (400, {"name": "none"}, "UTC")
