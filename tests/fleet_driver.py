"""Run by test_models_cuda_fleets.py in a process of its own, with `run` or `compile`: what Triton's kernels give, as JSON."""

from __future__ import annotations

import functools
import itertools
import json
import sys

import torch
import triton
from test_models_native import drawn

from longshort.models.cells import CELLS
from longshort.models.engines import ENGINES, Inside
from longshort.models.engines.cuda import fleets

# batch, hidden, inputs, steps, members
SHAPES = [(1, 1, 1, 1, 3), (1, 37, 2, 4, 3), (17, 37, 1, 3, 3), (16, 16, 3, 2, 2), (33, 5, 3, 5, 1), (3, 37, 2, 1, 3)]


def gone_through(forward, weights, steps, gradient, dtype):
    """States, and the gradients of the sequence and of each weight."""
    weights = {name: weight.to(dtype).requires_grad_() for name, weight in weights.items()}
    steps = steps.to(dtype).requires_grad_()
    states = forward(weights, steps)
    found = torch.autograd.grad((states * gradient.to(dtype)).sum(), [steps, *weights.values()])
    return dict(zip(["h", "x", *weights], [states.detach(), *found], strict=True))


def run():
    """The largest difference from the reference in float64, relative to the largest value of each."""
    worst = {}
    for name, (*shape, members), learned in itertools.product(("lstm", "lstm_np", "gru", "rnn", "rnn_relu"), SHAPES, (False, True)):
        way = CELLS[name], CELLS[name].activation
        given = drawn(name, *shape, learned=learned, members=members)
        found = gone_through(functools.partial(fleets.forward, *way), *given, torch.float32)
        exact = gone_through(functools.partial(reference, *way), *given, torch.float64)
        for key, value in exact.items():
            off = (found[key] - value).abs().max() / value.abs().max().clamp(min=1e-3)
            worst[f"{name} {shape} {members} {'learned' * learned} {key}"] = off.item()
    return worst


def reference(cell, activation, weights, steps):
    return ENGINES["reference"].forward(cell, activation, weights, steps, Inside())


def compile():
    """The bytes of shared memory that each kernel takes on an A100 (compute capability 8.0), compiled without one."""
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    taken = {}
    for (gates, activation), rule in fleets.RULES.items():
        for kernel, own in ((fleets._ahead, rule.ahead), (fleets._back, rule.back)):
            constants = fleets.shape(len(gates), 50, own)
            own_kind = dict.fromkeys(constants, "constexpr") | {"steps": "i32", "batch": "i32"}
            kinds = {name: own_kind.get(name, "*fp32") for name in kernel.arg_names}
            places = {(kernel.arg_names.index(name),): value for name, value in constants.items()}
            made = triton.compile(ASTSource(kernel, kinds, constexprs=places), target=GPUTarget("cuda", 80, 32), options=fleets.LAUNCH)
            assert made.asm["cubin"]
            taken[f"{gates} {activation} {kernel.__name__}"] = made.metadata.shared
    return taken


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps({"run": run, "compile": compile}[sys.argv[1]]()))
