"""The systems `language-model` and `autocomplete`: what they read, how they score, and what they refuse."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import projects
import pytest
import torch

from longshort import config, serving
from longshort.config import Variant
from longshort.errors import DataRefused, UsageError
from longshort.models.network import Network
from longshort.systems import autocomplete, language_model, sources
from longshort.systems.autocomplete import Typing
from longshort.systems.fitting import Fitted
from longshort.systems.occasion import Occasion
from longshort.tasks.language_model import LanguageModelTask
from longshort.training.loop import generator_of

pytestmark = pytest.mark.usefixtures("one_thread")
LINES = {"train": " the cat <unk> N \n a cat \n", "valid": " the cat \n", "test": " a <unk> \n the cat \n"}


@pytest.fixture
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "LEAST", 3)
    for part, text in LINES.items():
        (tmp_path / f"ptb.{part}.txt").write_text(text)
    return tmp_path


def occasion(root: Path, data: Path | None = None, **settings: object) -> Occasion:
    projects.project(root)
    return Occasion(root, config.read(root / "params.yaml"), "language-model", data, True, dict(settings), (0,), lambda said: None)


def untrained(source, **settings):
    variant = Variant(**{"cell": "lstm", "hidden_size": 4, "num_layers": 2, "bidirectional": False, "dropout": 0.0, **settings})
    task = LanguageModelTask.of(source.data, config.LanguageModelTask(embedding_size=4, dropout=0.0, tied=True, carried=True))
    return Fitted(0, Network(task, variant, "reference", [generator_of(0)]).eval(), []), task, variant


# --- what is read ------------------------------------------------------------------------------


def test_a_lines_end_is_a_word_and_the_vocabulary_is_trains_the_unknown_one_first(folder):
    source = sources.penn_treebank(folder)
    assert source.data.vocabulary.words == ("<unk>", "<eos>", "cat", "N", "a", "the")
    assert source.test == ["a", "<unk>", "<eos>", "the", "cat", "<eos>"]
    test = source.data.stretches["test"]
    assert [source.data.vocabulary.words[number] for number in source.data.ids[test.start : test.stop]] == source.test
    assert test.characters == len("a <unk>\nthe cat\n")
    assert source.penn and not source.treebank


def test_a_word_that_train_has_not_is_unknown_where_there_is_a_word_for_that(folder):
    (folder / "ptb.test.txt").write_text("a dog\n")
    source = sources.penn_treebank(folder)
    assert source.data.ids[-3:].tolist() == [4, 0, 1] and source.test == ["a", "dog", "<eos>"]


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("ptb.valid.txt", None, r"ptb\.valid\.txt: there is no such file\. Give a folder with ptb\.train\.txt"),
        ("ptb.train.txt", b"", r"ptb\.train\.txt: 0 words .* 3 are needed"),
        ("ptb.test.txt", b"a cat \xff sat", r"ptb\.test\.txt: byte 6: no UTF-8 text"),
        ("ptb.train.txt", b"the cat\na cat\n", r"ptb\.test\.txt: has 1 words that ptb\.train\.txt has not, such as '<unk>'"),
    ],
)
def test_files_that_are_none_are_refused_by_name(folder, file, content, said):
    (folder / file).unlink() if content is None else (folder / file).write_bytes(content)
    with pytest.raises(DataRefused, match=said):
        sources.penn_treebank(folder)


def test_any_text_may_be_read_and_one_that_is_too_short_is_refused(tmp_path):
    (tmp_path / "short.txt").write_text("a few words")
    with pytest.raises(DataRefused, match=r"short\.txt: 3 words, and a language model takes 2,000"):
        sources.read(occasion(tmp_path / "project", tmp_path / "short.txt"))
    (tmp_path / "same.txt").write_text("a text that says the same again , and the same again , and again .\n\n" * 200)
    with pytest.raises(DataRefused, match=r"same\.txt: the vocabulary would hold 0 words.* Give a longer text, or one that repeats"):
        sources.read(occasion(tmp_path / "another", tmp_path / "same.txt"))
    words = np.random.default_rng(0).choice(["the", "mouse", "and", "cat", "went", "out", ",", "bell"], (300, 10))
    (tmp_path / "long.txt").write_text("\n\n".join(map(" ".join, words)))
    source = sources.read(occasion(tmp_path / "other", tmp_path / "long.txt"))
    assert len(source.test) == len(source.data.ids[source.data.stretches["test"].start :]) and not source.penn


# --- language-model ----------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [1, 2, 256])
def test_test_is_one_stream_however_many_words_are_read_at_a_time(folder, monkeypatch, steps):
    source = sources.penn_treebank(folder)
    fitted, _, _ = untrained(source)
    start = source.data.stretches["test"].start
    monkeypatch.setattr(language_model, "STEPS", steps)
    found = language_model.stream_nats(fitted, source.data.ids, start)
    with torch.inference_mode():
        shares = fitted.network(torch.from_numpy(source.data.ids[start - 1 : -1].astype(np.int64))[None, None])[0, 0].log_softmax(-1)
    assert len(found) == len(source.test)
    np.testing.assert_allclose(found, -shares[range(len(found)), source.data.ids[start:].tolist()], rtol=1e-5)


def test_two_directions_are_refused_with_the_reason(tmp_path, folder):
    with pytest.raises(UsageError, match="it has already read the next word, which is the answer"):
        language_model.run(occasion(tmp_path / "project", folder, bidirectional=True))


def test_embeddings_are_as_wide_as_states_whatever_a_person_sets(tmp_path, folder):
    source = sources.penn_treebank(folder)
    task, variant, how = language_model.asked(occasion(tmp_path / "project", folder, hidden_size=650, cell="gru", dropout=0.5), source)
    assert (task.inputs, task.tied, task.dropout, variant.hidden_size, variant.cell) == (650, True, 0.5, 650, "gru")
    assert how.max_epochs == 2


def test_the_nearest_word_is_the_one_whose_embedding_points_the_same_way(folder, monkeypatch):
    monkeypatch.setattr(language_model, "SEEN", 1)
    monkeypatch.setitem(language_model.ASKED, True, ("cat", "nowhere"))
    source = sources.penn_treebank(folder)
    fitted, task, variant = untrained(source)
    table = fitted.network.front.table.data[0]
    cat, the = source.data.vocabulary.ids(["cat", "the"]).tolist()
    table[the] = 3 * table[cat]
    (row,) = language_model.neighbours(language_model.as_model(fitted, task, variant), source).rows
    assert row[:2] == ["cat", "the 1.00"]


def test_too_few_words_for_a_map_have_none(folder, monkeypatch):
    source = sources.penn_treebank(folder)
    model = language_model.as_model(*untrained(source))
    for seen, least, most in ((1, 4, 5), (9, 0, 0)):  # of six words some are marks
        monkeypatch.setattr(language_model, "SEEN", seen)
        monkeypatch.setitem(language_model.ASKED, True, ("cat", "the"))
        near = language_model.neighbours(model, source)
        assert least <= len({word.partition(" ")[0] for row in near.rows for word in row}) <= most
        assert language_model._map(model, near, source) == {}


def test_marks_are_no_suggestions():
    assert serving.marks(["the", ",", "n't", "--", "[NUM]", "2"]) == [",", "--"]


# --- autocomplete ------------------------------------------------------------------------------


def test_keys_are_letters_one_choice_or_a_space():
    # of 3 + 1 keys one is pressed, of 5 + 1 three (two letters and the choice), of 2 + 1 all, since it was never suggested
    typed = Typing(np.ones(3, bool), np.array([0, 2, -1]), np.array([True, False, False]), np.array([3, 5, 2]), np.zeros((9, 2)))
    assert typed.saved == pytest.approx(1 - (1 + 3 + 3) / (4 + 6 + 3))
    assert [typed.among(letters) for letters in (0, 1, 2)] == pytest.approx([1 / 3, 1 / 3, 2 / 3])


def test_a_word_is_typed_until_it_is_suggested_and_marks_are_none(folder):
    source = sources.penn_treebank(folder)  # test: a <unk> <eos> the cat <eos>
    asked = []

    def suggest(before, begun):
        asked.append((source.data.vocabulary.words[before[-1]], begun))
        return [autocomplete.Suggestion("cat", 1.0, bool(begun))] if begun else []

    typed = autocomplete.typing(source, suggest, 10)
    assert asked == [("<eos>", ""), ("<eos>", "t"), ("<eos>", "th"), ("the", ""), ("the", "c")]
    assert typed.needed.tolist() == [-1, 1] and typed.letters.tolist() == [3, 3] and not typed.first.any()


def test_a_text_in_which_no_word_can_be_typed_is_refused_before_anything_is_learned(tmp_path, folder):
    (folder / "ptb.test.txt").write_text("a cat\n<unk> N 12 !\n")
    with pytest.raises(DataRefused, match="no word of the test part, its end, begins with a letter"):
        autocomplete.run(occasion(tmp_path / "project", folder))


def test_a_completer_says_what_the_model_scores_highest(folder):
    source = sources.penn_treebank(folder)
    model = language_model.as_model(*untrained(source))
    shares = serving.next_word_probabilities(model, source.data.vocabulary.ids(["the"]))
    (best, *_) = serving.Completer(model, autocomplete.UNSAID).suggest("the ", 5)
    allowed = [number for number, word in enumerate(source.data.vocabulary.words) if word not in autocomplete.UNSAID]
    assert best.word == source.data.vocabulary.words[max(allowed, key=lambda number: shares[number])]
    assert math.isclose(best.probability, shares[allowed].max(), rel_tol=1e-6)


def test_a_count_knows_what_follows_two_words(folder):
    found = autocomplete.rivals(sources.penn_treebank(folder))
    data = sources.penn_treebank(folder).data
    assert found[language_model.TRIGRAM](data.vocabulary.ids(["<eos>", "a"]), "")[0].word == "cat"
    assert found[language_model.UNIGRAM](data.vocabulary.ids(["<eos>", "a"]), "c")[0].word == "cat"
