"""Caption: an image goes in whole, as one vector, and a decoder spells what it shows, letter by letter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray

from longshort.config import CaptionTask as Settings
from longshort.config import CaptionWindows
from longshort.errors import DataRefused
from longshort.evaluation import classes
from longshort.evaluation.pictures import INK, as_png, house_style, new_figure
from longshort.evaluation.tables import Table
from longshort.models.decoding import Tongue, search
from longshort.models.engines.engine import SCORING_BATCH
from longshort.systems import digits, pictures
from longshort.systems.fitting import Fitted, described, fit
from longshort.systems.heatmaps import heat
from longshort.systems.occasion import Occasion, Outcome
from longshort.tasks.caption import CaptionTask
from longshort.tasks.speech import Speech
from longshort.windows.captions import CaptionData, Scaling, keys_of
from longshort.windows.images import ImageData
from longshort.windows.labelled import END, START, Division, RowRange, sequences
from longshort.windows.text import Vocabulary

NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
BEAM = 5
LETTER = 16  # numbers of a letter's embedding
MISREAD, SPELLED = 24, 4  # images that are shown: of those that are misread, and letter by letter
LOOKED = 200  # images among which the one is looked for that a network was least sure of


def run(occasion: Occasion) -> Outcome:
    """Train a network to spell, and let it spell what the test part shows, greedily and by beam.

    raises  DataRefused, TrainingDiverged, UsageError, ConfigError
    """
    found = digits.read(occasion)
    names = [_name(label, found.name) for label in found.data.names]
    spec = occasion.params.windows.caption.model_copy(update={"tokens": "characters"})
    task = CaptionTask.of(caption_data(found.data, names, spec), Settings(embedding_size=LETTER, dropout=0.2))
    variant = occasion.variant(cell="lstm", hidden_size=128 if found.many else 64)
    epochs = 5 if occasion.fast else 25 if found.many else 60
    how = occasion.optimisation(
        optimizer="adam", learning_rate=0.003, batch_size=100 if found.many else 32, max_epochs=epochs, patience=max(epochs // 4, 2)
    )
    fitted, seconds = fit(occasion, "caption", [task], variant, how)
    asked = [_name(found.data.names[label], found.name) for label in found.data.labels_of("test")]
    searched, greedy = ([spelled(one, task, beam) for one in fitted] for beam in (BEAM, 1))
    figures = digits.exact_figures(variant, BEAM, searched, greedy, asked, dict(_rivals(found.data, found.name)))
    title = f"{found.name}: {figures[0].value:.2f} % spelled to the letter"
    return Outcome(
        data=found.name,
        real=found.real,
        figures=figures,
        settings={
            "variant": variant.model_dump(),
            "optimisation": how.model_dump(),
            "dropout": task.dropout,
            "letters": len(task.data.vocabulary) - 2,
            "seconds": round(seconds),
        },
        tables={"by-name": _by_name(searched, greedy, asked), "no-name": _no_name(searched[0], asked)},
        pictures={
            "losses": pictures.losses({described(variant): [one.history for one in fitted]}, "nats a letter", title),
            "letters": _letters(fitted[0], task, found.data, searched[0], asked),
            **_misread(found.data, searched[0], asked),
        },
        said="\n".join(f"  {is_}  spelled {own}" for is_, own in list(zip(asked, searched[0], strict=True))[:5]),
    )


def caption_data(images: ImageData, names: Sequence[str], spec: CaptionWindows) -> CaptionData:
    """Images as vectors of all their pixels, from 0 to 1, and as captions the letters of their labels' names.

    names  of the labels, in their order
    """
    rows, count = len(images.labels), images.rows * images.columns
    vocabulary = Vocabulary((START, END, *sorted({letter for name in names for letter in name})))
    parts = {part: RowRange(first, end, 0, 0.0, {}) for part, (first, end) in images.parts.items()}
    vectors = images.scaled(np.arange(rows)).reshape(rows, count)
    return CaptionData(
        spec,
        tuple(f"pixel {number}" for number in range(1, count + 1)),
        vectors,
        Scaling(np.zeros(count), np.full(count, float(images.white))),
        sequences([names[label] for label in images.labels.tolist()], vocabulary),
        vocabulary,
        Division(parts, np.arange(rows), keys_of(vectors.astype(np.float64)), []),
    )


def _name(label: str, data: str) -> str:
    """The name of a digit. raises  DataRefused of another label"""
    if label not in map(str, range(len(NAMES))):
        raise DataRefused(f"{data}: there is a label {label}, and only the digits from 0 to 9 have a name here. Give images of digits.")
    return NAMES[int(label)]


def spelled(fitted: Fitted, task: CaptionTask, beam: int) -> list[str]:
    """What a network spells to each image of the test part."""
    torch.set_num_threads(1)
    tongue = Tongue.of(task.data.vocabulary.words, task.data.longest)
    said: list[str] = []
    for read, _ in task.batches("test", SCORING_BATCH, seed=0, epoch=0):
        said += ["".join(task.data.vocabulary.words[letter] for letter in ids) for ids in search(fitted.network, read, tongue, beam)]
    return said


def _rivals(data: ImageData, name: str) -> dict[str, list[str]]:
    """The most frequent name, and that of the digit which logistic regression sees in the pixels."""
    first, end = data.parts["test"]
    numbers = {
        "majority": classes.majority(data.labels_of("train"), end - first),
        "logistic regression, its digit's name": classes.linear_of_images(data),
    }
    return {rival: [_name(data.names[number], name) for number in own] for rival, own in numbers.items()}


def _by_name(searched: list[list[str]], greedy: list[list[str]], asked: list[str]) -> Table:
    """A row a name: how many images show it, and the share of them that are spelled rightly, the mean over seeds."""
    rows = []
    for name in NAMES:
        some = [n for n, wanted in enumerate(asked) if wanted == name]
        if some:
            shares = [
                float(np.mean([digits.exact([own[n] for n in some], [name] * len(some)) for own in seeds])) for seeds in (searched, greedy)
            ]
            rows.append([name, len(some), *shares])
    return Table(["name", "images", f"exact, beam of {BEAM}", "exact, greedy"], rows)


def _no_name(said: list[str], asked: list[str]) -> Table:
    """What was spelled that is no name at all."""
    return Table(["is", "spelled"], [[wanted, own] for own, wanted in zip(said, asked, strict=True) if own not in NAMES])


def _misread(data: ImageData, said: list[str], asked: list[str]) -> dict[str, bytes]:
    wrong = [n for n, (own, wanted) in enumerate(zip(said, asked, strict=True)) if own != wanted]
    if not wrong:
        return {}
    shown = data.pixels[data.parts["test"][0] + np.array(wrong[:MISREAD])]
    captions = [f"{asked[n]} as {said[n]}" for n in wrong]
    return {"misread": pictures.images(shown, captions, f"{len(wrong):,} of {len(asked):,} images whose name is not spelled", 6)}


@torch.inference_mode()
def chances(fitted: Fitted, task: CaptionTask, number: int, said: str) -> NDArray[np.float64]:
    """How likely the network holds each word to come next, before each letter that it says of an image and before its end."""
    ids = torch.tensor([[[*task.data.vocabulary.ids(said).tolist(), task.end]]])
    read = task.read(np.array([number])).unsqueeze(0)
    states, _ = fitted.network.decode(task.fed(ids), (*fitted.network.encode(read), None))
    weight, bias = cast(Speech, fitted.network.head).of_member(0)
    return torch.addmm(bias, states[0, 0], weight).double().softmax(-1).numpy()


def _letters(fitted: Fitted, task: CaptionTask, data: ImageData, said: list[str], asked: list[str]) -> bytes:
    """Images, and under each how likely every letter was before it was said; the one that the network was least sure of comes last."""
    first = data.parts["test"][0]
    told = [chances(fitted, task, first + n, own) for n, own in enumerate(said[:LOOKED])]
    unsure = min(range(len(told)), key=lambda n: float(told[n].max(axis=1).prod()))
    sure = {asked[n]: n for n in range(len(told)) if n != unsure and said[n] == asked[n]}  # one of each name
    shown = [*list(sure.values())[: SPELLED - 1], unsure]
    words = task.data.vocabulary.words
    letters = [*words[2:], END]
    with house_style():
        figure = new_figure("What letter comes next, as far as the network can tell", height=6.0)
        grid = figure.subplots(2, len(shown), gridspec_kw={"height_ratios": [1, 3.2]}, squeeze=False)
        for column, number in enumerate(shown):
            above, below = grid[:, column]
            above.imshow(data.pixels[first + number], cmap="gray_r", interpolation="nearest")
            above.set_axis_off()
            own = told[number][:, [words.index(letter) for letter in letters]].T
            heat(below, own, 1.0, signed=False)
            for row, place in np.argwhere(own >= 0.1).tolist():
                below.text(
                    place,
                    row,
                    f"{own[row, place]:.2f}",
                    ha="center",
                    va="center",
                    fontsize=6.5,
                    color="white" if own[row, place] > 0.4 else INK,
                )
            below.set_xticks(range(len(said[number]) + 1), [*said[number], "■"])
            below.set_yticks(range(len(letters)), ["■" if letter == END else letter for letter in letters] if column == 0 else [])
            below.set_xlabel(f"is {asked[number]}")
        return as_png(figure)
