"""Answers: what a model says to texts, or to rows of numbers, as they come: a label, tags, a translation or a caption; how far it is off.

All that a model must know to read a text is in its card, so that a champion of other settings, with another vocabulary, is asked the
same texts as its challenger.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from longshort.config import Task
from longshort.errors import UsageError
from longshort.evaluation import translations
from longshort.models.artefact import Model
from longshort.models.decoding import Tongue, search
from longshort.tasks.caption import as_read
from longshort.tasks.rows import padded
from longshort.tasks.translate import turned
from longshort.windows.captions import Scaling, Vectors
from longshort.windows.labelled import Sequences, pair_tokens, sequences, tagged_words
from longshort.windows.text import Vocabulary
from longshort.windows.tokens import words_of

Array = NDArray[np.float64]
BATCH = 128
BEAM = 4  # beginnings of a translation or a caption that are kept
UNKNOWN_ID = 0

Asked = Sequence[str] | Vectors  # texts, or of a captioner rows of numbers


def words(model: Model, text: str) -> list[str]:
    """The words of a text as a model reads them; of one that classifies, those behind its longest text are left out."""
    spec = model.card["description"]["spec"]
    if model.task == "translate":
        return pair_tokens(text, spec["tokens"])
    return tagged_words(text) if model.task == "tag" else words_of(text)[: spec["max_length"]]


def vocabulary(model: Model) -> list[str]:
    """The words that a model can read, those that mark other things first."""
    known: list[str] = model.card["description"]["source_vocabulary" if model.task == "translate" else "vocabulary"]
    return known


def read(model: Model, texts: Sequence[str]) -> Sequences:
    """Texts in a model's own vocabulary."""
    return sequences([words(model, text) for text in texts], Vocabulary(tuple(vocabulary(model))))


def said(model: Model, texts: Asked) -> list[str]:
    """What a lone network answers to each text: its label; its words' tags, between spaces; or what it is in the other language.

    To rows of numbers it answers their captions.
    """
    if isinstance(texts, Vectors):
        return captioned(model, texts)
    if model.task == "classify":
        names = model.card["description"]["labels"]
        return [names[number] for number in shares(model, texts).argmax(axis=1).tolist()]
    return tags(model, texts) if model.task == "tag" else translated(model, texts)


def shares(model: Model, texts: Sequence[str]) -> Array:
    """How probable a classifier holds each label of each text: (texts, labels), each row sums to 1."""
    found = np.zeros((len(texts), len(model.card["description"]["labels"])))
    for rows, ids in _batches(read(model, texts)):
        found[rows] = torch.softmax(model(ids).double(), dim=-1).numpy()
    return found


def tags(model: Model, texts: Sequence[str]) -> list[str]:
    """The tags of each text's words (`words`), between spaces."""
    names, asked = model.card["description"]["tags"], read(model, texts)
    found = [""] * len(texts)
    for rows, ids in _batches(asked):
        for row, best in zip(rows.tolist(), model(ids).argmax(-1).tolist(), strict=True):
            found[row] = " ".join(names[number] for number in best[: len(asked.row(row))])
    return found


def translated(model: Model, texts: Sequence[str], beam: int = BEAM) -> list[str]:
    """What each text is in the other language, by beam search; see `decoding.search`."""
    description, found = model.card["description"], [""] * len(texts)
    known: list[str] = description["target_vocabulary"]
    tongue = Tongue.of(known, description["longest"])
    for rows, ids in _batches(read(model, texts)):
        answers = search(model.network, turned(ids) if description["reversed_source"] else ids, tongue, beam)
        for row, own in zip(rows.tolist(), answers, strict=True):
            found[row] = translations.spelled([known[word] for word in own], description["spec"]["tokens"])
    return found


def columns(model: Model) -> list[str]:
    """The columns that a captioner reads, in its order."""
    known: list[str] = model.card["description"]["columns"]
    return known


def captioned(model: Model, vectors: Vectors, beam: int = BEAM) -> list[str]:
    """What each row of numbers is, by beam search; columns that the model has not learned are passed over.

    raises  UsageError when a column is missing
    """
    if not len(vectors):
        return []
    description = model.card["description"]
    if missing := [name for name in columns(model) if name not in vectors.columns]:
        shown = ", ".join(f"'{name}'" for name in missing[:5]) + (" and more" if len(missing) > 5 else "")
        raise UsageError(f"no column {shown}; the model reads {len(columns(model)):,}, and each of them. Hand all of them in.")
    read = as_read(Scaling.of(description["scaling"]).apply(vectors.of(columns(model))))
    known: list[str] = description["vocabulary"]
    tongue = Tongue.of(known, description["longest"])
    found = [ids for first in range(0, len(read), BATCH) for ids in search(model.network, read[first : first + BATCH], tongue, beam)]
    return [translations.spelled([known[word] for word in ids], description["spec"]["tokens"]) for ids in found]


def _batches(found: Sequences) -> list[tuple[NDArray[np.int64], torch.Tensor]]:
    """The rows' numbers and ids, rows of like length together."""
    order = np.argsort(np.diff(found.offsets), kind="stable")
    cuts = [order[first : first + BATCH] for first in range(0, len(order), BATCH)]
    return [(rows, padded(found, rows)) for rows in cuts]


def errors(task: Task, answers: Sequence[str], wanted: Sequence[str]) -> Array:
    """How far each answer is off, from 0 to 1: a label is right or wrong; of tags the share that is wrong; of what is spelled 1 - chrF."""
    if task == "classify":
        return np.array([own != right for own, right in zip(answers, wanted, strict=True)], np.float64)
    if task in ("translate", "caption"):
        return translations.chrf_errors(answers, wanted)
    return np.array(
        [np.mean([a != b for a, b in zip(own.split(), right.split(), strict=True)]) for own, right in zip(answers, wanted, strict=True)]
    )


def variety(task: Task, answers: Sequence[str]) -> float:
    """The entropy in nats of the labels, the tags or the whole translations or captions that were said: 0 of what always says the same."""
    said = [tag for own in answers for tag in own.split()] if task == "tag" else answers
    counts = np.array(list(Counter(said).values()), np.float64)
    chances = counts / counts.sum()
    return float(-(chances * np.log(chances)).sum())
