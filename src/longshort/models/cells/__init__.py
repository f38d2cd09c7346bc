"""The catalogue of cells: the rules by which a recurrent layer steps, each with its equations and its paper.

    cell       what an entry says, and what a rule may use
    plain      Elman's network, and one whose units are independent
    gated      the LSTM and what was made of it
    minimal    GRUs and other cells with fewer gates
    parallel   cells that read no past state by a matrix

All have one form: gates = W·x + b, for all steps in one product, + R·state, in the loop, then a small pointwise
rule. A variant (`config.Variant`) is a cell with sizes and options.
"""

from longshort.models.cells.cell import Cell, State, Step, Vector, refusal, shapes
from longshort.models.cells.gated import GATED
from longshort.models.cells.minimal import MINIMAL
from longshort.models.cells.parallel import PARALLEL
from longshort.models.cells.plain import PLAIN

CELLS: dict[str, Cell] = {**PLAIN, **GATED, **MINIMAL, **PARALLEL}

__all__ = ["CELLS", "Cell", "State", "Step", "Vector", "refusal", "shapes"]
