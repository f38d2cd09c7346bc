"""Windows of labelled text: which row is in which part, what the vocabulary knows, and what lies on disk."""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path

import numpy as np
import projects
import pyarrow as pa
import pytest

from longshort import config, storage
from longshort.config import CaptionWindows, ClassifyWindows, TagWindows, TranslateWindows
from longshort.errors import DataRefused
from longshort.ingestion import intake
from longshort.ingestion import stage as ingestion
from longshort.windows import captions, files, labelled, stage
from longshort.windows.captions import Scaling, Vectors

SHARED = Path(__file__).parents[2] / "shared/data"
CLASSIFY = ClassifyWindows(min_count=1, max_vocabulary=100, validation=0.2, test=0.2, seed=0, max_length=50)
TAG = TagWindows(min_count=1, max_vocabulary=100, validation=0.2, test=0.2, seed=0)
TRANSLATE = TranslateWindows(min_count=1, max_vocabulary=100, validation=0.2, test=0.2, seed=0, tokens="auto", max_length=9)
CAPTION = CaptionWindows(min_count=1, max_vocabulary=100, validation=0.2, test=0.2, seed=0, tokens="auto", max_length=9)
NAMES = ("train", "validation", "test")


def numbered(count: int, words: int = 40, length: int = 6, seed: int = 0) -> list[str]:
    """Different texts of a few words."""
    draw = np.random.Generator(np.random.Philox(seed))
    return [" ".join([f"t{n}", *(f"w{k}" for k in draw.integers(0, words, length - 1))]) for n in range(count)]


def shares(count: int, labels: list[str], spec=CLASSIFY, named=None, keys=None) -> dict[str, list[int]]:
    return labelled.share_out(keys or [str(n) for n in range(count)], labels, named, spec)


# --- parts --------------------------------------------------------------------------------------


def test_every_row_is_in_one_part_and_labels_have_the_same_share_in_each():
    labels = ["x"] * 100 + ["y"] * 20 + ["z"] * 5
    parts = shares(125, labels)
    assert sorted(row for rows in parts.values() for row in rows) == list(range(125))
    assert {part: Counter(labels[row] for row in rows) for part, rows in parts.items()} == {
        "train": {"x": 60, "y": 12, "z": 3},
        "validation": {"x": 20, "y": 4, "z": 1},
        "test": {"x": 20, "y": 4, "z": 1},
    }


def test_the_only_row_of_a_label_is_trained_on():
    assert 10 in shares(11, ["x"] * 10 + ["once"])["train"]


def test_rows_of_one_text_stay_together_whatever_their_labels():
    keys = [str(n // 3) for n in range(300)]
    parts = shares(300, ["x", "y", "x"] * 100, keys=keys)
    owners = [{keys[row] for row in rows} for rows in parts.values()]
    assert not owners[0] & owners[1] and not owners[0] & owners[2] and not owners[1] & owners[2]
    assert all(rows for rows in parts.values())


def test_the_shuffle_is_of_seed_and_text_alone():
    keys = [f"text {n}" for n in range(200)]
    labels = ["x", "y"] * 100
    parts = shares(200, labels, keys=keys)
    back = shares(200, labels[::-1], keys=keys[::-1])
    assert {part: {keys[row] for row in rows} for part, rows in parts.items()} == {
        part: {keys[::-1][row] for row in rows} for part, rows in back.items()
    }
    assert parts["test"] != list(range(parts["test"][0], parts["test"][0] + len(parts["test"])))
    assert shares(200, labels, CLASSIFY.model_copy(update={"seed": 1}), keys=keys) != parts


def test_most_texts_stay_in_their_part_when_rows_are_added():
    keys = [f"text {n}" for n in range(1100)]
    before, after = (shares(count, ["x"] * count, keys=keys[:count]) for count in (1000, 1100))
    stayed = sum(len(set(before[part]) & set(after[part])) for part in NAMES)
    assert stayed > 930


@pytest.mark.parametrize(("named", "sizes"), [
    (["train"] * 60 + ["validation"] * 20 + ["test"] * 20, (60, 20, 20)),
    (["train"] * 80 + ["test"] * 20, (64, 16, 20)),
    (["train"] * 80 + ["validation"] * 20, (64, 20, 16)),
])  # fmt: skip
def test_parts_that_files_say_stand_and_those_that_they_do_not_say_are_cut_from_train(named, sizes):
    parts = shares(100, ["x"] * 100, named=named)
    assert tuple(len(parts[part]) for part in NAMES) == sizes
    assert all(part == named[row] for row, part in ((row, part) for part in set(named) - {"train"} for row in parts[part]))
    assert {named[row] for row in parts["train"]} == {"train"}


def test_what_stands_in_a_later_part_is_dropped_from_the_earlier_and_never_from_test():
    parts = {"train": [0, 1, 2], "validation": [3, 4], "test": [5, 6]}
    keys = ["a", "b", "c", "b", "d", "a", "d"]
    assert labelled.drop_repeats(parts, keys) == {"train": [2], "validation": [3], "test": [5, 6]}


def test_runs_of_13_words_are_counted_within_texts():
    run = [str(n) for n in range(13)]
    tokens = [run, run[:7], run[7:], ["x", *run], [*run, "y", "z"]]
    found = labelled.overlaps({"train": [0], "validation": [1, 2], "test": [3, 4]}, tokens)
    assert [(each.earlier, each.part, each.runs, each.found) for each in found] == [
        ("train", "validation", 0, 0), ("train", "test", 5, 2), ("validation", "test", 5, 0),
    ]  # fmt: skip


def test_a_part_without_rows_is_refused_with_the_setting():
    with pytest.raises(DataRefused, match=r"the validation part holds no row.*`windows.classify.validation`"):
        labelled.classify_data(["a b c d e f", "g h"], ["x", "y"], None, CLASSIFY)


# --- tokens and ids -----------------------------------------------------------------------------


def rows_of(found: labelled.Sequences, vocabulary, division: labelled.Division, part: str) -> list[str]:  # type: ignore[no-untyped-def]
    own = division.parts[part]
    return [" ".join(vocabulary.words[token] for token in found.row(n)) for n in range(own.start, own.stop)]


def test_texts_come_back_from_their_ids_row_by_row_with_their_labels():
    texts, labels = numbered(50), ["x", "y"] * 25
    made = labelled.classify_data(texts, labels, None, CLASSIFY.model_copy(update={"max_vocabulary": 1000}))
    assert rows_of(made.texts, made.vocabulary, made.division, "train") == [
        texts[row] for row in made.division.rows[: made.division.parts["train"].stop]
    ]
    assert [made.names[label] for label in made.labels] == [labels[row] for row in made.division.rows]
    assert made.names == ("x", "y") and len(made.texts) == 50 == len(made.division.rows)
    assert (made.texts.ids.dtype, made.texts.offsets.dtype, made.labels.dtype) == (np.int32, np.int64, np.int32)


def test_texts_that_differ_behind_what_is_read_are_one_text_and_stay_in_one_part():
    texts = [f"a b c d w{n // 4} end{n}" for n in range(200)]
    made = labelled.classify_data(texts, ["x", "y"] * 100, None, CLASSIFY.model_copy(update={"max_length": 5}))
    assert np.diff(made.texts.offsets).max() == 5 and len(made.texts) == 200
    assert_apart(made.division, [n // 4 for n in range(200)])


def test_sources_of_the_same_words_stay_in_one_part_however_they_are_spaced():
    sources = [f"Go w{n // 2}{' ' * (n % 2)}." for n in range(200)]
    assert_apart(labelled.translate_data(sources, sources, None, TRANSLATE).division, [n // 2 for n in range(200)])


def assert_apart(division, groups):
    """No two parts hold rows of one group, and no row was dropped for it."""
    own = [{groups[row] for row in division.rows[part.start : part.stop].tolist()} for part in division.parts.values()]
    assert not any(one & other for one, other in itertools.combinations(own, 2)) and all(own)
    assert not any(part.dropped for part in division.parts.values())


@pytest.mark.parametrize(("said", "told"), [
    (["x"] * 60 + ["x", "y"] * 20, "the training part shows 'x' alone, and nothing is told apart by one {}. Take in rows"),
    (["x", "y"] * 30 + ["z"] * 20 + ["x", "y"] * 10, "no {} of the validation part stands in the training part"),
    (["x", "y"] * 40 + ["z"] * 20, "no {} of the test part stands in the training part"),
])  # fmt: skip
def test_parts_that_show_nothing_to_tell_apart_are_refused(said, told):
    texts = numbered(100, words=9)
    with pytest.raises(DataRefused, match=told.format("label")):
        labelled.classify_data(texts, said, NAMED, CLASSIFY)
    with pytest.raises(DataRefused, match=told.format("tag")):
        labelled.tag_data(texts, [" ".join([own] * len(one.split())) for one, own in zip(texts, said, strict=True)], said, NAMED, TAG)


def test_words_have_the_tags_of_their_places():
    texts = [f"go to st. w{n}" for n in range(50)]
    tags = [f"O O B-x I-{n % 2}" for n in range(50)]
    made = labelled.tag_data(texts, tags, ["x", "y"] * 25, None, TAG)
    for n, row in enumerate(made.division.rows):
        own = slice(made.texts.offsets[n], made.texts.offsets[n + 1])
        assert " ".join(made.tag_names[tag] for tag in made.tags[own]) == tags[row]
    assert made.tag_names == ("B-x", "I-0", "I-1", "O") and len(made.tags) == len(made.texts.ids) == 200


def test_other_than_a_tag_a_word_is_refused():
    with pytest.raises(DataRefused, match="row 2: 1 tags for 2 words"):
        labelled.tag_data(["a", "b c"], ["O", "O"], ["x", "y"], None, TAG)


def test_sums_are_read_by_characters_and_sentences_by_words():
    sums = labelled.translate_data([f"{n}+7" for n in range(100, 150)], [str(n + 7) for n in range(100, 150)], None, TRANSLATE)
    assert sums.spec.tokens == "characters" and set(sums.source_vocabulary.words[3:]) == set("0123456789+")
    texts = numbered(50)
    made = labelled.translate_data(texts, texts[::-1], None, TRANSLATE)
    assert made.spec.tokens == "words" and made.target_vocabulary.words[:3] == ("[UNK]", "[START]", "[END]")
    assert rows_of(made.sources, made.source_vocabulary, made.division, "train") != rows_of(
        made.targets, made.target_vocabulary, made.division, "train"
    )
    chosen = TRANSLATE.model_copy(update={"tokens": "words"})
    assert labelled.translate_data([f"{n}+7" for n in range(50)], ["a b c d e"] * 50, None, chosen).spec.tokens == "words"


def test_long_pairs_are_dropped_from_train_and_stay_in_test():
    texts = [*numbered(50), *numbered(50, length=12, seed=1)]
    made = labelled.translate_data(texts, texts, ["train"] * 40 + ["test"] * 10 + ["train"] * 40 + ["test"] * 10, TRANSLATE)
    parts = made.division.parts
    lengths = np.diff(made.sources.offsets)
    assert lengths[: parts["train"].stop].max() <= 9 and lengths[parts["test"].start :].max() == 12
    assert parts["train"].dropped > 0 and (parts["validation"].dropped, parts["test"].dropped) == (0, 0)


def test_a_source_with_several_targets_stays_in_one_part():
    sources = [text for text in numbered(40) for _ in range(3)]
    made = labelled.translate_data(sources, [f"a b c d e {n}" for n in range(120)], None, TRANSLATE)
    owners = [{sources[row] for row in made.division.rows[own.start : own.stop]} for own in made.division.parts.values()]
    assert not owners[0] & owners[1] and not owners[0] & owners[2] and not owners[1] & owners[2]


# --- numbers with captions ----------------------------------------------------------------------


def drawn(count: int, seed: int = 0) -> Vectors:
    """Rows of three columns, of which the second never moves."""
    values = np.random.Generator(np.random.Philox(seed)).normal(5, 3, (count, 3))
    values[:, 1] = 0.1
    return Vectors(("x", "still", "y"), values)


def test_numbers_are_scaled_by_the_training_part_and_one_that_never_moves_is_nothing():
    vectors = drawn(100)
    vectors.values[80:, 1] = 7  # it moves behind the training part alone
    made = captions.caption_data(vectors, numbered(100, words=4), ["train"] * 60 + ["validation"] * 20 + ["test"] * 20, CAPTION)
    train, own = made.vectors[:60], vectors.values[:60]
    np.testing.assert_allclose(train[:, [0, 2]], (own - own.mean(0))[:, [0, 2]] / own.std(0)[[0, 2]], rtol=1e-5)
    assert made.vectors.dtype == np.float32 and not made.vectors[:, 1].any()
    assert (made.scaling.apply(vectors.values) == made.vectors).all()


def test_rows_of_one_vector_stay_in_one_part_and_are_told_by_their_numbers():
    vectors = drawn(120)
    vectors.values[:, [0, 2]] = np.repeat(np.arange(40.0), 3)[:, None]
    vectors.values[0, 0] = -0.0
    made = captions.caption_data(vectors, [f"a {n}" for n in range(120)], None, CAPTION.model_copy(update={"min_count": 1}))
    owners = [{row // 3 for row in made.division.rows[own.start : own.stop].tolist()} for own in made.division.parts.values()]
    assert all(owners) and not owners[0] & owners[1] and not owners[0] & owners[2] and not owners[1] & owners[2]
    assert len(set(made.division.keys.tolist())) == 40
    assert (made.division.keys == captions.keys_of(vectors.values[made.division.rows])).all()


def test_a_vector_of_train_and_test_is_dropped_from_train():
    vectors = drawn(100)
    vectors.values[3] = vectors.values[90]
    made = captions.caption_data(vectors, numbered(100, words=4), ["train"] * 60 + ["validation"] * 20 + ["test"] * 20, CAPTION)
    assert 3 not in made.division.rows and 90 in made.division.rows and made.division.parts["train"].dropped == 1


def test_captions_without_a_space_are_spelled_and_long_ones_are_not_trained_on():
    named = ["train"] * 40 + ["validation"] * 10 + ["test"] * 10
    made = captions.caption_data(drawn(60), ["yes", "no", "a" * 12] * 20, named, CAPTION)
    assert made.spec.tokens == "characters" and set(made.vocabulary.words) == {"[UNK]", "[START]", "[END]", *"yesno"}
    assert made.longest == 3 and made.division.parts["train"].dropped == 13
    assert captions.caption_data(drawn(60), ["a cat", "a dog", "a cow"] * 20, named, CAPTION).spec.tokens == "words"


def test_numbers_that_never_move_teach_nothing():
    still = Vectors(("x", "y"), np.repeat(np.array([[0.1, 1.0]]), 99, axis=0))
    still.values[90:] = np.arange(9)[:, None]
    with pytest.raises(DataRefused, match="none of the 2 columns of numbers moves in the training part"):
        captions.caption_data(still, ["ab", "cd", "ef"] * 33, ["train"] * 90 + ["validation"] * 4 + ["test"] * 5, CAPTION)


# --- no future in the past ----------------------------------------------------------------------

NAMED = ["train"] * 60 + ["validation"] * 20 + ["test"] * 20


@pytest.mark.parametrize("task", config.LABELLED)
def test_nothing_after_the_split_changes_a_bit_of_the_training_part(task):
    texts, labels = numbered(100, words=9), ["x", "y"] * 50
    others = [*texts[:60], *(f"new words n{n} and more here" for n in range(40))]

    def made(own: list[str], said: list[str]):  # type: ignore[no-untyped-def]
        if task == "classify":
            return labelled.classify_data(own, said, NAMED, CLASSIFY)
        if task == "tag":
            return labelled.tag_data(own, [" ".join(said[n] for _ in one.split()) for n, one in enumerate(own)], said, NAMED, TAG)
        if task == "caption":
            numbers = np.array([[len(one), row + 1000 * one.startswith("new")] for row, one in enumerate(own)], np.float64)
            return captions.caption_data(Vectors(("a", "b"), numbers), own, NAMED, CAPTION)
        return labelled.translate_data(own, own, NAMED, TRANSLATE)

    before, after = made(texts, labels), made(others, [*labels[:60], *(["new", "x"] * 20)])
    stop = before.division.parts["train"].stop
    assert stop == after.division.parts["train"].stop == 60
    for field in ("texts", "sources", "targets", "captions"):
        if hasattr(before, field):
            one, other = getattr(before, field), getattr(after, field)
            end = one.offsets[stop]
            assert (one.offsets[: stop + 1] == other.offsets[: stop + 1]).all() and (one.ids[:end] == other.ids[:end]).all()
    for field in ("vocabulary", "names", "tag_names", "source_vocabulary", "target_vocabulary"):
        if hasattr(before, field):
            assert getattr(before, field) == getattr(after, field)
    if task == "caption":
        assert (before.vectors[:60] == after.vectors[:60]).all() and (before.vectors[60:] != after.vectors[60:]).any()
        assert (before.scaling.offset == after.scaling.offset).all() and (before.scaling.divisor == after.scaling.divisor).all()
    elif task != "translate":
        assert after.labels[stop:].tolist() == [labelled.UNSEEN, 0] * 20 and after.division.parts["test"].unseen["new"] >= 10


def test_a_number_far_from_what_was_learned_is_read_as_a_large_one():
    scaling = Scaling.fit(np.array([[1e-30, 5.0], [3e-30, 5.0]]))
    assert scaling.apply(np.array([[-3.4e38, 1.0], [3e-30, -3.4e38]])).tolist() == [[-captions.FURTHEST, 0], [1, 0]]


def test_too_few_words_are_refused_with_the_setting():
    with pytest.raises(DataRefused, match=r"the vocabulary would hold 0 tokens: .*`windows.classify.min_count`"):
        labelled.classify_data(numbered(50), ["x", "y"] * 25, None, CLASSIFY.model_copy(update={"min_count": 99}))


# --- the stage ----------------------------------------------------------------------------------


def table_of(task: str, parted: bool = False) -> pa.Table:
    texts = numbered(200, words=8)
    texts[7] = texts[3]
    columns = {
        "classify": {"text": texts, "label": ["x", "y"] * 100},
        "tag": {"text": texts, "tags": ["O B-x I-x O O O"] * 200, "label": ["x", "y"] * 100},
        "translate": {"source": texts, "target": texts[::-1]},
        "caption": {"x": np.arange(200.0), "y": np.arange(200.0) ** 0.5, "caption": texts},
    }[task]
    return pa.table({**columns, **({"part": (["train"] * 3 + ["test"]) * 50} if parted else {})})


def ready(root: Path, task: str, table: pa.Table) -> config.Params:
    projects.project(root, f"ingestion.datasets.mine={{task: {task}, source: raw}}")
    projects.take_in(root, "mine", table)
    return config.read(root / "params.yaml")


READERS = {"classify": files.read_classify, "tag": files.read_tag, "translate": files.read_translate, "caption": files.read_caption}


@pytest.mark.parametrize("task", READERS)
def test_what_is_written_is_what_is_read(tmp_path, task, capsys):
    params = ready(tmp_path, task, table := table_of(task))
    stage.run(tmp_path, "mine", params)
    folder = tmp_path / "data/windows/mine"
    storage.verify(folder)
    read = READERS[task](folder)
    columns = {name: table[name].to_pylist() for name in table.column_names}
    made = {
        "classify": lambda: labelled.classify_data(columns["text"], columns["label"], None, params.windows.classify),
        "tag": lambda: labelled.tag_data(columns["text"], columns["tags"], columns["label"], None, params.windows.tag),
        "translate": lambda: labelled.translate_data(columns["source"], columns["target"], None, params.windows.translate),
        "caption": lambda: captions.caption_data(Vectors.from_table(table), columns["caption"], None, params.windows.caption),
    }[task]()
    for name, value in vars(made).items():
        other = getattr(read, name)
        if isinstance(value, labelled.Sequences):
            assert (value.ids == other.ids).all() and (value.offsets == other.offsets).all()
        elif isinstance(value, labelled.Division):
            assert (value.parts, value.stood) == (other.parts, other.stood) and (value.rows == other.rows).all()
        elif isinstance(value, Scaling):
            assert (value.offset == other.offset).all() and (value.divisor == other.divisor).all()
        elif isinstance(value, np.ndarray):
            assert (value == other).all()
        else:
            assert value == other
    said = capsys.readouterr().out
    assert "windows of mine: " in said and "words of the validation part" in said


@pytest.mark.parametrize("task", READERS)
def test_the_same_table_gives_the_same_bytes(tmp_path, task):
    made = []
    for place in ("a", "b"):
        stage.run(tmp_path / place, "mine", ready(tmp_path / place, task, table_of(task, parted=True)))
        made.append(projects.contents(tmp_path / place / "data/windows/mine"))
    assert made[0] == made[1]


def test_repeats_and_unseen_labels_are_said(tmp_path, capsys):
    table = table_of("classify", parted=True)
    table = table.set_column(1, "label", pa.array(["x", "y", "x", "only in test", "x", "y", "x", "y"] * 25))
    stage.run(tmp_path, "mine", ready(tmp_path, "classify", table))
    said = capsys.readouterr().out
    assert "1 labels or tags of test stand in no row of train: only in test" in said
    described = projects.described(tmp_path / "data/windows/mine")
    assert described["labels"] == ["x", "y"] and described["parts"]["test"]["unseen"] == {"only in test": 25}


def test_a_text_of_train_and_test_is_dropped_from_train_and_said(tmp_path, capsys):
    table = table_of("classify", parted=True)
    texts = table["text"].to_pylist()
    texts[0] = texts[3]
    stage.run(tmp_path, "mine", ready(tmp_path, "classify", table.set_column(0, "text", pa.array(texts))))
    assert "rows dropped from train: they stand in a later part" in capsys.readouterr().out
    read = files.read_classify(tmp_path / "data/windows/mine")
    assert 0 not in read.division.rows and {3, 7} <= set(read.division.rows.tolist())


def test_mostly_unknown_words_are_refused_with_the_section_and_leave_nothing(tmp_path):
    params = ready(tmp_path, "classify", table_of("classify").set_column(0, "text", pa.array(numbered(200, words=3000, length=9))))
    with pytest.raises(DataRefused, match=r"\[UNK\].*raise `windows.classify.max_vocabulary`"):
        stage.run(tmp_path, "mine", params)
    assert not (tmp_path / "data/windows/mine").exists()


# --- a real data set ----------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.parametrize(("place", "task", "sizes", "dropped"), [
    ("labelled/sms_spam/spam.csv", "classify", [3901, 557, 1114], [0, 0, 0]),
    ("labelled/atis", "tag", [4394, 497, 893], [84, 3, 0]),
    ("pairs/addition.txt", "translate", [40000, 5000, 5000], [0, 0, 0]),
    ("pairs/fra_every5th.txt", "translate", [26740, 3343, 3343], [0, 0, 0]),
])  # fmt: skip
def test_a_real_data_set_is_shared_out(tmp_path, place, task, sizes, dropped):
    if not (SHARED / place).exists():
        pytest.skip(f"{SHARED / place} is not here")
    params = config.read(projects.project(tmp_path, f"ingestion.datasets.mine={{task: {task}, source: raw}}") / "params.yaml")
    for path in intake.collect([str(SHARED / place)]):
        name = path.name if (SHARED / place).is_file() else path.relative_to((SHARED / place).resolve())
        storage.write_bytes(tmp_path / "data/raw/mine" / name, path.read_bytes())
    ingestion.run(tmp_path, "mine", params)
    with storage.new_artefact(tmp_path / "data/validation/mine") as folder:
        storage.write_json(folder / "result.json", {"success": True})
    stage.run(tmp_path, "mine", params)
    parts = READERS[task](tmp_path / "data/windows/mine").division.parts
    assert [own.stop - own.start for own in parts.values()] == sizes and [own.dropped for own in parts.values()] == dropped
