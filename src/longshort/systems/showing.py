"""What a person sees of the systems: the table, published beside measured, and what one run came to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from longshort.systems.catalogue import SYSTEMS

if TYPE_CHECKING:
    from rich.table import Table

Entry = dict[str, Any]


def table(entries: dict[str, Entry]) -> Table:
    """A row a system: what it is, what was published, what ours came to, and on which data."""
    from rich.table import Table as Grid

    grid = Grid(box=None, pad_edge=False, show_lines=False, padding=(0, 2, 1, 0))
    grid.add_column("system", no_wrap=True)
    grid.add_column("published", ratio=3)
    grid.add_column("ours", ratio=4)
    grid.add_column("on", ratio=3)
    for name, system in SYSTEMS.items():
        entry = entries.get(name)
        grid.add_row(name, system.published or "–", ours(entry), data(entry))
    return grid


def ours(entry: Entry | None) -> str:
    """Our figures, each with the plain methods' beside it."""
    if entry is None:
        return "not measured"
    return "damaged" if "damaged" in entry else "\n".join(line(figure) for figure in entry["figures"])


def data(entry: Entry | None) -> str:
    """What the figures are about, and whether they may stand beside the published one."""
    if entry is None:
        return ""
    if "damaged" in entry:
        return str(entry["damaged"])
    stand_in = "" if entry["real"] or not SYSTEMS[entry["system"]].published else "; a stand-in, not to be compared"
    where = "" if entry.get("here") else f"; as given, {entry['when'][:10]}"
    return "; ".join([f"{entry['data']}{stand_in}", *asked(entry), f"{duration(entry['seconds'])}{where}"])


def asked(entry: Entry) -> list[str]:
    """In words what a person set in place of the system's own settings; nothing, where it ran as it is."""
    said = (f"{name}={value if isinstance(value, str) else json.dumps(value)}" for name, value in sorted(entry["asked"].items()))
    return [f"set: {', '.join(said)}"] if entry["asked"] else []


def line(figure: dict[str, Any]) -> str:
    """A figure in words: test accuracy 98.10 % ± 0.12 over 3 seeds (majority 11.35 %)."""
    spread = "" if figure["sd"] is None else f" ± {figure['sd']:.2g} over {figure['seeds']} seeds"
    rivals = "; ".join(f"{name} {amount(value, figure['unit'])}" for name, value in figure["naive"].items())
    return f"{figure['name']} {amount(figure['value'], figure['unit'])}{spread}" + (f" ({rivals})" if rivals else "")


def amount(value: float, unit: str) -> str:
    """A number with its unit where people write it."""
    number = f"{value:,.2f}" if unit in ("%", "$") or 1 <= abs(value) < 1e6 else f"{value:.3g}"
    return f"${number}" if unit == "$" else f"{number} {unit}".strip()


def duration(seconds: float) -> str:
    """Seconds as people say them."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def lines(entry: Entry, folder: Path) -> list[str]:
    """What one run came to, which lies in a folder."""
    system = SYSTEMS[entry["system"]]
    said = [f"{system.name}: {system.title}", f"on {entry['data']}, {duration(entry['seconds'])}", *asked(entry)]
    if entry["fast"]:
        said.append("a smaller run, whose figures say nothing but that everything works")
    said += [f"  {line(figure)}" for figure in entry["figures"]]
    if system.published:
        stand_in = "" if entry["real"] else " (on other data: not to be compared)"
        said.append(f"  published: {system.published}{stand_in}")
    if entry["said"]:
        said += ["", entry["said"]]
    return [*said, f"look    {folder}"]
