"""The system `anomaly`: what a rate that is set comes to, what counts as found, what is known, and what is refused."""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import replace

import numpy as np
import projects
import pytest

from longshort import config
from longshort.errors import DataRefused
from longshort.evaluation import alarms
from longshort.ingestion import watched
from longshort.systems import anomaly, planted
from longshort.systems.fitting import Fitted
from longshort.systems.occasion import Occasion

pytestmark = pytest.mark.usefixtures("one_thread")
FILE, LABELS = "folder/one.csv", watched.LABELS
ROWS = [f"2024-01-01 00:{minute:02}:00,{minute / 2}" for minute in range(10)]


# --- alarms -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "rate"), [(99, 0.05), (199, 0.005), (250, 0.02)])
def test_of_steps_like_those_that_set_it_a_share_of_the_rate_is_above_a_threshold(count, rate):
    draw = np.random.Generator(np.random.Philox(0))
    trials = draw.exponential(size=(4000, count + 20))
    above = [(own[count:] > alarms.threshold(own[:count], rate)).mean() for own in trials]
    lowest = math.floor((count + 1) * rate) / (count + 1)  # ranks are whole
    assert np.mean(above) == pytest.approx(lowest, abs=4 * np.std(above) / math.sqrt(len(above)))


def test_a_rate_that_so_few_scores_cannot_set_raises_no_alarm():
    scores = np.arange(198.0)
    assert alarms.threshold(scores, 0.005) == math.inf and alarms.threshold(np.arange(199.0), 0.005) == 198


def test_a_rolling_z_score_sees_the_steps_before_alone():
    values = np.random.Generator(np.random.Philox(1)).normal(size=40)
    scores = alarms.rolling_z(values, 7)
    assert np.isnan(scores[:7]).all()
    for step in range(7, 40):
        before = values[step - 7 : step]
        assert scores[step] == pytest.approx(abs(values[step] - before.mean()) / before.std())
    still = alarms.rolling_z(np.array([0.1] * 5 + [0.1, 0.3]), 3)
    assert still[3:].tolist() == [0, 0, 0, math.inf]


def test_windows_are_found_by_an_alarm_in_them_and_elsewhen_by_the_same_alarms_shifted():
    raised = np.zeros(30, np.bool_)
    raised[[4, 5, 17]] = True
    windows = [(5, 9), (9, 12), (16, 18)]
    assert alarms.found(raised, windows) == 2
    shifts = [np.mean([np.roll(raised, k)[a:b].any() for k in range(30)]) for a, b in windows]
    assert alarms.found_elsewhen(raised, windows) == pytest.approx(sum(shifts))
    assert alarms.outside(30, windows).sum() == 30 - 4 - 3 - 2


# --- series -------------------------------------------------------------------------------------


def test_planted_anomalies_are_where_their_windows_are_and_none_is_known():
    made = planted.series(2400, seed=0)
    again, other = planted.series(2400, seed=0), planted.series(2400, seed=1)
    assert all(np.array_equal(own.values, same.values) for own, same in zip(made, again, strict=True))
    assert not np.array_equal(made[0].values, other[0].values)
    for own in made:
        assert len(own.windows) == 4 and all(b <= c for (_, b), (c, _) in itertools.pairwise(own.windows))
        assert own.windows[0][0] > anomaly.Stretches.of(2400).known and own.windows[-1][1] <= 2400
    (flat,) = (own for own in made if own.name == "flat")
    still = np.flatnonzero(np.diff(flat.values) == 0)
    assert len(still) == 4 * (planted.LENGTH - 1) and all(any(a <= step < b for a, b in flat.windows) for step in still)


def test_nothing_behind_the_known_steps_reaches_a_scaler_a_window_or_a_threshold():
    values = planted.series(2400, seed=0)[0].values
    stretches = anomaly.Stretches.of(len(values))
    changed = values.copy()
    changed[stretches.learned :] = 1e6
    before, after = anomaly.task_of(values), anomaly.task_of(changed)
    assert np.array_equal(before.values[: stretches.learned], after.values[: stretches.learned])
    for part, last in (("train", stretches.trained), ("validation", stretches.learned)):
        assert before.starts[part].tolist() and before.starts[part][-1] + before.lookback < last  # its last target
    scores = np.abs(values)
    changed = scores.copy()
    changed[stretches.known :], changed[: stretches.learned] = 1e6, 1e6
    assert anomaly.limit(scores, 0.005) == anomaly.limit(changed, 0.005)


def test_alarms_begin_behind_what_is_known_and_a_window_that_begins_there_does_not_count():
    scores = np.linspace(0, 1, 2000)
    scores[:100] = 2  # on what it learned from it may err as it likes
    assert np.flatnonzero(anomaly.raised(scores, 0.01)).tolist() == list(range(300, 2000))
    own = watched.Watched("a", np.zeros(2000, "datetime64[s]"), scores, ((290, 310), (500, 600), (700, 720)))
    count = anomaly.Count.of([own, own], [scores, scores], 0.01)
    assert (count.windows, count.found, count.free, count.false) == (4, 4, *[2 * (1700 - 10 - 100 - 20)] * 2)
    assert count.thousand == 1000 and count.share(count.found) == 100


# --- files --------------------------------------------------------------------------------------


def folder(tmp_path, rows=ROWS, labels=None, header="timestamp,value"):
    (tmp_path / FILE).parent.mkdir(exist_ok=True)
    (tmp_path / FILE).write_text("\n".join([header, *rows]) + "\n")
    given = {FILE: [["2024-01-01 00:03:00.000000", "2024-01-01 00:05:30.000000"]]} if labels is None else labels
    (tmp_path / LABELS).write_text(given if isinstance(given, str) else json.dumps(given))
    return tmp_path


def test_a_series_is_read_with_its_windows_as_steps(tmp_path):
    (own,) = watched.read_folder(folder(tmp_path))
    assert own.values.tolist() == [minute / 2 for minute in range(10)] and own.windows == ((3, 6),) and own.name == FILE


def test_clocks_that_are_put_back_repeat_their_steps(tmp_path):
    (own,) = watched.read_folder(folder(tmp_path, [*ROWS[:4], *ROWS[2:]]))
    assert len(own.values) == 12 and own.windows == ((3, 8),)


def test_line_ends_of_any_kind_are_read(tmp_path):
    place = folder(tmp_path) / FILE
    place.write_bytes(place.read_bytes().replace(b"\n", b"\r"))
    assert watched.read_folder(tmp_path)[0].windows == ((3, 6),)


BAD = {
    "a value": ({"rows": [*ROWS[:2], "2024-01-01 00:02:00,1.x"]}, r"one\.csv:4:21: '1\.x' is no number"),
    "a value that is none": ({"rows": [*ROWS[:2], "2024-01-01 00:02:00,nan"]}, r"one\.csv:4:21: 'nan' is no number"),
    "a time": ({"rows": [ROWS[0], "2024-13-01 00:02:00,1"]}, r"one\.csv:3:1: '2024-13-01 00:02:00' is no time"),
    "a zone": ({"rows": ["2024-01-01 00:02:00+01:00,1"]}, r"one\.csv:2:1: .* is no time\. Write it .* without a zone"),
    "a cell too many": ({"rows": ["2024-01-01 00:02:00,1,5"]}, r"one\.csv:2:1: 3 cells"),
    "a header": ({"header": "time,value"}, r"one\.csv:1:1: its header is 'time,value'"),
    "no such file": ({"labels": {"two.csv": []}}, r"combined_windows\.json: it names two\.csv, and there is no such file"),
    "a file elsewhere": ({"labels": {"../one.csv": []}}, r"it names \.\./one\.csv"),
    "a name with a zero": ({"labels": {"a\0b.csv": []}}, r"it names a\\x00b\.csv, and there is no such file"),
    "a long name": ({"labels": {"a" * 400: []}}, "it names a{80}…, and there is no such file"),
    "deep labels": ({"labels": "[" * 100_000}, r"combined_windows\.json: it is nested deeper than can be read"),
    "an open quotation": ({"rows": [ROWS[0], '"2024-01-01 00:02:00,1', *30_000 * [ROWS[1]]]}, r"one\.csv:3:1: a row that cannot be read"),
    "a short open quotation": ({"rows": [ROWS[0], '"2024-01-01 00:02:00,1', *ROWS[2:]]}, r"one\.csv:3:1: a row that cannot be read"),
    "no JSON": ({"labels": "{,}"}, r"combined_windows\.json:1:2: no JSON"),
    "no object": ({"labels": []}, "it names no series"),
    "no list": ({"labels": {FILE: 3}}, "3 is no list of windows"),
    "half a window": ({"labels": {FILE: [["2024-01-01 00:03:00"]]}}, "is no window"),
    "a window of numbers": ({"labels": {FILE: [[1, 2]]}}, r"\[1, 2\] is no window"),
    "a window back to front": ({"labels": {FILE: [["2024-01-01 00:05:00", "2024-01-01 00:03:00"]]}}, "is no window"),
    "a window of another year": ({"labels": {FILE: [["2023-01-01", "2023-01-02"]]}}, "no row of the file lies in the window"),
}


@pytest.mark.parametrize("kind", BAD)
def test_what_cannot_be_read_is_refused_with_its_place(tmp_path, kind):
    given, said = BAD[kind]
    with pytest.raises(DataRefused, match=said):
        watched.read_folder(folder(tmp_path, **given))


def occasion(root, data, **settings):
    projects.project(root)
    return Occasion(root, config.read(root / "params.yaml"), "anomaly", data, True, settings, (0,), lambda said: None)


def test_a_series_that_is_too_short_and_a_network_that_reads_ahead_are_refused(tmp_path):
    (tmp_path / "data").mkdir()
    with pytest.raises(DataRefused, match=r"one\.csv: 10 steps, and 2,207 are needed: the threshold is set on some of the first 15%"):
        anomaly.run(occasion(tmp_path / "a", folder(tmp_path / "data")))


@pytest.mark.parametrize("taken", [True, False])
def test_a_series_without_a_step_at_which_an_alarm_could_be_false_is_refused(tmp_path, monkeypatch, taken):
    (own,) = planted.series(anomaly.LEAST, seed=0)[:1]
    wide = replace(own, windows=((0, anomaly.LEAST - taken),))
    monkeypatch.setattr(planted, "series", lambda *_, **__: [wide])
    if taken:
        assert len(anomaly._read(occasion(tmp_path, None))[0]) == 1
    else:
        with pytest.raises(DataRefused, match="every step behind the first 15% lies in a window, so no alarm there can be false"):
            anomaly._read(occasion(tmp_path, None))


def test_the_shortest_series_that_is_taken_has_windows_to_learn_and_to_choose_by():
    task = anomaly.task_of(np.sin(np.arange(float(anomaly.LEAST))))
    assert len(task.starts["train"]) > 1 and len(task.starts["validation"]) > 1


def test_the_shortest_series_that_is_taken_can_raise_an_alarm_and_one_step_less_cannot():
    limits = [anomaly.limit(np.arange(float(steps)), anomaly.RATE) for steps in (anomaly.LEAST - 1, anomaly.LEAST)]
    assert [math.isinf(each) for each in limits] == [True, False]


def test_where_no_window_can_be_found_there_is_no_share_of_them(tmp_path, monkeypatch):
    quiet = [replace(own, windows=()) for own in planted.series(anomaly.LEAST, seed=0)[:1]]
    monkeypatch.setattr(planted, "series", lambda *_, **__: quiet)
    monkeypatch.setattr(anomaly, "fit", lambda *_: ([Fitted(0, None, [])], 1.0))
    monkeypatch.setattr(anomaly, "errors_of", lambda *_: np.linspace(0, 1, anomaly.LEAST))
    outcome = anomaly.run(occasion(tmp_path, None))
    assert [figure.name.partition(",")[0] for figure in outcome.figures] == ["false alarms a 1"]
    assert "windows" not in outcome.figures[0].name
