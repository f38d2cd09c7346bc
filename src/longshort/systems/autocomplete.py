"""Autocomplete: what may be typed next, after every key, by a language model; and what that saves who types.

Words of the test part are typed key by key, until the word is among the suggestions or stands there whole. A key chooses a suggestion,
space included. What suggests is what `longshort complete` asks of a registered model.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from longshort import serving
from longshort.errors import DataRefused
from longshort.evaluation.ngrams import Trigram, Unigram
from longshort.evaluation.tables import Table
from longshort.models.suggesting import Suggester, Suggestion
from longshort.systems import language_model, pictures, sources
from longshort.systems.fitting import described, fit
from longshort.systems.language_model import TRIGRAM, UNIGRAM
from longshort.systems.occasion import Figure, Occasion, Outcome
from longshort.systems.sources import Source
from longshort.windows.tokens import SPECIAL, Ids

COUNT = 5  # suggestions, as a phone shows three to five
TYPED, FEW_TYPED = 1_000, 40  # words of the test part; of a fast run
LETTERS = 6  # of which it is told how often the word was among the suggestions
UNSAID = (*SPECIAL, sources.UNKNOWN, sources.END, "N")  # what stands for other words, and nobody types

Suggest = Callable[[Ids, str], list[Suggestion]]  # of the ids before, and what is begun


@dataclass(frozen=True)
class Typing:
    """Words as they were typed, each until it was suggested.

    known    whether each is in the vocabulary; no other can be suggested
    needed   letters after which each was among the suggestions, -1 where never; first: whether it was the first before any letter
    letters  of each
    seconds  (suggestions, 2) what each took, of wall time and of the processor
    """

    known: NDArray[np.bool_]
    needed: NDArray[np.int64]
    first: NDArray[np.bool_]
    letters: NDArray[np.int64]
    seconds: NDArray[np.float64]

    @property
    def saved(self) -> float:
        """The share of keys that was not pressed: of a word without suggestions each letter and the space behind it is one."""
        pressed = np.where(self.needed >= 0, self.needed + 1, self.letters + 1)
        return float(1 - pressed.sum() / (self.letters + 1).sum())

    def among(self, letters: int) -> float:
        """The share that was among the suggestions after so many letters or fewer."""
        return float(np.mean((self.needed >= 0) & (self.needed <= letters)))


def run(occasion: Occasion) -> Outcome:
    """Train a language model, and type the test part with it.

    raises  DataRefused, TrainingDiverged, UsageError
    """
    source = sources.read(occasion)
    if not typed_places(source):
        raise DataRefused(
            f"{source.name}: no word of the test part, its end, begins with a letter, so none can be typed. Give a text of words."
        )
    task, variant, how = language_model.asked(occasion, source)
    (fitted, *_), seconds = fit(occasion, "autocomplete", [task], variant, how)
    completer = serving.Completer(language_model.as_model(fitted, task, variant), UNSAID)
    ours = described(variant)
    asked: dict[str, Suggest] = {ours: lambda ids, begun: completer.follow(ids, begun, COUNT), **rivals(source)}
    words = FEW_TYPED if occasion.fast else TYPED
    typed = {}
    for name, suggest in asked.items():
        occasion.say(f"{words:,} words are typed with {name}")
        typed[name] = typing(source, suggest, words)
    own = typed[ours]
    (middle, _), (late, busy) = 1000 * np.percentile(own.seconds, (50, 95), axis=0)
    others = [name for name in typed if name != ours]
    first = {name: 100 * float(each.first.mean()) for name, each in typed.items()}
    among = {name: 100 * each.among(0) for name, each in typed.items()}
    saved = {name: 100 * each.saved for name, each in typed.items()}
    figures = [
        Figure("a suggestion, median", float(middle), "ms"),
        Figure("a suggestion, 95th percentile", float(late), "ms"),
        Figure("a suggestion, 95th percentile of processor time", float(busy), "ms"),
        *(
            Figure(said, values[ours], "%", naive={name: values[name] for name in others})
            for said, values in (("next word first", first), (f"next word among {COUNT}", among), ("keys saved", saved))
        ),
    ]
    title = f"{saved[ours]:.0f} % of keys saved, {saved[TRIGRAM]:.0f} % by trigrams; a suggestion in {middle:.1f} ms"
    return Outcome(
        data=f"{source.name}; {len(own.letters):,} words typed",
        real=not occasion.fast,
        figures=figures,
        settings={
            "variant": variant.model_dump(),
            "optimisation": how.model_dump(),
            "suggestions": COUNT,
            "share of typed words that are unknown": round(1 - float(own.known.mean()), 4),
            "seconds": round(seconds),
        },
        tables={
            "typing": Table(
                ["by", "first, %", f"among {COUNT}, %", "keys saved, %", "median ms", "processor ms", "95th percentile ms", "processor ms"],
                [
                    [name, first[name], among[name], saved[name], *(1000 * np.percentile(each.seconds, (50, 95), axis=0)).ravel().tolist()]
                    for name, each in typed.items()
                ],
            ),
            "after-letters": Table(
                ["letters", *typed], [[number, *(100 * each.among(number) for each in typed.values())] for number in range(LETTERS + 1)]
            ),
        },
        pictures={
            "typing": pictures.suggestion_bars(
                [(name, first[name], among[name]) for name in typed],
                {name: [100 * each.among(number) for number in range(LETTERS + 1)] for name, each in typed.items()},
                title,
            )
        },
        said=_shown(completer, source),
    )


def rivals(source: Source) -> dict[str, Suggest]:
    """Completers that count: the most frequent words, and those that most probably follow two others."""
    data = source.data
    train, every = data.stretches["train"], np.arange(len(data.vocabulary))
    ids = data.ids[train.start : train.stop]
    suggester = Suggester(data.vocabulary.words, [*UNSAID, *serving.marks(data.vocabulary.words)])
    trigram = Trigram.fit(ids, len(data.vocabulary))
    frequent = Unigram.fit(ids, len(data.vocabulary)).probabilities(every)

    def behind(before: Ids) -> NDArray[np.float64]:
        u, v = (np.full(len(every), number, np.int64) for number in before[-2:])
        return trigram.probabilities(u, v, every)

    return {
        TRIGRAM: lambda before, begun: suggester.suggest(behind, before, begun, COUNT),
        UNIGRAM: lambda before, begun: suggester.suggest(lambda _: frequent, before, begun, COUNT),
    }


def typed_places(source: Source) -> list[int]:
    """Which words of the test part may be typed: those that begin with a letter and stand for nothing else, from the third on."""
    return [place for place, word in enumerate(source.test) if place >= 2 and word[0].isalpha() and word not in UNSAID]


def typing(source: Source, suggest: Suggest, words: int) -> Typing:
    """Type so many words of the test part, spread over it, each behind all that stands before it; marks are none."""
    data, test = source.data, source.data.stretches["test"]
    spelt = typed_places(source)
    vocabulary = set(data.vocabulary.words)
    known, needed, first, letters, seconds = [], [], [], [], []
    for place in [spelt[number] for number in np.unique(np.linspace(0, len(spelt) - 1, words).astype(int))]:
        word, before = source.test[place], np.asarray(data.ids[: test.start + place])[-data.spec.lookback :]
        known.append(word in vocabulary)
        needed.append(-1)
        for count in range(len(word)):
            began = time.perf_counter(), time.thread_time()
            found = suggest(before, word[:count])
            seconds.append((time.perf_counter() - began[0], time.thread_time() - began[1]))
            said = [one.word for one in found if one.finishes or not count]
            if not count:
                first.append(said[:1] == [word])
            if word in said:
                needed[-1] = count
                break
        letters.append(len(word))
    return Typing(np.array(known), np.array(needed), np.array(first), np.array(letters), np.array(seconds))


def _shown(completer: serving.Completer, source: Source) -> str:
    """What is suggested while an opening is typed."""
    opening = language_model.OPENING[source.penn]
    lines = []
    for typed in (f"{opening} ", f"{opening} t", f"{opening} th"):
        found = [f"{one.word} {one.probability:.0%}" for one in completer.suggest(typed, COUNT)]
        lines.append(f"  {typed + '…':<20} {', '.join(found)}")
    return "\n".join(lines)
