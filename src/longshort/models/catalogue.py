"""The catalogue as a person reads it: a list of the cells, and one cell with its equations and options."""

from __future__ import annotations

import textwrap
from typing import Any

from longshort.config import Variant
from longshort.models.cells import CELLS
from longshort.models.cells.cell import count, undefined
from longshort.models.engines import ENGINES

EXTRA = ("cell", "hidden_size", "num_layers", "bidirectional")  # of a variant: no options


def entry(name: str, inputs: int, hidden: int) -> dict[str, Any]:
    """All that is known of a cell, as JSON.

    parameters are those of one layer in one direction; a projection is taken to be half the hidden size
    """
    cell = CELLS[name]
    projection = max(hidden // 2, 1) if cell.projects else 0
    plain = Variant(cell=name, hidden_size=max(hidden, 2), num_layers=1, bidirectional=False, dropout=0.0, projection_size=projection)  # type: ignore[arg-type]
    refused = {engine: reason for engine, offered in ENGINES.items() if (reason := offered.runs(plain))}
    lacks = undefined(cell)
    return {
        "cell": name,
        "title": cell.title,
        "parameters": count(cell, inputs, hidden, projection),
        "equations": cell.equations.splitlines(),
        "source": cell.source,
        "note": cell.note,
        "engines": [engine for engine in ENGINES if engine not in refused],
        "other_engines": refused,
        "options": [option for option in Variant.model_fields if option not in EXTRA and option not in lacks],
        "not_defined": lacks,
    }


def table(inputs: int, hidden: int) -> list[str]:
    """The list, a line a cell, within 80 columns."""
    rows = [entry(name, inputs, hidden) for name in CELLS]
    lines = [f"{'cell':<17}{'parameters':>10}  {'engines':<15}what it is"]
    for row in rows:
        others = ", ".join(engine for engine in row["engines"] if engine not in ("reference", "cuda"))
        lines.append(f"{row['cell']:<17}{row['parameters']:>10,}  {others or 'reference':<15}{row['title']}")
    told = [
        f"parameters: of one layer, inputs {inputs}, hidden {hidden}",
        "engines: `reference` runs every cell, and is named where no other does;",
        "`cuda` runs those of `torch`",
        "equations, paper and options of one: longshort variants NAME",
    ]
    return [*lines, "", *told]


def page(name: str, inputs: int, hidden: int, width: int) -> list[str]:
    """One cell, wrapped to a width; equations are never wrapped."""
    said = entry(name, inputs, hidden)
    lines = [f"{name}  {said['title']}", "", *(f"    {equation}" for equation in said["equations"]), ""]

    def tell(what: str, text: str) -> None:
        if text:
            lines.extend(textwrap.wrap(text, width - 1, initial_indent=f"{what:<13}", subsequent_indent=" " * 13, break_on_hyphens=False))

    tell("source", said["source"])
    tell("note", said["note"])
    tell("parameters", f"{said['parameters']:,} a layer, at inputs {inputs}, hidden {hidden}")
    tell("engines", ", ".join(said["engines"]))
    for engine, reason in said["other_engines"].items():
        tell("", f"not {engine}: {reason}")
    tell("options", ", ".join(said["options"]))
    for option, reason in said["not_defined"].items():
        tell("not defined" if option == next(iter(said["not_defined"])) else "", f"{option}: {reason}")
    return lines
