"""Figures that the project is given with: what runs on real data came to, from reports/systems into docs/systems/figures.json.

    python benchmarks/given.py NAME... [--project PATH]

A run of `longshort systems NAME --data PATH` comes first. Fast runs and runs on stand-ins are refused. The row's pictures go to
docs/systems/pictures where a page shows them.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path

from longshort import storage
from longshort.systems.catalogue import SYSTEMS
from longshort.systems.record import GIVEN, OUTCOME, place

ROOT = Path(__file__).parents[1]
UNTOLD = ("commit", "identity")  # which hang on the machine and the day


def take(name: str, project: Path) -> None:
    """Put a run's figures and pictures in the place of those before. raises  SystemExit when it is none to be shown"""
    folder = place(project, name)
    storage.verify(folder)
    entry = storage.read_json(folder / OUTCOME)
    if entry["fast"] or not entry["real"]:
        sys.exit(
            f"{folder / OUTCOME}: a {'fast run' if entry['fast'] else 'run on a stand-in'}, whose figures say nothing. Run it on real data."
        )
    given = json.loads((ROOT / GIVEN).read_text(encoding="utf-8"))
    given[name] = {key: value for key, value in entry.items() if key not in UNTOLD}
    ordered = {system: given[system] for system in SYSTEMS if system in given}
    storage.write_bytes(ROOT / GIVEN, (json.dumps(ordered, indent=1, ensure_ascii=False) + "\n").encode())
    for picture in folder.glob("*.png"):
        shown = ROOT / GIVEN.parent / "pictures" / f"{name}-{picture.name}"
        if shown.exists():
            shutil.copy(picture, shown)
    print(f"{name}: {entry['figures'][0]['value']:.4g} {entry['figures'][0]['unit']} on {entry['data']}")


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("names", nargs="+", choices=SYSTEMS)
    arguments.add_argument("--project", type=Path, default=ROOT, help="where the runs were made; default: here")
    asked = arguments.parse_args()
    for each in asked.names:
        take(each, asked.project)
