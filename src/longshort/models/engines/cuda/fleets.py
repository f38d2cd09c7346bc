"""A layer of a fleet in one launch: a program a member and block of rows walks through time, forwards and back (Triton).

W·x + b of all steps is a batched product before the loop, as everywhere. In the loop stands gates = share + R·h and the cell's rule,
unit by unit; h and c stay in registers from step to step. One template serves all cells: a rule is put into it, a pair of functions of
at most four gates. The weights' gradients are batched products after the loop.

    share x, product p, states h and c of the step before  ->  h, c
    the same, and the gradients of h and c                 ->  those of x, of p, of the states before
"""

# mypy: disable-error-code="no-untyped-def"
# what kernels are handed has Triton's types, which it alone knows

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from longshort.models.cells import CELLS, Cell
from longshort.models.cells.kernels import GATES
from longshort.models.engines.engine import States, start

ROWS = 16  # of a program; what a product on a GPU takes at least
WIDEST = 64  # units: at 128 the program is 1.2 MB of instructions and takes most of a minute to compile
LAUNCH = {"num_stages": 1}  # with blocks of R loaded ahead, 50 units would take 220 KB of shared memory; so 20


@triton.jit
def _tanh(x):
    shrunk = tl.exp(-2.0 * tl.abs(x))
    size = (1.0 - shrunk) / (1.0 + shrunk)
    return tl.where(x < 0, -size, size)


@triton.jit
def _lstm(x0, x1, x2, x3, p0, p1, p2, p3, h, c):
    i, f, o = tl.sigmoid(x0 + p0), tl.sigmoid(x1 + p1), tl.sigmoid(x2 + p2)
    new = f * c + i * _tanh(x3 + p3)
    return o * _tanh(new), new


@triton.jit
def _lstm_back(x0, x1, x2, x3, p0, p1, p2, p3, h, c, to_h, to_c):
    i, f, o, g = tl.sigmoid(x0 + p0), tl.sigmoid(x1 + p1), tl.sigmoid(x2 + p2), _tanh(x3 + p3)
    squashed = _tanh(f * c + i * g)
    to_new = to_c + to_h * o * (1.0 - squashed * squashed)
    to_i, to_f = to_new * g * i * (1.0 - i), to_new * c * f * (1.0 - f)
    to_o, to_g = to_h * squashed * o * (1.0 - o), to_new * i * (1.0 - g * g)
    return to_i, to_f, to_o, to_g, to_i, to_f, to_o, to_g, to_h * 0.0, to_new * f


@triton.jit
def _gru(x0, x1, x2, x3, p0, p1, p2, p3, h, c):
    z = tl.sigmoid(x1 + p1)
    n = _tanh(x2 + tl.sigmoid(x0 + p0) * p2)
    return n + z * (h - n), c


@triton.jit
def _gru_back(x0, x1, x2, x3, p0, p1, p2, p3, h, c, to_h, to_c):
    r, z = tl.sigmoid(x0 + p0), tl.sigmoid(x1 + p1)
    n = _tanh(x2 + r * p2)
    to_n = to_h * (1.0 - z) * (1.0 - n * n)
    to_r, to_z = to_n * p2 * r * (1.0 - r), to_h * (h - n) * z * (1.0 - z)
    return to_r, to_z, to_n, to_h, to_r, to_z, to_n * r, to_h, to_h * z, to_c


@triton.jit
def _rnn(x0, x1, x2, x3, p0, p1, p2, p3, h, c):
    return _tanh(x0 + p0), c


@triton.jit
def _rnn_back(x0, x1, x2, x3, p0, p1, p2, p3, h, c, to_h, to_c):
    new = _tanh(x0 + p0)
    to_x = to_h * (1.0 - new * new)
    return to_x, to_h, to_h, to_h, to_x, to_h, to_h, to_h, to_h * 0.0, to_c


@triton.jit
def _relu(x0, x1, x2, x3, p0, p1, p2, p3, h, c):
    return tl.maximum(x0 + p0, 0.0), c


@triton.jit
def _relu_back(x0, x1, x2, x3, p0, p1, p2, p3, h, c, to_h, to_c):
    to_x = tl.where(x0 + p0 > 0, to_h, 0.0)
    return to_x, to_h, to_h, to_h, to_x, to_h, to_h, to_h, to_h * 0.0, to_c


@dataclass(frozen=True)
class Rule:
    """A cell's rule and its way back. Of gates that it has not, what it reads is 0 and what it gives is not used."""

    ahead: Any
    back: Any


# the gates in the catalogue's order, and the activation
RULES: dict[tuple[str, str], Rule] = {
    ("ifog", "tanh"): Rule(_lstm, _lstm_back),
    ("rzn", "tanh"): Rule(_gru, _gru_back),
    ("h", "tanh"): Rule(_rnn, _rnn_back),
    ("h", "relu"): Rule(_relu, _relu_back),
}


@triton.jit
def _product(h, R, first, gate: tl.constexpr, gates: tl.constexpr, hidden: tl.constexpr, units, turned: tl.constexpr):
    """h·R of one gate, or h·Rᵀ; in float32 as it stands, not in the 19 bits that a GPU would take for it."""
    down, across = (units[None, :], units[:, None]) if turned else (units[:, None], units[None, :])
    there = (units[:, None] < hidden) & (units[None, :] < hidden)
    block = tl.load(R + first + down * (gates * hidden) + gate * hidden + across, mask=there, other=0.0)
    return tl.dot(h, block, input_precision="ieee")


@triton.jit
def _past(h, R, shift, member, gate: tl.constexpr, gates: tl.constexpr, hidden: tl.constexpr, units):
    """R·h of one gate, and what is added to it."""
    added = tl.load(shift + (member * gates + gate) * hidden + units, mask=units < hidden, other=0.0)
    return _product(h, R, member * hidden * gates * hidden, gate, gates, hidden, units, False) + added[None, :]


@triton.jit
def _ahead(x, R, shift, h0, c0, products, hs, cs, steps, batch, gates: tl.constexpr, hidden: tl.constexpr, rows: tl.constexpr,
           wide: tl.constexpr, rule: tl.constexpr):  # fmt: skip
    member = tl.program_id(0).to(tl.int64)
    row, units = tl.program_id(1) * rows + tl.arange(0, rows), tl.arange(0, wide)
    there = (row[:, None] < batch) & (units[None, :] < hidden)
    place = (member * batch + row[:, None]) * hidden + units[None, :]
    h, c = tl.load(h0 + place, mask=there, other=0.0), tl.load(c0 + place, mask=there, other=0.0)
    zero = h * 0.0
    for step in range(steps):
        at = (member * steps + step) * batch + row[:, None]
        gate = at * (gates * hidden) + units[None, :]
        x0, x1, x2, x3, p0, p1, p2, p3 = zero, zero, zero, zero, zero, zero, zero, zero
        x0 = tl.load(x + gate, mask=there, other=0.0)
        p0 = _past(h, R, shift, member, 0, gates, hidden, units)
        tl.store(products + gate, p0, mask=there)
        if gates > 1:
            x1 = tl.load(x + gate + hidden, mask=there, other=0.0)
            p1 = _past(h, R, shift, member, 1, gates, hidden, units)
            tl.store(products + gate + hidden, p1, mask=there)
        if gates > 2:
            x2 = tl.load(x + gate + 2 * hidden, mask=there, other=0.0)
            p2 = _past(h, R, shift, member, 2, gates, hidden, units)
            tl.store(products + gate + 2 * hidden, p2, mask=there)
        if gates > 3:
            x3 = tl.load(x + gate + 3 * hidden, mask=there, other=0.0)
            p3 = _past(h, R, shift, member, 3, gates, hidden, units)
            tl.store(products + gate + 3 * hidden, p3, mask=there)
        h, c = rule(x0, x1, x2, x3, p0, p1, p2, p3, h, c)
        tl.store(hs + at * hidden + units[None, :], h, mask=there)
        tl.store(cs + at * hidden + units[None, :], c, mask=there)
        h = tl.where(there, h, 0.0)  # where there is no unit a rule may make something of nothing
        c = tl.where(there, c, 0.0)


@triton.jit
def _back(x, R, h0, c0, products, hs, cs, to_hs, to_x, to_products, to_h0, to_c0, steps, batch, gates: tl.constexpr,
          hidden: tl.constexpr, rows: tl.constexpr, wide: tl.constexpr, rule: tl.constexpr):  # fmt: skip
    member = tl.program_id(0).to(tl.int64)
    row, units = tl.program_id(1) * rows + tl.arange(0, rows), tl.arange(0, wide)
    there = (row[:, None] < batch) & (units[None, :] < hidden)
    first, place = member * hidden * gates * hidden, (member * batch + row[:, None]) * hidden + units[None, :]
    zero = tl.zeros((rows, wide), tl.float32)
    to_h, to_c = zero, zero
    for back in range(steps):
        step = steps - 1 - back
        at = (member * steps + step) * batch + row[:, None]
        gate, before = at * (gates * hidden) + units[None, :], (at - batch) * hidden + units[None, :]
        later, began = there & (row[:, None] * 0 + step > 0), there & (row[:, None] * 0 + step == 0)
        h = tl.load(hs + before, mask=later, other=0.0) + tl.load(h0 + place, mask=began, other=0.0)
        c = tl.load(cs + before, mask=later, other=0.0) + tl.load(c0 + place, mask=began, other=0.0)
        to_h += tl.load(to_hs + at * hidden + units[None, :], mask=there, other=0.0)
        x0, x1, x2, x3, p0, p1, p2, p3 = zero, zero, zero, zero, zero, zero, zero, zero
        x0, p0 = tl.load(x + gate, mask=there, other=0.0), tl.load(products + gate, mask=there, other=0.0)
        if gates > 1:
            x1, p1 = tl.load(x + gate + hidden, mask=there, other=0.0), tl.load(products + gate + hidden, mask=there, other=0.0)
        if gates > 2:
            x2, p2 = tl.load(x + gate + 2 * hidden, mask=there, other=0.0), tl.load(products + gate + 2 * hidden, mask=there, other=0.0)
        if gates > 3:
            x3, p3 = tl.load(x + gate + 3 * hidden, mask=there, other=0.0), tl.load(products + gate + 3 * hidden, mask=there, other=0.0)
        a0, a1, a2, a3, q0, q1, q2, q3, kept, to_c = rule(x0, x1, x2, x3, p0, p1, p2, p3, h, c, to_h, to_c)
        tl.store(to_x + gate, a0, mask=there)
        tl.store(to_products + gate, q0, mask=there)
        to_h = kept + _product(tl.where(there, q0, 0.0), R, first, 0, gates, hidden, units, True)
        if gates > 1:
            tl.store(to_x + gate + hidden, a1, mask=there)
            tl.store(to_products + gate + hidden, q1, mask=there)
            to_h += _product(tl.where(there, q1, 0.0), R, first, 1, gates, hidden, units, True)
        if gates > 2:
            tl.store(to_x + gate + 2 * hidden, a2, mask=there)
            tl.store(to_products + gate + 2 * hidden, q2, mask=there)
            to_h += _product(tl.where(there, q2, 0.0), R, first, 2, gates, hidden, units, True)
        if gates > 3:
            tl.store(to_x + gate + 3 * hidden, a3, mask=there)
            tl.store(to_products + gate + 3 * hidden, q3, mask=there)
            to_h += _product(tl.where(there, q3, 0.0), R, first, 3, gates, hidden, units, True)
    tl.store(to_h0 + place, to_h, mask=there)
    tl.store(to_c0 + place, to_c, mask=there)


def shape(gates: int, hidden: int, rule: Any) -> dict[str, Any]:
    """What of a launch is part of the compiled program."""
    return {"gates": gates, "hidden": hidden, "rows": ROWS, "wide": max(16, triton.next_power_of_2(hidden)), "rule": rule}


class _Layer(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rule: Rule, x: Tensor, R: Tensor, shift: Tensor, h0: Tensor, c0: Tensor) -> tuple[Tensor, Tensor]:
        """x (K, steps, batch, gates·hidden); shift (K, gates·hidden), added to R·h; h0 and c0 (K, batch, hidden).

        returns  h at every step, and c after the last one, which has no gradient
        """
        x, R, shift, h0, c0 = (tensor.contiguous() for tensor in (x, R, shift, h0, c0))
        members, steps, batch, hidden = *x.shape[:3], R.shape[1]
        products, (hs, cs) = torch.empty_like(x), x.new_empty(2, members, steps, batch, hidden)
        ctx.grid, ctx.rule, ctx.gates = (members, -(-batch // ROWS)), rule, x.shape[-1] // hidden
        _ahead[ctx.grid](x, R, shift, h0, c0, products, hs, cs, steps, batch, **shape(ctx.gates, hidden, rule.ahead), **LAUNCH)
        ctx.save_for_backward(x, R, h0, c0, products, hs, cs)
        last = cs[:, -1].clone()
        ctx.mark_non_differentiable(last)
        return hs, last

    @staticmethod
    def backward(ctx: Any, to_hs: Tensor, _: Tensor) -> tuple[None, Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Gradients of x, R, shift, h0 and c0."""
        x, R, h0, c0, products, hs, cs = ctx.saved_tensors
        (to_x, to_products), (to_h0, to_c0) = x.new_empty(2, *x.shape), h0.new_empty(2, *h0.shape)
        arrays = (x, R, h0, c0, products, hs, cs, to_hs.contiguous(), to_x, to_products, to_h0, to_c0)
        _back[ctx.grid](*arrays, *x.shape[1:3], **shape(ctx.gates, R.shape[1], ctx.rule.back), **LAUNCH)
        before = torch.cat([h0.unsqueeze(1), hs[:, :-1]], dim=1).flatten(1, 2)
        to_R = before.transpose(1, 2).bmm(to_products.flatten(1, 2))
        return None, to_x, to_R, to_products.sum((1, 2)), to_h0, to_c0


def fits(cell: Cell, activation: str, hidden: int) -> bool:
    """Whether there is a rule for a cell, and its width fits."""
    own = any(CELLS[name] is cell for name in GATES)  # others have an LSTM's gates, and another rule
    return own and (cell.gates, activation) in RULES and not cell.projects and hidden <= WIDEST


def forward(cell: Cell, activation: str, weights: Mapping[str, Tensor], steps: Tensor) -> Tensor:
    """See `Engine.forward`, of a cell that `fits`; all members in one launch."""
    return carry(cell, activation, weights, steps, {})[0]


def carry(cell: Cell, activation: str, weights: Mapping[str, Tensor], steps: Tensor, before: States) -> tuple[Tensor, States]:
    """See `Engine.carry`, likewise."""
    hidden = weights["R"].shape[1]
    x = torch.baddbmm(weights["b"].unsqueeze(1), steps.flatten(1, 2), weights["W"]).view(*steps.shape[:3], -1)
    shift = torch.zeros_like(weights["b"])
    if "b_r" in weights:  # of the gate n alone, the last
        shift = torch.cat([shift[:, :-hidden], weights["b_r"]], dim=1)
    h0 = start(cell, weights, "h", steps[:, 0], hidden, before)
    c0 = start(cell, weights, "c", steps[:, 0], hidden, before) if "c" in cell.states else torch.zeros_like(h0)
    states, c = _Layer.apply(RULES[cell.gates, activation], x, weights["R"], shift, h0, c0)  # type: ignore[no-untyped-call]
    return states, {"h": states[:, -1]} | ({"c": c} if "c" in cell.states else {})
