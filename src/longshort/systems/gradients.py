"""Vanishing and exploding gradients: how much of the loss's gradient reaches each state before it, and what each remedy changes.

A loss stands at the last step alone, and its gradient there has norm 1. Going back, every step multiplies it by that step's Jacobian:
factors below 1 let it vanish, factors above 1 let it explode. Networks are as they begin, untrained; inputs are drawn from a
standard normal distribution.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from longshort.config import Optimisation, Variant
from longshort.errors import UsageError
from longshort.evaluation.pictures import INK, MODEL, NAIVE, TRAINED, as_png, house_style, label_ends, new_figure
from longshort.evaluation.tables import Table
from longshort.models.encoder import Encoder
from longshort.models.engines.engine import States
from longshort.systems import varied
from longshort.systems.occasion import Figure, Occasion, Outcome
from longshort.systems.stepping import step, variant_of
from longshort.training.loop import generator_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from longshort.evaluation.pictures import Labels

Array = NDArray[np.float64]

BACK = 100  # steps between the farthest state and the loss
TOLD = (1, 10, 25, 50, 100)
WINDOW = 25  # steps of truncated back-propagation
LARGE = 2.0  # an orthogonal R times this explodes
INPUTS, HIDDEN = 4, 32
LOWEST = 1e-12  # where the picture ends: what is smaller is nothing in float32 beside what is added to it

# h = tanh(h₋₁ + x) of one unit; the inputs are made so that the series begins with 0.863 and 0.532
SERIES = (0.485, 0.648, -0.251, 0.225, 0.248, -0.082, 0.174, -0.231)


@dataclass(frozen=True)
class Line:
    """A network whose gradient is followed.

    settings   of the variant
    identity   whether R begins as the identity; scale: a factor on what it begins with
    clipped    whether the gradient is scaled down to ``clip_norm``, as the loop of training does it
    truncated  whether the gradient is cut `WINDOW` steps before the loss
    """

    name: str
    cell: str
    colour: str
    settings: dict[str, Any] = field(default_factory=dict)
    identity: bool = False
    scale: float = 1.0
    clipped: bool = False
    truncated: bool = False


ORANGE, GREEN, PURPLE = "#e69f00", "#009e73", "#cc79a7"  # more of Okabe and Ito's

PLAIN = (
    Line("RNN", "rnn", INK),
    Line("orthogonal R", "rnn", MODEL, {"initialisation": "keras"}),
    Line("ReLU", "rnn_relu", ORANGE),
    Line("ReLU, R = I", "rnn_relu", GREEN, {"initialisation": "keras"}, identity=True),
    Line("large R", "rnn", NAIVE, {"initialisation": "keras"}, scale=LARGE),
    Line("large R, clipped", "rnn", PURPLE, {"initialisation": "keras"}, scale=LARGE, clipped=True),
    Line("truncated", "rnn", TRAINED, {"initialisation": "keras"}, truncated=True),
)
GATED = (
    Line("GRU", "gru", ORANGE),
    Line("GRU, chrono", "gru", NAIVE, {"chrono_steps": BACK}),
    Line("LSTM", "lstm", INK),
    Line("LSTM, forget bias 1", "lstm", TRAINED, {"forget_bias": 1.0}),
    Line("LSTM, chrono", "lstm", MODEL, {"chrono_steps": BACK}),
    Line("LSTM, layer norm", "lstm_layer_norm", GREEN),
)
OWN = (  # of a cell that a person names
    Line("", "", INK),
    Line("begun as in Keras", "", MODEL, {"initialisation": "keras"}),
    Line("forget bias 1", "", TRAINED, {"forget_bias": 1.0}),
    Line("chrono", "", GREEN, {"chrono_steps": BACK}),
    Line("truncated", "", ORANGE, truncated=True),
)
REMEDIES = ("initialisation", "forget_bias", "chrono_steps")  # what lines differ in, beside their cells


@dataclass(frozen=True)
class Profile:
    """What was found along a line, a row a seed.

    norms    (seeds, BACK + 1) of dL/dh at so many steps before the loss, mean over sequences
    weights  (seeds,) the norm of the gradient of all weights
    far      (seeds,) the share of that which comes from more than `WINDOW` steps back
    """

    norms: Array
    weights: Array
    far: Array

    @property
    def typical(self) -> Array:
        """(BACK + 1,), the geometric mean over seeds, so that one that explodes is not all that is seen."""
        with np.errstate(divide="ignore"):
            return np.exp(np.log(self.norms).mean(axis=0))

    @property
    def reach(self) -> list[float]:
        """Steps back, of each seed, over which more than 1 % is left of what there is one step back."""
        below = self.norms[:, 1:] <= 0.01 * self.norms[:, 1:2]
        return [float(np.argmax(row)) if row.any() else float(BACK) for row in below]


def run(occasion: Occasion) -> Outcome:
    """The norm of dL/dh over 100 steps for RNN, GRU, LSTM and the remedies; the first figure is how far an RNN's reaches.

    A cell that is set is followed alone, with the remedies that it has.

    raises  UsageError when a setting is none of the cell's or one of the remedies, or two directions are asked for
    """
    varied.refuse(occasion, "it is one of the remedies that are compared, each on a line of its own", *REMEDIES)
    if occasion.variant(cell="rnn", hidden_size=HIDDEN).bidirectional:
        raise UsageError("--set bidirectional: a step is so far from the loss in one direction. Leave it out.")
    seeds, sequences = (occasion.seeds[:1], 4) if occasion.fast else (occasion.seeds, 16)
    panels, without = _panels(occasion)
    how = occasion.optimisation(optimizer="adam", learning_rate=0.001, batch_size=sequences, max_epochs=1, patience=1)
    found = {line.name: follow(line, variant, seeds, sequences, how.clip_norm) for lines in panels.values() for line, variant in lines}
    figures = [
        Figure(f"steps that the gradient reaches: {name}", float(np.mean(own.reach)), sd=_sd(own.reach), seeds=len(seeds))
        for name, own in found.items()
    ]
    series = teaching_series()
    said = [f"{name}: more than 1 % is left over {_steps(float(np.mean(own.reach)))}" for name, own in found.items()]
    if without:
        said.append(f"left out, since the cell has none of what is set: {', '.join(without)}")
    first = next(iter(found))
    return Outcome(
        data=f"made sequences of {BACK + 1} steps, standard normal",
        real=True,
        figures=figures,
        settings={
            "hidden_size": next(iter(panels.values()))[0][1].hidden_size,
            "sequences": sequences,
            "large R": f"orthogonal times {LARGE}",
        },
        tables={
            "norms": Table(
                ["network", *(f"{k} back" for k in TOLD), f"ratio {BACK}:1", "reach", f"from more than {WINDOW} back"],
                [_row(name, own) for name, own in found.items()],
            ),
            "updates": Table(
                ["network", "gradient", "step of SGD", f"clipped to {how.clip_norm:g}", "step of RMSProp", "step of Adam"],
                [[name, *_updates(float(own.weights.mean()), how)] for name, own in found.items() if "clipped" not in name],
            ),
            "series": Table(["steps back", "state", "derivative", "product"], series),
        },
        pictures={"norms": _picture(panels, found, first), "series": _series_picture(series)},
        said="\n".join(said),
    )


def _panels(occasion: Occasion) -> tuple[dict[str, list[tuple[Line, Variant]]], list[str]]:
    """A heading of the picture -> its lines with their variants, and what is left out: lines whose cell has none of what is set."""
    panels: dict[str, Sequence[Line]] = {"without gates": PLAIN, "with gates": GATED}
    if "cell" in occasion.settings:
        cell = occasion.variant(hidden_size=HIDDEN).cell
        panels = {cell: [replace(line, cell=cell, name=line.name or cell) for line in OWN]}
    refused: dict[str, UsageError] = {}
    found: dict[str, list[tuple[Line, Variant]]] = {}
    for heading, lines in panels.items():
        for line in lines:
            try:
                variant = variant_of(occasion, line.cell, hidden_size=HIDDEN, **line.settings)
            except UsageError as error:
                refused[line.name] = error
            else:
                found.setdefault(heading, []).append((line, variant))
    if not found:
        raise next(iter(refused.values()))
    return found, list(refused)


def follow(line: Line, variant: Variant, seeds: Sequence[int], sequences: int, clip_norm: float) -> Profile:
    """A line's gradients, for networks and sequences of each seed."""
    norms, weights, far = [], [], []
    for seed in seeds:
        generator = generator_of(seed)
        encoder = _begun(line, variant, generator)
        read = torch.randn(1, sequences, BACK + 1, INPUTS, generator=generator, dtype=torch.float64)
        aim = torch.randn(sequences, encoder.size, generator=generator, dtype=torch.float64)
        aim /= aim.norm(dim=1, keepdim=True)
        of_states, of_weights = backwards(encoder, read, aim, WINDOW if line.truncated else BACK + 1)
        _, of_near = backwards(encoder, read, aim, WINDOW)
        norm = float(of_weights.norm())
        factor = min(1.0, clip_norm / norm) if line.clipped else 1.0
        norms.append(factor * of_states.norm(dim=2).mean(dim=1).flip(0).numpy())
        weights.append(factor * norm)
        far.append(float((of_weights - of_near).norm()) / norm if norm else 0.0)
    return Profile(np.array(norms), np.array(weights), np.array(far))


def _begun(line: Line, variant: Variant, generator: torch.Generator) -> Encoder:
    encoder = Encoder(INPUTS, variant, "reference", [generator]).double()
    for layer in range(variant.num_layers):
        for name, weight in encoder.directions(layer)[0].tensors().items():
            if name == "R" and line.identity:
                torch.nn.init.eye_(weight.data[0])
            if name == "R":
                weight.data *= line.scale
    return encoder


def backwards(encoder: Encoder, read: Tensor, aim: Tensor, window: int) -> tuple[Tensor, Tensor]:
    """The gradients of the mean over sequences of aim · h at the last step.

    read     (1, sequences, steps, inputs)
    aim      (sequences, size of h)
    window   steps before the loss, the last one among them, that the gradient goes through; before them it is cut
    returns  (steps, sequences, size) dL/dh of the last layer, of each sequence's own loss, or dL/dc where h is made anew at each step
             and c alone is carried; and the gradient of all weights in one row
    """
    steps = read.shape[2]
    carried = next(name for name, state in encoder.cell.states.items() if state.learned)
    below = read.unbind(2)
    for layer in range(len(encoder.layers)):
        weights = encoder.directions(layer)[0].tensors()
        states: States = {}
        told, followed = [], []
        for number, x in enumerate(below):
            if number == steps - window:
                states = {name: state.detach() for name, state in states.items()}
            states = step(encoder, weights, x, states)
            told.append(states["h"])
            followed.append(states[carried])
        below = tuple(told)
    loss = (below[-1][0] * aim).sum()
    found = torch.autograd.grad(loss, [*followed, *encoder.parameters()], allow_unused=True)
    of_states = [torch.zeros_like(state) if own is None else own for own, state in zip(found[:steps], followed, strict=True)]
    of_weights = torch.cat([own.flatten() for own in found[steps:] if own is not None])
    return torch.cat(of_states), of_weights / len(aim)


def teaching_series() -> list[list[float]]:
    """How a gradient fades, with numbers for a blackboard: h = tanh(h₋₁ + x) of one unit, and the loss is its last state.

    returns  rows from the loss back: steps back, the state that is stepped over, its derivative 1 - h², and the product until there,
             which is dL/dh at so many steps back
    """
    h, states = 0.0, []
    for x in SERIES:
        h = float(np.tanh(h + x))
        states.append(h)
    rows, product = [], 1.0
    for back, state in enumerate(reversed(states), start=1):
        product *= 1 - state**2
        rows.append([back, state, 1 - state**2, product])
    return rows


def _row(name: str, own: Profile) -> list[str | float]:
    norms = own.typical
    ratio = norms[BACK] / norms[1] if norms[1] else 0.0
    return [name, *(float(norms[k]) for k in TOLD), float(ratio), float(np.mean(own.reach)), float(own.far.mean())]


def _updates(norm: float, how: Optimisation) -> list[float]:
    """How far the first step of each optimiser moves a lone weight whose gradient has this size."""
    moved = [norm]
    for kind, most in (
        (torch.optim.SGD, np.inf),
        (torch.optim.SGD, how.clip_norm),
        (torch.optim.RMSprop, np.inf),
        (torch.optim.Adam, np.inf),
    ):
        weight = torch.zeros(1, dtype=torch.float64, requires_grad=True)
        weight.grad = torch.tensor([min(norm, most)], dtype=torch.float64)
        kind([weight], lr=how.learning_rate).step()
        moved.append(abs(weight.item()))
    return moved


def _sd(values: list[float]) -> float | None:
    return float(np.std(values, ddof=1)) if len(values) > 1 else None


def _steps(reach: float) -> str:
    return f"all {BACK} steps" if reach == BACK else f"{reach:.3g} steps"


def _picture(panels: dict[str, list[tuple[Line, Variant]]], found: dict[str, Profile], first: str) -> bytes:
    """The norms against the distance from the loss, a panel of lines under another; PNG bytes."""
    reaches = {name: float(np.mean(own.reach)) for name, own in found.items()}
    title = f"A gradient keeps more than 1 % over {_steps(reaches[first])} in {'an RNN' if first == 'RNN' else first}"
    if "LSTM, chrono" in reaches:
        title += f", {_steps(reaches['LSTM'])} in an LSTM, and {_steps(reaches['LSTM, chrono'])} where an LSTM's biases are begun for that"
    with house_style():
        figure = new_figure(title, height=1.0 + 3.4 * len(panels))
        grid = figure.subplots(len(panels), 1, squeeze=False)[:, 0]
        labels: dict[Axes, Labels] = {}
        for (heading, lines), axes in zip(panels.items(), grid, strict=True):
            labels[axes] = []
            leaving = []  # where, whose
            for line, _ in lines:
                norms = found[line.name].typical
                if line.truncated:
                    _draw_cut(axes, line, int(np.flatnonzero(norms)[-1]), norms)
                    leaving.append((int(np.flatnonzero(norms)[-1]), line))
                    continue
                axes.plot(np.arange(len(norms)), np.maximum(norms, LOWEST / 1000), color=line.colour, linewidth=1.8)
                if norms[-1] >= LOWEST:
                    labels[axes].append((float(norms[-1]), line.name, line.colour))
                else:
                    leaving.append((int(np.argmax(norms < LOWEST)), line))
            _label_leaving(axes, leaving)
            _decades(axes)
            axes.set_title(heading, loc="left", fontsize=10, color=INK, pad=5)
            axes.set_ylabel("norm of dL/dh")
        grid[-1].set_xlabel("steps back from the loss")
        label_ends(figure, labels)
        return as_png(figure)


def _draw_cut(axes: Axes, line: Line, last: int, norms: Array) -> None:
    """Only where it ends: until there it is the line that it is cut from."""
    axes.plot([last, last], [norms[last], LOWEST / 1000], color=line.colour, linewidth=1.8, linestyle=(0, (2, 2)))


def _label_leaving(axes: Axes, leaving: list[tuple[int, Line]]) -> None:
    """Label lines that leave the picture below where they leave it: left of themselves, where there is room, else right."""
    before = 0
    for place, line in sorted(leaving, key=lambda one: one[0]):
        shift, side = (-7 if line.truncated else -26, "right") if place - before > 12 else (5, "left")
        axes.annotate(line.name, (place, LOWEST), (shift, 7), textcoords="offset points", ha=side, fontsize=10, color=line.colour)
        before = place


def _decades(axes: Axes) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    digits = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
    axes.set_yscale("log")
    axes.set_ylim(bottom=LOWEST)
    axes.set_xlim(0, BACK)
    axes.yaxis.set_major_locator(LogLocator(numticks=8))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(
        FuncFormatter(lambda value, _: "1" if value == 1 else f"10{str(round(np.log10(value))).translate(digits)}")
    )


def _series_picture(series: list[list[float]]) -> bytes:
    """The series for teaching: what is left of the gradient after each step, and by what the step multiplied it; PNG bytes."""
    back, _, derivatives, products = (np.array(column) for column in zip(*series, strict=True))
    with house_style():
        figure = new_figure(
            f"Each step keeps a share of the gradient; after {len(back)} steps {100 * products[-1]:.1f} % is left", height=3.6
        )
        axes = figure.subplots()
        heights = [1.0, *products]
        axes.bar(range(len(heights)), heights, color=[INK, *[MODEL] * len(back)], width=0.62)
        for place, height in enumerate(heights):
            axes.annotate(f"{height:.3f}", (place, height), (0, 4), textcoords="offset points", ha="center")
        factors = [f"{place:g}\n× {derivative:.3f}" for place, derivative in zip(back, derivatives, strict=True)]
        axes.set_xticks(range(len(heights)), ["at the loss", *factors])
        axes.tick_params(axis="x", length=0)
        axes.set(xlabel="steps back from the loss, and what each multiplies by: 1 − h²", ylabel="dL/dh", ylim=(0, 1.1))
        return as_png(figure)
