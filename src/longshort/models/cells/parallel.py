"""Cells that read no past state by a matrix, so that all their products are made before the loop.

Where gates do not see the past at all, h = a ⊙ h₋₁ + b is known for all steps at once, and an engine may solve
it by a scan in place of a loop.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from longshort.models.cells.cell import Cell, Linear, Rule, State, Step, Vector

if TYPE_CHECKING:
    from torch import Tensor


def _min_lstm(s: Step) -> tuple[Tensor, Tensor]:
    gates, n = s.split(s.x, 2, 1)
    i, f = s.split(gates.sigmoid())
    kept = f / (f + i)
    return kept, (1 - kept) * s.update(n)


def _min_gru(s: Step) -> tuple[Tensor, Tensor]:
    z, n = s.split(s.x)
    z = z.sigmoid()
    return 1 - z, z * s.update(n)


def _stepwise(linear: Linear) -> Rule:
    """The rule of a linear cell."""

    def rule(s: Step, h: Tensor) -> tuple[Tensor]:
        kept, written = linear(s)
        return (kept * h + written,)

    return rule


def _sru(s: Step, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    gates, n, x = s.split(s.x, 2, 1, 1)
    f, r = s.split(gates + s.b)
    f, r = (f + s.v["v_f"] * c).sigmoid(), (r + s.v["v_r"] * c).sigmoid()
    c = f * c + (1 - f) * s.update(n)
    return r * c + (1 - r) * x, c


FENG = "Feng, Tung, Ahmed, Bengio, Hajimirsadeghi (2024), Were RNNs all we needed?, arXiv:2410.01201"
LINEAR = "The paper's first form, whose candidate is linear; that with a positive candidate serves its scan in logarithms."

PARALLEL: dict[str, Cell] = {
    "minlstm": Cell(
        title="minLSTM",
        source=FENG,
        equations="""i = σ(W_i x + b_i);  f = σ(W_f x + b_f)
h = f / (f + i) ⊙ h₋₁ + i / (f + i) ⊙ (W_n x + b_n)""",
        note=LINEAR,
        rule=_stepwise(_min_lstm),
        gates="ifn",
        linear=_min_lstm,
        activation="",
        forget=("f", 1),
        writes="i",
    ),
    "mingru": Cell(
        title="minGRU",
        source=FENG,
        equations="""z = σ(W_z x + b_z)
h = (1 - z) ⊙ h₋₁ + z ⊙ (W_n x + b_n)""",
        note=LINEAR,
        rule=_stepwise(_min_gru),
        gates="zn",
        linear=_min_gru,
        activation="",
        forget=("z", -1),
    ),
    "sru": Cell(
        title="SRU, simple recurrent unit",
        source="Lei, Zhang, Wang, Dai, Artzi (2018), Simple recurrent units for highly parallelizable recurrence, EMNLP, arXiv:1709.02755",
        equations="""f = σ(W_f x + v_f ⊙ c₋₁ + b_f)
r = σ(W_r x + v_r ⊙ c₋₁ + b_r)
c = f ⊙ c₋₁ + (1 - f) ⊙ (W_n x)
h = r ⊙ c + (1 - r) ⊙ (W_s x)""",
        note="The highway carries W_s x, which the paper's code has where x and h differ in size; the paper's factor α on it is 1.",
        rule=_sru,
        gates="frns",
        states={"h": State(learned=False), "c": State()},
        vectors={"v_f": Vector(), "v_r": Vector()},
        biased="fr",
        activation="",
        forget=("f", 1),
        refuses={"zoneout": "its gates already choose what of c is kept, and h is not carried"},
    ),
}
