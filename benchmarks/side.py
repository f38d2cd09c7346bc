"""Side by side: what is compared runs in one interleaved run, peers in environments and processes of their own."""

from __future__ import annotations

import atexit
import json
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

TORCH = version("torch").partition("+")[0]
Round = Callable[[], dict[str, float] | None]  # what it took, where it knows better than who asks

# the script beside peers/peer.py, its environment, and what that needs
APART = {
    "keras-tensorflow": ("keras_tensorflow.py", "keras-tensorflow", ("keras==3.15.1", "tensorflow-cpu==2.21.0")),
    "jax": ("jax_scan.py", "jax", ("jax==0.10.2",)),
    "jax-story": ("jax_story.py", "jax", ("jax==0.10.2",)),
    # with our own torch, of whichever build pip's index has: the difference is the library's
    "darts": ("darts_block_rnn.py", "darts", (f"torch=={TORCH}", "darts[torch]==0.48.1")),
    "neuralforecast": ("neuralforecast_lstm.py", "neuralforecast", (f"torch=={TORCH}", "neuralforecast==3.3.0")),
    "onnxruntime": ("onnx_runtime.py", "onnxruntime", ("onnxruntime==1.31.1", "onnx==1.23.2")),
}


def apart(name: str) -> Callable[[], dict[str, float]] | None:
    """A peer in a process and an environment of its own; None, and it is said, where it cannot be had."""
    script, environment, needed = APART[name]
    place = Path(".state/peers") / environment
    try:
        if not (place / "installed").exists():
            print(f"making the environment of {name} in {place}", file=sys.stderr)
            subprocess.run([sys.executable, "-m", "venv", "--clear", str(place)], check=True)
            subprocess.run([str(place / "bin/pip"), "install", "--quiet", "--disable-pip-version-check", *needed], check=True)
            (place / "installed").touch()
    except subprocess.CalledProcessError as error:
        print(f"without {name}: {error}", file=sys.stderr)
        return None
    command = [str(place / "bin/python"), str(Path(__file__).parent / "peers" / script)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    atexit.register(process.kill)
    asked, told = process.stdin, process.stdout
    assert asked is not None and told is not None
    print(json.loads(told.readline())["version"], file=sys.stderr)

    def once() -> dict[str, float]:
        asked.write("\n")
        asked.flush()
        return dict(json.loads(told.readline()))

    return once


def interleaved(rounds: dict[str, Round], times: int, warm: bool = True) -> dict[str, dict[str, float]]:
    """The shortest wall time and processor time of each, one after the other in every round.

    warm  whether there is a first round that is not counted
    """
    best = {name: {"seconds": float("inf"), "processor_seconds": float("inf")} for name in rounds}
    for number in range(0 if warm else 1, times + 1):
        for name, once in rounds.items():
            wall, processor = time.perf_counter(), time.process_time()
            own = once()
            found = own or {"seconds": time.perf_counter() - wall, "processor_seconds": time.process_time() - processor}
            if number:
                best[name] = {key: min(best[name][key], value) for key, value in found.items()}
    return best
