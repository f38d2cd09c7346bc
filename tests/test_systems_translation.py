"""The system `translation`: its made dates, its plain rivals, how it is scored, and a run of it."""

from __future__ import annotations

import datetime as dt
import math
from collections import Counter
from pathlib import Path

import numpy as np
import projects
import pytest
import torch

from longshort import config
from longshort.config import TranslateTask as Settings
from longshort.config import TranslateWindows
from longshort.errors import DataRefused
from longshort.evaluation import translations
from longshort.models.decoding import search
from longshort.models.network import Network
from longshort.systems import dates, translation
from longshort.systems.fitting import Fitted
from longshort.systems.occasion import Occasion
from longshort.tasks.translate import TranslateTask
from longshort.training.loop import generator_of
from longshort.windows.labelled import pair_tokens, translate_data

pytestmark = pytest.mark.usefixtures("one_thread")
SPEC = TranslateWindows(min_count=1, max_vocabulary=100, validation=0.2, test=0.2, seed=0, tokens="words", max_length=9)


def occasion(root: Path, data: Path | None = None, **settings: object) -> Occasion:
    projects.project(root)
    return Occasion(root, config.read(root / "params.yaml"), "translation", data, True, dict(settings), (0,), lambda said: None)


# --- dates --------------------------------------------------------------------------------------


def test_a_day_is_said_in_every_wording():
    assert [dates.said(dt.date(1982, 12, 22), wording) for wording in dates.WORDINGS] == [
        "the twenty-second of december 1982",
        "december the twenty-second, 1982",
        "december 22nd, 1982",
        "22nd of december 1982",
        "wednesday, 22 december 1982",
        "wednesday december 22nd 1982",
        "22 dec 1982",
        "22 dec 82",
        "dec 22, 1982",
        "22.12.1982",
        "in 1982, on the 22nd of december",
    ]
    assert [dates.said(dt.date(2001, 1, day), "{spoken} {ordinal}") for day in (1, 11, 13, 20, 30, 31)] == [
        "first 1st", "eleventh 11th", "thirteenth 13th", "twentieth 20th", "thirtieth 30th", "thirty-first 31st",
    ]  # fmt: skip


def test_a_phrase_names_one_day_and_the_seed_says_which():
    said, iso = dates.phrases(2000, seed=3)
    assert len(set(said)) == 2000 and (said, iso) == dates.phrases(2000, seed=3) and said != dates.phrases(2000, seed=4)[0]
    days = [dates.FIRST + dt.timedelta(n) for n in range(dates.DAYS)]
    assert len({dates.said(day, "{day} {short} {two}") for day in days}) == len(days)
    assert all(
        any(dates.said(dt.date.fromisoformat(day), way) == one for way in dates.WORDINGS) for one, day in zip(said, iso, strict=True)
    )


# --- scores -------------------------------------------------------------------------------------


def bleu(said: list[list[str]], asked: list[list[str]]) -> float:
    """By the printed equation (Papineni et al., 2002), one reference each."""

    def grams(words: list[str], n: int) -> Counter[tuple[str, ...]]:
        return Counter(tuple(words[k : k + n]) for k in range(len(words) - n + 1))

    logs = 0.0
    for n in range(1, 5):
        found = sum((grams(one, n) & grams(other, n)).total() for one, other in zip(said, asked, strict=True))
        logs += math.log(found / sum(grams(one, n).total() for one in said)) / 4
    lengths = [sum(map(len, side)) for side in (said, asked)]
    return 100 * math.exp(min(0.0, 1 - lengths[1] / lengths[0]) + logs)


def test_bleu_is_the_printed_equation_and_case_does_not_count():
    said = ["the cat sat on the mat today .", "a dog ran in a park", "one two three four five six"]
    asked = ["The cat sat on a mat today .", "a big dog ran in a park with me", "one two three four five seven six"]
    wanted = bleu([one.split() for one in said], [one.lower().split() for one in asked])
    found = translations.score(said, asked, "words")
    assert found["bleu"] == pytest.approx(wanted) and 30 < wanted < 90 and found["exact"] == 0
    assert translations.score(said, [one.upper() for one in said], "words") == pytest.approx({"bleu": 100, "chrf": 100, "exact": 100})
    assert "version:" in translations.signatures()["bleu"] and "c6" in translations.signatures()["chrf"].replace("nc:6", "c6")


def test_all_words_right_is_right_however_marks_are_spaced():
    asked = ["How are you?", "Go!", "It is 10.5 at 3:30 (now)."]
    said = [translations.spelled(pair_tokens(one, "words"), "words") for one in asked]
    assert translations.score(said, asked, "words") == pytest.approx({"bleu": 100, "chrf": 100, "exact": 100})
    assert translations.score(["a b"], ["ab"], "characters")["exact"] == translations.score(["a b"], ["ab"], "words")["exact"] == 0


def test_what_was_taken_apart_is_put_together_again():
    for said in ("peux-tu venir ?", "tom est là, non ?", "c'est fini.", "« aujourd'hui » !"):
        assert translations.spelled(pair_tokens(said, "words"), "words") == said.replace(" - ", "-")
    assert translations.spelled(pair_tokens("1969-07-20", "characters"), "characters") == "1969-07-20"


def test_every_row_is_in_one_band_of_lengths():
    texts = ["a b c d e", "f g h i j", "k l m n o"]
    table = translations.by_length({"same": texts, "other": ["z"] * 3}, texts, np.array([4, 5, 99]))
    assert [row[:2] for row in table.rows] == [["1 to 4", 1], ["5 to 6", 1], ["16 and more", 1]]
    assert all(row[2:] == pytest.approx([100, 0]) for row in table.rows)


def dictionary():
    """A language in which each word has one translation, words in the same order."""
    draw = np.random.Generator(np.random.Philox(1))
    rows = [draw.choice(9, draw.integers(2, 6), replace=False) for _ in range(120)]
    sources = [" ".join(f"a{word}" for word in row) for row in rows]
    return sources, [" ".join(["le", *(f"b{word}" for word in row)]) for row in rows]


def test_word_by_word_finds_a_dictionary_and_not_what_stands_everywhere():
    sources, targets = dictionary()
    data = translate_data(sources, targets, None, SPEC)
    own = data.division.parts["test"]
    for place, ids in enumerate(translations.word_by_word(data)):
        said = [data.target_vocabulary.words[word] for word in ids]
        assert ["le", *said] == [data.target_vocabulary.words[word] for word in data.targets.row(own.start + place)]


def test_the_nearest_source_is_one_of_training_that_shares_most():
    sources, targets = dictionary()
    data = translate_data(sources, targets, None, SPEC)
    train, test = data.division.parts["train"], data.division.parts["test"]
    shared = []
    for place, row in enumerate(translations.nearest(data).tolist()):
        assert train.start <= row < train.stop
        asked = set(data.sources.row(test.start + place).tolist())
        shared.append(len(asked & set(data.sources.row(row).tolist())) / len(asked))
    assert np.mean(shared) > 0.65  # 0.4 of any other


# --- what a network says ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def spoken():
    """Pairs, a task over them, and a network that nobody has trained but that says many things."""
    sources, targets = dictionary()
    pairs = translation._pairs(sources, targets, SPEC, "given")
    task = TranslateTask.of(pairs.data, Settings(embedding_size=6, dropout=0.0, attention="luong"))
    variant = config.Variant(cell="gru", hidden_size=5, num_layers=1, bidirectional=False, dropout=0.0)
    network = Network(task, variant, "reference", [generator_of(0)]).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(5)))
    return pairs, task, Fitted(0, network, [])


def test_texts_lie_beside_their_ids(spoken):
    pairs, _, _ = spoken
    for side, (found, vocabulary) in enumerate(
        ((pairs.data.sources, pairs.data.source_vocabulary), (pairs.data.targets, pairs.data.target_vocabulary))
    ):
        for number, texts in enumerate(pairs.texts):
            assert [vocabulary.words[word] for word in found.row(number)] == texts[side].split()


def test_sources_are_said_in_their_order_whatever_their_lengths(spoken, monkeypatch):
    pairs, task, fitted = spoken
    monkeypatch.setattr(translation, "AT_A_TIME", 5)
    start, stop = task.range_of("test")
    tongue, words = translation.tongue_of(pairs.data), pairs.data.target_vocabulary.words
    assert tongue.longest == max(len(target.split()) for _, target in pairs.of("train"))
    alone = [search(fitted.network, task.read(np.array([n])), tongue, 2)[0] for n in range(start, stop)]
    assert translation.translated(fitted, task, pairs, 2) == [" ".join(words[word] for word in ids) for ids in alone]
    assert len(set(map(tuple, alone))) > 3


def test_where_the_decoder_looked_lies_in_the_order_of_the_source(spoken):
    pairs, task, fitted = spoken
    said = ["wrong"] * len(pairs.of("test"))
    place = next(n for n, (source, _) in enumerate(pairs.of("test")) if len(source.split()) == 4)
    said[place] = pairs.of("test")[place][1]
    shares, read, words = translation.looked_at(fitted, task, pairs, said)
    assert (read, words) == (pairs.of("test")[place][0].split(), [*pairs.of("test")[place][1].split(), "■"])
    chosen = np.array([task.range_of("test")[0] + place])
    states, final = fitted.network.encode(task.read(chosen)[None])
    _, looked = fitted.network.decode(task.fed(task.asked(chosen)[None]), (states, final, None))
    torch.testing.assert_close(torch.from_numpy(shares.copy()), looked[0, 0].flip(-1))


# --- a run --------------------------------------------------------------------------------------


def test_a_fast_run_has_its_figures_tables_and_pictures(tmp_path, monkeypatch):
    monkeypatch.setattr(translation, "FAST", 150)
    found = translation.run(occasion(tmp_path, hidden_size=8, cell="gru", bidirectional=True))
    assert [figure.name for figure in found.figures] == [
        "exact, with attention, beam of 5", "exact, without attention, beam of 5",
        "exact, with attention, greedy", "exact, without attention, greedy",
    ]  # fmt: skip
    assert found.data == "150 made dates" and not found.real and set(found.figures[0].naive) == {"nearest source"}
    assert set(found.pictures) == {"losses", "alignment"}
    assert all(picture.startswith(b"\x89PNG") for picture in found.pictures.values())
    assert found.settings["network"] == "gru of 8, both ways" and found.settings["tokens"] == "words"
    assert [row[0] for row in found.tables["scores"].rows][-1] == "nearest source" and len(found.tables["samples"].rows) == 12


@pytest.mark.parametrize(("content", "message"), [
    ("", r"pairs.txt:1:1: the file is empty"),
    ("one side\nand another\n", r"pairs.txt:1:1: none of 2 rows can be used: no tab, so no target"),
    ("Go.\tVa !\nStop.\tStop !\n", "the validation part holds no row|the test part holds no row"),
])  # fmt: skip
def test_a_file_without_pairs_is_refused_with_the_place(tmp_path, content, message):
    (tmp_path / "pairs.txt").write_text(content)
    with pytest.raises(DataRefused, match=message):
        translation.run(occasion(tmp_path / "root", tmp_path / "pairs.txt"))


def test_no_file_is_refused_and_rows_with_one_side_are_told(tmp_path):
    for nothing in (tmp_path / "nowhere.txt", tmp_path):
        with pytest.raises(DataRefused, match=r"no file of pairs\. Hand in one with a pair a line"):
            translation.run(occasion(tmp_path / "root", nothing))
    lines = [f"{a}+{b}\t{a + b}" for a in range(10, 20) for b in range(10, 20)]
    (tmp_path / "sums.txt").write_text("\n".join([*lines[:50], "alone", *lines[50:]]))
    told: list[str] = []
    asked = occasion(tmp_path / "root", tmp_path / "sums.txt")
    found = translation.read(Occasion(**{**asked.__dict__, "say": told.append}))
    assert found.kind == "characters" and found.figure == "exact" and len(found.texts) == 100
    assert told == ["sums.txt: 1 of 101 rows left out, the first in line 51: no tab, so no target"]
