"""Rows: labelled texts, words with tags, pairs, and numbers with captions, as they stand in the tidy table; what is answered to a part."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from longshort.config import Task
from longshort.evaluation import answers, classes, ngrams, pictures, spans, tables, translations
from longshort.evaluation.report import Report
from longshort.evaluation.tables import Table
from longshort.models.artefact import Model
from longshort.windows.captions import CaptionData, Vectors, keys_of
from longshort.windows.labelled import END, ClassifyData, RowRange, Sequences, TagData, TranslateData, numbered
from longshort.windows.text import Vocabulary

Data = ClassifyData | TagData | TranslateData | CaptionData
Array = NDArray[np.float64]

COLUMNS = {"classify": ("text", "label"), "tag": ("text", "tags"), "translate": ("source", "target"), "caption": ("", "caption")}
UNITS = {"classify": "nats a text", "tag": "nats a word", "translate": "nats a token", "caption": "nats a token"}
# what a row's answer is worth by itself, for tables by group and the picture of them
GROUPED = {
    "classify": "F1 of a label (%)",
    "tag": "F1 of a span (%)",
    "translate": "chrF, by words of the source",
    "caption": "chrF",
}
MISTAKEN = 200  # rows of the table of mistakes at most
DRAWN = 20  # groups of the picture at most
LENGTHS = (4, 6, 8, 10, 15, 20)


@dataclass(frozen=True)
class Part:
    """Rows of a part, as they stand in the tidy table: what is read, and the answer that is wanted, as `answers.said` gives it.

    rows, keys  of each: its number in the table, and `labelled.key_of` it
    """

    task: Task
    texts: list[str] | Vectors
    wanted: list[str]
    rows: NDArray[np.int64]
    keys: NDArray[np.uint64]

    @classmethod
    def of(cls, task: Task, table: pa.Table, data: Data, part: str = "test") -> Part:
        """A part of a data set."""
        own = data.division.parts[part]
        rows = np.asarray(data.division.rows[own.start : own.stop])
        some, (read, asked) = table.take(pa.array(rows)), COLUMNS[task]
        texts = Vectors.from_table(some) if task == "caption" else some[read].to_pylist()
        return cls(task, texts, some[asked].to_pylist(), rows, np.asarray(data.division.keys[own.start : own.stop]))

    def only(self, those: NDArray[np.bool_]) -> Part:
        """The same for some of the rows."""
        kept = np.flatnonzero(those)
        texts = self.texts[kept] if isinstance(self.texts, Vectors) else [self.texts[k] for k in kept.tolist()]
        return Part(self.task, texts, [self.wanted[k] for k in kept.tolist()], self.rows[those], self.keys[those])

    def keys_for(self, model: Model) -> NDArray[np.uint64] | None:
        """The keys that a model's own data would have for these rows, which may have had other columns, or in another order.

        None when the rows lack a column that it reads, so that it cannot be asked
        """
        if not isinstance(self.texts, Vectors):
            return self.keys
        own = answers.columns(model)
        return keys_of(self.texts.of(own)) if self.texts.holds(own) else None


def naive(task: Task, table: pa.Table, data: Data) -> dict[str, list[str]]:
    """What plain methods that learned from the training part answer to each row of the test part, by method.

    Of classes the most frequent label, and a linear model of words and pairs of words; of tags each word's most frequent one; of
    translations that of the most similar source; of captions the most frequent one, and that of the nearest vector.
    """
    if isinstance(data, ClassifyData):
        train, test = (data.division.parts[part] for part in ("train", "test"))
        found = {
            "majority": classes.majority(data.labels[train.start : train.stop], test.stop - test.start),
            "tfidf_logistic": classes.LinearOfTexts(data).named("test"),
        }
        return {name: [data.names[number] for number in own.tolist()] for name, own in found.items()}
    if isinstance(data, TagData):
        tagger = spans.MostFrequent(_tagged(data, "train"), range(len(data.tag_names)))
        rows = [tagger.named(words) for words, _ in _tagged(data, "test")]
        return {"most_frequent_tag": [" ".join(data.tag_names[number] for number in own) for own in rows]}
    wanted = table[COLUMNS[task][1]].to_pylist()
    if isinstance(data, CaptionData):
        train, test = (data.division.parts[part] for part in ("train", "test"))
        often = Counter(wanted[row] for row in data.division.rows[train.start : train.stop].tolist())
        nearest = data.division.rows[translations.nearest_vectors(data)].tolist()
        return {
            "majority": [min(often, key=lambda one: (-often[one], one))] * (test.stop - test.start),
            "nearest_vector": [wanted[row] for row in nearest],
        }
    return {"nearest_source": [wanted[row] for row in data.division.rows[translations.nearest(data)].tolist()]}


def naive_losses(data: Data) -> dict[str, float]:
    """What each plain method that says how sure it is is charged on the validation part, in the unit of the training loss."""
    if isinstance(data, ClassifyData):
        train, asked = (data.labels[own.start : own.stop] for own in (data.division.parts[part] for part in ("train", "validation")))
        often = np.bincount(train, minlength=len(data.names))
        majority = float(-np.log(often[asked[asked >= 0]] / often.sum()).mean())
        return {"majority": majority, "tfidf_logistic": classes.LinearOfTexts(data).loss("validation")}
    if isinstance(data, TagData):
        tagger = spans.MostFrequent(_tagged(data, "train"), range(len(data.tag_names)))
        return {"most_frequent_tag": tagger.loss(_tagged(data, "validation"))}
    said, vocabulary = (data.captions, data.vocabulary) if isinstance(data, CaptionData) else (data.targets, data.target_vocabulary)
    learned, held = (_targets(said, vocabulary, data.division.parts[part]) for part in ("train", "validation"))
    return {"unigram": float(ngrams.Unigram.fit(learned, len(vocabulary)).nats(held, 0).mean())}


def _tagged(data: TagData, part: str) -> list[tuple[list[int], list[int]]]:
    """The numbers of each row's words and tags."""
    own, tags = data.division.parts[part], Sequences(data.tags, data.texts.offsets)
    return [(data.texts.row(row).tolist(), tags.row(row).tolist()) for row in range(own.start, own.stop)]


def _targets(said: Sequences, vocabulary: Vocabulary, own: RowRange) -> NDArray[np.int64]:
    """A part's targets, one behind the other, and as many ends."""
    ids = said.ids[said.offsets[own.start] : said.offsets[own.stop]]
    return np.concatenate([ids, np.full(own.stop - own.start, vocabulary.words.index(END))]).astype(np.int64)


def score(data: Data, said: Sequence[str], wanted: Sequence[str]) -> dict[str, float]:
    """What answers to a data set's rows are worth."""
    if isinstance(data, ClassifyData):
        return classes.score(numbered(said, data.names), numbered(wanted, data.names))
    if isinstance(data, TagData):
        return spans.score([own.split() for own in said], [own.split() for own in wanted])
    if isinstance(data, CaptionData):
        return translations.score_captions(said, wanted, data.spec.tokens)
    return translations.score(said, wanted, data.spec.tokens)


def report(task: Task, table: pa.Table, data: Data, models: Mapping[int, Model], title: str) -> Report:
    """What every seed answers to the test part, what plain methods do, and tables and pictures of both."""
    asked, plain, losses = Part.of(task, table, data), naive(task, table, data), naive_losses(data)
    said = {seed: answers.said(model, asked.texts) for seed, model in models.items()}
    rivals: dict[str, dict[str, float]] = {name: score(data, own, asked.wanted) for name, own in plain.items()}
    for name, loss in losses.items():
        rivals.setdefault(name, {})["validation_loss"] = loss
    everybody = {**plain, **{f"seed_{seed}": own for seed, own in said.items()}}
    errors = {name: answers.errors(task, own, asked.wanted) for name, own in everybody.items()}
    groups = _by_group(asked, plain, said)
    return Report(
        unit=UNITS[task],
        test={"rows": len(asked.texts)},
        seeds={seed: score(data, own, asked.wanted) for seed, own in said.items()},
        baselines=rivals,
        naive_loss=min(losses.values()),
        header=["row", *errors],
        rows=zip((asked.rows + 1).tolist(), *errors.values(), strict=True),
        tables={"by-group": groups, "mistaken": mistaken(asked, next(iter(said.values())), errors[f"seed_{next(iter(said))}"])},
        pictures={
            "groups.png": pictures.by_group(
                *_drawn(groups), groups.header[2].replace("_", " "), GROUPED[task], f"{title}: {_heading(task, groups)}"
            )
        },
        leak_alarm=False,
        asked={},
    )


def _by_group(asked: Part, plain: Mapping[str, Sequence[str]], said: Mapping[int, Sequence[str]]) -> Table:
    """Each label, each name of spans, or sources or captions of like length: how many there are, what the best plain method is worth
    on them, and the seeds as mean and standard deviation; in percent, the most frequent first, lengths in their order.
    """
    best = min(plain, key=lambda name: float(answers.errors(asked.task, plain[name], asked.wanted).mean()))
    found = {"naive": _worth(asked, plain[best])} | {seed: _worth(asked, own) for seed, own in said.items()}
    rows: list[list[Any]] = []
    for name, (count, beside) in found["naive"].items():
        own = [found[seed][name][1] for seed in said]
        rows.append([name, count, beside, float(np.mean(own)), tables.spread(own)])
    if asked.task != "translate" and not _by_length(asked):
        rows.sort(key=lambda row: (-row[1], row[0]))
    return Table(["group", "count", best, "model", "model_sd"], rows)


def _worth(asked: Part, said: Sequence[str]) -> dict[str, tuple[int, float]]:
    """group -> how many there are, and what was said of them is worth, in percent."""
    if asked.task == "classify":
        names = sorted(set(asked.wanted))
        own = classes.by_label([numbered(said, names)], numbered(asked.wanted, names), names)
        return {row[0]: (row[1], 100 * row[4]) for row in own.rows}
    if asked.task == "tag":
        own = spans.by_name([each.split() for each in said], [each.split() for each in asked.wanted])
        return {row[0]: (row[1], 100 * row[4]) for row in own.rows}
    errors = translations.chrf_errors(said, asked.wanted)
    if asked.task == "caption" and not _by_length(asked):
        places = {name: [k for k, right in enumerate(asked.wanted) if right == name] for name in asked.wanted}
        return {name: (len(own), float(100 * (1 - errors[own].mean()))) for name, own in places.items()}
    measured = asked.wanted if isinstance(asked.texts, Vectors) else asked.texts
    words = asked.task == "translate" or any(" " in text for text in measured)
    lengths = np.searchsorted(LENGTHS, [len(text.split() if words else text) for text in measured])
    found = {}
    for place in np.unique(lengths).tolist():
        low = LENGTHS[place - 1] + 1 if place else 1
        unit = "words" if words else "characters"
        name = f"{low} to {LENGTHS[place]} {unit}" if place < len(LENGTHS) else f"{low} {unit} and more"
        found[name] = (int((lengths == place).sum()), float(100 * (1 - errors[lengths == place].mean())))
    return found


def _by_length(asked: Part) -> bool:
    """Whether captions are put together by their length: few different ones are names, and each is a group of its own."""
    return asked.task == "caption" and len(set(asked.wanted)) > DRAWN


def _drawn(groups: Table) -> tuple[list[str], Array, Array, Array]:
    rows = groups.rows[:DRAWN]
    means, spread, beside = (np.array([row[k] for row in rows], np.float64) for k in (3, 4, 2))
    return [f"{row[0]}  ({row[1]:,})" for row in rows], means, spread, beside


def _heading(task: Task, groups: Table) -> str:
    what = {"classify": "labels", "tag": "spans", "translate": "sources", "caption": "captions"}[task]
    return f"where it is good, by {what}" + (f", the {DRAWN} most frequent of {len(groups.rows)}" if len(groups.rows) > DRAWN else "")


def mistaken(asked: Part, said: Sequence[str], errors: Array) -> Table:
    """The first seed's answers that are not what was wanted, those that are furthest off first."""
    order = [k for k in np.argsort(-errors, kind="stable").tolist() if errors[k] > 0][:MISTAKEN]
    read = [] if isinstance(asked.texts, Vectors) else [("text", asked.texts)]  # the row's number tells a vector better than its numbers
    told = [*read, ("wanted", asked.wanted), ("said", said)]
    rows = [[int(asked.rows[k]) + 1, *(_as_text(side[k]) for _, side in told)] for k in order]
    return Table(["row", *(name for name, _ in told)], rows)


def _as_text(value: str) -> str:
    """A cell that no spreadsheet takes for a formula."""
    return f"'{value}" if value[:1] in ("=", "+", "-", "@", "\t", "\r") else value
