"""Translation: an encoder reads a sentence from its end, a decoder says it in another language, with attention and without."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from longshort.config import Attention, TranslateWindows
from longshort.config import TranslateTask as Settings
from longshort.errors import DataRefused
from longshort.evaluation import translations
from longshort.evaluation.tables import Table, spread
from longshort.ingestion import labelled
from longshort.models.decoding import Tongue, search
from longshort.systems import dates, originals, pictures
from longshort.systems.fitting import Fitted, described, fit
from longshort.systems.occasion import Figure, Occasion, Outcome
from longshort.tasks.translate import TranslateTask
from longshort.windows.labelled import TranslateData, translate_data

MADE, FAST = 10_000, 600  # phrases of dates; pairs of a run that only shows that everything works
BEAM = 5
AT_A_TIME = 64  # sources that are translated side by side
KINDS: dict[Attention, str] = {"luong": "with attention", "none": "without attention"}
WAYS = {f"beam of {BEAM}": BEAM, "greedy": 1}
SHOWN = 12  # sample translations, and tokens of a source in words whose alignment is drawn


@dataclass(frozen=True)
class Pairs:
    """The pairs, what they are called, and whether they are those that our figures are about, all of them.

    texts   (source, target) of each number of ``data``
    figure  what counts: of sentences BLEU ("bleu"), of dates and sums what is right to the letter ("exact")
    """

    data: TranslateData
    texts: list[tuple[str, str]]
    name: str
    real: bool
    figure: str

    @property
    def kind(self) -> str:
        """What tokens are: words or characters."""
        return self.data.spec.tokens

    def of(self, part: str) -> list[tuple[str, str]]:
        """The texts of a part."""
        own = self.data.division.parts[part]
        return self.texts[own.start : own.stop]


@dataclass(frozen=True)
class Translator:
    """A network a seed, with the task that they were trained on, and how long that took."""

    task: TranslateTask
    fitted: list[Fitted]
    seconds: float


def run(occasion: Occasion) -> Outcome:
    """Train a translator with attention and one without, and let each say the test part, greedily and by beam.

    raises  DataRefused, TrainingDiverged, UsageError, ConfigError
    """
    pairs = read(occasion)
    sentences = pairs.figure == "bleu"
    # dates and sums are said rightly or not; sentences have many ways to be said, and few examples of each word
    size, hidden, dropout, smoothing = (128, 192, 0.2, 0.1) if sentences else (64, 128, 0.0, 0.0)
    rate, batch, epochs = (0.002, 32, 14) if sentences else (0.01, 64, 16)
    variant = occasion.variant(cell="lstm", hidden_size=16 if occasion.fast else hidden)
    how = occasion.optimisation(
        optimizer="adam", learning_rate=rate, batch_size=batch, max_epochs=2 if occasion.fast else epochs, patience=3
    )
    translators = {}
    for attention, name in KINDS.items():
        settings = Settings(embedding_size=size, dropout=dropout, attention=attention, label_smoothing=smoothing)
        task = TranslateTask.of(pairs.data, settings)
        translators[name] = Translator(task, *fit(occasion, attention, [task], variant, how))
    made = {"network": described(variant), "variant": variant.model_dump(), "optimisation": how.model_dump()}
    return told(pairs, translators, made, pairs.real)


def told(pairs: Pairs, translators: dict[str, Translator], settings: dict[str, Any], real: bool) -> Outcome:
    """What the translators say to the test part, what that is worth, and where they looked."""
    sentences, sources = pairs.figure == "bleu", pairs.of("test")
    asked = [target for _, target in sources]
    answers = {
        f"{name}, {way}": [translated(one, own.task, pairs, beam) for one in own.fitted]
        for name, own in translators.items()
        for way, beam in WAYS.items()
    }
    naive = {"nearest source": nearest(pairs)} | ({"word by word": word_by_word(pairs)} if sentences else {})
    beside = {name: translations.score(said, asked, pairs.kind) for name, said in naive.items()}
    scores = {name: [translations.score(said, asked, pairs.kind) for said in seeds] for name, seeds in answers.items()}
    ordered = sorted(scores, key=lambda name: name.endswith("greedy"))  # what a beam finds comes first
    figures = [figure_of(name, scores[name], pairs.figure, beside) for name in ordered]
    firsts = {name: answers[name][0] for name in ordered[: len(translators)]}
    best, looking = firsts[ordered[0]], translators[KINDS["luong"]]
    shares, read, said = looked_at(looking.fitted[0], looking.task, pairs, best)
    shown = {
        f"{name}, {own.value:.1f}": [one.history for one in translators[name].fitted]
        for name, own in zip(translators, figures, strict=False)
    }
    unit = "BLEU" if sentences else "% exact"
    tables = {"scores": table_of(scores, beside, pairs.figure), "samples": samples(pairs, firsts)}
    if sentences:
        first = pairs.data.division.parts["test"].start
        tables["by-length"] = translations.by_length({**firsts, **naive}, asked, np.diff(pairs.data.sources.offsets)[first:])
    return Outcome(
        data=pairs.name,
        real=real,
        figures=figures,
        settings={
            **settings,
            "seconds": {name: round(own.seconds) for name, own in translators.items()},
            "tokens": pairs.kind,
            "vocabularies": [len(pairs.data.source_vocabulary), len(pairs.data.target_vocabulary)],
            "pairs": {part: own.stop - own.start for part, own in pairs.data.division.parts.items()},
            **({"sacrebleu": translations.signatures()} if sentences else {}),
        },
        tables=tables,
        pictures={
            "losses": pictures.losses(
                shown, "nats a token", f"{pairs.name}: {figures[0].value:.1f} {unit} with attention, {figures[1].value:.1f} without"
            ),
            "alignment": pictures.alignment(shares, read, said, "Where the decoder looks, on a pair that it was never shown"),
        },
        said="\n".join(f"{source}  →  {own}" for (source, _), own in list(zip(sources, best, strict=True))[:3]),
    )


def read(occasion: Occasion) -> Pairs:
    """A person's pairs, else made dates. raises  DataRefused when a file holds no pairs, or too few"""
    spec = occasion.params.windows.translate
    if occasion.data is None:
        sources, targets = dates.phrases(FAST if occasion.fast else MADE, seed=0)
        spec = spec.model_copy(update={"tokens": "words", "min_count": 1})
        return _pairs(sources, targets, spec, f"{len(sources):,} made dates", made=True)
    if not occasion.data.is_file():
        raise DataRefused(f"{occasion.data}: no file of pairs. Hand in one with a pair a line, a tab between source and target.")
    found = labelled.read_pairs(occasion.data.read_bytes(), occasion.data.name)
    for note in found.notes:
        occasion.say(f"{occasion.data.name}: {note}")
    if found.counts.quarantined:
        first, (of, out) = found.quarantined[0], (found.counts.rows_in, found.counts.quarantined)
        occasion.say(f"{first.file}: {out:,} of {of:,} rows left out, the first in line {first.line}: {first.what}")
    columns = found.table.to_pydict()
    sources, targets = (columns[side] for side in labelled.COLUMNS["translate"])
    real = originals.is_one(("Tatoeba",), sources, targets) and not occasion.fast
    if occasion.fast:  # files are often in the order of length
        every = max(1, len(sources) // FAST)
        sources, targets = sources[::every], targets[::every]
        spec = spec.model_copy(update={"min_count": 1})
    return _pairs(sources, targets, spec, f"{occasion.data.name}, {len(sources):,} pairs", real=real)


def _pairs(sources: list[str], targets: list[str], spec: TranslateWindows, name: str, made: bool = False, real: bool = False) -> Pairs:
    data = translate_data(sources, targets, None, spec)
    texts = [(sources[row], targets[row]) for row in data.division.rows.tolist()]
    return Pairs(data, texts, name, real, "exact" if made or data.spec.tokens != "words" else "bleu")


def tongue_of(data: TranslateData) -> Tongue:
    """The words of its targets, which are as long as the longest of training at most."""
    return Tongue.of(data.target_vocabulary.words, data.longest)


def translated(fitted: Fitted, task: TranslateTask, pairs: Pairs, beam: int) -> list[str]:
    """What a network says to each source of the test part, in its order."""
    torch.set_num_threads(1)
    start, stop = task.range_of("test")
    tongue, words = tongue_of(pairs.data), pairs.data.target_vocabulary.words
    lengths = pairs.data.sources.lengths(start, stop)
    order, said = start + np.argsort(lengths, kind="stable"), [""] * (stop - start)
    for first in range(0, len(order), AT_A_TIME):
        some = order[first : first + AT_A_TIME]
        for number, ids in zip(some.tolist(), search(fitted.network, task.read(some), tongue, beam), strict=True):
            said[number - start] = translations.spelled([words[word] for word in ids], pairs.kind)
    return said


def nearest(pairs: Pairs) -> list[str]:
    """The target of the training pair whose source is most alike."""
    return [pairs.texts[row][1] for row in translations.nearest(pairs.data).tolist()]


def word_by_word(pairs: Pairs) -> list[str]:
    """A target word a source word."""
    words = pairs.data.target_vocabulary.words
    return [translations.spelled([words[word] for word in ids], "words") for ids in translations.word_by_word(pairs.data)]


def figure_of(name: str, scores: Sequence[dict[str, float]], which: str, beside: dict[str, dict[str, float]]) -> Figure:
    """One figure of a network over its seeds."""
    values = [score[which] for score in scores]
    said, unit = {"bleu": ("BLEU", ""), "exact": ("exact", "%")}[which]
    naive = {rival: score[which] for rival, score in beside.items()}
    return Figure(f"{said}, {name}", float(np.mean(values)), unit, spread(values) if len(values) > 1 else None, len(values), naive)


def table_of(scores: dict[str, list[dict[str, float]]], beside: dict[str, dict[str, float]], figure: str) -> Table:
    """Every score of every method, the mean over seeds; BLEU of sentences alone."""
    keys = ("bleu", "chrf", "exact") if figure == "bleu" else ("chrf", "exact")
    rows: list[list[Any]] = []
    for name, each in (*scores.items(), *((name, [one]) for name, one in beside.items())):
        rows.append([name, *(float(np.mean([one[key] for one in each])) for key in keys)])
    return Table(["method", *keys], rows)


def samples(pairs: Pairs, said: dict[str, list[str]]) -> Table:
    """Some of the test part, evenly spread over it: source, reference, and what each network says."""
    texts = pairs.of("test")
    some = np.linspace(0, len(texts) - 1, min(SHOWN, len(texts))).astype(int).tolist()
    return Table(["source", "reference", *said], [[*texts[n], *(own[n] for own in said.values())] for n in some])


@torch.inference_mode()
def looked_at(fitted: Fitted, task: TranslateTask, pairs: Pairs, said: list[str]) -> tuple[Any, list[str], list[str]]:
    """Of a test pair that was said rightly, the longest that is easily read: where the decoder looked, (said, read), and both sides.

    Where none was said rightly, of the first.
    """
    start, stop = task.range_of("test")
    most = SHOWN if pairs.kind == "words" else 2 * SHOWN
    lengths = pairs.data.sources.lengths(start, stop)
    asked = [target.lower() for _, target in pairs.of("test")]
    right = [n for n in range(stop - start) if lengths[n] <= most and said[n].lower() == asked[n]]
    number = max(right, key=lambda n: (lengths[n], -n), default=0)
    chosen = np.array([start + number])
    read = task.read(chosen).unsqueeze(0)
    target = torch.tensor([[[*pairs.data.targets.row(start + number).tolist(), task.end]]])
    _, looked = fitted.network.decode(task.fed(target), (*fitted.network.encode(read), task.lengths(read)))
    assert looked is not None
    shares = looked[0, 0].flip(-1) if task.reversed_source else looked[0, 0]
    names = pairs.data.source_vocabulary.words, pairs.data.target_vocabulary.words
    source = [names[0][word] for word in pairs.data.sources.row(start + number)]
    return shares.numpy(), source, [*(names[1][word] for word in pairs.data.targets.row(start + number)), "■"]
