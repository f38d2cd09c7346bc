"""Story: three words in, the next one out, until the network knows a short story by heart; then it tells it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from longshort.config import Optimisation, TextWindows, Variant
from longshort.errors import DataRefused
from longshort.evaluation.tables import Table
from longshort.systems import originals, pictures
from longshort.systems.fitting import Fitted, fit
from longshort.systems.occasion import Figure, Occasion, Outcome
from longshort.tasks.next_word import NextWordTask
from longshort.windows.files import TextData
from longshort.windows.text import Stretch, Vocabulary

LOOKBACK, STEPS, LAST = 3, 50_000, 1_000  # words in; windows learned, one a step; of how many the accuracy is told
LAYERS = (2, 1)  # of the networks that the tutorial compares
HELD_OUT = 0.2  # of the story, its end, which another network has never seen
TOLD = 32  # words that are generated
SYMBOLS = 112
# written for this project
STORY = (
    "once upon a winter , a small fox came to the edge of a frozen lake and wanted to know what lay on the other side . the old owl in the "
    "tall pine looked down and said , do not trust the ice , for it is thin in the middle and thick at the shore . the fox thanked the owl "
    "and sat down to think . soon a grey hare came along and laughed . i have run over it ten times today , said the hare , and look , my "
    "feet are dry . you are light , said the owl , and the sun was not yet up . but the hare ran out once more , and when it came to the "
    "middle the ice began to sing . the fox saw a long dark line grow under the hare and cried , lie flat and do not move ! then it pushed "
    "a dead branch over the snow until the hare could bite its end , and pulled with all its might . at last the hare lay cold and wet on "
    "the shore and asked , how did you know ? i did not know , said the fox , but i listened to one who is older ."
)


def run(occasion: Occasion) -> Outcome:
    """Train the tutorial's two networks, or one of as many layers as a person set, and one that has not seen the end of the story.

    raises  DataRefused, TrainingDiverged, UsageError
    """
    compared = (occasion.settings["num_layers"],) if "num_layers" in occasion.settings else LAYERS
    names = {layers: f"{layers} layer{'s' * (layers > 1)}" for layers in compared}
    most, first = compared[0], names[compared[0]]
    words, name = (STORY.split(), "a story of our own") if occasion.data is None else _read(occasion.data)
    hidden, steps = (32, 1_500) if occasion.fast else (512, STEPS)
    networks, figures, seconds = {}, [], {}
    whole = _task(words, len(words))
    for layers, label in names.items():
        fitted, seconds[label] = _fit(occasion, whole, layers, hidden, steps)
        shares = [100 * _accuracy(one, len(words) - LOOKBACK) for one in fitted]
        naive = {"look-up of trigrams": 100 * look_up(words)} if layers == most else {}
        last = min(LAST, *(_windows(whole) * len(one.history) for one in fitted))
        figures.append(Figure.over(f"{label}, accuracy of the last {last:,} steps", shares, "%", naive))
        networks[label] = fitted
    known = round(len(words) * (1 - HELD_OUT))
    part, seconds["held out"] = _fit(occasion, _task(words, known), most, hidden, steps // 5)
    held = [100 * float(one.best["validation_accuracy"]) for one in part]
    figures.append(Figure.over(f"{first}, on the last {HELD_OUT:.0%}, never seen", held, "%"))
    trained = _windows(whole) * sum(len(one.history) for one in networks[first])
    figures.append(Figure(f"{first}, steps a second", trained / seconds[first]))
    told = tell(networks[first][0], whole, words[:LOOKBACK], TOLD)
    right = sum(said == came for said, came in zip(told, words[LOOKBACK:], strict=False))
    rows = [[label, round(spent, 1)] for label, spent in seconds.items()]
    curves = {label: [one.history for one in fitted] for label, fitted in networks.items()}
    rates = " and ".join(f"{figure.value:.1f} %" for figure in figures[: len(compared)])
    return Outcome(
        data=f"{name}, {len(words)} words, {len(set(words))} symbols",
        real=originals.is_one(("story",), words) and not occasion.fast,
        figures=figures,
        settings={
            "variant": _variant(occasion, most, hidden).model_dump(),
            "optimisation": _optimisation(occasion, whole, steps).model_dump(),
            "steps": trained // len(occasion.seeds),
            "words are read as": "their numbers, the most frequent 0",
        },
        tables={"seconds": Table(["network", "seconds"], rows)},
        pictures={
            "accuracy": pictures.accuracy_curves(
                curves, {"look-up of trigrams": look_up(words)}, [], f"{name}: {rates} of the next words known by heart", part="train"
            )
        },
        said=f"{' '.join(words[:LOOKBACK])} → {' '.join(told)}\n({right} of {len(told)} words as the story has them)",
    )


def _read(path: Path) -> tuple[list[str], str]:
    """The words of a text, between spaces. raises  DataRefused"""
    if not path.is_file():
        raise DataRefused(f"{path}: a folder, and a story is one text file. Give the file.")
    try:
        words = path.read_text(encoding="utf-8").split()
    except UnicodeDecodeError as error:
        raise DataRefused(f"{path}: byte {error.start}: no UTF-8 text. Save the story as UTF-8.") from None
    least = 10 * LOOKBACK
    if len(words) < least:
        raise DataRefused(f"{path}: {len(words)} words, and a story takes {least} to learn from. Give a longer text.")
    return words, path.name


def _task(words: Sequence[str], known: int) -> NextWordTask:
    """To name the next of the first ``known`` words; validation is on the rest, or where there is none on the same."""
    vocabulary = [word for word, _ in Counter(words).most_common()]  # as the tutorial numbers them; alike ones as they first appear
    ids = np.array([vocabulary.index(word) for word in words], np.int32)
    spec = TextWindows(lookback=LOOKBACK, min_count=1, max_vocabulary=len(vocabulary), validation=0.1, test=0.1)
    train = Stretch(0, known, sum(map(len, words[:known])))
    other = Stretch(known - LOOKBACK, len(words), sum(map(len, words[known:]))) if known < len(words) else train
    data = TextData(spec, ids, {"train": train, "validation": other}, Vocabulary(tuple(vocabulary)), {}, [])
    return NextWordTask(1, len(vocabulary), 0.0, data, numbers=True)


def _variant(occasion: Occasion, layers: int, hidden: int) -> Variant:
    return occasion.variant(cell="lstm", hidden_size=hidden, num_layers=layers, initialisation="nguyen_widrow")


def _optimisation(occasion: Occasion, task: NextWordTask, steps: int) -> Optimisation:
    epochs = -(-steps // _windows(task))
    # the tutorial clips nothing, and its RMSProp is TensorFlow's
    once = {"batch_size": 1, "max_epochs": epochs, "patience": epochs, "clip_norm": 1e9}
    return occasion.optimisation(optimizer="rmsprop", learning_rate=0.001, smoothing=0.9, **once)


def _windows(task: NextWordTask) -> int:
    """Steps of an epoch: a window each."""
    return len(task.windows("train", 0, 1)[0])


def _fit(occasion: Occasion, task: NextWordTask, layers: int, hidden: int, steps: int) -> tuple[list[Fitted], float]:
    label = f"{layers}" if task.data.stretches["train"] == task.data.stretches["validation"] else "held-out"
    return fit(occasion, label, [task], _variant(occasion, layers, hidden), _optimisation(occasion, task, steps))


def _accuracy(fitted: Fitted, windows: int) -> float:
    """Of the last steps, each window before its step."""
    return float(np.mean([epoch["train_accuracy"] for epoch in fitted.history[-max(1, round(LAST / windows)) :]]))


def look_up(words: Sequence[str]) -> float:
    """The training accuracy of a table that knows what followed each pair of words most often."""
    followed: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for first, second, third in zip(words, words[1:], words[2:], strict=False):
        followed[first, second][third] += 1
    places = range(LOOKBACK, len(words))
    return sum(followed[words[k - 2], words[k - 1]].most_common(1)[0][0] == words[k] for k in places) / len(places)


@torch.inference_mode()
def tell(fitted: Fitted, task: NextWordTask, prompt: Sequence[str], count: int) -> list[str]:
    """The words that a network says behind a prompt, each the one that it scores highest."""
    ids = task.data.vocabulary.ids(prompt).tolist()
    for _ in range(count):
        states, _ = fitted.network.encode(torch.tensor([[ids[-LOOKBACK:]]]))
        ids.append(int(fitted.network.head(states[:, :, -1:], None).argmax()))
    return [task.data.vocabulary.words[number] for number in ids[len(prompt) :]]
