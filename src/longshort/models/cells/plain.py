"""Cells without gates."""

from __future__ import annotations

from typing import TYPE_CHECKING

from longshort.models.cells.cell import Cell, Step, Vector

if TYPE_CHECKING:
    from torch import Tensor


def _rnn(s: Step, h: Tensor) -> tuple[Tensor]:
    return (s.act(s.plus(s.x, "h", h)),)


def _independent(s: Step, h: Tensor) -> tuple[Tensor]:
    return (s.act(s.x + s.v["u"] * h),)


PLAIN: dict[str, Cell] = {
    "rnn": Cell(
        title="RNN",
        source="Elman (1990), Finding structure in time, Cognitive Science 14(2)",
        equations="h = tanh(W x + R h₋₁ + b)",
        rule=_rnn,
        gates="h",
        products={"h": "h"},
        updates=False,
    ),
    "rnn_relu": Cell(
        title="RNN with rectified units",
        source="Le, Jaitly, Hinton (2015), A simple way to initialize recurrent networks of rectified linear units, arXiv:1504.00941",
        equations="h = relu(W x + R h₋₁ + b)",
        note="The paper begins with R the identity; here it begins as all weights do.",
        rule=_rnn,
        gates="h",
        products={"h": "h"},
        activation="relu",
        updates=False,
    ),
    "indrnn": Cell(
        title="IndRNN",
        source="Li, Li, Cook, Zhu, Gao (2018), Independently recurrent neural network, CVPR, arXiv:1803.04831",
        equations="h = relu(W x + u ⊙ h₋₁ + b)",
        note="u begins uniform in [0, 1]; the paper's bound on |u|, which depends on the length of the sequences, is not kept in training.",
        rule=_independent,
        gates="h",
        vectors={"u": Vector(low=0.0, high=1.0)},
        activation="relu",
        updates=False,
    ),
}
