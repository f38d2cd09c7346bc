"""The space of a search: which settings a trial may have, and what they make of an item."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from longshort.config import EngineName, Optimisation, Params, Space, Task, Variant, is_range, unfit
from longshort.errors import ConfigError
from longshort.models.cells import CELLS, refusal
from longshort.models.cells.kernels import without_kernel
from longshort.models.choice import without_bfloat16
from longshort.models.compiled.cells import without

Values = dict[str, Any]  # of the settings that a space names


@dataclass(frozen=True)
class Settings:
    """All that a trial may change of an item.

    state_size  how wide its states have to be; None: any
    """

    variant: Variant
    optimisation: Optimisation
    state_size: int | None = None

    def values(self, space: Space) -> Values:
        """What it has of the settings that a space names."""
        return {name: getattr(self.variant if name in Variant.model_fields else self.optimisation, name) for name in space.allowed}

    def changed(self, values: Values) -> Settings:
        """The same with other values, checked as params.yaml is.

        raises  pydantic's ValidationError
        """
        both = [self.variant, self.optimisation]
        own = [{name: value for name, value in values.items() if name in type(part).model_fields} for part in both]
        changed = Variant(**{**both[0].model_dump(), **own[0]}), Optimisation(**{**both[1].model_dump(), **own[1]})
        return Settings(*changed, self.state_size)


def of_item(params: Params, item: str) -> Settings:
    """An item as it stands."""
    entry = params.training.items[item]
    state_size = params.tasks.language_model.state_size if entry.task == "language-model" else None
    return Settings(params.models.variants[entry.variant], params.optimisation_of(item), state_size)


def holds(space: Space, values: Values) -> bool:
    """Whether values lie in a space; those of the item as it stands need not."""
    return all(_within(allowed, values[name]) for name, allowed in space.allowed.items())


def _within(allowed: list[Any], value: Any) -> bool:
    if is_range(allowed):
        return value is not None and allowed[0] <= value <= allowed[1]
    return value in allowed


def refuse(space: Space, base: Settings, task: Task, engine: EngineName) -> None:
    """Refuse a space of which a trial could be refused.

    raises  ConfigError with the sentence that the trial would be refused with
    """
    for values in _corners(space):
        if reason := misfit(base, values, task, engine):
            raise ConfigError(f"params.yaml: tuning.space: a trial could be refused: {reason}. Narrow the space.")


def _corners(space: Space) -> Iterator[Values]:
    """Enough of a space to find what is refused in it: no rule looks at more than two settings, and each at their ends, at 0 or at 1."""
    ends = {name: _ends(allowed) for name, allowed in space.allowed.items()}
    first = {name: values[0] for name, values in ends.items()}
    for one, other in itertools.combinations_with_replacement(ends, 2):
        for value, another in itertools.product(ends[one], ends[other]):
            yield {**first, other: another, one: value}


def _ends(allowed: list[Any]) -> list[Any]:
    if not is_range(allowed):
        return allowed
    low, high = allowed
    return [low, low + 1, high] if isinstance(low, int) else [low, high]


def misfit(base: Settings, values: Values, task: Task, engine: EngineName) -> str | None:
    """Why an item cannot be trained with other values; None when it can."""
    try:
        changed = base.changed(values)
    except ValidationError as error:
        return error.errors()[0]["msg"].removeprefix("Value error, ")
    variant = changed.variant
    if reason := refusal(variant.cell, CELLS[variant.cell], variant):
        return reason.removesuffix(".")
    if reason := unfit(task, variant, base.state_size):
        return f"it {reason}"
    lacks = {"torch": without_kernel, "native": without, "cuda": without_kernel}
    if engine in lacks and (reason := lacks[engine](variant)):
        return f"engine '{engine}' cannot train it: {reason}. Write `engine: reference` into the item"
    if reason := without_bfloat16(engine, variant, task, changed.optimisation):
        return f"its precision is bfloat16, and {reason}"
    return None


def adoption(params: Params, item: str, found: Settings) -> list[str]:
    """What `longshort run --set` makes of an item what was found for it, and leaves every other item as it is.

    A variant that other items use too is left to them: the item comes to stand beside the present one, with a variant of its own.
    """
    entry, present = params.training.items[item], of_item(params, item)
    usual: Optimisation = params.of_task(params.training, entry.task)
    shared = [name for name, other in params.training.items.items() if other.variant == entry.variant and name != item]
    if not shared or found.variant == present.variant:
        changed = _differing(found.variant, present.variant)
        learning = _differing(found.optimisation, present.optimisation)
        return [
            *(f"models.variants.{entry.variant}.{name}={_yaml(value)}" for name, value in changed.items()),
            *(f"training.items.{item}.{name}={_yaml(value)}" for name, value in learning.items()),
        ]
    name = _free_name(entry.variant, params.models.variants)
    mine = {"dataset": entry.dataset, "task": entry.task, "variant": name, "engine": entry.engine}
    mine = {key: value for key, value in mine.items() if value is not None} | _differing(found.optimisation, usual)
    return [
        f"models.variants.{name}={_map(found.variant.model_dump(exclude_defaults=True))}",
        f"training.items.{entry.dataset}-{name}={_map(mine)}",
    ]


def _differing(one: Variant | Optimisation, other: Variant | Optimisation) -> dict[str, Any]:
    before = other.model_dump()
    return {name: value for name, value in one.model_dump().items() if value != before[name]}


def _free_name(variant: str, taken: dict[str, Variant]) -> str:
    for number in itertools.count(1):
        ending = f"_tuned{number if number > 1 else ''}"
        if (name := variant[: 40 - len(ending)] + ending) not in taken:
            return name
    raise AssertionError  # there are more numbers than names


def _map(content: dict[str, Any]) -> str:
    return "{" + ", ".join(f"{name}: {_yaml(value)}" for name, value in content.items()) + "}"


def _yaml(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    return str(value)
