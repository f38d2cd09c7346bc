"""Paths: a symbol or a blank at every step, and what they come to where nobody says which step belongs to what (Graves et al., 2006).

A path comes to its symbols with repeats taken together and blanks left out: ``7 7 - 7 1`` to ``7 7 1``. Many paths come to the same, and
what is likeliest is not always what the likeliest path comes to.
"""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Prefix = tuple[int, ...]


def collapsed(paths: Tensor, lengths: Tensor, blank: int, beyond: int) -> Tensor:
    """What paths come to.

    paths    (rows, steps) symbols, or ``blank``; lengths (rows,): how many steps are a row's own
    returns  (rows, steps), ``beyond`` behind the end of each

    >>> collapsed(torch.tensor([[7, 7, 0, 7, 1], [0, 1, 1, 0, 3]]), torch.tensor([5, 4]), blank=0, beyond=-1)
    tensor([[ 7,  7,  1, -1, -1],
            [ 1, -1, -1, -1, -1]])
    """
    steps = torch.arange(paths.shape[1], device=paths.device)
    before = torch.nn.functional.pad(paths[:, :-1], (1, 0), value=blank)
    said = (paths != blank) & (paths != before) & (steps < lengths[:, None])
    places = torch.where(said, said.cumsum(1) - 1, len(steps))  # what is not said goes to a column that is cut off
    room = torch.full((len(paths), len(steps) + 1), beyond, dtype=paths.dtype, device=paths.device)
    return room.scatter(1, places, paths)[:, :-1]


def search(chances: NDArray[np.float64], blank: int, beam: int) -> Prefix:
    """The symbols that are likeliest, all paths that come to them taken together (prefix search; Graves, 2012; Hannun et al., 2014).

    At each step the ``beam`` likeliest prefixes are kept. One that is as wide as all prefixes finds the likeliest symbols of all.

    chances  (steps, symbols), each step's sum to 1, of one row
    """
    # of each prefix, the chance of the paths so far that come to it, by whether they end with a blank or with its last symbol
    kept: dict[Prefix, tuple[float, float]] = {(): (1.0, 0.0)}
    for step in chances.tolist():
        ways: defaultdict[Prefix, list[float]] = defaultdict(lambda: [0.0, 0.0])
        for prefix, (ended, open_) in kept.items():
            whole, last = ended + open_, prefix[-1] if prefix else blank
            own = ways[prefix]
            own[0] += whole * step[blank]
            if prefix:
                own[1] += open_ * step[last]
            for symbol, chance in enumerate(step):
                if symbol != blank:  # behind itself a symbol is the same one, unless there was a blank
                    ways[(*prefix, symbol)][1] += (ended if symbol == last else whole) * chance
        best = sorted(ways, key=lambda prefix: sum(ways[prefix]), reverse=True)[:beam]
        total = sum(sum(ways[prefix]) for prefix in best)  # only their order counts, and long rows would come to 0
        kept = {prefix: (ways[prefix][0] / total, ways[prefix][1] / total) for prefix in best}
    return max(kept, key=lambda prefix: sum(kept[prefix]))
