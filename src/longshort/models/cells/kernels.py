"""Which cells torch has kernels of its own for: a table, so that asking it costs no import of torch."""

from __future__ import annotations

from longshort.config import Variant
from longshort.models.cells.gated import GATED
from longshort.models.cells.minimal import MINIMAL
from longshort.models.cells.plain import PLAIN

GATES = {"lstm": "ifgo", "lstm_np": "ifgo", "lstmp": "ifgo", "alstm": "ifgo", "gru": "rzn", "rnn": "h", "rnn_relu": "h"}  # torch's order
IN_LOOP = ("variational_dropout", "recurrent_dropout", "zoneout")


def without_kernel(variant: Variant) -> str | None:
    """Why torch's kernels cannot run a variant, as the rest of a sentence; None when they can.

    They have the cells of `GATES`, with their own activations and nothing dropped inside the loop.
    """
    if variant.cell not in GATES:
        return f"torch has no kernel for cell '{variant.cell}', only for {', '.join(GATES)}"
    for option in IN_LOOP:
        if getattr(variant, option):
            return f"`{option}` acts inside the loop over time, which torch's kernels keep to themselves"
    cell = {**PLAIN, **GATED, **MINIMAL}[variant.cell]
    activation = variant.activation or cell.activation
    if activation not in (("tanh", "relu") if cell.gates == "h" else ("tanh",)):
        return f"torch's kernel for cell '{variant.cell}' has no activation '{activation}'"
    return None
