"""An entry of the catalogue: what a cell declares of itself, and what its rule may use at a time step.

Shapes: K members of a fleet, each with weights of its own, stand in front; a lone network is a fleet of one.
Rules are written with broadcasting and use methods of tensors only, so they hold for any K and any number
format, and this module needs no torch to be imported.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from longshort.config import Variant

if TYPE_CHECKING:
    from torch import Tensor

Rule = Callable[..., "tuple[Tensor, ...]"]  # (step, *states) -> the states after it, in the order declared
Linear = Callable[["Step"], "tuple[Tensor, Tensor]"]  # (a, b) of h = a ⊙ h₋₁ + b


@dataclass(frozen=True)
class State:
    """What a cell carries from step to step; ``start`` before the first one."""

    start: float = 0.0
    learned: bool = True  # whether `initial_state: learned` learns it


@dataclass(frozen=True)
class Vector:
    """Weights that multiply or shift unit by unit: ``blocks`` times the hidden size.

    They begin uniform in [low, high]; None is the layer's own way of beginning.
    """

    blocks: int = 1
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Cell:
    """A cell: its rule, what the rule needs, and where it comes from.

    equations   as text, h₋₁ the state before; ⊙ is the product unit by unit
    note        where the paper leaves a choice, the one made here
    rule        from the states before to those after; see `Step`
    gates       one letter each: the blocks, in this order, of W and b
    states      the first is the cell's output, and what R reads unless a product says otherwise
    products    what R multiplies -> the gates that it feeds. ``h`` and other states are there before the rule's first
                gate, others the rule makes (``rh`` is r ⊙ h). Empty: no recurrent product
    vectors, matrices   more weights; a matrix is (from, to), each ``inputs``, ``hidden`` or ``state`` (the size of h)
    biased      gates whose b the rule adds by itself; None: all have one, and it is added to W·x before the loop
    hoisted     whether W·x can be made for all steps before the loop; else the rule gets x itself
    linear      of a cell with h = a ⊙ h₋₁ + b where a and b know nothing of h₋₁: makes both, for all steps at once
    activation  the default of the setting; empty where the cell has none to choose
    updates     whether the rule shows its candidate to `Step.update`, where recurrent dropout stands
    forget      the gate that keeps the past, and +1; or the gate that lets the new in, and -1
    writes      the gate of the new, where it is not the same one
    attends     whether the final answer attends to all states
    refuses     option -> why this cell has none such
    """

    title: str
    source: str
    equations: str
    rule: Rule
    gates: str
    states: Mapping[str, State] = field(default_factory=lambda: {"h": State()})
    products: Mapping[str, str] = field(default_factory=dict)
    vectors: Mapping[str, Vector] = field(default_factory=dict)
    matrices: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    biased: str | None = None
    hoisted: bool = True
    linear: Linear | None = None
    activation: str = "tanh"
    updates: bool = True
    forget: tuple[str, int] | None = None
    writes: str | None = None
    attends: bool = False
    note: str = ""
    refuses: Mapping[str, str] = field(default_factory=dict)

    @property
    def projects(self) -> bool:
        """Whether h is a projection, with a size of its own."""
        return "P" in self.matrices

    @property
    def zoned(self) -> tuple[str, ...]:
        """The states that zoneout may keep."""
        return tuple(name for name in self.states if name in ("h", "c"))


class Step:
    """What a rule may use: the step's share of the input, recurrent products, the cell's own weights.

    x        (K, batch, gates·hidden): W·x + b at this step, or W·x where the cell adds its own b; x itself,
             (K, batch, inputs), where W·x is not made before the loop
    b        (K, 1, biased·hidden)
    v        the cell's vectors, (K, 1, blocks·hidden)
    m        the cell's matrices, (K, from, to)
    """

    def __init__(self, cell: Cell, weights: Mapping[str, Tensor], hidden: int, activation: str) -> None:
        self.hidden = hidden
        self.x: Tensor = weights["W"]  # the loop puts each step's in its place
        self.b = weights["b"].unsqueeze(1)
        self.v = {name: weights[name].unsqueeze(1) for name in cell.vectors}
        self.m = {name: weights[name] for name in cell.matrices}
        self.act = ACTIVATIONS[activation or "tanh"]
        self.state_mask: Tensor | None = None
        self.update_mask: Tensor | None = None
        self._input = weights["W"]
        self._recurrent = {name: weights[recurrent(name)] for name in cell.products}

    def plus(self, share: Tensor, product: str, read: Tensor) -> Tensor:
        """share + R·read, of the gates of that product."""
        return share.baddbmm(self._masked(read), self._recurrent[product])

    def times(self, product: str, read: Tensor) -> Tensor:
        """R·read alone."""
        return self._masked(read).bmm(self._recurrent[product])

    def take_in(self, x: Tensor) -> Tensor:
        """W·x + b, of a cell whose x is made in the loop."""
        return self.b.baddbmm(x, self._input)

    def split(self, gates: Tensor, *blocks: int) -> tuple[Tensor, ...]:
        """Views of so many blocks each; without ``blocks`` each gate by itself."""
        return gates.split([count * self.hidden for count in blocks] or self.hidden, dim=-1)  # type: ignore[no-untyped-call]

    def update(self, candidate: Tensor) -> Tensor:
        """The candidate, with recurrent dropout where that is on."""
        return candidate if self.update_mask is None else candidate * self.update_mask

    def _masked(self, read: Tensor) -> Tensor:
        return read if self.state_mask is None else read * self.state_mask


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": lambda x: x.tanh(),
    "relu": lambda x: x.relu(),
    "sigmoid": lambda x: x.sigmoid(),
    "softsign": lambda x: x / (1 + x.abs()),
    "linear": lambda x: x,
}


def recurrent(product: str) -> str:
    """The name of a product's weights: R, or R_rh and its like for what is made in the loop."""
    return "R" if product == "h" else f"R_{product}"


def output_size(cell: Cell, hidden: int, projection: int) -> int:
    """The size of h."""
    return projection if cell.projects else hidden


def shapes(cell: Cell, inputs: int, hidden: int, projection: int = 0) -> dict[str, tuple[int, ...]]:
    """The weights of one layer in one direction, without the axis of members.

    >>> from longshort.models.cells import CELLS
    >>> shapes(CELLS["lstm"], inputs=1, hidden=50)
    {'W': (1, 200), 'b': (200,), 'R': (50, 200)}
    """
    sizes = {"inputs": inputs, "hidden": hidden, "state": output_size(cell, hidden, projection)}
    biased = cell.gates if cell.biased is None else cell.biased
    made: dict[str, tuple[int, ...]] = {"W": (inputs, len(cell.gates) * hidden), "b": (len(biased) * hidden,)}
    made |= {recurrent(name): (sizes["state"], len(gates) * hidden) for name, gates in cell.products.items()}
    made |= {name: (vector.blocks * hidden,) for name, vector in cell.vectors.items()}
    made |= {name: (sizes[source], sizes[target]) for name, (source, target) in cell.matrices.items()}
    return made


def starts(cell: Cell, hidden: int, projection: int = 0) -> dict[str, tuple[int, ...]]:
    """The learned initial states of one layer in one direction, likewise; their names are start_h and so on."""
    sizes = state_sizes(cell, hidden, projection)
    return {f"start_{name}": (sizes[name],) for name, state in cell.states.items() if state.learned}


def state_sizes(cell: Cell, hidden: int, projection: int = 0) -> dict[str, int]:
    """The size of each state: h's may be that of the projection, all others have the hidden one."""
    return dict.fromkeys(cell.states, hidden) | {"h": output_size(cell, hidden, projection)}


def count(cell: Cell, inputs: int, hidden: int, projection: int = 0) -> int:
    """Parameters of one layer in one direction, and of the attention where the cell has one."""
    attention = hidden * hidden + 2 * hidden if cell.attends else 0
    return sum(math.prod(shape) for shape in shapes(cell, inputs, hidden, projection).values()) + attention


def refusal(name: str, cell: Cell, variant: Variant) -> str | None:
    """Why a variant's settings cannot be had with its cell; None when they can."""
    asked = {
        "variational_dropout": variant.variational_dropout > 0,
        "weight_dropout": variant.weight_dropout > 0,
        "recurrent_dropout": variant.recurrent_dropout > 0,
        "zoneout": variant.zoneout > 0,
        "forget_bias": variant.forget_bias is not None,
        "chrono_steps": variant.chrono_steps > 0,
        "activation": variant.activation is not None,
        "projection_size": variant.projection_size > 0,
    }
    for option, reason in undefined(cell).items():
        if asked[option]:
            return f"`{option}` is not defined for cell '{name}': {reason}."
    if cell.projects and variant.projection_size == 0:
        return (
            f"cell '{name}' projects its state: set `projection_size` to less than hidden_size {variant.hidden_size}, or take cell 'lstm'."
        )
    return None


def undefined(cell: Cell) -> dict[str, str]:
    """The options that a cell has none of, and why."""
    said = dict(cell.refuses)
    if not cell.products:
        said.setdefault("variational_dropout", "no matrix reads its past state; take `dropout`")
        said.setdefault("weight_dropout", "it has no recurrent matrix")
    if not cell.updates:
        said.setdefault("recurrent_dropout", "its candidate is the whole new state, so dropping it would drop the memory; take `zoneout`")
    if cell.forget is None:
        said.setdefault("forget_bias", "it has no gate that forgets")
        said.setdefault("chrono_steps", "it has no gate that forgets")
    if not cell.activation:
        said.setdefault("activation", "its equations have no activation to choose")
    if not cell.projects:
        said.setdefault("projection_size", "its state is not projected; take cell 'lstmp'")
    return said
