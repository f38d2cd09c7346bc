"""The training loop: a fleet of networks of one shape, each until its validation stops getting better, its best weights kept.

Members see nothing of each other: each has its seed, its data, its rate, its optimiser's memory and its own end; a lone
network is a fleet of one. A GPU trains them side by side. On a CPU, which is busy with one, that is no faster, and sums
would come out otherwise by where in memory a member lies; so they go one by one, with the bits that each has alone.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from longshort.config import Optimisation, Variant
from longshort.errors import ConfigError
from longshort.models.choice import without_bfloat16
from longshort.models.encoder import Carried
from longshort.models.engines.engine import SCORING_BATCH, Epochs, Learning, Passed
from longshort.models.masks import Draw
from longshort.models.network import Network
from longshort.tasks.task import Batch, Task
from longshort.training.group import ALONE, Group
from longshort.training.optimisers import EPSILON, OPTIMIZERS, Averaging, Moments, Rows, averaged, fresh, keeps_of


@dataclass(frozen=True)
class Member:
    """One network of a fleet: its name, seed, examples and settings. Batch size, optimiser and averaging are the fleet's."""

    name: str
    seed: int
    task: Task
    settings: Optimisation


@dataclass(frozen=True)
class Epoch:
    """One pass: mean losses in the task's unit, whether validation was the best so far, and its wall time.

    accuracies  of training, each batch before its step, and of validation; None where nothing is right or wrong
    """

    number: int  # from 1
    train_loss: float
    validation_loss: float
    best: bool
    seconds: float = field(compare=False)
    accuracies: tuple[float, float] | None = None

    def result(self) -> dict[str, Any]:
        """What is the same on every run; the wall time is not."""
        told = {"epoch": self.number, "train_loss": self.train_loss, "validation_loss": self.validation_loss, "best": self.best}
        return told | (dict(zip(("train_accuracy", "validation_accuracy"), self.accuracies, strict=True)) if self.accuracies else {})


class Mean(NamedTuple):
    """Of a pass: the mean loss, and the share that was right where something is."""

    loss: float
    accuracy: float | None = None


class _Sums:
    """What members were charged in a pass so far."""

    def __init__(self, members: Sequence[int]) -> None:
        self.losses, self.terms, self.right = dict.fromkeys(members, 0.0), dict.fromkeys(members, 0), dict.fromkeys(members, 0)
        self.judged = False

    def add(self, k: int, loss: float, terms: int, right: int | None) -> None:
        self.losses[k] += loss
        self.terms[k] += terms
        if right is not None:
            self.judged = True
            self.right[k] += right

    def means(self) -> dict[int, Mean]:
        counts = {k: max(terms, 1) for k, terms in self.terms.items()}
        return {k: Mean(loss / counts[k], self.right[k] / counts[k] if self.judged else None) for k, loss in self.losses.items()}


@dataclass
class Progress:
    """All that a member has come to: continue from it and nothing is different.

    weights   its parameters as one row; averages and steps: its optimiser's memory
    history   `Epoch.result` of each epoch, oldest first
    dropped   why it cannot go on, or ''
    pruned    whether a search took it off, since others do better; what it has come to stands
    """

    weights: Tensor
    averages: tuple[Tensor, ...]
    steps: int
    best_weights: Tensor
    history: list[dict[str, Any]]
    dropped: str = ""
    pruned: bool = False

    @property
    def best_epoch(self) -> int:
        """The number of the epoch with the lowest validation loss."""
        return max(entry["epoch"] for entry in self.history if entry["best"])

    def is_over(self, settings: Optimisation) -> bool:
        """Whether it was dropped or pruned, patience has run out, or the limit is reached."""
        if self.dropped or self.pruned or not self.history:
            return bool(self.dropped) or self.pruned
        last = self.history[-1]["epoch"]
        return last - self.best_epoch >= settings.patience or last >= settings.max_epochs


def train(
    members: Sequence[Member],
    variant: Variant,
    engine: str,
    device: torch.device,
    resumed: Sequence[Progress | None],
    after_epoch: Callable[[int, Epoch, Progress], None],
    group: Group = ALONE,
) -> list[Progress]:
    """Train each member until its validation has not improved for its ``patience`` epochs. A member whose loss or gradient is
    not finite is dropped with the reason, and the others go on.

    members      of one shape, batch size and optimiser, averaged from one epoch on
    resumed      where an earlier process got to with each, or None
    after_epoch  called with a member's place, its epoch, and the state to go on from; it may mark that as pruned, or raise to stop all
    group        the processes that share each batch; all are called alike, with an engine that makes no whole passes
    returns      what each member came to
    raises       ConfigError when a member is to be trained in bfloat16, and the engine cannot
    """
    for member in members:
        if reason := without_bfloat16(engine, variant, member.task.name, member.settings):
            raise ConfigError(f"{member.name}: its precision is bfloat16, and {reason}. Or leave `precision` out.")
    done = list(_begun(members, variant, engine, resumed))
    while going := [k for k, progress in enumerate(done) if not progress.is_over(members[k].settings)]:
        number = min(len(done[k].history) for k in going)
        level = [k for k in going if len(done[k].history) == number]  # an epoch's order and masks hang on its number
        some = level if device.type != "cpu" else going[:1]
        side_by_side(some, members, variant, engine, device, done, after_epoch, group)
    return done


def _begun(members: Sequence[Member], variant: Variant, engine: str, resumed: Sequence[Progress | None]) -> Iterator[Progress]:
    for member, earlier in zip(members, resumed, strict=True):
        if earlier is not None:
            yield earlier
            continue
        rows = Rows(Network(member.task, variant, engine, [generator_of(member.seed)]))
        averages = fresh(member.settings, rows).averages
        yield Progress(rows.weights[0], tuple(average[0] for average in averages), 0, rows.weights[0].clone(), [])


def side_by_side(
    places: Sequence[int],
    members: Sequence[Member],
    variant: Variant,
    engine: str,
    device: torch.device,
    done: list[Progress],
    after_epoch: Callable[[int, Epoch, Progress], None],
    group: Group = ALONE,
) -> None:
    """Train members that have come equally far, until half of them are over: what is over should not be worked on with the others.

    places  of these members; done: what each of all came to, changed in place
    """
    some, earlier = [members[k] for k in places], [done[k] for k in places]
    network = Network(some[0].task, variant, engine, [generator_of(member.seed) for member in some]).to(device)
    averages_weights = some[0].settings.averaged_after is not None
    inside = None if some[0].settings.by_batches else network.encoder.engine.epochs(network, [member.task for member in some])
    rows = Rows(network)
    rows.weights.copy_(torch.stack([progress.weights for progress in earlier]))
    remembered = [torch.stack(own).to(device) for own in zip(*(progress.averages for progress in earlier), strict=True)]
    moments = Moments(tuple(remembered), [progress.steps for progress in earlier])
    while 2 * len(going := [k for k, place in enumerate(places) if not done[place].is_over(some[k].settings)]) > len(places):
        number = len(done[places[going[0]]].history) + 1
        began = time.monotonic()
        if inside is not None:
            learned, failures = _learn_inside(inside, rows, moments, some, going, number)
            scored = {k: _mean(some[k], passed) for k, passed in inside.score(rows.weights, "validation", going).items()}
        else:
            learned, failures = _learn(network, rows, moments, some, going, number, device, group)
            with averaged(rows, moments) if averages_weights else contextlib.nullcontext():
                scored = means(network, [member.task for member in some], "validation", device, going, group)
        seconds = (time.monotonic() - began) / len(going)
        for k in going:
            progress, loss = done[places[k]], scored[k].loss
            if k not in failures and not math.isfinite(loss):
                failures[k] = f"epoch {number}, after its last step: validation loss {loss:g}. {_remedy(some[k])}"
            if k in failures:
                progress.dropped = failures[k]
                continue
            best = loss < min((entry["validation_loss"] for entry in progress.history), default=math.inf)
            accuracies = None if (then := learned[k].accuracy) is None or (now := scored[k].accuracy) is None else (then, now)
            epoch = Epoch(number, learned[k].loss, loss, best, seconds, accuracies)
            weights = rows.weights[k].cpu().clone()
            averages = tuple(average[k].cpu().clone() for average in moments.averages)
            scored_weights = averages[-1] if averages_weights else weights
            done[places[k]] = Progress(
                weights,
                averages,
                moments.steps[k],
                scored_weights if best else progress.best_weights,
                [*progress.history, epoch.result()],
            )
            after_epoch(places[k], epoch, done[places[k]])


def generator_of(seed: int) -> torch.Generator:
    """What a member's first weights are drawn from."""
    return torch.Generator().manual_seed(int(np.random.Philox(key=[seed, 0]).random_raw() >> np.uint64(1)))


def state_of(network: Network, row: Tensor) -> dict[str, Tensor]:
    """The parameters of one member by name, its axis kept, from its row."""
    state, first = {}, 0
    for name, parameter in network.named_parameters():
        size = parameter[0].numel()
        state[name] = row[first : first + size].view(1, *parameter.shape[1:])
        first += size
    return state


def _learn(
    network: Network,
    rows: Rows,
    moments: Moments,
    members: Sequence[Member],
    now: Sequence[int],
    epoch: int,
    device: torch.device,
    group: Group,
) -> tuple[dict[int, Mean], dict[int, str]]:
    """One epoch of the members ``now``; returns what it came to for each, and why some failed."""
    network.train()
    step_of, _ = OPTIMIZERS[members[0].settings.optimizer]
    size = members[0].settings.batch_size
    seeds = tuple(member.seed for member in members)
    rates, keeps = [member.settings.rate_in(epoch) for member in members], [keeps_of(member.settings) for member in members]
    limits = [member.settings.clip_norm for member in members]
    task, sums, failures = members[0].task, _Sums(now), dict[int, str]()
    passes = [members[k].task.batches("train", size, members[k].seed, epoch) if k in now else iter(()) for k in range(len(members))]
    carried = Carried() if task.carried else None
    after = members[0].settings.averaged_after
    averaging = None if after is None else Averaging(rows, moments, epoch - after)
    for step, batch in enumerate(together(passes, task)):
        read, target, first = group.share(batch, task.uncharged)
        losses, counts, right = task.loss(network, read.to(device), target.to(device), Draw(seeds, epoch, step * size, first), carried)
        summed, counts = group.of_batch(losses, counts)
        rows.backward((losses / counts.clamp(min=1)).sum())
        group.add(rows.gradients)
        norms, found, asked = rows.clip(limits), summed.tolist(), counts.tolist()
        active = [k for k in now if asked[k] and k not in failures]
        for k in active:
            if not (math.isfinite(norms[k]) and math.isfinite(found[k])):
                failures[k] = _failure(members[k], epoch, step + 1, found[k] / asked[k], norms[k])
            sums.add(k, found[k], asked[k], None if right is None else int(right[k]))
        step_of(rows, moments, rates, keeps, [k for k in active if k not in failures])
        if averaging is not None:
            averaging.step(step)
        if len(failures) == len(now):
            break
    if averaging is not None:
        averaging.end()
    return sums.means(), failures


def _learn_inside(
    inside: Epochs, rows: Rows, moments: Moments, members: Sequence[Member], now: Sequence[int], epoch: int
) -> tuple[dict[int, Mean], dict[int, str]]:
    """The same where the engine makes whole passes."""
    hows, losses, failures = {}, {}, {}
    for k in now:
        settings = members[k].settings
        given = (settings.batch_size, settings.optimizer, settings.rate_in(epoch), settings.clip_norm)
        hows[k] = Learning(members[k].seed, epoch, *given, *keeps_of(settings), EPSILON, settings.precision)
    for k, passed in inside.learn(rows.weights, moments.averages, moments.steps, hows).items():
        if passed.failed:
            failures[k] = _failure(members[k], epoch, passed.failed, passed.failed_loss, passed.failed_norm)
        losses[k], moments.steps[k] = _mean(members[k], passed), passed.steps
    return losses, failures


def _mean(member: Member, passed: Passed) -> Mean:
    return Mean(passed.mean, passed.accuracy if member.task.judged else None)


@torch.inference_mode()
def means(
    network: Network, tasks: Sequence[Task], part: str, device: torch.device, members: Sequence[int], group: Group = ALONE
) -> dict[int, Mean]:
    """Each member's mean loss over a part, in the task's unit, dropout off, and its accuracy where something is right or wrong."""
    network.eval()
    sums, task = _Sums(members), tasks[0]
    passes = [own.batches(part, SCORING_BATCH, seed=0, epoch=0) if k in members else iter(()) for k, own in enumerate(tasks)]
    carried = Carried() if task.carried else None
    for batch in together(passes, task):
        read, target, _ = group.share(batch, task.uncharged)
        losses, counts, right = task.loss(network, read.to(device), target.to(device), carried=carried)
        losses, counts = group.of_batch(losses, counts)
        for k in members:
            sums.add(k, losses[k].item(), int(counts[k]), None if right is None else int(right[k]))
    return sums.means()


def together(passes: Sequence[Iterator[Batch]], task: Task) -> Iterator[Batch]:
    """The members' batches side by side, the axis of members in front. A shorter one is filled up with rows that are not charged."""
    for batches in zip_longest(*passes):
        if len(batches) == 1:
            read, target = batches[0]
            yield read.unsqueeze(0), target.unsqueeze(0)
            continue
        there = {k: batch for k, batch in enumerate(batches) if batch is not None}
        yield _filled(there, 0, len(batches), task.padding), _filled(there, 1, len(batches), task.uncharged)


def _filled(batches: Mapping[int, Batch], side: int, members: int, value: float) -> Tensor:
    """One side of the batches, each filled up to the longest in rows and in steps."""
    own = {k: batch[side] for k, batch in batches.items()}
    first = next(iter(own.values()))
    shape = [max(each.shape[axis] for each in own.values()) for axis in range(first.ndim)]
    filled = torch.full((members, *shape), value, dtype=first.dtype)
    for k, each in own.items():
        filled[k][tuple(map(slice, each.shape))] = each
    return filled


def _failure(member: Member, epoch: int, step: int, loss: float, norm: float) -> str:
    return f"epoch {epoch}, step {step}: loss {loss:g}, gradient norm {norm:g}. {_remedy(member)}"


def _remedy(member: Member) -> str:
    return f"Lower its `learning_rate` (now {member.settings.learning_rate:g}) in params.yaml."
