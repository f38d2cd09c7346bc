"""CTC: strips of handwritten digits, read column by column, to the row of digits; nobody says which column belongs to which digit."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from longshort.errors import DataRefused
from longshort.evaluation.pictures import as_png, house_style, new_figure
from longshort.evaluation.tables import Table
from longshort.models.engines.engine import SCORING_BATCH
from longshort.systems import digits, pictures, slices
from longshort.systems.fitting import Fitted, described, fit
from longshort.systems.heatmaps import heat
from longshort.systems.occasion import Occasion, Outcome
from longshort.tasks import paths
from longshort.tasks.align import AlignTask
from longshort.windows.strips import StripData, StripSpec, strip_data

BEAM = 10
IMAGES = (2, 5)  # digits of a strip
# columns between two digits; MNIST leaves four at each side of a digit free, so that at -8 their inks touch
GAPS = {"mnist": (-8, 6), "embedded": (-1, 3)}
STRIPS = {
    "mnist": {"train": 15_000, "validation": 1000, "test": 2000},
    "embedded": {"train": 4000, "validation": 500, "test": 1000},
    "fast": {"train": 400, "validation": 60, "test": 60},
}
MISREAD = 12  # strips that are shown of those that are misread
Read = list[tuple[int, ...]]


def run(occasion: Occasion) -> Outcome:
    """Train a network to read strips, and let it read those of the test part, by its likeliest path and by prefix search.

    raises  DataRefused, TrainingDiverged, UsageError
    """
    found = digits.read(occasion)
    source = "embedded" if occasion.data is None else "mnist"
    gaps = max(GAPS[source][0], -(found.data.columns // 2)), GAPS[source][1]  # narrow images lie over one another by half at most
    _check_width(found.data.columns, gaps[0], found.name)
    data = strip_data(found.data, StripSpec(STRIPS["fast" if occasion.fast else source], IMAGES, gaps), seed=0)
    task = AlignTask.of(data, dropout=0.1)
    variant = occasion.variant(cell="lstm", hidden_size=32 if occasion.fast else 80, num_layers=2, bidirectional=True, dropout=0.2)
    epochs = 3 if occasion.fast else 25
    how = occasion.optimisation(optimizer="adam", learning_rate=0.002, batch_size=32, max_epochs=epochs, patience=6)
    fitted, seconds = fit(occasion, "ctc", [task], variant, how)
    asked = _asked(data)
    chances = [read(one, task) for one in fitted]
    greedy = [[_likeliest_path(own, task.blank) for own in seed] for seed in chances]
    searched = [[paths.search(own, task.blank, BEAM) for own in seed] for seed in chances]
    rivals = slices.read(data)
    figures = digits.exact_figures(variant, BEAM, searched, greedy, asked, dict(rivals))
    title = f"{figures[0].value:.1f} % of the strips are read to the digit"
    shares = {name: value / 100 for name, value in figures[0].naive.items()}
    return Outcome(
        data=f"{len(data):,} strips of {IMAGES[0]} to {IMAGES[1]} digits of {found.name}",
        real=found.real,
        figures=figures,
        settings={
            "variant": variant.model_dump(),
            "optimisation": how.model_dump(),
            "dropout": task.dropout,
            "strips": {part: end - first for part, (first, end) in data.parts.items()},
            "columns between digits": gaps,
            "seconds": round(seconds),
        },
        tables={"by-length": _by_length({f"beam of {BEAM}": searched[0], "greedy": greedy[0], **rivals}, asked)},
        pictures={
            "accuracy": pictures.accuracy_curves({described(variant): [one.history for one in fitted]}, shares, [], title),
            "columns": _columns(data, chances[0], searched[0]),
            **_misread(data, searched[0], asked),
        },
        said="\n".join(
            f"  {_written(is_, data)}  read as {_written(own, data)}" for is_, own in list(zip(asked, searched[0], strict=True))[:5]
        ),
    )


def _check_width(columns: int, gap: int, name: str) -> None:
    """A path needs a column for each digit, and one between two, which may be the same digit twice; with fewer the loss is infinite."""
    most = IMAGES[1]
    if (narrowest := columns + (most - 1) * (columns + gap)) < (least := 2 * most - 1):
        raise DataRefused(
            f"{name}: {most} of them side by side may be {narrowest} columns wide, and {least} are needed to tell {most} digits apart. "
            "Give wider images."
        )


@torch.inference_mode()
def read(fitted: Fitted, task: AlignTask) -> list[NDArray[np.float64]]:
    """What a network says at the columns of each strip of the test part: (columns, symbols + 1), each column's sum to 1."""
    torch.set_num_threads(1)
    said = []
    for steps, _ in task.batches("test", SCORING_BATCH, seed=0, epoch=0):
        chances = fitted.network(steps.unsqueeze(0))[0].double().softmax(-1).numpy()
        said += [own[:length] for own, length in zip(chances, task.lengths(steps).tolist(), strict=True)]
    return said


def _likeliest_path(chances: NDArray[np.float64], blank: int) -> tuple[int, ...]:
    path = torch.from_numpy(chances.argmax(1))[None]
    said = paths.collapsed(path, torch.tensor([len(chances)]), blank, beyond=blank)[0]
    return tuple(said[said != blank].tolist())


def _asked(data: StripData) -> Read:
    return [tuple(data.labels.row(number).tolist()) for number in range(*data.parts["test"])]


def _written(labels: Sequence[int], data: StripData) -> str:
    return "".join(data.names[label] for label in labels) or "nothing"


def _by_length(said: dict[str, Read], asked: Read) -> Table:
    """A row a number of digits: how many strips have so many, and the share of them that each method reads to the digit."""
    rows = []
    for count in sorted(set(map(len, asked))):
        some = [n for n, wanted in enumerate(asked) if len(wanted) == count]
        rows.append([count, len(some), *(digits.exact([own[n] for n in some], [asked[n] for n in some]) for own in said.values())])
    return Table(["digits", "strips", *said], rows)


def _columns(data: StripData, chances: list[NDArray[np.float64]], said: Read) -> bytes:
    """Two long strips of the test part, the first with a digit twice in a row, and under each what the network says at every column."""
    first = data.parts["test"][0]
    order = sorted(range(len(said)), key=lambda n: (said[n] != tuple(data.labels.row(first + n).tolist()), -len(said[n])))
    doubled = [n for n in order if any(a == b for a, b in itertools.pairwise(said[n]))][:1]
    with house_style():
        figure = new_figure("At most columns it says nothing; at one column a digit it says which", height=6.4)
        grid = figure.subplots(4, 1, gridspec_kw={"height_ratios": [1, 1.2, 1, 1.2]})
        for number, above, below in zip([*doubled, *(n for n in order if n not in doubled)], grid[::2], grid[1::2], strict=False):
            strip, own = data.strip(first + number), chances[number]
            above.imshow(strip, cmap="gray_r", aspect="auto", interpolation="nearest")
            above.set_axis_off()
            heat(below, own.T, 1.0, signed=False)
            below.set_yticks(range(len(own[0])), [*data.names, "blank"], fontsize=7)
            below.set_xlabel(
                f"column; is {_written(data.labels.row(first + number).tolist(), data)}, read as {_written(said[number], data)}"
            )
        return as_png(figure)


def _misread(data: StripData, said: Read, asked: Read) -> dict[str, bytes]:
    """Strips of the test part that are read wrongly, if any; each as wide as the widest, so that digits are of one size."""
    first, wrong = data.parts["test"][0], [n for n, (own, wanted) in enumerate(zip(said, asked, strict=True)) if own != wanted]
    if not wrong:
        return {}
    shown = [data.strip(first + n) for n in wrong[:MISREAD]]
    widest = max(strip.shape[1] + strip.shape[0] for strip in shown)  # so that neighbours do not read as one
    captions = [f"{_written(asked[n], data)} as {_written(said[n], data)}" for n in wrong]
    title = f"{len(wrong):,} of {len(asked):,} strips are misread"
    return {"misread": pictures.images([np.pad(strip, ((0, 0), (0, widest - strip.shape[1]))) for strip in shown], captions, title, 3)}
