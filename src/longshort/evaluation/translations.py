"""Translations: what a translator is worth on a test part, beside plain ways to answer. sacrebleu stands behind BLEU and chrF."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from longshort.evaluation.tables import Table
from longshort.windows.captions import CaptionData
from longshort.windows.labelled import Sequences, TranslateData, pair_tokens

LENGTHS = (4, 6, 8, 10, 15)  # tokens of a source up to which rows are put together
AT_A_TIME = 512  # sources whose likeness to all others is held


def spelled(tokens: Sequence[str], kind: str) -> str:
    """Tokens of `labelled.pair_tokens` as a text again; where a text in words had spaces about a hyphen or a dot is not known any more.

    >>> spelled(["peux", "-", "tu", "venir", "?"], "words"), spelled(list("1969-07-20"), "characters")
    ('peux-tu venir ?', '1969-07-20')
    """
    if kind == "characters":
        return "".join(tokens)
    return re.sub(r" ([.,])(?= |$)", r"\1", re.sub(r"(?<=\w) - (?=\w)", "-", " ".join(tokens)))


def uniform(text: str, kind: str) -> str:
    """A text as a translator could say it: in words its case and its spaces about marks are nobody's merit.

    >>> uniform("Is it 3:30?", "words"), uniform("It is 3 : 30 ?", "words"), uniform("A b", "characters")
    ('is it 3 : 30 ?', 'it is 3 : 30 ?', 'A b')
    """
    return spelled(pair_tokens(text, kind), kind)


def score(said: Sequence[str], asked: Sequence[str], kind: str) -> dict[str, float]:
    """BLEU (Papineni et al., 2002) and chrF (Popović, 2015) of a whole part, and the share that is right, all in percent.

    Case does not count, and every source has one reference. In words spaces about marks do not count either, in answers and references
    alike: see `uniform`. Signatures of sacrebleu: `signatures`.
    """
    said, asked = ([uniform(one, kind) for one in side] for side in (said, asked))
    bleu, chrf = _metrics()
    return {
        "bleu": float(bleu.corpus_score(said, [asked]).score),
        "chrf": float(chrf.corpus_score([one.lower() for one in said], [[one.lower() for one in asked]]).score),
        "exact": 100 * float(np.mean([one.lower() == other.lower() for one, other in zip(said, asked, strict=True)])),
    }


def chrf_errors(said: Sequence[str], asked: Sequence[str]) -> NDArray[np.float64]:
    """1 - chrF of each answer alone, from 0 of one that is right to the letter, but for case, to 1."""
    _, chrf = _metrics()
    scores = [chrf.sentence_score(own.lower(), [right.lower()]).score for own, right in zip(said, asked, strict=True)]
    return np.clip(1 - np.array(scores, np.float64) / 100, 0, 1)


def score_captions(said: Sequence[str], asked: Sequence[str], kind: str) -> dict[str, float]:
    """As `score`; BLEU counts runs of words, so it has nothing to say of captions that are spelled in characters."""
    found = score(said, asked, kind)
    return found if kind == "words" else {name: value for name, value in found.items() if name != "bleu"}


def signatures() -> dict[str, str]:
    """How sacrebleu counts, in its own words; it knows them once it has scored something."""
    found = {}
    for name, metric in zip(("bleu", "chrf"), _metrics(), strict=True):
        metric.corpus_score(["a"], [["a"]])
        found[name] = str(metric.get_signature())
    return found


def _metrics() -> tuple[Any, Any]:
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF

    return BLEU(lowercase=True, force=True), CHRF()


def by_length(said: Mapping[str, Sequence[str]], asked: Sequence[str], lengths: NDArray[np.int64]) -> Table:
    """BLEU of each method on the rows of pairs in words whose sources are so long, in tokens."""
    bins = np.searchsorted(LENGTHS, lengths)
    rows: list[list[Any]] = []
    for place in np.unique(bins).tolist():
        own = np.flatnonzero(bins == place).tolist()
        low = LENGTHS[place - 1] + 1 if place else 1
        name = f"{low} to {LENGTHS[place]}" if place < len(LENGTHS) else f"{low} and more"
        rows.append([name, len(own), *(score([each[n] for n in own], [asked[n] for n in own], "words")["bleu"] for each in said.values())])
    return Table(["source_tokens", "rows", *said], rows)


def nearest(data: TranslateData) -> NDArray[np.int64]:
    """The number of the training pair whose source is most like each of the test part: TF-IDF of tokens and of runs of two, cosine."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    def texts(part: str) -> list[list[int]]:
        own = data.division.parts[part]
        return [data.sources.row(row).tolist() for row in range(own.start, own.stop)]

    features = TfidfVectorizer(analyzer=_ones_and_twos, sublinear_tf=True)
    known, asked = features.fit_transform(texts("train")), features.transform(texts("test"))
    found = [(asked[first : first + AT_A_TIME] @ known.T).toarray().argmax(axis=1) for first in range(0, asked.shape[0], AT_A_TIME)]
    return data.division.parts["train"].start + np.concatenate(found)


def nearest_vectors(data: CaptionData) -> NDArray[np.int64]:
    """The number of the training row whose scaled vector lies nearest to each of the test part."""
    from sklearn.neighbors import NearestNeighbors

    train, test = (data.division.parts[part] for part in ("train", "test"))
    known = NearestNeighbors(n_neighbors=1, algorithm="brute").fit(data.vectors[train.start : train.stop])
    found: NDArray[np.int64] = known.kneighbors(data.vectors[test.start : test.stop], return_distance=False)[:, 0]
    return train.start + found


def _ones_and_twos(ids: Sequence[int]) -> list[str]:
    return [*map(str, ids), *(f"{first} {second}" for first, second in itertools.pairwise(ids))]


def word_by_word(data: TranslateData) -> list[list[int]]:
    """Each source of the test part in its own order, a target word a word: the one that stands beside it most faithfully in training.

    Faithful is 2·n(both) / (n(source word) + n(target word)) over training pairs (Dice, 1945).
    """
    known, answers = (_held(side, data) for side in ("sources", "targets"))
    together = (known.T @ answers).tocoo()
    counts, answered = (np.asarray(held.sum(axis=0)).ravel() for held in (known, answers))
    faith = 2 * together.data / (counts[together.row] + answered[together.col])
    best = np.zeros(known.shape[1], np.int64)
    order = np.lexsort((-together.col, faith))  # of equals the more frequent word, whose id is lower, is written last
    best[together.row[order]] = together.col[order]
    own = data.division.parts["test"]
    return [best[data.sources.row(row)].tolist() for row in range(own.start, own.stop)]


def _held(side: str, data: TranslateData) -> Any:
    """Which words each training pair holds on a side: (pairs, words), 0 or 1."""
    from scipy.sparse import csr_matrix

    found: Sequences = getattr(data, side)
    words = len(data.source_vocabulary if side == "sources" else data.target_vocabulary)
    train = data.division.parts["train"]
    offsets = found.offsets[train.start : train.stop + 1]
    ids = np.asarray(found.ids[offsets[0] : offsets[-1]], np.int64)
    held = csr_matrix((np.ones(len(ids)), ids, offsets - offsets[0]), shape=(train.stop - train.start, words))
    held.sum_duplicates()
    held.data[:] = 1
    return held
