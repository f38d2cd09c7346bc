"""How fast a text becomes ids, and how much memory that takes, beside pyarrow's own split at white space and dictionary.

    python benchmarks/text.py [--json]

100 MB of made words whose frequencies fall as in nature, an eighth of them with a comma or a full stop, in paragraphs of a hundred. Each
measurement is a process of its own, imports not counted; the shortest of three.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

SIZE, ROW, TIMES = 100_000_000, 8 * 2**20, 3


def write(path: Path) -> None:
    """Make the text."""
    import numpy as np

    random = np.random.Generator(np.random.Philox(0))
    letters = np.array(list("etaoinshrdlucmfwypvbgk"))
    words = np.array(["".join(random.choice(letters, length)) for length in random.integers(2, 12, 200_000)], "U12")
    with path.open("w", encoding="utf-8") as file:
        while file.tell() < SIZE:
            drawn = words[np.minimum(random.zipf(1.2, 100_000), len(words)) - 1]
            marked = random.random(len(drawn)) < 0.125
            drawn[marked] = np.char.add(drawn[marked], random.choice([",", "."], int(marked.sum())))
            file.write("\n\n".join(" ".join(drawn[at : at + 100]) for at in range(0, len(drawn), 100)) + "\n\n")


def rows(path: Path) -> Iterator[tuple[str, str]]:
    """The text as the tidy table has it."""
    with path.open(encoding="utf-8") as file:
        while text := file.read(ROW):
            yield path.name, text


def measure(what: str, path: Path) -> dict[str, float]:
    """One way through the text, in this process."""
    import pyarrow as pa
    import pyarrow.compute as pc

    from longshort.windows.tokens import tokenise

    before, began, processor = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter(), time.process_time()
    if what == "longshort":
        count = len(tokenise(rows(path))[0].ids)
    else:
        count = sum(len(pc.utf8_split_whitespace(pa.array([text])).flatten().dictionary_encode()) for _, text in rows(path))
    told = {"seconds": time.perf_counter() - began, "processor_seconds": time.process_time() - processor, "words": count}
    return {**told, "imports_mb": before / 1024, "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def main() -> None:
    """Measure both, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measure(arguments.one[0], Path(arguments.one[1]))))
        return
    best: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "text.txt"
        write(path)
        for what in ("longshort", "pyarrow") * TIMES:
            told = subprocess.run([sys.executable, __file__, "--one", what, str(path)], check=True, capture_output=True, text=True).stdout
            found = json.loads(told)
            best[what] = min(best.get(what, found), found, key=lambda one: one["seconds"])
    ratio = best["longshort"]["seconds"] / best["pyarrow"]["seconds"]
    if arguments.json:
        print(json.dumps({"bytes": SIZE, "times_pyarrow": ratio, **best}, indent=2))
        return
    for what, found in best.items():
        print(f"{what:<10} {found['seconds']:.2f} s ({found['processor_seconds']:.2f} of a core), {found['peak_mb']:.0f} MB at most")
    print(f"{'':<10} {ratio:.1f} × pyarrow's split and dictionary alone")


if __name__ == "__main__":
    main()
