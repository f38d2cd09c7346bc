"""The recurrent layers of every variant, for a fleet of one shape: sequences to a state at every step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from longshort.config import Variant
from longshort.errors import ConfigError
from longshort.models import masks
from longshort.models.cells import CELLS, refusal, shapes
from longshort.models.cells.cell import output_size, starts, state_sizes
from longshort.models.engines import ENGINES, Engine, Inside
from longshort.models.masks import Masks, stream
from longshort.models.weights import Weights, begin, begin_uniform


@dataclass
class Carried:
    """The states that a batch of windows left behind, from which the next one goes on (Mikolov et al., 2010; Zaremba et al., 2014).

    layers  layer -> name of the state -> (K, batch, size), without gradient; a layer that is not there begins from its initial states
    """

    layers: dict[int, dict[str, Tensor]] = field(default_factory=dict)


class Encoder(nn.Module):
    """Stacked recurrent layers with dropout after each, as the stock tutorial has it.

    width        features of a state
    final_width  features of the final answer: twice the width where the cell attends
    layers       layer, direction -> `Weights`
    """

    def __init__(self, inputs: int, variant: Variant, engine: str, generators: Sequence[torch.Generator] | None = None) -> None:
        """A fleet with as many members as ``generators``; by default one, from torch's own generator.

        raises  ConfigError when the cell has none of an option, or the engine cannot run the variant
        """
        super().__init__()
        self.variant, self.cell, self.engine = variant, CELLS[variant.cell], opened(engine, variant)
        if reason := refusal(variant.cell, self.cell, variant):
            raise ConfigError(f"models.variants: {reason}")
        generators = generators or (torch.default_generator,)
        self.size = output_size(self.cell, variant.hidden_size, variant.projection_size)
        directions = 2 if variant.bidirectional else 1
        self.width = self.size * directions
        self.final_width = 2 * self.width if self.cell.attends else self.width
        self.layers = nn.ModuleList()
        for layer in range(variant.num_layers):
            made = shapes(self.cell, self.width if layer else inputs, variant.hidden_size, variant.projection_size)
            if variant.initial_state == "learned":
                made |= starts(self.cell, variant.hidden_size, variant.projection_size)
            self.layers.append(nn.ModuleList(Weights(made, len(generators)) for _ in range(directions)))
            for weights in self.directions(layer):
                begin(weights, self.cell, variant, generators)
        if self.cell.attends:
            self.attention = Weights({"W_a": (self.width, self.width), "b_a": (self.width,), "u_a": (self.width,)}, len(generators))
            begin_uniform(self.attention, self.width, generators)

    def directions(self, layer: int) -> list[Weights]:
        """A layer's weights, forward first."""
        return list(self.layers[layer])  # type: ignore[call-overload]

    def forward(
        self, steps: Tensor, draw: Masks | None = None, lengths: Tensor | None = None, carried: Carried | None = None
    ) -> tuple[Tensor, Tensor]:
        """Read a batch of sequences.

        steps    (K, batch, steps, inputs)
        draw     where the batch stands, a seed a member, in training; in evaluation nothing is dropped, whatever it says
        lengths  (batch,), or (K, batch) where members read other rows: how many steps of each row are its own, at least 1; the rest is
                 padding, which reaches nothing. None: all
        carried  what the rows go on from; what they come to takes its place. None: all begin from the initial states
        returns  states (K, batch, steps, width), 0 where padding is; and final (K, batch, final_width): what was
                 known when each direction had read everything, which for the backward one is at the first step
        raises   ValueError when lengths or seeds do not fit, or something is to be dropped and there is no draw, or states are to be
                 carried where they cannot be
        """
        draw = drawn(self, draw, self._drops())
        if draw is not None and len(draw.seeds) != len(steps):
            raise ValueError(f"the fleet has {len(steps)} members and the draw {len(draw.seeds)} seeds. Hand in one seed a member.")
        if lengths is not None and not 1 <= int(lengths.min()) <= int(lengths.max()) <= steps.shape[2]:
            raise ValueError(f"lengths go from {lengths.min()} to {lengths.max()}, and a row has 1 to {steps.shape[2]} steps.")
        if carried is not None and (self.variant.bidirectional or self.cell.attends or lengths is not None):
            raise ValueError(
                "a backward layer begins where the window ends, attention sees the window alone, and padding ends rows apart: none of "
                "them can go on from the window before. Carry states of a network that reads forward, without `lengths`."
            )
        read = steps.transpose(1, 2)
        padding = None
        if lengths is not None:
            lengths = lengths.to(read.device).expand(len(read), -1)
            padding = torch.arange(read.shape[1], device=read.device)[:, None] >= lengths[:, None]  # (K, steps, batch)
            read = read.masked_fill(padding.unsqueeze(-1), 0.0)
        for layer in range(len(self.layers)):
            states = self._layer(layer, read, draw, lengths, carried)
            if padding is not None:
                states = states.masked_fill(padding.unsqueeze(-1), 0.0)
            states = self._dropped(states, draw, masks.OUTPUT, stream(layer), self.variant.dropout)
            read = read + states if self.variant.residual and layer else states
        return read.transpose(1, 2), self._final(read, padding, lengths)

    def _drops(self) -> bool:
        settings = self.variant
        rates = (settings.dropout, settings.variational_dropout, settings.recurrent_dropout, settings.zoneout, settings.weight_dropout)
        return any(rate > 0 for rate in rates)

    def _layer(self, layer: int, read: Tensor, draw: Masks | None, lengths: Tensor | None, carried: Carried | None) -> Tensor:
        """One layer in its directions: (K, steps, batch, inputs) to (K, steps, batch, width)."""
        read = self._dropped(read, draw, masks.INPUT, stream(layer), self.variant.variational_dropout, every_step=False)
        activation = self.variant.activation or self.cell.activation
        ahead = []
        for direction, module in enumerate(self.directions(layer)):
            weights, inside = module.tensors(), Inside(zoneout=self.variant.zoneout)
            if draw is not None:
                weights = self._without_some_weights(weights, draw, layer, direction)
                inside = self._inside(read, draw, layer, direction)
            if carried is not None:
                states, after = self.engine.carry(self.cell, activation, weights, read, inside, carried.layers.get(layer, {}))
                carried.layers[layer] = {name: state.detach() for name, state in after.items()}
                return states
            there = _reversed(read, lengths) if direction else read
            states = self.engine.forward(self.cell, activation, weights, there, inside)
            ahead.append(_reversed(states, lengths) if direction else states)
        return torch.cat(ahead, dim=-1) if len(ahead) > 1 else ahead[0]

    def _dropped(self, states: Tensor, draw: Masks | None, kind: int, place: int, rate: float, every_step: bool = True) -> Tensor:
        """Dropout on (K, steps, batch, features)."""
        if draw is None or rate == 0:
            return states
        _, steps, batch, features = states.shape
        factors = draw.factors_for(states, kind, place, rate, (batch, steps if every_step else 1, features))
        return states * factors.transpose(1, 2)

    def _without_some_weights(self, weights: dict[str, Tensor], draw: Masks, layer: int, direction: int) -> dict[str, Tensor]:
        if self.variant.weight_dropout == 0:
            return weights
        dropped = dict(weights)
        for part, name in enumerate(name for name in weights if name == "R" or name.startswith("R_")):
            rows, columns = weights[name].shape[1:]
            where, rate = stream(layer, direction, part), self.variant.weight_dropout
            dropped[name] = weights[name] * draw.factors_for(weights[name], masks.WEIGHT, where, rate, (1, rows, columns))[:, 0]
        return dropped

    def _inside(self, read: Tensor, draw: Masks, layer: int, direction: int) -> Inside:
        _, steps, batch, _ = read.shape
        settings, hidden, place = self.variant, self.variant.hidden_size, stream(layer, direction)
        state_mask, update_mask, zoned = None, None, {}
        if settings.variational_dropout:
            state_mask = draw.factors_for(read, masks.STATE, place, settings.variational_dropout, (batch, 1, self.size))[:, :, 0]
        if settings.recurrent_dropout:
            factors = draw.factors_for(read, masks.UPDATE, place, settings.recurrent_dropout, (batch, steps, hidden))
            update_mask = factors.transpose(1, 2)
        if settings.zoneout:
            sizes = state_sizes(self.cell, hidden, settings.projection_size)
            for part, name in enumerate(self.cell.zoned):
                shape = (batch, steps, sizes[name])
                zoned[name] = draw.dropped_for(read, masks.ZONEOUT, stream(layer, direction, part), settings.zoneout, shape).transpose(1, 2)
        return Inside(state_mask, update_mask, settings.zoneout, zoned)

    def _final(self, states: Tensor, padding: Tensor | None, lengths: Tensor | None) -> Tensor:
        if lengths is None:
            last = states[:, -1]
        else:
            last = states.gather(1, (lengths - 1)[:, None, :, None].expand(-1, -1, -1, states.shape[-1]))[:, 0]
        if self.variant.bidirectional:
            last = torch.cat([last[..., : self.size], states[:, 0, :, self.size :]], dim=-1)
        if not self.cell.attends:
            return last
        # member by member: a product of all together may round otherwise than each alone
        attention = self.attention.tensors()
        behind = [None] * len(states) if padding is None else list(padding)
        return torch.stack(
            [_attended({name: weight[k] for name, weight in attention.items()}, states[k], last[k], behind[k]) for k in range(len(states))]
        )


def opened(name: str, variant: Variant) -> Engine:
    """An engine by its name.

    raises  ConfigError when there is none of that name, or it cannot run the variant
    """
    if name not in ENGINES:
        raise ConfigError(f"there is no engine '{name}'. Known: {', '.join(ENGINES)}.")
    others = " or ".join(repr(other) for other in ENGINES if other != name and _can_run(other, variant))
    if reason := ENGINES[name].runs(variant):
        raise ConfigError(f"engine '{name}' cannot run this variant: {reason}. Take engine {others}.")
    if reason := ENGINES[name].absent():
        raise ConfigError(f"engine '{name}' is not there: {reason}. Or take engine {others}.")
    return ENGINES[name]


def at_hand(name: str, variant: Variant) -> str:
    """The engine of that name where it can run the variant here, else the first that can: a model is served wherever it is taken, and
    engines differ by no more than the rounding of their sums.
    """
    return name if name in ENGINES and _can_run(name, variant) else next(other for other in ENGINES if _can_run(other, variant))


def _can_run(name: str, variant: Variant) -> bool:
    return ENGINES[name].runs(variant) is None and ENGINES[name].absent() is None


def drawn(module: nn.Module, draw: Masks | None, drops: bool) -> Masks | None:
    """The draw in training, and None in evaluation.

    raises  ValueError when something is to be dropped and nothing says from what
    """
    if module.training and drops and draw is None:
        raise ValueError("a network with dropout is in training, and no `draw` says where its batch stands. Hand one in, or call eval().")
    return draw if module.training else None


def _reversed(sequence: Tensor, lengths: Tensor | None) -> Tensor:
    """(K, steps, batch, features) back to front, each row's own steps only: padding stays at the end. lengths: (K, batch)."""
    if lengths is None:
        return sequence.flip(1)
    steps = torch.arange(sequence.shape[1], device=sequence.device)[:, None]
    order = torch.where(steps < lengths[:, None], lengths[:, None] - 1 - steps, steps)
    return sequence.gather(1, order.unsqueeze(-1).expand_as(sequence))


def _attended(weights: dict[str, Tensor], states: Tensor, last: Tensor, padding: Tensor | None) -> Tensor:
    """[Σₜ aₜ hₜ, h_T] of (steps, batch, width), with the weights of one member."""
    scores = (states @ weights["W_a"] + weights["b_a"]).tanh() @ weights["u_a"]
    if padding is not None:
        scores = scores.masked_fill(padding, float("-inf"))
    context = (scores.softmax(dim=0).unsqueeze(-1) * states).sum(dim=0)
    return torch.cat([context, last], dim=-1)
