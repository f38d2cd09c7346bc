"""What a system is handed when it is run, and what it owes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError, create_model

from longshort.config import Optimisation, Params, Section, Variant, nearest
from longshort.errors import UsageError
from longshort.evaluation.tables import Table, spread


@dataclass
class Trained:
    """What has been trained for an occasion so far.

    checkpoints  the folders from which to go on, which stay until the run is on record
    earlier      seconds that went into it before this process
    """

    checkpoints: list[Path] = field(default_factory=list)
    earlier: float = 0.0


@dataclass(frozen=True)
class Occasion:
    """One run of a system.

    root      the project's folder; its settings are `params`
    name      the system's
    data      a person's data in place of the embedded ones
    fast      a smaller run, which shows that everything works and whose figures say nothing
    settings  fields of the variant or of the optimisation, in place of the system's own: ``cell``, ``hidden_size``, ``learning_rate``
    seeds     one network each, where the system trains any
    say       tells a person how far it is
    trained   is shared with the occasions that are made from this one
    """

    root: Path
    params: Params
    name: str
    data: Path | None
    fast: bool
    settings: dict[str, Any]
    seeds: Sequence[int]
    say: Callable[[str], None]
    trained: Trained = field(default_factory=Trained)

    def variant(self, **own: Any) -> Variant:
        """The system's network, with what a person set. raises  UsageError"""
        return self._made(Variant, {"num_layers": 1, "bidirectional": False, "dropout": 0.0, **own})

    def optimisation(self, **own: Any) -> Optimisation:
        """How the system is trained, with what a person set. raises  UsageError"""
        return self._made(Optimisation, {"clip_norm": 1.0, **own})

    def _made(self, kind: type[Any], own: dict[str, Any]) -> Any:
        said = {name: value for name, value in self.settings.items() if name in kind.model_fields}
        try:
            return kind(**{**own, **said})
        except ValidationError as error:
            raise _refusal(error, ", ".join(said)) from None

    def with_settings(self, **settings: Any) -> Occasion:
        """The same with other settings, where a system compares networks; what a person set stands."""
        return replace(self, settings={**settings, **self.settings})


def checked(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings as a network and its training take them, each by itself, also where a system has no use for it.

    raises  UsageError when one is none of a network or its training, or has a value that it cannot have
    """
    known = {**Variant.model_fields, **Optimisation.model_fields}
    for name in settings:
        if name not in known:
            raise UsageError(f"--set {name}: no setting of a network or its training{nearest(name, known)}")
    fields: dict[str, Any] = {name: (known[name].annotation, known[name]) for name in settings}
    try:
        return create_model("Settings", __base__=Section, **fields)(**settings).model_dump()
    except ValidationError as error:
        raise _refusal(error, ", ".join(settings)) from None


def _refusal(error: ValidationError, several: str) -> UsageError:
    """several: what to name where no one setting is at fault."""
    problem = error.errors()[0]
    name = ".".join(map(str, problem["loc"])) or several
    return UsageError(f"--set {name}: {problem['msg'].removeprefix('Value error, ')}.")


@dataclass(frozen=True)
class Figure:
    """A figure that was measured.

    value  the mean over ``seeds`` runs, ``sd`` their standard deviation; sd None where there is one run, or nothing is drawn
    unit   "%" of shares in percent, "$", "s", or "" of pure numbers
    naive  name -> what a plain method comes to on the same
    """

    name: str
    value: float
    unit: str = ""
    sd: float | None = None
    seeds: int = 1
    naive: dict[str, float] = field(default_factory=dict)

    @classmethod
    def over(cls, name: str, values: Sequence[float], unit: str = "", naive: dict[str, float] | None = None) -> Figure:
        """The mean of one value a seed, with their standard deviation where there are several."""
        sd = spread(values) if len(values) > 1 else None
        return cls(name, sum(values) / len(values), unit, sd, len(values), naive or {})


@dataclass(frozen=True)
class Outcome:
    """What a run of a system came to.

    data      what it ran on, in words; ``real`` whether that is what its published figure is about
    figures   the first is the system's own
    settings  what is worth knowing of how it was made
    tables    and pictures (PNG bytes): by what they are called, without an ending
    said      what is printed besides, such as a generated text
    """

    data: str
    real: bool
    figures: list[Figure]
    settings: dict[str, Any]
    tables: dict[str, Table] = field(default_factory=dict)
    pictures: dict[str, bytes] = field(default_factory=dict)
    said: str = ""
