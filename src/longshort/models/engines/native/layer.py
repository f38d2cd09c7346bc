"""One layer over a batch of sequences, as a function that autograd can go back through."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from longshort.models.cells import CELLS
from longshort.models.compiled import cells, library
from longshort.models.compiled.library import WIDEST
from longshort.models.compiled.told import layer_of

QUICKEST = 0  # of what computes in bfloat16 on it


def forward(
    name: str, weights: Mapping[str, Tensor], steps: Tensor, width: int = WIDEST, carried: Tensor | None = None, goes_on: bool = False
) -> Tensor:
    """Run one member.

    weights  as `Engine.forward` takes them, of one member, its axis kept
    steps    (1, steps, batch, inputs)
    width    a number of `library.widths`
    carried  see `carried`: where the states after the last step are put; goes_on: whether the rows begin from what it holds
    returns  h at every step, (1, steps, batch, hidden)
    raises   ValueError when a tensor is not float32 on the CPU
    """
    for key, tensor in {"the input": steps, **weights}.items():
        if tensor.dtype != torch.float32 or tensor.device.type != "cpu":
            raise ValueError(f"the engine 'native' computes in float32 on the CPU, and {key} is {tensor.dtype} on {tensor.device}.")
    shapes = {key: tuple(weight.shape[1:]) for key, weight in weights.items()}
    row = torch.cat([weight.reshape(-1) for weight in weights.values()])
    needed = torch.is_grad_enabled() and (row.requires_grad or steps.requires_grad)
    if not needed:
        plan = Plan(name, shapes, steps.shape[1])
        return _read(plan, row.detach(), steps[0].detach().contiguous(), None, width, carried, goes_on).unsqueeze(0)
    return _Sequence.apply(name, shapes, width, carried, goes_on, row, steps[0]).unsqueeze(0)  # type: ignore[no-untyped-call]


def carried(before: Mapping[str, Tensor], steps: Tensor, hidden: int) -> Tensor:
    """Room for the states of one member, h and then c, (2, batch, hidden); in it those that were ``before``, (1, batch, hidden) each."""
    room = torch.zeros(2, steps.shape[2], hidden)
    for place, state in enumerate(before.values()):
        room[place] = state[0]
    return room


class Plan:
    """What the library is told of a layer; keeps alive what it points to."""

    def __init__(self, name: str, shapes: Mapping[str, tuple[int, ...]], steps: int) -> None:
        self.found = cells.find(name, shapes)
        self.hidden = shapes["W"][1] // len(CELLS[name].gates)
        self.layer = layer_of(name, self.found, shapes["W"][0], self.hidden, False)
        size = sum(math.prod(shape) for shape in shapes.values())
        self.network = library.Network(ctypes.pointer(self.layer), None, size, 1, 1, shapes["W"][0], steps, 0, 0, 0, 1.0)


def _read(plan: Plan, row: Tensor, steps: Tensor, kept: Tensor | None, width: int, carried: Tensor | None, goes_on: bool) -> Tensor:
    states = torch.empty(*steps.shape[:2], plan.hidden)
    places = [None if array is None else array.data_ptr() for array in (kept, states, carried)]
    library.call("read", width, plan.network, row.data_ptr(), steps.data_ptr(), steps.shape[1], torch.get_num_threads(), *places, goes_on)
    return states


class _Sequence(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        name: str,
        shapes: dict[str, tuple[int, ...]],
        width: int,
        carried: Tensor | None,
        goes_on: bool,
        row: Tensor,
        steps: Tensor,
    ) -> Tensor:
        plan, steps = Plan(name, shapes, steps.shape[0]), steps.contiguous()
        kept = torch.empty(library.opened().kept(width, plan.network, steps.shape[1]))
        ctx.plan, ctx.width, ctx.kept, ctx.read, ctx.goes_on = plan, width, kept, steps.shape, goes_on
        ctx.save_for_backward(row)
        return _read(plan, row, steps, kept, width, carried, goes_on)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, None, None, None, None, Tensor, Tensor | None]:
        if ctx.kept is None:
            raise RuntimeError("the engine 'native' goes back through a batch once: what it kept is used up.")
        (row,), gradient = ctx.saved_tensors, gradient.contiguous()
        by_row = torch.empty_like(row)
        by_steps = torch.empty(ctx.read) if ctx.needs_input_grad[6] else None
        batch, threads, place = gradient.shape[1], torch.get_num_threads(), None if by_steps is None else by_steps.data_ptr()
        ways = (gradient.data_ptr(), batch, threads, ctx.kept.data_ptr(), ctx.goes_on, by_row.data_ptr(), place)
        library.call("learn", ctx.width, ctx.plan.network, row.data_ptr(), *ways)
        ctx.kept = None
        return None, None, None, None, None, by_row, by_steps
