"""Classes and spans: accuracy, F1 and what a linear model names, beside scikit-learn's and seqeval's own figures."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from seqeval.metrics import f1_score, precision_score, recall_score
from sklearn.metrics import f1_score as f1_macro
from test_tasks_rows import COMMON
from test_windows_labelled import numbered

from longshort.config import ClassifyWindows
from longshort.evaluation import classes, spans
from longshort.windows.labelled import UNSEEN, classify_data

TAGS = [["O", "B-a", "I-a", "B-b", "I-b"], ["O", "B-a", "I-a", "E-a", "S-a", "B-b", "I-b", "E-b", "S-b"], ["O", "B", "I"]]
ROWS = st.sampled_from(TAGS).flatmap(
    lambda tags: st.lists(st.lists(st.tuples(*[st.sampled_from(tags)] * 2), min_size=1, max_size=9), min_size=1, max_size=6)
)


@settings(max_examples=300, deadline=None)
@given(ROWS)
def test_spans_are_counted_as_seqeval_counts_them(rows):
    named, tags = ([[pair[side] for pair in row] for row in rows] for side in (0, 1))
    found = spans.score(named, tags)
    theirs = {"precision": precision_score, "recall": recall_score, "f1": f1_score}
    assert {name: found[name] for name in theirs} == pytest.approx({name: of(tags, named, zero_division=0) for name, of in theirs.items()})


def test_parts_of_speech_are_spans_of_a_word():
    wanted, said = [["DET", "NOUN", "NOUN", "O"]], [["DET", "NOUN", "VERB", "O"]]
    assert spans.score(said, wanted)["f1"] == pytest.approx(2 / 3) and spans.score(wanted, wanted)["f1"] == 1
    assert [row[:2] for row in spans.by_name(said, wanted).rows] == [["NOUN", 2], ["DET", 1]]
    assert list(spans.spans(["U-a", "B-b", "I-b", "L-b", "L-b"])) == [("a", 0, 1), ("b", 1, 4), ("b", 4, 5)]


def test_a_span_is_found_where_its_name_and_both_ends_are_right():
    wanted = [["B-city", "I-city", "O", "B-day"]]
    assert spans.score([["B-city", "I-city", "O", "B-day"]], wanted)["f1"] == 1
    found = spans.score([["B-city", "O", "O", "B-day"]], wanted)
    assert (found["precision"], found["recall"], found["word_accuracy"]) == (0.5, 0.5, 0.75)
    assert spans.by_name([["B-city", "O", "O", "B-day"]], wanted).rows == [["city", 1, 0.0, 0.0, 0.0], ["day", 1, 1.0, 1.0, 1.0]]


def test_a_label_that_train_never_shows_is_missed_by_everybody():
    labels = np.array([0, 1, UNSEEN, 1])
    found = classes.score(np.array([0, 1, 1, 0]), labels)
    assert found == {"accuracy": 0.5, "macro_f1": pytest.approx(f1_macro(labels, [0, 1, 1, 0], average="macro", zero_division=0))}
    assert classes.majority(np.array([1, 1, 0]), 2).tolist() == [1, 1]
    assert classes.confusion(np.array([0, 1, 1, 0]), labels, 2).tolist() == [[1, 0], [1, 1]]


def test_a_linear_model_learns_from_train_alone_and_what_words_say():
    texts = [f"{text} was {'fine' if n % 2 else 'awful'}" for n, text in enumerate(numbered(80))]
    data = classify_data(texts, [str(n % 2) for n in range(80)], None, ClassifyWindows(**COMMON, max_length=9))
    own = data.division.parts["test"]
    labels = data.labels[own.start : own.stop]
    np.testing.assert_array_equal(classes.LinearOfTexts(data).named("test"), labels)
    table = classes.by_label([labels.astype(np.int64)], labels.astype(np.int64), data.names)
    assert [row[2:] for row in table.rows] == [[1, 1, 1, 0]] * 2
