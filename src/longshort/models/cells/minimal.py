"""GRUs and other cells with fewer gates than the LSTM."""

from __future__ import annotations

from typing import TYPE_CHECKING

from longshort.models.cells.cell import Cell, Step, Vector

if TYPE_CHECKING:
    from torch import Tensor


def _mixed(old: Tensor, gate: Tensor, new: Tensor) -> Tensor:
    """(1 - gate) ⊙ old + gate ⊙ new, in one call."""
    return old.lerp(new, gate)


def _gru(s: Step, h: Tensor) -> tuple[Tensor]:
    (input_rz, input_n), (past_rz, past_n) = s.split(s.x, 2, 1), s.split(s.times("h", h), 2, 1)
    r, z = s.split((input_rz + past_rz).sigmoid())
    n = s.act(input_n + r * (past_n + s.v["b_r"]))
    return (_mixed(s.update(n), z, h),)


def _gru_reset_before(s: Step, h: Tensor) -> tuple[Tensor]:
    gates, n = s.split(s.x, 2, 1)
    r, z = s.split(s.plus(gates, "h", h).sigmoid())
    n = s.update(s.act(s.plus(n, "rh", r * h)))
    return (_mixed(n, z, h),)


def _mgu(s: Step, h: Tensor) -> tuple[Tensor]:
    f, n = s.split(s.x)
    f = s.plus(f, "h", h).sigmoid()
    return (_mixed(h, f, s.update(s.act(s.plus(n, "fh", f * h)))),)


def _mut1(s: Step, h: Tensor) -> tuple[Tensor]:
    z, r, n = s.split(s.x)
    b_z, b_r, b_n = s.split(s.b)
    z, r = (z + b_z).sigmoid(), (s.plus(r, "h", h) + b_r).sigmoid()
    return (_mixed(h, z, s.update(s.act(s.plus(n.tanh(), "rh", r * h) + b_n))),)


def _mut2(s: Step, h: Tensor) -> tuple[Tensor]:
    gates, n = s.split(s.x, 2, 1)
    z, r = s.split(s.plus(gates, "h", h).sigmoid())
    return (_mixed(h, z, s.update(s.act(s.plus(n, "rh", r * h)))),)


def _mut3(s: Step, h: Tensor) -> tuple[Tensor]:
    z, r, n = s.split(s.x)
    z, r = s.plus(z, "th", h.tanh()).sigmoid(), s.plus(r, "h", h).sigmoid()
    return (_mixed(h, z, s.update(s.act(s.plus(n, "rh", r * h)))),)


def _janet(s: Step, h: Tensor) -> tuple[Tensor]:
    f, g = s.split(s.plus(s.x, "h", h))
    return (f.sigmoid() * h + (1 - f).sigmoid() * s.update(s.act(g)),)  # 1 - σ(a - 1) = σ(1 - a)


def _ugrnn(s: Step, h: Tensor) -> tuple[Tensor]:
    g, c = s.split(s.plus(s.x, "h", h))
    return (_mixed(s.update(s.act(c)), g.sigmoid(), h),)


JOZEFOWICZ = "Jozefowicz, Zaremba, Sutskever (2015), An empirical exploration of recurrent network architectures, ICML"
MUTATED = "Where the paper puts x itself among sums of hidden size, W x stands here: x may have another size."

MINIMAL: dict[str, Cell] = {
    "gru": Cell(
        title="GRU, reset after the product",
        source="Cho et al. (2014), Learning phrase representations using RNN encoder-decoder, arXiv:1406.1078v1; as in PyTorch and Keras",
        equations="""r = σ(W_r x + R_r h₋₁ + b_r)
z = σ(W_z x + R_z h₋₁ + b_z)
n = tanh(W_n x + b_n + r ⊙ (R_n h₋₁ + b'_n))
h = (1 - z) ⊙ n + z ⊙ h₋₁""",
        rule=_gru,
        gates="rzn",
        products={"h": "rzn"},
        vectors={"b_r": Vector()},
        forget=("z", 1),
    ),
    "gru_reset_before": Cell(
        title="GRU, reset before the product",
        source="Cho et al. (2014), Learning phrase representations using RNN encoder-decoder, EMNLP, arXiv:1406.1078v3",
        equations="""r = σ(W_r x + R_r h₋₁ + b_r)
z = σ(W_z x + R_z h₋₁ + b_z)
n = tanh(W_n x + R_n (r ⊙ h₋₁) + b_n)
h = (1 - z) ⊙ n + z ⊙ h₋₁""",
        rule=_gru_reset_before,
        gates="rzn",
        products={"h": "rz", "rh": "n"},
        forget=("z", 1),
    ),
    "mgu": Cell(
        title="Minimal gated unit",
        source="Zhou, Wu, Zhang, Zhou (2016), Minimal gated unit for recurrent neural networks, IJAC 13(3), arXiv:1603.09420",
        equations="""f = σ(W_f x + R_f h₋₁ + b_f)
n = tanh(W_n x + R_n (f ⊙ h₋₁) + b_n)
h = (1 - f) ⊙ h₋₁ + f ⊙ n""",
        rule=_mgu,
        gates="fn",
        products={"h": "f", "fh": "n"},
        forget=("f", -1),
    ),
    "mut1": Cell(
        title="MUT1",
        source=JOZEFOWICZ,
        equations="""z = σ(W_z x + b_z)
r = σ(W_r x + R_r h₋₁ + b_r)
n = tanh(R_n (r ⊙ h₋₁) + tanh(W_n x) + b_n)
h = z ⊙ n + (1 - z) ⊙ h₋₁""",
        note=MUTATED,
        rule=_mut1,
        gates="zrn",
        products={"h": "r", "rh": "n"},
        biased="zrn",
        forget=("z", -1),
    ),
    "mut2": Cell(
        title="MUT2",
        source=JOZEFOWICZ,
        equations="""z = σ(W_z x + R_z h₋₁ + b_z)
r = σ(W_r x + R_r h₋₁ + b_r)
n = tanh(R_n (r ⊙ h₋₁) + W_n x + b_n)
h = z ⊙ n + (1 - z) ⊙ h₋₁""",
        note=MUTATED,
        rule=_mut2,
        gates="zrn",
        products={"h": "zr", "rh": "n"},
        forget=("z", -1),
    ),
    "mut3": Cell(
        title="MUT3",
        source=JOZEFOWICZ,
        equations="""z = σ(W_z x + R_z tanh(h₋₁) + b_z)
r = σ(W_r x + R_r h₋₁ + b_r)
n = tanh(R_n (r ⊙ h₋₁) + W_n x + b_n)
h = z ⊙ n + (1 - z) ⊙ h₋₁""",
        rule=_mut3,
        gates="zrn",
        products={"th": "z", "h": "r", "rh": "n"},
        forget=("z", -1),
    ),
    "janet": Cell(
        title="JANET, just another network",
        source="van der Westhuizen, Lasenby (2018), The unreasonable effectiveness of the forget gate, arXiv:1804.04849",
        equations="""s = W_f x + R_f h₋₁ + b_f
g = tanh(W_g x + R_g h₋₁ + b_g)
h = σ(s) ⊙ h₋₁ + (1 - σ(s - β)) ⊙ g,  β = 1""",
        note="The paper leaves β open and takes 1; its initial biases are `chrono_steps`.",
        rule=_janet,
        gates="fg",
        products={"h": "fg"},
        forget=("f", 1),
    ),
    "ugrnn": Cell(
        title="UGRNN, update gate",
        source="Collins, Sohl-Dickstein, Sussillo (2017), Capacity and trainability in recurrent neural networks, ICLR, arXiv:1611.09913",
        equations="""g = σ(W_g x + R_g h₋₁ + b_g)
c = tanh(W_c x + R_c h₋₁ + b_c)
h = g ⊙ h₋₁ + (1 - g) ⊙ c""",
        rule=_ugrnn,
        gates="gc",
        products={"h": "gc"},
        forget=("g", 1),
    ),
}
