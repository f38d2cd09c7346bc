"""Choice: which engine trains which item, settled before the graph starts, so that no stage hangs on a timing.

What cannot be trained is refused here, before anything runs; `auto` is measured and becomes a name. Where the library of the
engine `native` was not built another trains in its place, and it is said.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import Any, Literal

from longshort.config import LABELLED, EngineName, Optimisation, Params, Task, Variant
from longshort.errors import ConfigError
from longshort.models.cells import CELLS, refusal
from longshort.models.cells.kernels import without_kernel
from longshort.models.compiled import cells as compiled
from longshort.models.compiled import library

TIMES = 3
TYPICAL_WORDS = 20  # of a row of labelled text, whose rows are of different lengths


def settle(params: Params) -> list[str]:
    """The settings that put names where params.yaml says `auto`; none where it names every engine.

    raises  ConfigError when a variant asks for what its cell has not, a named engine cannot run it, or it is `cuda` and there is no GPU
    """
    for item, entry in params.training.items.items():
        variant = params.models.variants[entry.variant]
        if reason := refusal(variant.cell, CELLS[variant.cell], variant):
            raise ConfigError(f"params.yaml: models.variants.{entry.variant}: {reason}")
        engine = entry.engine or params.training.engine
        if reason := _refusal(engine, variant):
            raise ConfigError(
                f"params.yaml: training.items.{item}: engine '{engine}' cannot train it: {reason}. Write `engine: reference` into the "
                "item, or `engine: auto`, which measures."
            )
        how = params.optimisation_of(item)
        if how.precision == "bfloat16":
            missing = library.absent() if engine == "native" else None
            if reason := f"engine 'native' is not there: {missing}" if missing else without_bfloat16(engine, variant, entry.task, how):
                raise ConfigError(f"params.yaml: training.items.{item}: its precision is bfloat16, and {reason}. Or leave `precision` out.")
    if reason := _missing(params):
        raise ConfigError(f"params.yaml: {reason}")
    asked = [item for item, entry in params.training.items.items() if (entry.engine or params.training.engine) == "auto"]
    if not asked:
        return []
    measured = {item: _fastest(params, item) for item in asked}
    settings: list[str] = []
    usual: EngineName | Literal["auto"] = params.training.engine
    if usual == "auto":
        usual = Counter(measured.values()).most_common(1)[0][0]
        settings.append(f"training.engine={usual}")
    for item, engine in measured.items():
        own = params.training.items[item].engine
        if engine != usual or own == "auto":
            settings.append(f"training.items.{item}.engine={engine}")
    return settings


def without_bfloat16(engine: str, variant: Variant, task: Task, how: Optimisation) -> str | None:
    """Why an engine cannot train a variant with products in bfloat16, as the rest of a sentence that says what can; None when it can, or
    is not asked to.
    """
    if how.precision != "bfloat16":
        return None
    if engine != "native":
        return f"engine '{engine}' computes in float32. Write `engine: native`, which has both"
    if task in LABELLED:
        return f"networks of a {task} item are trained batch by batch, in float32"
    if how.by_batches:
        unknown = "`averaged_after`" if how.averaged_after is not None else f"`optimizer: {how.optimizer}`"
        return f"{unknown} takes its network through training batch by batch, in float32. Take Adam or RMSProp, without averages"
    if variant.weight_dropout:
        return "`weight_dropout` takes its network through training batch by batch, in float32. Set it to 0"
    if task == "forecast" and CELLS[variant.cell].attends:
        return f"forecasters of cell '{variant.cell}' are trained batch by batch, in float32. Take another cell"
    return None


def engine_of(params: Params, item: str) -> EngineName:
    """The engine that trains an item on this machine: the one that is named, or where that is `native` and its library was not
    built, the one that stands in for it.
    """
    named = params.engine_of(item)
    if named != "native" or library.absent() is None:
        return named
    return "torch" if without_kernel(params.models.variants[params.training.items[item].variant]) is None else "reference"


def standing_in(params: Params) -> str | None:
    """What to say where items name the engine `native` and others train them; None where there is nothing to say."""
    named = [item for item, entry in params.training.items.items() if (entry.engine or params.training.engine) == "native"]
    if not named or (reason := library.absent()) is None:
        return None
    engines = sorted({engine_of(params, item) for item in named}, reverse=True)
    others = f"{' and '.join(engines)} {'train' if len(engines) > 1 else 'trains'}"
    return f"engine 'native' is not there: {reason}. {others} in its place, more slowly"


def _refusal(engine: str, variant: Variant) -> str | None:
    """Why an engine cannot train a variant."""
    asked = {"torch": without_kernel, "native": compiled.without, "cuda": without_kernel}.get(engine)
    return asked(variant) if asked else None


def _missing(params: Params) -> str | None:
    """Why the engine `cuda` cannot train what names it here; nothing takes its place, since that would be slower by far."""
    named = [item for item, entry in params.training.items.items() if (entry.engine or params.training.engine) == "cuda"]
    if not named:
        return None  # asking costs the import of torch
    from longshort.models.engines import ENGINES

    if reason := ENGINES["cuda"].absent():
        return f"training.items.{named[0]}: engine 'cuda' is not there: {reason}. Name another engine, or train on a machine that has one."
    if params.training.device == "cpu":
        return f"training.items.{named[0]}: its engine is 'cuda', and `training.device` is 'cpu'. Set the device to 'auto'."
    return None


def _fastest(params: Params, item: str) -> EngineName:
    """The engine with the shortest step of training on the CPU, of those that run the item's variant."""
    entry = params.training.items[item]
    variant, task = params.models.variants[entry.variant], entry.task
    spec: Any = params.of_task(params.windows, task)
    inputs = len(spec.columns) if task == "forecast" else params.of_task(params.tasks, task).embedding_size
    shape = (params.optimisation_of(item).batch_size, TYPICAL_WORDS if task in LABELLED else spec.lookback, inputs)
    named: tuple[EngineName, ...] = ("torch", "reference", "native")
    there = named if library.absent() is None else named[:2]
    engines = [engine for engine in there if _refusal(engine, variant) is None]
    return engines[0] if len(engines) == 1 else min(engines, key=lambda engine: seconds(variant, engine, shape))


def seconds(variant: Variant, engine: EngineName, shape: tuple[int, int, int]) -> float:
    """Of a step forward and backward on one thread, the shortest of some; shape: (batch, steps, inputs)."""
    import torch

    from longshort.models.encoder import Encoder
    from longshort.models.masks import Draw

    torch.set_num_threads(1)
    encoder, read = Encoder(shape[2], variant, engine), torch.zeros(1, *shape)
    found = []
    for _ in range(1 + TIMES):  # the first one also sets things up
        began = time.perf_counter()
        states, final = encoder(read, Draw((0,), 1, 0))
        (states.sum() + final.sum()).backward()
        found.append(time.perf_counter() - began)
    return min(found[1:])
