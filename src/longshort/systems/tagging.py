"""Tagging: a label at every step; which words of a sentence name a city, an hour, a song."""

from __future__ import annotations

import torch

from longshort.config import TagTask as Settings
from longshort.config import TagWindows
from longshort.evaluation import spans
from longshort.evaluation.tables import Table
from longshort.models.engines.engine import SCORING_BATCH
from longshort.systems import pictures, texts
from longshort.systems.fitting import Fitted, described, fit
from longshort.systems.occasion import Figure, Occasion, Outcome
from longshort.tasks.tag import TagTask
from longshort.windows.labelled import tag_data, tagged_words

WINDOWS = TagWindows(min_count=2, max_vocabulary=20000, validation=0.1, test=0.2, seed=0)
SETTINGS = Settings(embedding_size=100, dropout=0.5, label_smoothing=0.0)
SHOWN = 6


def run(occasion: Occasion) -> Outcome:
    """Train a tagger.

    raises  DataRefused, TrainingDiverged, UsageError
    """
    found = texts.read(occasion, texts.requests(), ("ATIS",), tagged=True)
    assert found.tags is not None
    data = tag_data(found.texts, found.tags, found.labels, found.parts, WINDOWS)
    task = TagTask.of(data, SETTINGS)
    variant = occasion.variant(cell="lstm", hidden_size=128, bidirectional=True)
    epochs = 2 if occasion.fast else 40
    how = occasion.optimisation(optimizer="adam", learning_rate=0.002, batch_size=16, max_epochs=epochs, patience=8)
    fitted, seconds = fit(occasion, "tagging", [task], variant, how)
    own = data.division.parts["test"]
    rows = data.division.rows[own.start : own.stop].tolist()
    wanted = [found.tags[row].split() for row in rows]  # tags that train never shows among them: whatever a model says, it misses them
    said = [named(one, task) for one in fitted]
    scored = [spans.score(each, wanted) for each in said]
    train = data.division.parts["train"]
    known = data.division.rows[train.start : train.stop].tolist()
    plain = spans.MostFrequent([(tagged_words(found.texts[row]), found.tags[row].split()) for row in known], data.tag_names)
    naive = 100 * spans.score([plain.named(tagged_words(found.texts[row])) for row in rows], wanted)["f1"]
    f1 = [100 * each["f1"] for each in scored]
    figure = Figure.over(f"slot F1 on test, {described(variant)}", f1, "%", {"each word's most frequent tag": naive})
    words = Figure.over("words tagged right", [100 * each["word_accuracy"] for each in scored], "%")
    shown = Table(
        ["words", "is", "named"],
        [
            [found.texts[row], " ".join(tags), " ".join(own)]
            for row, tags, own in zip(rows, wanted, said[0], strict=True)
            if list(tags) != list(own)
        ][:SHOWN],
    )
    title = f"{found.name}: slot F1 {figure.value:.2f}, each word's most frequent tag {naive:.2f}"
    return Outcome(
        data=found.name,
        real=found.real,
        figures=[figure, words],
        settings={
            "variant": variant.model_dump(),
            "optimisation": how.model_dump(),
            "task": SETTINGS.model_dump(),
            "tags of test that train never shows": sum(own.unseen.values()),
            "seconds": round(seconds),
        },
        tables={"by-slot": spans.by_name(said[0], wanted), "mistaken": shown},
        pictures={"accuracy": pictures.accuracy_curves({described(variant): [one.history for one in fitted]}, {}, [], title)},
        said="\n".join(f"  {text}\n    is     {tags}\n    named  {own}" for text, tags, own in shown.rows[:2]),
    )


@torch.inference_mode()
def named(fitted: Fitted, task: TagTask) -> list[list[str]]:
    """The tags that a network names for each row of the test part."""
    torch.set_num_threads(1)
    rows: list[list[str]] = []
    for read, _ in task.batches("test", SCORING_BATCH, seed=0, epoch=0):
        numbers = fitted.network(read.unsqueeze(0))[0].argmax(-1)
        lengths = task.lengths(read)
        rows += [[task.data.tag_names[number] for number in row[:length].tolist()] for row, length in zip(numbers, lengths, strict=True)]
    return rows
