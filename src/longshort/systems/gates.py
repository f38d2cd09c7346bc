"""What a gate does, step by step: gates and states of a trained network over a sentence, and over a window of prices.

Two networks are trained briefly by the pipeline's rooms: one names the next word of the documentation topics, one the next log-return
of Google. Then the printed equations are worked out in float64 over a stretch that neither learned from: what the pictures show is
theirs, and the figure is how far the network's own states lie from it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from torch import Tensor

from longshort.config import LanguageModelTask as LanguageModelSettings
from longshort.config import PriceWindows, TextWindows
from longshort.errors import UsageError
from longshort.evaluation.ngrams import Unigram
from longshort.evaluation.pictures import INK, MUTED, as_png, house_style, new_figure
from longshort.evaluation.tables import Table
from longshort.ingestion import embedded
from longshort.models.encoder import at_hand
from longshort.models.engines.engine import States
from longshort.models.network import Network
from longshort.systems.equations import worked_out
from longshort.systems.heatmaps import greatest, heat
from longshort.systems.occasion import Figure, Occasion, Outcome
from longshort.systems.stepping import is_written, step, variant_of
from longshort.tasks.forecast import ForecastTask
from longshort.tasks.language_model import LanguageModelTask
from longshort.tasks.task import Task
from longshort.training.loop import Member, generator_of, means, state_of, train
from longshort.windows import stage, text
from longshort.windows.tokens import Paragraphs, tokenise

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Array = NDArray[np.float64]
Quantities = dict[str, Array]  # gates and states by their letters, each (steps, units)

TEXT = TextWindows(lookback=30, min_count=2, max_vocabulary=20_000, validation=0.1, test=0.1)
PRICES = PriceWindows(
    lookback=60,
    horizon=1,
    target="log_return",
    features=["log_return", "log_range"],
    scaler="standard",
    gap=1,
    max_gap=10,
    validation=0.15,
    test=0.2,
)
EMBEDDING = 32
WORDS = range(12, 23)  # of a sentence that fits into a picture
FEW_DOCUMENTS = 25  # of a fast run

MEANING = {
    "f": "forget gate f: how much of the cell state stays",
    "i": "input gate i: how much of the candidate is written",
    "g": "candidate g: what would be written",
    "o": "output gate o: how much of the cell state is shown",
    "c": "cell state c",
    "r": "reset gate r: how much of the past the candidate sees",
    "z": "update gate z: how much of the hidden state stays",
    "n": "candidate n: what would be written",
    "h": "hidden state h",
}
GATES = "fiorz"  # those that lie between 0 and 1
KEEPING = ("f", "z")  # what keeps the past


@dataclass(frozen=True)
class Shown:
    """A stretch that a network read.

    steps     what stands at each step: words, or dates
    found     gates and states of the last layer
    distance  how far the network's own states lie from those that were worked out
    loss      the network's mean on the test part; naive: a plain method's on the same
    """

    steps: list[str]
    found: Quantities
    distance: float
    loss: float
    naive: float


def run(occasion: Occasion) -> Outcome:
    """Train both networks with the first seed, and work out gates and states. The figure is the distance from the printed equations.

    raises  UsageError when a setting is none of the cell's, or two directions are asked for
    """
    if variant_of(occasion, "lstm", hidden_size=16).bidirectional:
        raise UsageError("--set bidirectional: gates are shown in the order of reading, and the next word would be read. Leave it out.")
    sentence = _over_a_sentence(occasion)
    prices, level, moved = _over_prices(occasion)
    shown = {"sentence": sentence, "prices": prices}
    variant = variant_of(occasion, "lstm", hidden_size=16)
    written = is_written(variant)
    largest = max(sentence.distance, prices.distance)
    said = [_said(sentence), f"prices: {_moves_with(prices, moved)}"]
    if not written:
        said.append(f"the equations of {variant.cell} are not written out by hand as it is set: its states alone are shown, step by step")
    pictures = {
        "sentence": _maps(sentence, _said(sentence), None),
        "prices": _maps(prices, _moves_with(prices, moved), level),
    }
    for name, one in shown.items():
        pictures[f"{name}-film"] = _film(one)
    return Outcome(
        data=f"documentation topics, {len(sentence.steps)} words; Google, the {len(prices.steps)} sessions to {prices.steps[-1]}",
        real=True,
        figures=[
            Figure("greatest difference from the printed equations" if written else "greatest difference from step by step", largest),
            Figure("test perplexity", math.exp(sentence.loss), naive={"unigram": math.exp(sentence.naive)}),
            Figure("test MSE of scaled log-returns", prices.loss, naive={"nothing changes": prices.naive}),
        ],
        settings={"cell": variant.cell, "units": [one.found["h"].shape[1] for one in shown.values()], "seed": occasion.seeds[0]},
        tables={
            "gates": Table(
                ["stretch", "quantity", "mean", "sd over steps", "share below 0.1", "share above 0.9"],
                [
                    [name, _meaning(letter, one.found), *_summary(values)]
                    for name, one in shown.items()
                    for letter, values in one.found.items()
                ],
            ),
            **{name: _by_step(one) for name, one in shown.items()},
        },
        pictures=pictures,
        said="\n".join(said),
    )


def _over_a_sentence(occasion: Occasion) -> Shown:
    table = embedded.load("topics").table
    blocks, spelt = tokenise(stage.rows(table.slice(0, FEW_DOCUMENTS) if occasion.fast else table))
    parts, dropped, stood = text.split(blocks, TEXT)
    data = stage.text_of_parts(parts, dropped, stood, spelt, text.count(parts["train"].ids, spelt), TEXT)
    task = LanguageModelTask.of(data, LanguageModelSettings(embedding_size=EMBEDDING, dropout=0.0, tied=False))
    network, loss = _trained(occasion, task, hidden=24, rate=0.004, size=16, epochs=2 if occasion.fast else 8)
    ids = data.vocabulary.ids(_sentence(parts["test"], spelt, set(data.vocabulary.words)))
    found, distance = _quantities(network, torch.from_numpy(ids.astype(np.int64))[None, None])
    train_, test = data.stretches["train"], data.stretches["test"]
    unigram = Unigram.fit(data.ids[train_.start : train_.stop], len(data.vocabulary)).nats(data.ids, test.start)
    return Shown([data.vocabulary.words[number] for number in ids], found, distance, loss, float(unigram.mean()))


def _sentence(paragraphs: Paragraphs, spelt: list[str], known: set[str]) -> list[str]:
    """The sentence with the fewest unknown words, among those the one with the most words that are no marks."""
    found = []
    for number in range(len(paragraphs)):
        words = [spelt[word] for word in paragraphs.between(number, number + 1).ids]
        if len(words) in WORDS and words[-1] == ".":
            found.append((sum(word not in known for word in words), -sum(word.isalpha() for word in words), number, words))
    return min(found)[-1] if found else [spelt[word] for word in paragraphs.ids[: WORDS.stop - 1]]


def _over_prices(occasion: Occasion) -> tuple[Shown, Array, Array]:
    """The newest test window; beside it the level at each step, and how much it moved: the log-return without its sign, in percent."""
    source = embedded.load("goog")
    data = stage.price_data(source.table, PRICES, source.calendar)
    task = ForecastTask.of(data)
    network, loss = _trained(occasion, task, hidden=16, rate=0.003, size=32, epochs=4 if occasion.fast else 40)
    test = data.parts["test"]
    past, _ = test.gather(task.scaled, np.array([len(test) - 1]))
    found, distance = _quantities(network, torch.from_numpy(past)[None])
    _, came = test.gather(task.scaled, np.arange(len(test)))
    unchanged = -data.scaler.offset[0] / data.scaler.scale[0]
    first = int(test.first_steps(np.array([len(test) - 1]))[0])
    window = slice(first, first + PRICES.lookback)
    shown = Shown(
        [str(day) for day in data.series.dates[window]], found, distance, loss, float(np.square(came.astype(np.float64) - unchanged).mean())
    )
    return shown, data.series.price[window], 100 * np.abs(data.series.values[window, 0].astype(np.float64))


def _trained(occasion: Occasion, task: Task, hidden: int, rate: float, size: int, epochs: int) -> tuple[Network, float]:
    """The best network of a short training, and its mean loss on the test part."""
    variant = variant_of(occasion, "lstm", hidden_size=hidden)
    how = occasion.optimisation(optimizer="adam", learning_rate=rate, batch_size=size, max_epochs=epochs, patience=6)
    engine = at_hand(occasion.params.training.engine, variant)
    device = torch.device("cuda" if engine == "cuda" else "cpu")
    occasion.say(f"{task.name}: {variant.cell}, {variant.hidden_size} units, up to {how.max_epochs} epochs by engine {engine}")
    seed = occasion.seeds[0]
    (done,) = train([Member(task.name, seed, task, how)], variant, engine, device, [None], lambda *_: None)
    if done.dropped:
        raise UsageError(f"--set learning_rate: {done.dropped}")
    network = Network(task, variant, "reference", [generator_of(seed)])
    network.load_state_dict(state_of(network, done.best_weights))
    return network.eval(), means(network, [task], "test", torch.device("cpu"), [0])[0].loss


@torch.inference_mode()
def _quantities(network: Network, read: Tensor) -> tuple[Quantities, float]:
    """Gates and states of the last layer by the printed equations, or states alone where those are not written out.

    read     one row of what the task reads, (1, 1, steps, ...)
    returns  also how far the network's own states lie from them
    """
    network, encoder = network.double(), network.encoder
    variant = encoder.variant
    read = read.double() if read.is_floating_point() else read
    steps = network.front(read)
    for layer in range(variant.num_layers):
        weights = encoder.directions(layer)[0].tensors()
        if is_written(variant):
            own = {name: weight[0].double().numpy() for name, weight in weights.items()}
            told = worked_out(variant.cell, own, steps[0].numpy(), variant.activation or encoder.cell.activation)
            found = {letter: values[0] for letter, values in told.items()}
        else:
            states: States = {}
            rows = []
            for x in steps.unbind(2):
                states = step(encoder, weights, x, states)
                rows.append({name: state[0, 0].numpy() for name, state in states.items()})
            found = {name: np.array([row[name] for row in rows]) for name in rows[0]}
        above = torch.from_numpy(found["h"])[None, None]
        steps = steps + above if variant.residual and layer else above
    return found, float((network.encode(read)[0] - steps).abs().max())


def _meaning(letter: str, found: Quantities) -> str:
    """What a letter stands for; beside a cell state n is no candidate but a state of its own."""
    return MEANING[letter] if letter in MEANING and not (letter == "n" and "c" in found) else f"state {letter}"


def _summary(values: Array) -> list[float]:
    return [float(values.mean()), float(values.std(axis=0).mean()), float((values < 0.1).mean()), float((values > 0.9).mean())]


def _by_step(shown: Shown) -> Table:
    """The mean over units of each quantity at each step."""
    rows = [[place, *(float(values[number].mean()) for values in shown.found.values())] for number, place in enumerate(shown.steps)]
    return Table(["step", *shown.found], rows)


def _keeps(shown: Shown) -> tuple[str, Array] | None:
    """The gate that keeps the past, and its mean over units at each step."""
    for letter in KEEPING:
        if letter in shown.found:
            return MEANING[letter].partition(f" {letter}:")[0], shown.found[letter].mean(axis=1)
    return None


def _said(shown: Shown) -> str:
    """What the sentence's picture shows."""
    kept = _keeps(shown)
    if kept is None:
        return _turns(shown)
    name, mean = kept
    low, high = int(np.argmin(mean)), int(np.argmax(mean))
    ends = [f"{_quoted(shown.steps[place])} ({100 * mean[place]:.0f} %)" for place in (low, high)]
    return f"The {name} keeps least at {ends[0]}, most at {ends[1]}"


def _moves_with(shown: Shown, moved: Array) -> str:
    """What the prices' picture shows: whether gates know a rough session."""
    kept = _keeps(shown)
    name, mean = kept if kept is not None else ("hidden state", np.abs(shown.found["h"]).mean(axis=1))
    together = float(np.corrcoef(mean, moved)[0, 1]) if mean.std() > 0 else 0.0
    verb = "does not move with" if abs(together) < 0.3 else "moves with" if together > 0 else "moves against"
    return f"The {name} {verb} the size of a session's return: correlation {together:+.2f}".replace("-", "−")


def _maps(shown: Shown, title: str, level: Array | None) -> bytes:
    """Units by steps, a map a quantity, the price above where there is one; PNG bytes."""
    order = np.argsort(next(iter(shown.found.values())).mean(axis=0))[::-1]  # those that keep most above, in every map
    heights = [1.5] * (level is not None) + [1.0] * len(shown.found)
    with house_style():
        figure = new_figure(title, height=1.3 + 1.15 * sum(heights))
        panels = list(figure.subplots(len(heights), 1, sharex=True, squeeze=False, gridspec_kw={"height_ratios": heights})[:, 0])
        if level is not None:
            above = panels.pop(0)
            above.plot(level, color=INK, linewidth=1.6)
            above.set_title("close, $", loc="left", fontsize=10, color=INK, pad=4)
        for axes, (letter, values) in zip(panels, shown.found.items(), strict=True):
            signed = letter not in GATES
            limit = greatest(np.nan_to_num(values, posinf=0, neginf=0)) if signed else 1.0
            image = heat(axes, values.T[order] if values.shape[1] == len(order) else values.T, limit, signed)
            axes.set_title(_meaning(letter, shown.found), loc="left", fontsize=10, color=INK, pad=4)
            axes.set_yticks([])
            axes.set_ylabel("units", fontsize=8.5)
            bar = figure.colorbar(image, ax=axes, pad=0.01, aspect=9, ticks=[-limit, 0, limit] if signed else [0, 0.5, 1])
            bar.outline.set_visible(False)
            bar.ax.tick_params(length=0, labelsize=8)
            bar.ax.set_yticklabels([f"{tick:.2g}".replace("-", "−") for tick in bar.get_ticks()])
        _name_steps(panels[-1], shown.steps, level is None)
        return as_png(figure)


def _name_steps(axes: Axes, steps: Sequence[str], words: bool) -> None:
    """Every word, or some of the dates, under the lowest map."""
    if words:
        axes.set_xticks(range(len(steps)), steps, rotation=55, ha="right", rotation_mode="anchor", fontsize=10)
        axes.tick_params(axis="x", labelcolor=INK)
    else:
        shown = range(0, len(steps), 10)
        axes.set_xticks(shown, [steps[number] for number in shown])


def _film(shown: Shown) -> bytes:
    """The hidden state, a frame a step, in rows of the order of reading; PNG bytes."""
    values = shown.found["h"]
    steps, units = values.shape
    high = max(number for number in range(1, math.isqrt(units) + 1) if units % number == 0)
    wide, dates = units // high, steps > WORDS.stop
    rows = math.ceil(steps / (12 if dates else 9))
    across = math.ceil(steps / rows)
    gap = wide / 6  # between frames, in units; that under a frame has its name in it
    with house_style():
        figure = new_figure(f"{_turns(shown)}; its {units} units, a frame a step", height=0.7 + 0.95 * rows)
        axes = figure.subplots()
        limit = greatest(values)
        for number, (name, frame) in enumerate(zip(shown.steps, values, strict=True)):
            left, top = number % across * (wide + gap), number // across * 1.5 * high
            image = heat(axes, frame.reshape(high, wide), limit)
            image.set_extent((left, left + wide, top + high, top))
            axes.add_patch(Rectangle((left, top), wide, high, fill=False, edgecolor=MUTED, linewidth=0.6))
            said = name[5:] if dates else name
            axes.annotate(said, (left + wide / 2, top), (0, 3), textcoords="offset points", ha="center", fontsize=8 if dates else 9.5)
        axes.set(xlim=(-gap, across * (wide + gap)), ylim=(rows * 1.5 * high - 0.4 * high, -0.4 * high), xticks=[], yticks=[])
        bar = figure.colorbar(image, ax=axes, pad=0.01, aspect=12 * rows)
        bar.outline.set_visible(False)
        bar.ax.tick_params(length=0)
        return as_png(figure)


def _turns(shown: Shown) -> str:
    """Where the hidden state changes most from one step to the next."""
    moved = np.linalg.norm(np.diff(shown.found["h"], axis=0), axis=1)
    return f"The hidden state turns most at {_quoted(shown.steps[int(np.argmax(moved)) + 1])}"


def _quoted(step: str) -> str:
    """A word in quotation marks, a date as it is."""
    return step if step[:1].isdigit() else f"“{step}”"
