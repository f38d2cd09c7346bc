"""Validation: every expectation is shown a table that only it is there to refuse."""

import json
import re
from datetime import date
from pathlib import Path

import matplotlib.cbook
import numpy as np
import projects
import pyarrow as pa
import pytest
import time_machine

from longshort import config, storage
from longshort.config import CaptionValidation, ClassifyValidation, PriceValidation, TagValidation, TextValidation, TranslateValidation
from longshort.errors import ConfigError, CorruptArtefact, SuiteFailed, UsageError
from longshort.ingestion.text import ROW
from longshort.validation import datadocs, frames, judgement, stage, suites

PARAMS = config.read(projects.PARAMS)
PRICE_SPEC = PriceValidation(calendar="XNYS", min_sessions=3, tolerance=0.005)
TEXT_SPEC = TextValidation(min_words=20, min_vocabulary=5, max_repeated_lines=0.2)
THURSDAY, FRIDAY, MONDAY = date(2004, 8, 19), date(2004, 8, 20), date(2004, 8, 23)
LONG_LINE = "one two three four five six seven eight nine ten eleven twelve thirteen"

TIDY_PRICES = {
    "ticker": ["A", "A", "A", "B", "B", "B"],
    "date": [THURSDAY, FRIDAY, MONDAY] * 2,
    "open": [10.0, 11.0, 12.0] * 2,
    "high": [13.0] * 6,
    "low": [9.0] * 6,
    "close": [11.0, 12.0, 10.0] * 2,
    "adj_close": [5.5, 6.0, None] * 2,
    "volume": [100, None, 0] * 2,
}
PRICE_TYPES = dict(zip(TIDY_PRICES, [pa.string(), pa.date32(), *[pa.float64()] * 5, pa.int64()], strict=True))
TIDY_TEXTS = {"document": ["a", "b"], "text": [f"{LONG_LINE}\n\tshort line", LONG_LINE.upper()]}


def prices(**changes):
    """The tidy prices; a change is a whole column, or {row: value}."""
    columns = dict(TIDY_PRICES)
    for name, change in changes.items():
        cells = change if isinstance(change, list) else [change.get(i, cell) for i, cell in enumerate(columns[name])]
        columns[name] = cells
    return pa.table({name: pa.array(cells, PRICE_TYPES[name]) for name, cells in columns.items()})


def texts(**changes):
    return pa.table({name: pa.array(cells, pa.string()) for name, cells in (TIDY_TEXTS | changes).items()})


def retyped(table, column, values):
    return table.set_column(table.column_names.index(column), column, pa.array(values))


def judge_prices(table):
    return judgement.judge(suites.price_suite(PRICE_SPEC), frames.from_table(table), lambda frame: frames.prices(frame, "XNYS"))


def judge_texts(table):
    return judgement.judge(suites.text_suite(TEXT_SPEC), frames.from_table(table), frames.texts)


def failures(judged):
    return [finding.sentence for finding in judged.findings if not finding.success]


def google():
    with matplotlib.cbook.get_sample_data("goog.npz") as file:
        found = file["price_data"]
    columns = {name: pa.array(found[name], PRICE_TYPES[name]) for name in TIDY_PRICES if name != "ticker"}
    return pa.table({"ticker": pa.array(["GOOG"] * len(found)), **columns})


# --- each expectation, and the table that it refuses -------------------------------------------

WITHIN = "lies within low and high, or outside them by 0.005 of the price at most."
BAD_PRICES = {
    "The columns are ticker, date, open, high, low, close, adj_close, volume, and no others.": prices().drop_columns("volume"),
    "ticker is of type StringDtype.": retyped(prices(), "ticker", range(6)),
    "date is of type datetime64[ms].": retyped(prices(), "date", ["2004-08-19"] * 6),
    **{f"{c} is of type float64.": retyped(prices(), c, ["10.0"] * 6) for c in ("open", "high", "low", "close", "adj_close")},
    "volume is of type Int64Dtype.": retyped(prices(), "volume", [1.5] * 6),
    "The table has 3 rows or more.": prices().slice(0, 2),
    **{f"{c} is never missing.": prices(**{c: {1: None}}) for c in ("ticker", "date", "open", "high", "low", "close")},
    **{f"{c} is finite.": prices(**{c: {1: np.inf}}) for c in ("open", "high", "low", "close", "adj_close")},
    **{f"{c} is above 0.": prices(**{c: {1: 0.0}}) for c in ("open", "high", "low", "close")},
    "Every ticker has 3 sessions or more.": prices(ticker=["A", "A", "A", "A", "B", "B"]),
    "high is never below low.": prices(high={1: 8.0}),
    f"open {WITHIN}": prices(open={1: 13.1}),
    f"close {WITHIN}": prices(close={1: 8.9}),
    "Every date is a session of XNYS.": prices(date={1: date(2004, 8, 21)}),
    "No ticker has a date twice.": prices(date={1: THURSDAY}),
    "Rows are in order: by ticker, oldest date first.": prices(date={1: MONDAY, 2: FRIDAY}),
    "volume is 0 or more where it is known.": prices(volume={1: -1}),
}
BAD_TEXTS = {
    "The columns are document, text, and no others.": texts().append_column("more", pa.array(["x", "y"])),
    **{f"{c} is of type StringDtype.": retyped(texts(), c, [1, 2]) for c in TIDY_TEXTS},
    "There is a document.": texts().slice(0, 0),
    "document is never missing.": texts(document=["a", None]),
    "text is never missing.": texts(text=[LONG_LINE * 2, None]),
    "No two documents have the same name.": texts(document=["a", "a"]),
    "No document is without words.": texts(text=[LONG_LINE * 2, " \n...\n"]),
    "No character was lost to a wrong encoding (U+FFFD).": texts(text=[LONG_LINE * 2, "caf\ufffd"]),
    "There are no control characters but tabs, line breaks and page breaks.": texts(text=[LONG_LINE * 2, "nul\x00"]),
    "All documents together have 20 words or more.": texts(text=["a few", "words only"]),
    "All documents together have 5 different words or more.": texts(text=["no no no " * 10, "No."]),
    "Of the lines of 13 words and more, a share of 0.2 at most repeats an earlier one.": texts(text=[LONG_LINE, LONG_LINE]),
}  # fmt: skip


def test_the_tables_that_are_mutated_pass_as_they_are():
    assert judge_prices(prices()).success
    assert judge_texts(texts()).success


def test_every_expectation_has_a_table_that_it_refuses():
    for suite, bad in ((suites.price_suite(PRICE_SPEC), BAD_PRICES), (suites.text_suite(TEXT_SPEC), BAD_TEXTS)):
        assert sorted(rule.description for rule in suite.shape + suite.content) == sorted(bad)


@pytest.mark.few(4)
@pytest.mark.parametrize("sentence", BAD_PRICES)
def test_a_price_table_is_refused_by_the_expectation_that_it_breaks(sentence):
    assert sentence in failures(judge_prices(BAD_PRICES[sentence]))


@pytest.mark.parametrize("sentence", BAD_TEXTS)
def test_a_text_table_is_refused_by_the_expectation_that_it_breaks(sentence):
    assert sentence in failures(judge_texts(BAD_TEXTS[sentence]))


def test_rules_of_their_own_break_alone():
    for sentence in ("volume is 0 or more where it is known.", "adj_close is finite.", "Every date is a session of XNYS."):
        assert failures(judge_prices(BAD_PRICES[sentence])) == [sentence]


# --- what expectations let through when nobody asks ----------------------------------------------


def test_an_empty_table_is_refused():
    assert failures(judge_prices(prices().slice(0, 0))) == ["The table has 3 rows or more."]
    assert "There is a document." in failures(judge_texts(texts().slice(0, 0)))


@pytest.mark.few(2)
@pytest.mark.parametrize("column", ["open", "high", "low", "close"])
@pytest.mark.parametrize("nothing", [None, np.nan])
def test_a_price_that_is_missing_throughout_is_refused(column, nothing):
    assert failures(judge_prices(prices(**{column: [nothing] * 6}))) == [f"{column} is never missing."]


def test_a_table_of_nothing_but_blanks_is_refused():
    judged = judge_prices(prices(**{name: [None] * 6 for name in TIDY_PRICES}))
    assert failures(judged) == [f"{name} is never missing." for name in ("ticker", "date", "open", "high", "low", "close")]


def test_an_untyped_empty_column_is_refused_for_its_type():
    assert failures(judge_prices(retyped(prices(), "open", [None] * 6))) == ["open is of type float64."]


def test_a_table_without_columns_is_refused_for_that_alone():
    judged = judge_prices(pa.table({}))
    assert len(failures(judged)) == 1
    assert len(judged.not_asked) == len(BAD_PRICES) - 1


def test_tickers_out_of_order_are_refused():
    assert failures(judge_prices(prices(ticker=["B"] * 3 + ["A"] * 3))) == ["Rows are in order: by ticker, oldest date first."]


def test_open_and_close_may_lie_outside_by_the_tolerance():
    assert judge_prices(prices(open={1: 13.06}, close={1: 8.96})).success


def test_a_volume_and_an_adjusted_close_may_be_unknown_throughout():
    assert judge_prices(prices(volume=[None] * 6, adj_close=[None] * 6)).success


def test_a_finding_names_the_first_rows_and_counts_them_all():
    finding = next(f for f in judge_prices(prices(volume=[-1] * 6)).findings if not f.success)
    assert (finding.rows, finding.unexpected, finding.columns) == (6, 6, ["volume"])
    assert finding.examples[0] == {"row": 1, "ticker": "A", "date": "2004-08-19", "volume": -1}


@pytest.mark.few(4)
@pytest.mark.parametrize("sentence", BAD_PRICES)
def test_rows_that_break_a_rule_are_shown(sentence):
    finding = next(f for f in judge_prices(BAD_PRICES[sentence]).findings if f.sentence == sentence)
    assert len(finding.examples) == (finding.unexpected or 0)
    assert all({"row", "ticker", "date", *finding.columns} == set(example) for example in finding.examples)


def test_a_frame_keeps_the_table_that_it_was_made_from():
    frame = frames.from_table(prices())
    before = frame.copy()
    frames.prices(frame, "XNYS")
    assert frame.equals(before)


# --- the stage -----------------------------------------------------------------------------------


def test_rows_of_one_long_document_are_judged_as_one(monkeypatch):
    assert frames.GOES_ON == ROW // 2
    monkeypatch.setattr(frames, "GOES_ON", 60)
    whole = pa.table({"document": ["a", "b"], "text": [f"{LONG_LINE}\n\ufffd short line", LONG_LINE.upper()]})
    cut = whole["text"][0].as_py()
    place = cut.index(" ", 60) + 1
    pieces = pa.table({"document": ["a", "a", "b"], "text": [cut[:place], cut[place:], LONG_LINE.upper()]})
    one, other = (frames.texts(frames.from_table(table)).drop(columns="text").reset_index(drop=True) for table in (whole, pieces))
    assert one["document"].tolist() == other["document"].tolist() == ["a", "b"]
    assert one.drop(columns="corpus_repeated_lines").equals(other.drop(columns="corpus_repeated_lines"))
    twice = pa.table({"document": ["a", "a"], "text": ["short", f"{LONG_LINE} and ten more words that stand here"]})
    assert failures(judge_texts(twice)) == ["No two documents have the same name."]


def ingested(root, table, item="goog"):
    with storage.new_artefact(root / "data/ingestion" / item) as folder:
        storage.write_table(folder / "table.parquet", table)
    return root


def test_the_embedded_google_table_passes(tmp_path):
    stage.run(ingested(tmp_path, google()), "goog", PARAMS)
    place = tmp_path / "data/validation/goog"
    storage.verify(place)
    result = storage.read_json(place / "result.json")
    assert result["success"] and (result["dataset"], result["task"], result["rows"]) == ("goog", "forecast", 1047)
    assert set(result["libraries"]) == {"great_expectations", "exchange_calendars"}
    assert result["expectations"][1]["kwargs"] == {"column": "ticker", "type_list": ["StringDtype"]}
    assert "All 33 expectations are met" in (place / "index.html").read_text()


def test_the_embedded_topics_pass(tmp_path):
    from pydoc_data.topics import topics

    stage.run(ingested(tmp_path, texts(document=list(topics), text=list(topics.values())), "topics"), "topics", PARAMS)
    assert storage.read_json(tmp_path / "data/validation/topics/result.json")["success"]


def refused(tmp_path):
    table = google()
    high = table["high"].to_pylist()
    high[7], high[8] = 1.0, float("inf")
    ingested(tmp_path, table.set_column(3, "high", pa.array(high)))
    with pytest.raises(SuiteFailed) as caught:
        stage.run(tmp_path, "goog", PARAMS)
    return str(caught.value)


def test_a_refusal_says_what_where_and_how_to_mend_it(tmp_path):
    text = refused(tmp_path)
    for part in (
        "data/ingestion/goog/table.parquet, made from data/raw/goog: 4 of 33 expectations are not met.",
        "- high is never below low: 1 of 1,047 rows break it (expect_column_pair_values_a_to_be_greater_than_b)",
        "row 8, ticker GOOG, date 2004-08-30, high 1, low 102.01",
        "row 9, ticker GOOG, date 2004-08-31, high inf",
        "The rule is params.yaml: `validation.forecast.tolerance` is 0.005.",
        "Open data/validation/goog/index.html",
    ):
        assert part in text


def test_a_refused_table_leaves_its_findings_to_be_read(tmp_path):
    refused(tmp_path)
    place = tmp_path / "data/validation/goog"
    storage.verify(place)
    assert json.loads((place / "result.json").read_text(), parse_constant=pytest.fail)["success"] is False
    assert "4 of 33 expectations are not met" in (place / "index.html").read_text()


def test_two_folders_an_hour_apart_give_the_same_bytes(tmp_path):
    found = []
    for name, hour in (("a", 1), ("b", 2)):
        with time_machine.travel(f"2031-01-01T0{hour}:00:00Z"):
            refused(tmp_path / name)
        found.append({path.name: path.read_bytes() for path in (tmp_path / name / "data/validation/goog").iterdir()})
    assert set(found[0]) == {"index.html", "quality.html", "result.json", "manifest.json"}
    assert found[0] == found[1]
    assert not any(str(tmp_path).encode() in content for content in found[0].values())


def test_damaged_input_is_not_judged(tmp_path):
    path = ingested(tmp_path, prices()) / "data/ingestion/goog/table.parquet"
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(CorruptArtefact):
        stage.run(tmp_path, "goog", PARAMS)
    assert not (tmp_path / "data/validation").exists()


def test_an_unknown_data_set_is_named_with_those_that_are_known(tmp_path):
    with pytest.raises(UsageError, match=r"--item gogo: .* Known: goog, topics"):
        stage.run(tmp_path, "gogo", PARAMS)


def test_an_unknown_calendar_is_a_matter_of_configuration():
    frame = frames.from_table(prices())
    with pytest.raises(ConfigError, match=r"validation\.forecast\.calendar"):
        frames.prices(frame, "XNYX")


# --- the page ------------------------------------------------------------------------------------


def page(table, item="goog"):
    return datadocs.page(stage.examine(table, item, PARAMS, "XNYS", suites.PRICES))


def test_a_page_loads_nothing_and_carries_its_styles():
    for text in (page(google()), page(prices().drop_columns("open")), page(texts(), "topics")):
        assert not re.search(r"<(script|link|img|iframe|object)\b|\bsrc\s*=|url\s*\(|@import|https?://", text, re.IGNORECASE)
        assert all(link.startswith("#section-") or link == "quality.html" for link in re.findall(r'href="([^"]*)"', text))
        assert (Path(datadocs.__file__).with_name("datadocs.css")).read_text().splitlines()[0] in text


def test_every_link_of_a_page_leads_to_a_section():
    text = page(google())
    links = re.findall(r'href="#([^"]*)"', text)
    assert links and all(f'id="{link}"' in text for link in links)


def test_a_page_shows_a_persons_text_as_text():
    text = page(prices(ticker=["<script>alert(1)</script>"] * 3 + ["B"] * 3, volume=[-1] * 6))
    assert "&lt;script&gt;alert(1)" in text and "<script" not in text


def test_a_page_says_what_could_not_be_asked():
    text = page(prices().drop_columns("open"))
    assert "Not asked" in text and "open is never missing." in text


# --- what a person adds -----------------------------------------------------------------------


def with_expectations(*added: dict) -> config.Params:
    rules = PARAMS.validation.forecast.model_copy(update={"expectations": list(added)})
    return PARAMS.model_copy(update={"validation": PARAMS.validation.model_copy(update={"forecast": rules})})


@pytest.mark.parametrize(("most", "fit"), [(10_000, True), (100, False)])
def test_a_suite_is_extended_in_params(most, fit):
    params = with_expectations({"type": "expect_column_max_to_be_between", "column": "close", "max_value": most})
    result = stage.examine(google(), "goog", params, "XNYS", suites.PRICES)
    (added,) = [finding for finding in result["expectations"] if finding["rule"] == "validation.forecast.expectations"]
    assert (result["success"], added["success"]) == (fit, fit)
    assert added["value"] == "expect_column_max_to_be_between" and f"max_value {most}" in added["sentence"]


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"type": "expect_column_max_to_be_betwen", "column": "close"}, "expectations[0]: Great Expectations has no type"),
        ({"type": "expect_column_max_to_be_betwen", "column": "close"}, "Did you mean 'expect_column_max_to_be_between'?"),
        ({"column": "close"}, "Great Expectations has no type ''"),
        ({"type": "expect_column_max_to_be_between", "colum": "close"}, "See ExpectColumnMaxToBeBetween"),
    ],
)
def test_an_expectation_that_does_not_exist_is_named_with_the_nearest(entry, said):
    with pytest.raises(ConfigError, match=re.escape(said)):
        suites.price_suite(with_expectations(entry).validation.forecast)


def test_a_series_of_closes_is_asked_for_closes_only():
    table = google()
    table = table.set_column(table.column_names.index("open"), "open", pa.nulls(len(table), pa.float64()))
    table = table.set_column(table.column_names.index("high"), "high", pa.nulls(len(table), pa.float64()))
    table = table.set_column(table.column_names.index("low"), "low", pa.nulls(len(table), pa.float64()))
    assert stage.examine(table, "goog", PARAMS, "XNYS", ["close"])["success"]
    assert not stage.examine(table, "goog", PARAMS, "XNYS", suites.PRICES)["success"]


# --- labelled text, tagged words and pairs ------------------------------------------------------

CLASSIFY_SPEC = ClassifyValidation(min_rows=4, min_labels=2, min_label_rows=2)
TAG_SPEC = TagValidation(min_rows=4, min_labels=2, min_label_rows=2, min_tags=3)
TRANSLATE_SPEC = TranslateValidation(min_rows=4, min_targets=2)
CAPTION_SPEC = CaptionValidation(min_rows=4, min_captions=2)
SUITES = {
    "classify": (suites.classify_suite(CLASSIFY_SPEC, True), frames.labelled),
    "tag": (suites.tag_suite(TAG_SPEC, True), frames.tagged),
    "translate": (suites.translate_suite(TRANSLATE_SPEC, True), frames.pairs),
    "caption": (suites.caption_suite(CAPTION_SPEC, True), frames.vectors),
}
PART = {"part": ["train", "train", "validation", "test"]}
TIDY_ROWS = {
    "classify": {"text": ["good", "bad", ":-)", "so\tso"], "label": ["x", "y", "x", "y"], **PART},
    "tag": {"text": ["to new york", "go", "st. louis", "go"], "tags": ["O B-city I-city", "O", "B-city I-city", "O"],
            "label": ["x", "y", "x", "y"], **PART},
    "translate": {"source": ["Go.", "Hi.", "16+75", "Run!"], "target": ["Va !", "Salut.", "91", "Cours !"], **PART},
    "caption": {"width": [1.0, 2.0, 3.0, 4.0], "depth": [0.5] * 4, "caption": ["a box", "a ball", "a box", ":-)"], **PART},
}  # fmt: skip


def tidy_rows(task, **changes):
    """The tidy rows of a task; a change is a whole column, or {row: value}."""
    columns = {}
    for name, cells in TIDY_ROWS[task].items():
        change = changes.get(name, {})
        columns[name] = change if isinstance(change, list) else [change.get(i, cell) for i, cell in enumerate(cells)]
    numbers = ("width", "depth")
    return pa.table({name: pa.array(cells, pa.float64() if name in numbers else pa.string()) for name, cells in columns.items()})


def judge_rows(task, table):
    suite, derive = SUITES[task]
    return judgement.judge(suite, frames.from_table(table), derive)


def bad_rows(task, texts, columns):
    """The tables that the rules of all three tasks refuse, by sentence."""
    return {
        f"The columns are {', '.join(columns)}, part, and no others.": tidy_rows(task).append_column("more", pa.array(["x"] * 4)),
        **{f"{c} is of type StringDtype.": retyped(tidy_rows(task), c, [1, 2, 3, 4]) for c in (*columns, "part")},
        "The table has 4 rows or more.": tidy_rows(task).slice(0, 3),
        **{f"{c} is never missing.": tidy_rows(task, **{c: {1: None}}) for c in (*columns, "part")},
        **{f"No {c} is empty.": tidy_rows(task, **{c: {1: " \n"}}) for c in texts},
        **{f"No character of a {c} was lost to a wrong encoding (U+FFFD).": tidy_rows(task, **{c: {1: "\ufffd"}}) for c in texts},
        **{f"No {c} holds control characters but tabs, line and page breaks.": tidy_rows(task, **{c: {1: "a\x92"}}) for c in texts},
        "Every part is one of train, validation, test.": tidy_rows(task, part={1: "dev"}),
        "Some rows are for training.": tidy_rows(task, part=["test"] * 4),
    }


LABELS = {"There are 2 different labels or more.": ["x"] * 4, "Every label has 2 rows or more.": ["x", "x", "x", "y"]}
BAD_ROWS = {
    "classify": {
        **bad_rows("classify", ("text",), ("text", "label")),
        **{sentence: tidy_rows("classify", label=labels) for sentence, labels in LABELS.items()},
    },
    "tag": {
        **bad_rows("tag", ("text",), ("text", "tags", "label")),
        **{sentence: tidy_rows("tag", label=labels) for sentence, labels in LABELS.items()},
        "There are as many tags as words.": tidy_rows("tag", tags={1: "O O"}),
        "There are 3 different tags or more.": tidy_rows("tag", tags=["O O O", "O", "O B-city", "O"]),
        "Every tag I-x stands behind B-x or I-x (Ramshaw and Marcus, 1995).": tidy_rows("tag", tags={2: "B-city I-state"}),
    },
    "translate": {
        **bad_rows("translate", ("source", "target"), ("source", "target")),
        "There are 2 different targets or more.": tidy_rows("translate", target=["91"] * 4),
    },
}
SHAPE_OF_CAPTIONS = "The columns are caption, part, and numbers beside them."
BAD_ROWS["caption"] = {
    **{sentence: table for sentence, table in bad_rows("caption", ("caption",), ("caption",)).items() if "no others" not in sentence},
    SHAPE_OF_CAPTIONS: tidy_rows("caption").drop_columns("caption"),
    "There are 2 columns of numbers or more.": tidy_rows("caption").drop_columns("depth"),
    "A column of numbers has more than one value.": tidy_rows("caption", width=[1.0] * 4),
    "Every number is there, and finite.": tidy_rows("caption", depth={2: float("inf")}),
    "There are 2 different captions or more.": tidy_rows("caption", caption=["a box"] * 4),
}
EACH_BAD = [(task, sentence) for task, bad in BAD_ROWS.items() for sentence in bad]
WARNINGS = {
    "No character of a text was lost to a wrong encoding (U+FFFD).",
    "No text holds control characters but tabs, line and page breaks.",
    "No character of a source was lost to a wrong encoding (U+FFFD).",
    "No source holds control characters but tabs, line and page breaks.",
    "No character of a target was lost to a wrong encoding (U+FFFD).",
    "No target holds control characters but tabs, line and page breaks.",
    "Every tag I-x stands behind B-x or I-x (Ramshaw and Marcus, 1995).",
    "No character of a caption was lost to a wrong encoding (U+FFFD).",
    "No caption holds control characters but tabs, line and page breaks.",
}


@pytest.mark.parametrize("task", SUITES)
def test_the_rows_that_are_mutated_pass_as_they_are_and_every_rule_has_a_mutation(task):
    judged = judge_rows(task, tidy_rows(task))
    assert judged.success and failures(judged) == []
    suite, _ = SUITES[task]
    assert sorted(rule.description for rule in suite.shape + suite.content) == sorted(BAD_ROWS[task])


@pytest.mark.few(8)
@pytest.mark.parametrize(("task", "sentence"), EACH_BAD)
def test_a_table_of_rows_is_refused_by_the_expectation_that_it_breaks(task, sentence):
    judged = judge_rows(task, BAD_ROWS[task][sentence])
    assert sentence in failures(judged)
    assert judged.success == (sentence in WARNINGS)


@pytest.mark.parametrize(("task", "sentence"), [
    *(("classify", sentence) for sentence in ("No text is empty.", "Every label has 2 rows or more.", "Some rows are for training.")),
    ("tag", "There are as many tags as words."),
    ("tag", "Every tag I-x stands behind B-x or I-x (Ramshaw and Marcus, 1995)."),
    ("translate", "There are 2 different targets or more."),
    *(("caption", sentence) for sentence in ("A column of numbers has more than one value.", "Every number is there, and finite.")),
])  # fmt: skip
def test_rules_of_rows_break_alone(task, sentence):
    assert failures(judge_rows(task, BAD_ROWS[task][sentence])) == [sentence]


@pytest.mark.parametrize("column", [pa.array([1.0, None, 2.0, 3.0]), pa.array(["1", "two", "3", "4"])])
def test_a_number_that_is_missing_or_no_number_is_counted(column):
    table = tidy_rows("caption").set_column(0, "width", column)
    (found,) = [finding for finding in judge_rows("caption", table).findings if not finding.success]
    assert (found.sentence, found.unexpected) == ("Every number is there, and finite.", 1)


@pytest.mark.parametrize("task", SUITES)
def test_an_empty_table_of_rows_is_refused(task):
    assert "The table has 4 rows or more." in failures(judge_rows(task, tidy_rows(task).slice(0, 0)))


def test_rows_without_a_part_are_judged_without_it():
    table = tidy_rows("classify").drop_columns("part")
    judged = judgement.judge(suites.classify_suite(CLASSIFY_SPEC, False), frames.from_table(table), frames.labelled)
    assert judged.success and not [finding for finding in judged.findings if "part" in finding.columns]
    assert failures(judge_rows("classify", table)) == ["The columns are text, label, part, and no others."]


@pytest.mark.parametrize(("tags", "strays"), [
    ("O O", 0), ("B-x I-x I-x", 0), ("I-x", 1), ("O I-x I-x", 1), ("B-x I-y", 1), ("B-x O I-x", 1), ("NN VB", 0), ("", 0),
])  # fmt: skip
def test_a_tag_that_goes_on_with_nothing_is_counted(tags, strays):
    table = tidy_rows("tag", tags={0: tags})
    assert frames.tagged(frames.from_table(table))["stray_tags"].iloc[0] == strays


def of_task(task, **changes):
    """The tests' settings with one data set of a task, whose rules are changed."""
    rules = PARAMS.of_task(PARAMS.validation, task).model_copy(update={"min_rows": 4, **changes})
    datasets = {"mine": config.Dataset(task=task, source="raw")}
    return PARAMS.model_copy(
        update={
            "ingestion": config.Ingestion(datasets=datasets, sources={}),
            "validation": PARAMS.validation.model_copy(update={task: rules}),
        }
    )


@pytest.mark.parametrize("task", SUITES)
@pytest.mark.parametrize(("most", "fit"), [(4, True), (3, False)])
def test_a_suite_of_rows_is_extended_in_params(task, most, fit):
    added = {"type": "expect_table_row_count_to_be_between", "max_value": most, "description": "Few rows."}
    result = stage.examine(tidy_rows(task), "mine", of_task(task, expectations=[added]), "XNYS", suites.PRICES)
    (found,) = [finding for finding in result["expectations"] if finding["rule"] == f"validation.{task}.expectations"]
    assert (result["success"], found["success"]) == (fit, fit)


def test_a_warning_is_told_by_stage_and_page_and_refuses_nothing(tmp_path, capsys):
    table = BAD_ROWS["tag"]["Every tag I-x stands behind B-x or I-x (Ramshaw and Marcus, 1995)."]
    stage.run(ingested(tmp_path, table, "mine"), "mine", of_task("tag"))
    assert "validation of mine: warning: Every tag I-x stands behind B-x or I-x" in capsys.readouterr().out
    place = tmp_path / "data/validation/mine"
    assert storage.read_json(place / "result.json")["success"]
    text = (place / "index.html").read_text()
    assert "expectations are met, but 1 that only warns" in text and "a warning: it refuses nothing" in text


def test_a_refusal_of_rows_counts_no_warning(tmp_path):
    table = tidy_rows("tag", tags={2: "B-city I-state"}, label=["x"] * 4)
    with pytest.raises(SuiteFailed, match=r": 1 of \d+ expectations are not met") as caught:
        stage.run(ingested(tmp_path, table, "mine"), "mine", of_task("tag"))
    assert "I-x" not in str(caught.value) and "`validation.tag.min_labels` is 2" in str(caught.value)


def test_quarantined_rows_of_files_in_folders_reach_the_page(tmp_path):
    with storage.new_artefact(tmp_path / "data/ingestion/mine") as folder:
        storage.write_table(folder / "table.parquet", tidy_rows("classify"))
        row = b'{"file": "train/a.csv", "line": 7, "column": 1, "rule": "empty", "what": "no text", "raw": ",y"}\n'
        storage.write_bytes(folder / "quarantine/train/a.csv.12345678.jsonl", row)
    stage.run(tmp_path, "mine", of_task("classify"))
    assert "train/a.csv:7:1" in (tmp_path / "data/validation/mine/quality.html").read_text()
