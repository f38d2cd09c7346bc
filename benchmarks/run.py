"""Training, windows and forecasts side by side with peers, one figure at a time.

    python benchmarks/run.py train-stock [--json] [--times N]

    train-stock      one epoch of the tutorial's stock network: 4 LSTMs of 50, 60 steps, 1,198 windows of one feature, batch 32,
                     dropout 0.2, Adam; seconds
    train-fleet      16 of them, seeds 0 to 15, an epoch each, over two processes of one thread; windows a second
    train-variants   an epoch of every cell of the engine `native` at these sizes; seconds, and torch's where it has a kernel
    train-stock-wall the stock network again, as a process: its start, 100 epochs, its model on the disk; seconds
    train-ptb        a language model: embeddings of 200, 2 LSTMs of 200, 10,000 words, 35 steps, batch 20; words a second
    train-story      the tutorial's short story: 3 words in, one number a word, 2 LSTMs of 512, 112 words, RMSProp, one window a step;
                     steps a second
    regularisers     the first 40 documentation topics, learned with each of them and without, three seeds; perplexity
    forecast         one window of 60 steps through the stock network, and the tick of a stream of them, on one core; microseconds
    intervals-made   intervals of 90 % around an AR(1) whose volatility changes twice, 20 series, and between quantiles that an LSTM
                     names of each: what they hold, and cost
    intervals-stocks the same around the last close of every ticker of the shared stocks, with one LSTM for all
    drift-stocks     how often a month of shared stocks calls for a retraining, as it was and where prices move more
    rollback         the champion before put back, verified, from the command to its last word; seconds
    windows          every 60-step window of 5,000 series of 5,000 days and 5 features: found, and gathered by 1,024; seconds, MB

All that is compared runs in one interleaved run, and the shortest of at least five is taken; seconds of wall time, and of the processors.
Peers that are no dependency of ours get an environment each, made when they are first asked for (some 6 GB in .state/peers), and run in a
process that answers for a round at a time.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys

import torch
from answering import forecast
from banding import intervals_made, intervals_stocks
from cutting import windows
from drifting import drift_stocks
from going_back import rollback
from language import ptb
from regularising import regularisers
from stock import fleet, stock, variants, wall
from story import story

from longshort.models.compiled import library

FIGURES = {
    "train-stock": stock,
    "train-fleet": fleet,
    "train-variants": variants,
    "train-stock-wall": wall,
    "train-ptb": ptb,
    "train-story": story,
    "regularisers": regularisers,
    "forecast": forecast,
    "intervals-made": intervals_made,
    "intervals-stocks": intervals_stocks,
    "drift-stocks": drift_stocks,
    "rollback": rollback,
    "windows": windows,
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=FIGURES)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--times", type=int, default=7, help="rounds, of which the shortest is taken")
    arguments = parser.parse_args()
    if reason := library.absent():
        sys.exit(f"the engine 'native' is not there: {reason}.")
    before = os.getloadavg()[0]
    found = FIGURES[arguments.name](arguments.times)
    machine = {"cores": os.cpu_count(), "machine": platform.machine(), "vectors": library.widths()[0], "torch": torch.__version__}
    said = {"name": arguments.name, **machine, "load": [before, os.getloadavg()[0]], "times": arguments.times, **found}
    if arguments.json:
        print(json.dumps(said, indent=2))
        return
    for key, value in said.items():
        print(f"{key:<{max(12, 2 + max(map(len, said)))}}{value}")


if __name__ == "__main__":
    main()
