"""The LSTM and what was made of it."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from longshort.models.cells.cell import Cell, Rule, State, Step, Vector

if TYPE_CHECKING:
    from torch import Tensor

CARRIED = {"h": State(), "c": State()}


def _gates(s: Step, gates: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """From i, f, o, g before their activations to o and c."""
    sigmoids, g = s.split(gates, 3, 1)  # one call for three gates
    i, f, o = s.split(sigmoids.sigmoid())
    return o, f * c + i * s.update(s.act(g))


def _lstm(s: Step, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    o, c = _gates(s, s.plus(s.x, "h", h), c)
    return o * s.act(c), c


def _projected(s: Step, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    h, c = _lstm(s, h, c)
    return h.bmm(s.m["P"]), c


def _mogrified(s: Step, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    x = s.x
    for number in range(1, ROUNDS + 1):
        if number % 2:
            x = 2 * h.bmm(s.m[f"Q{number}"]).sigmoid() * x
        else:
            h = 2 * x.bmm(s.m[f"M{number}"]).sigmoid() * h
    o, c = _gates(s, s.plus(s.take_in(x), "h", h), c)
    return o * s.act(c), c


ROUNDS = 5  # of the mogrifier


def _normalised(x: Tensor) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    return centred * (centred.square().mean(-1, keepdim=True) + 1e-5).rsqrt()


def _layer_norm(s: Step, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    gates = s.v["gain_x"] * _normalised(s.x) + s.v["gain_h"] * _normalised(s.times("h", h)) + s.b
    o, c = _gates(s, gates, c)
    return o * s.act(s.v["gain_c"] * _normalised(c) + s.v["shift_c"]), c


def _of_1997(s: Step, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    sigmoids, g = s.split(s.plus(s.x, "h", h).sigmoid(), 2, 1)
    i, o = s.split(sigmoids)
    c = c + i * s.update(4 * g - 2)
    return o * (2 * c.sigmoid() - 1), c


def _exponential(s: Step, h: Tensor, c: Tensor, n: Tensor, m: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    i, f, o, z = s.split(s.plus(s.x, "h", h))
    f = f.clamp(max=0) - f.abs().neg().exp().log1p()  # ln σ(f)
    # h is the same whatever m is, so m carries no gradient
    larger = (f + m).maximum(i).detach()
    i, f = (i - larger).exp(), (f + m - larger).exp()
    c = f * c + i * s.update(s.act(z))
    n = f * n + i
    return o.sigmoid() * c / n, c, n, larger


def _without(gates: str, squashes_input: bool = True, squashes_output: bool = True, coupled: bool = False) -> Rule:
    """The LSTM with peepholes of Greff et al., with the gates that are there.

    gates  some of i, f, o, then z, the block's input. What is not there is 1; ``coupled``: f is 1 - i
    """

    def rule(s: Step, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        gate = dict(zip(gates, s.split(s.plus(s.x, "h", h)), strict=True))
        written = s.update(s.act(gate["z"]) if squashes_input else gate["z"])
        kept = c
        if "i" in gates:
            i = (gate["i"] + s.v["p_i"] * c).sigmoid()
            written = i * written
            if coupled:
                kept = (1 - i) * c
        if "f" in gates:
            kept = (gate["f"] + s.v["p_f"] * c).sigmoid() * c
        c = kept + written
        h = s.act(c) if squashes_output else c
        return ((gate["o"] + s.v["p_o"] * c).sigmoid() * h if "o" in gates else h), c

    return rule


def _fully_recurrent(s: Step, h: Tensor, c: Tensor, *before: Tensor) -> tuple[Tensor, ...]:
    gates, z = s.split(s.plus(s.x, "h", h), 3, 1)
    for name, gate in zip("ifo", before, strict=True):
        gates = s.plus(gates, name, gate)
    i, f, o = s.split(gates)
    i, f = (i + s.v["p_i"] * c).sigmoid(), (f + s.v["p_f"] * c).sigmoid()
    c = f * c + i * s.update(s.act(z))
    o = (o + s.v["p_o"] * c).sigmoid()
    return o * s.act(c), c, i, f, o


def _greff(title: str, equations: str, rule: Rule, gates: str, **more: Any) -> Cell:
    return Cell(
        title=title,
        source=GREFF,
        equations=equations,
        rule=rule,
        gates=gates,
        states=CARRIED,
        products={"h": gates},
        vectors={f"p_{gate}": Vector() for gate in gates if gate != "z"},
        **more,
    )


GREFF = "Greff, Srivastava, Koutník, Steunebrink, Schmidhuber (2017), LSTM: a search space odyssey, IEEE TNNLS 28(10), arXiv:1503.04069"
INPUT = "i = σ(W_i x + R_i h₋₁ + p_i ⊙ c₋₁ + b_i)"
FORGET = "f = σ(W_f x + R_f h₋₁ + p_f ⊙ c₋₁ + b_f)"
OUTPUT = "o = σ(W_o x + R_o h₋₁ + p_o ⊙ c + b_o)"
BLOCK = "z = tanh(W_z x + R_z h₋₁ + b_z)"
LSTM_EQUATIONS = """i = σ(W_i x + R_i h₋₁ + b_i)
f = σ(W_f x + R_f h₋₁ + b_f)
o = σ(W_o x + R_o h₋₁ + b_o)
g = tanh(W_g x + R_g h₋₁ + b_g)
c = f ⊙ c₋₁ + i ⊙ g
h = o ⊙ tanh(c)"""

LSTM = Cell(
    title="LSTM",
    source="Gers, Schmidhuber, Cummins (2000), Learning to forget, Neural Computation 12(10); without peepholes, as in PyTorch and Keras",
    equations=LSTM_EQUATIONS,
    rule=_lstm,
    gates="ifog",
    states=CARRIED,
    products={"h": "ifog"},
    forget=("f", 1),
    writes="i",
)

GATED: dict[str, Cell] = {
    "lstm": LSTM,
    "lstm_1997": Cell(
        title="LSTM of 1997",
        source="Hochreiter, Schmidhuber (1997), Long short-term memory, Neural Computation 9(8)",
        equations="""i = σ(W_i x + R_i h₋₁ + b_i)
o = σ(W_o x + R_o h₋₁ + b_o)
g = 4 σ(W_g x + R_g h₋₁ + b_g) - 2
c = c₋₁ + i ⊙ g
h = o ⊙ (2 σ(c) - 1)""",
        note="No gate forgets. Blocks of one cell; gates read outputs and not one another; the gradient is whole, where the paper cuts it.",
        rule=_of_1997,
        gates="iog",
        states=CARRIED,
        products={"h": "iog"},
        activation="",
    ),
    "lstm_peephole": _greff(
        "LSTM with peepholes (V)",
        f"{BLOCK}\n{INPUT}\n{FORGET}\nc = f ⊙ c₋₁ + i ⊙ z\n{OUTPUT}\nh = o ⊙ tanh(c)",
        _without("ifoz"),
        "ifoz",
        forget=("f", 1),
        writes="i",
    ),
    "lstm_nig": _greff(
        "LSTM, no input gate (NIG)",
        f"{BLOCK}\n{FORGET}\nc = f ⊙ c₋₁ + z\n{OUTPUT}\nh = o ⊙ tanh(c)",
        _without("foz"),
        "foz",
        forget=("f", 1),
    ),
    "lstm_nfg": _greff(
        "LSTM, no forget gate (NFG)",
        f"{BLOCK}\n{INPUT}\nc = c₋₁ + i ⊙ z\n{OUTPUT}\nh = o ⊙ tanh(c)",
        _without("ioz"),
        "ioz",
    ),
    "lstm_nog": _greff(
        "LSTM, no output gate (NOG)",
        f"{BLOCK}\n{INPUT}\n{FORGET}\nc = f ⊙ c₋₁ + i ⊙ z\nh = tanh(c)",
        _without("ifz"),
        "ifz",
        forget=("f", 1),
        writes="i",
    ),
    "lstm_niaf": _greff(
        "LSTM, no input activation (NIAF)",
        f"z = W_z x + R_z h₋₁ + b_z\n{INPUT}\n{FORGET}\nc = f ⊙ c₋₁ + i ⊙ z\n{OUTPUT}\nh = o ⊙ tanh(c)",
        _without("ifoz", squashes_input=False),
        "ifoz",
        forget=("f", 1),
        writes="i",
    ),
    "lstm_noaf": _greff(
        "LSTM, no output activation (NOAF)",
        f"{BLOCK}\n{INPUT}\n{FORGET}\nc = f ⊙ c₋₁ + i ⊙ z\n{OUTPUT}\nh = o ⊙ c",
        _without("ifoz", squashes_output=False),
        "ifoz",
        forget=("f", 1),
        writes="i",
    ),
    "lstm_cifg": _greff(
        "LSTM, coupled i and f (CIFG)",
        f"{BLOCK}\n{INPUT}\nc = (1 - i) ⊙ c₋₁ + i ⊙ z\n{OUTPUT}\nh = o ⊙ tanh(c)",
        _without("ioz", coupled=True),
        "ioz",
        forget=("i", -1),
    ),
    "lstm_np": replace(LSTM, title="LSTM, no peepholes (NP)", source=GREFF, note="The same as cell 'lstm'."),
    "lstm_fgr": Cell(
        title="LSTM, full gate recurrence (FGR)",
        source=GREFF,
        equations=f"""{BLOCK}
i = σ(W_i x + R_i h₋₁ + R_ii i₋₁ + R_fi f₋₁ + R_oi o₋₁ + p_i ⊙ c₋₁ + b_i)
f = σ(W_f x + R_f h₋₁ + R_if i₋₁ + R_ff f₋₁ + R_of o₋₁ + p_f ⊙ c₋₁ + b_f)
c = f ⊙ c₋₁ + i ⊙ z
o = σ(W_o x + R_o h₋₁ + R_io i₋₁ + R_fo f₋₁ + R_oo o₋₁ + p_o ⊙ c + b_o)
h = o ⊙ tanh(c)""",
        note="Gates before the first step are 0.",
        rule=_fully_recurrent,
        gates="ifoz",
        states={**CARRIED, "i": State(), "f": State(), "o": State()},
        products={"h": "ifoz", "i": "ifo", "f": "ifo", "o": "ifo"},
        vectors={"p_i": Vector(), "p_f": Vector(), "p_o": Vector()},
        forget=("f", 1),
        writes="i",
    ),
    "lstmp": replace(
        LSTM,
        title="LSTM with projection (LSTMP)",
        source="Sak, Senior, Beaufays (2014), Long short-term memory recurrent neural network architectures, Interspeech, arXiv:1402.1128",
        equations=LSTM_EQUATIONS.replace("h = o ⊙ tanh(c)", "h = P (o ⊙ tanh(c))"),
        note="Without the paper's peepholes and its second, non-recurrent projection, as in PyTorch.",
        rule=_projected,
        matrices={"P": ("hidden", "state")},
    ),
    "lstm_layer_norm": Cell(
        title="LSTM with layer normalisation",
        source="Ba, Kiros, Hinton (2016), Layer normalization, arXiv:1607.06450",
        equations="""[ĩ f̃ õ g̃] = γ_x ⊙ N(W x) + γ_h ⊙ N(R h₋₁) + b
i = σ(ĩ);  f = σ(f̃);  o = σ(õ);  g = tanh(g̃)
c = f ⊙ c₋₁ + i ⊙ g
h = o ⊙ tanh(γ_c ⊙ N(c) + β_c)
N(a) = (a - mean(a)) / √(var(a) + 10⁻⁵), over all gates' units together""",
        note="The paper's shifts of the first two N add to b and are left out; gains begin at 1.",
        rule=_layer_norm,
        gates="ifog",
        states=CARRIED,
        products={"h": "ifog"},
        vectors={"gain_x": Vector(4, 1, 1), "gain_h": Vector(4, 1, 1), "gain_c": Vector(1, 1, 1), "shift_c": Vector(1, 0, 0)},
        biased="ifog",
        forget=("f", 1),
        writes="i",
    ),
    "slstm": Cell(
        title="sLSTM",
        source="Beck et al. (2024), xLSTM: extended long short-term memory, NeurIPS, arXiv:2405.04517",
        equations="""[ĩ f̃ õ z̃] = W x + R h₋₁ + b;  z = tanh(z̃)
m = max(ln σ(f̃) + m₋₁, ĩ)
i = exp(ĩ - m);  f = exp(ln σ(f̃) + m₋₁ - m)
c = f ⊙ c₋₁ + i ⊙ z
n = f ⊙ n₋₁ + i
h = σ(õ) ⊙ c / n""",
        note="The forget gate is σ, where the paper allows exp too; one head, so R is dense; m begins at -∞; no block around the cell.",
        rule=_exponential,
        gates="ifoz",
        states={**CARRIED, "c": State(learned=False), "n": State(learned=False), "m": State(start=-math.inf, learned=False)},
        products={"h": "ifoz"},
        forget=("f", 1),
        refuses={"zoneout": "c, n and m belong together, and a mixture of two steps' would be neither's"},
    ),
    "lstm_mogrifier": replace(
        LSTM,
        title="Mogrifier LSTM",
        source="Melis, Kočiský, Blunsom (2020), Mogrifier LSTM, ICLR, arXiv:1909.01792",
        equations=f"""x¹ = 2 σ(Q₁ h₋₁) ⊙ x;  h² = 2 σ(M₂ x¹) ⊙ h₋₁
x³ = 2 σ(Q₃ h²) ⊙ x¹;  h⁴ = 2 σ(M₄ x³) ⊙ h²
x⁵ = 2 σ(Q₅ h⁴) ⊙ x³; then x⁵ for x and h⁴ for h₋₁:
{LSTM_EQUATIONS}""",
        note="Five rounds of whole matrices (the paper also has low-rank ones), no biases; the paper's R of even rounds is M here.",
        rule=_mogrified,
        hoisted=False,
        matrices={
            f"{'Q' if number % 2 else 'M'}{number}": ("state", "inputs") if number % 2 else ("inputs", "state")
            for number in range(1, ROUNDS + 1)
        },
    ),
    "alstm": replace(
        LSTM,
        title="Attentive LSTM (ALSTM)",
        source="Feng, Chen, He, Ding, Sun, Chua (2019), Enhancing stock movement prediction with adversarial training, IJCAI",
        equations=f"""{LSTM_EQUATIONS}
final = [Σₜ aₜ hₜ, h_T];  aₜ = softmaxₜ(u_a · tanh(W_a hₜ + b_a))""",
        note="Without the paper's layer before the LSTM, and trained as all are. Only a task that answers once a sequence has use for it.",
        attends=True,
    ),
}
