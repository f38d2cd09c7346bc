"""How long the main job takes: `longshort run` on a fresh clone, again with nothing changed, and `longshort --help`.

`import torch` is timed before and after, as a yardstick: on shared machines it goes from 1.3 to 2.8 s within an hour, and all else with it.

    python benchmarks/main_job.py [--json]

Installation is not counted. The clone lies in a temporary folder; nothing of this one is changed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
LONGSHORT = Path(sys.executable).parent / "longshort"


def seconds(command: list[str], folder: Path, home: Path) -> float:
    """Wall time of a command that must succeed."""
    began = time.monotonic()
    done = subprocess.run(command, cwd=folder, env={**os.environ, "HOME": str(home)}, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)}: exit {done.returncode}\n{done.stderr}")
    return time.monotonic() - began


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        clone, home = Path(place) / "clone", Path(place) / "home"
        home.mkdir()
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
        yardstick = [sys.executable, "-c", "import torch"]
        figures = {
            "import torch, before": seconds(yardstick, clone, home),
            "longshort run, fresh clone": seconds([str(LONGSHORT), "run"], clone, home),
            "longshort run, nothing changed": seconds([str(LONGSHORT), "run"], clone, home),
            "longshort --help, best of 5": min(seconds([str(LONGSHORT), "--help"], clone, home) for _ in range(5)),
            "import torch, after": seconds(yardstick, clone, home),
        }
    if arguments.json:
        print(json.dumps({"machine": platform.processor() or platform.machine(), "cores": os.cpu_count(), "seconds": figures}, indent=2))
        return
    print(f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, load {os.getloadavg()[0]:.1f}")
    for name, value in figures.items():
        print(f"{name:<34}{value:8.2f} s")


if __name__ == "__main__":
    main()
