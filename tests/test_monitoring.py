"""Monitoring: what is said of a model in service comes from sessions that it never saw, and a retraining has a reason that is true."""

from __future__ import annotations

import csv
import datetime as dt
import json

import clones
import exports
import numpy as np
import projects
import pyarrow as pa
import pytest

from longshort import clock, config, editing, journal, serving, sessions, storage, tracking
from longshort.errors import DataRefused, UsageError
from longshort.evaluation import forecasts
from longshort.monitoring import hindsight, record, trend, watch
from longshort.registry import decision, ledger, promotion, versions
from longshort.windows.prices import make_series
from longshort.windows.stage import session_numbers, tidy_columns

MODEL = "forecast-goog"
CUT_OFF = "2008-10-14"
NOW = dt.datetime(2008, 12, 1, tzinfo=dt.UTC)


def days_behind(count):
    return [day.date() for day in sessions.sessions("XNYS", dt.date(2008, 10, 15), dt.date(2009, 6, 30))[:count]]


def more(table, count, scale=1.0, drift=0.0, seed=0):
    """The table with so many sessions behind it, in which prices move ``scale`` times as much as they mostly did."""
    draw = np.random.default_rng(seed)
    close = float(table["close"][-1].as_py()) * np.exp(np.cumsum(draw.normal(drift, 0.02 * scale, count)))
    width = 1 + draw.uniform(0.005, 0.03, count) * scale
    rows = {"ticker": ["GOOG"] * count, "date": days_behind(count), "open": close, "high": close * width, "low": close / width}
    rows |= {"close": close, "adj_close": close, "volume": [5_000_000] * count}
    return pa.concat_tables([table, pa.table({name: pa.array(rows[name], table.schema.field(name).type) for name in table.schema.names})])


def lay(root, table):
    """Put a table where ingestion would leave it."""
    with storage.new_artefact(root / "data/ingestion/goog") as folder:
        storage.write_table(folder / "table.parquet", table)
        storage.write_json(folder / "account.json", {"calendar": {"name": "XNYS", "stated": True}, "files": []})


@pytest.fixture
def project(retrained, tmp_path):
    return clones.copy(retrained, tmp_path / "project")


@pytest.fixture
def table(project):
    return serving.read_tidy(project, "goog")


def look(root, now=NOW):
    params = config.read(root / "params.yaml")
    return watch.look(tracking.connect(root, params), root, params, "goog", now)


def served(root):
    params = config.read(root / "params.yaml")
    client = tracking.connect(root, params)
    version, alias = promotion.serving_version(client, root, MODEL)
    return versions.open_version(client, version), {"model": MODEL, "version": str(version.version), "alias": alias}


def starred(seen):
    return {check.name for check in seen.checks if check.drifted}


# --- the watch --------------------------------------------------------------------------------


def test_before_a_session_has_come_there_is_nothing_to_retrain_on(project):
    seen = look(project)
    assert (seen.retrain, seen.count, seen.skill) == (False, 0, None)
    assert seen.reason == f"no session has come since the last retraining, whose data end at {CUT_OFF}"


def test_a_few_sessions_are_too_few_to_compare(project, table):
    lay(project, more(table, 9, scale=9.0))
    seen = look(project)
    assert not seen.retrain and seen.reason == "9 sessions have come since the last retraining, asked 10 (`monitoring.min_sessions`)"
    assert seen.skill is not None and 0 <= seen.held <= 1  # they are scored all the same


def test_sessions_like_those_before_call_for_nothing(project, table):
    lay(project, more(table, 25))
    seen = look(project)
    assert not seen.retrain and not starred(seen) and seen.reason == "nothing has drifted"
    compared = {"PSI of returns", "KS distance of returns", "errors", "lead", "coverage"}
    assert {check.name for check in seen.checks} == {"staleness", "schema", *compared}


def test_a_change_of_regime_calls_for_a_retraining_and_says_why(project, table):
    lay(project, more(table, 25, scale=6.0))
    seen = look(project)
    assert seen.retrain and {"PSI of returns", "errors"} <= starred(seen)
    assert seen.reason.startswith("drift (PSI of returns, ") and "errors rose by" in seen.reason


def test_a_level_that_nobody_has_seen_before_is_no_drift(project, table):
    """Prices rise without end; what drifts by nature calls for nothing."""
    risen = more(table, 25, drift=0.004)
    assert risen["close"][-1].as_py() > 1.05 * table["close"][-1].as_py()
    lay(project, risen)
    assert not starred(look(project))


def test_a_ticker_and_a_column_that_are_gone_are_told_and_cause_no_retraining(project, table):
    grown = more(table, 25)
    other = table.set_column(0, "ticker", pa.array(["OLD"] * len(table), table.schema.field("ticker").type))
    volume = pa.array([None if day > dt.date(2008, 10, 14) else 1 for day in grown["date"].to_pylist()], table.schema.field("volume").type)
    place = grown.schema.names.index("volume")
    lay(project, pa.concat_tables([grown.set_column(place, grown.schema.field("volume"), volume), other]))
    seen = look(project)
    (schema,) = (check.said for check in seen.checks if check.name == "schema")
    assert schema == f"1 tickers have no row since {CUT_OFF} (OLD); 'volume' has no value since {CUT_OFF}" and not seen.retrain


def test_data_that_have_stopped_are_told_and_cause_no_retraining(project, table):
    lay(project, more(table, 12))
    account = json.loads((project / "data/ingestion/goog/account.json").read_text())
    with storage.new_artefact(project / "data/ingestion/goog") as folder:
        storage.write_table(folder / "table.parquet", more(table, 12))
        last = str(days_behind(12)[-1])
        storage.write_json(folder / "account.json", {**account, "files": [{"read_as": {"last": last}}]})
    seen = look(project, dt.datetime(2009, 3, 2, tzinfo=dt.UTC))
    assert not seen.retrain and f"no new rows since {last} in goog" in seen.reason


def test_what_was_never_retrained_is_not_watched(project):
    ledger.place(project).unlink()
    with pytest.raises(UsageError, match=r"Run `longshort run` first\.$"):
        look(project)


# --- intervals around what is not known ---------------------------------------------------------


def test_the_next_interval_is_the_one_that_hindsight_gives_that_session(project, table):
    model, _ = served(project)
    grown = more(table, 40, scale=2.0)
    for known in (1046, 1060, 1080):
        told = serving.forecast(model, grown.slice(0, known), "GOOG")
        rows = tidy_columns(grown)
        series = make_series(rows, forecasts.spec_of(model), session_numbers("XNYS", rows["date"]))
        before, since = forecasts.since_learning(model, series, 1)
        row = int(np.flatnonzero(since.targets == np.datetime64(told.sessions[0]))[0])
        low, high = told.levels[0] + forecasts.bands(before, since, 0.9, "pid")[row, 0] * told.last_price
        assert (told.low[0], told.high[0]) == pytest.approx((low, high)) and low < high


def test_farther_sessions_have_wider_intervals_and_their_own_dates(project, table):
    model, _ = served(project)
    told = serving.forecast(model, table, "GOOG", steps=8)
    widths = np.array(told.high) - np.array(told.low)
    assert told.sessions == days_behind(8) and len(told.levels) == 8
    assert widths[-1] > 1.5 * widths[0] and told.levels[0] == serving.forecast(model, table, "GOOG").levels[0]


def test_a_model_that_does_not_say_where_its_parts_lie_has_no_interval(project, table):
    import dataclasses

    model, _ = served(project)
    card = {name: value for name, value in model.card.items() if name != "extent"}
    told = serving.forecast(dataclasses.replace(model, card=card), table, "GOOG")
    assert (told.low, told.high) == ([None], [None]) and told.levels


# --- what was written before -------------------------------------------------------------------


def write(root, table):
    model, by = served(root)
    return record.write(root, "goog", table, model, by, 0.9)


def test_forecasts_are_written_once_and_the_newest_lie_in_a_table(project, table):
    with clock.at(dt.datetime(2008, 10, 14, 22, 30)):
        assert write(project, table) == (1, []) == write(project, table)
    (entry,) = journal.read(record.place(project, "goog"))
    assert entry["time"] == "2008-10-14T22:30:00Z" and entry["forecasts"][0]["sessions"] == ["2008-10-15"]
    (row,) = csv.DictReader(record.newest(project, "goog").open())
    assert (row["ticker"], row["session"], row["version"]) == ("GOOG", "2008-10-15", "1")
    assert float(row["low"]) < float(row["forecast"]) < float(row["high"])


def test_what_was_written_is_scored_and_not_what_would_be_said_today(project, table):
    write(project, table)
    path = record.place(project, "goog")
    entry = journal.read(path)[0]
    path.unlink()
    entry["forecasts"][0]["levels"] = [1.0]  # absurd, so that it is seen
    journal.append(path, entry)
    lay(project, more(table, 12))
    seen = look(project)
    assert seen.written == 1 and seen.skill < -1


def test_a_ticker_that_cannot_be_forecast_is_told_and_the_others_are_written(project, table):
    short = table.slice(len(table) - 3).set_column(0, "ticker", pa.array(["NEW"] * 3, table.schema.field("ticker").type))
    count, silent = write(project, pa.concat_tables([table, short]))
    assert count == 1 and [said[:22] for said in silent] == ["no forecast of NEW: NE"]


def test_nobody_is_answered_from_data_that_validation_refused(project):
    place = project / "data/validation/goog/result.json"
    storage.write_json(place, {**json.loads(place.read_text()), "success": False})
    with pytest.raises(DataRefused, match="validation refused these data"):
        serving.read_tidy(project, "goog")


# --- hindsight and trend ------------------------------------------------------------------------


def entry(event, version, cut_off=None, **more):
    return {"event": event, "model": MODEL, "version": version, **({"cut_off": cut_off} if cut_off else {}), **more}


def test_an_era_goes_from_one_retraining_to_the_next_and_knows_who_served():
    told = [
        entry(ledger.RETRAINED, "1", "2017-01-31", skills=[0.01], reason="asked for"),
        entry(ledger.REFUSED, "1"),
        entry(ledger.RETRAINED, "2", "2017-02-28", skills=[0.02], reason="scheduled"),
        entry(ledger.PROMOTED, "2"),
        entry(ledger.RETRAINED, "3", "2017-02-28", skills=[0.02], reason="drift"),
        entry(ledger.REFUSED, "3"),
    ]
    found = hindsight.eras(told, np.datetime64("2017-03-31"))
    assert [(str(era.after), str(era.until), era.newest, era.champion) for era in found] == [
        ("2017-01-31", "2017-02-28", "1", None),
        ("2017-02-28", "2017-03-31", "3", "2"),
    ]


def test_where_nobody_served_the_naive_forecast_did_and_its_skill_is_nought(project, table):
    lay(project, more(table, 30))
    params = config.read(project / "params.yaml")
    found = trend.read(tracking.connect(project, params), project, params, "goog")
    by_name = {policy.name: policy for policy in found.policies}
    assert (found.sessions, found.forecasts) == (30, 30)
    assert by_name["served"].skill == 0 and by_name["served"].p_naive is None
    assert [(point.live, point.serves, point.promoted) for point in found.points] == [(0.0, "nobody", False)]
    assert by_name["never retrained"].rmse == by_name["always the newest"].rmse  # there was one retraining


def test_policies_are_scored_on_sessions_behind_the_retraining_alone_and_as_anybody_would(project, table):
    grown = more(table, 30)
    lay(project, grown)
    params = config.read(project / "params.yaml")
    found = trend.read(tracking.connect(project, params), project, params, "goog")
    closes = np.array(grown["close"].to_pylist())[-31:]
    by_name = {policy.name: policy for policy in found.policies}
    assert by_name["naive"].rmse == pytest.approx(np.sqrt(np.square(closes[1:] / closes[:-1] - 1).mean()))
    model, _ = served(project)
    one_by_one = [serving.forecast(model, grown.slice(0, len(table) + place), "GOOG").levels[0] for place in range(30)]
    errors = (np.array(one_by_one) - closes[1:]) / closes[:-1]
    assert by_name["never retrained"].rmse == pytest.approx(np.sqrt(np.square(errors).mean()), rel=1e-5)


def test_the_trend_is_a_page_a_picture_and_from_the_second_retraining_on_a_run_of_mlflow_whose_points_come_once(project, table):
    lay(project, more(table, 30))
    params = config.read(project / "params.yaml")
    client, origin = tracking.connect(project, params), tracking.origin_of(project, "none")
    experiment = [client.get_experiment_by_name("goog").experiment_id]

    def keep():
        trend.keep(client, project, params, trend.read(client, project, params, "goog"), origin)
        return client.search_runs(experiment, "tags.`longshort.kind` = 'trend'")

    assert keep() == []
    page = project / "reports/trend/goog.md"
    assert page.read_text().startswith("# goog: retrainings") and "never retrained" in page.read_text()
    assert page.with_suffix(".png").read_bytes().startswith(b"\x89PNG")

    later = str(days_behind(20)[-1])
    ledger.note(project, ledger.RETRAINED, MODEL, version="1", cut_off=later, skills=[0.01, 0.03], reason="scheduled")
    keep()
    (run,) = keep()
    points = client.get_metric_history(run.info.run_id, "retrained_skill")
    assert [dt.datetime.fromtimestamp(point.timestamp / 1000, dt.UTC).date().isoformat() for point in points] == [CUT_OFF, later]
    assert points[1].value == pytest.approx(0.02)
    (live,) = client.get_metric_history(run.info.run_id, "served_skill")
    assert live.value == 0 and run.data.tags["git_commit"] == origin.git_commit
    assert {file.path for file in client.list_artifacts(run.info.run_id)} == {"goog.md", "goog.png"}


# --- the occasions ------------------------------------------------------------------------------


def test_a_retraining_writes_its_reason_and_what_its_seeds_came_to(retrained):
    told = [entry for entry in ledger.history(retrained) if entry["event"] == ledger.RETRAINED]
    assert {(entry["model"], entry["reason"]) for entry in told} == {(MODEL, "asked for"), ("language-model-topics", "asked for")}
    (prices,) = (entry for entry in told if entry["model"] == MODEL)
    assert prices["cut_off"] == CUT_OFF and len(prices["skills"]) == 2


def test_data_end_with_the_last_session_that_a_window_asks_for(tmp_path):
    root = projects.project(tmp_path / "project", "windows.forecast.horizon=3", "windows.forecast.gap=3")
    projects.take_in(root, "goog", projects.prices(projects.days(300)))
    projects.run_stage(root, "windows", "goog")
    assert decision.data_end(root, "goog") == str(projects.days(300)[-1])


def test_in_a_replay_the_ledger_bears_the_time_that_is_replayed_and_the_clocks(tmp_path):
    with clock.at(dt.datetime(2017, 3, 1, 22, 30)):
        ledger.note(tmp_path, ledger.REGISTERED, MODEL, version="1")
    ledger.note(tmp_path, ledger.REGISTERED, MODEL, version="2")
    replayed, now = ledger.history(tmp_path)
    assert replayed["time"] == "2017-03-01T22:30:00Z" and replayed["written"][:4] == now["time"][:4] == str(dt.date.today().year)
    assert "written" not in now


@pytest.mark.long
def test_watching_takes_in_retrains_on_a_change_and_keeps_what_serves_when_data_are_refused(own_prices, tmp_path):
    """The three occasions over an export that grows: by too little to compare, wild, broken."""
    root = clones.copy(own_prices, tmp_path / "project")
    mine = tmp_path / "AAPL.csv"
    exports.write_prices(mine, 422)
    lines = mine.read_text().splitlines()
    editing.assign(root / "params.yaml", [f"ingestion.sources={{aapl: [{mine}]}}"])
    before = [entry for entry in ledger.history(root) if entry["event"] == ledger.RETRAINED]

    mine.write_text("\n".join(lines[:-14]) + "\n")
    calm = clones.longshort(root, "watch")
    assert "not retrained: 8 sessions have come since the last retraining, asked 10" in calm.stdout

    wild = [line.split(",") for line in lines[-14:]]
    start = float(lines[-15].split(",")[4])
    for row in wild:
        row[1:6] = [f"{start * (float(cell) / start) ** 5:.4f}" for cell in row[1:6]]
    grown = [*lines[:-14], *(",".join(row) for row in wild)]
    mine.write_text("\n".join(grown) + "\n")
    told = clones.longshort(root, "watch")
    assert "retrained: drift (" in told.stdout and "* errors" in told.stdout
    after = [entry for entry in ledger.history(root) if entry["event"] == ledger.RETRAINED]
    assert len(after) == len(before) + 1 and after[-1]["reason"].startswith("drift (")
    assert "drift (" in clones.main(root, "trend").stdout

    clones.longshort(root, "forecast")
    (row,) = csv.DictReader(record.newest(root, "aapl").open())
    written = record.newest(root, "aapl").read_bytes()
    history, standing = ledger.history(root), record.place(root, "aapl").read_bytes()
    mine.write_text("\n".join([*grown[:-10], *(line.replace(",", ",-", 4) for line in grown[-10:])]) + "\n")
    for occasion in ("watch", "forecast"):
        refused = clones.longshort(root, occasion, code=3)
        assert "AAPL.csv:" in refused.stderr
    assert (ledger.history(root), record.newest(root, "aapl").read_bytes()) == (history, written)
    assert record.place(root, "aapl").read_bytes() == standing and row["model"] == "forecast-aapl"
