"""A trained network on disk: `weights.safetensors` and `model.json`, sealed by a manifest. No pickle.

`model.json` holds the architecture, the task's description (scaler or vocabulary, spec, calendar), where its
data begin and end, and where the model comes from, so that a folder is all that serving needs.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import load as parse_tensors
from safetensors.torch import save as format_tensors
from torch import Tensor

from longshort import storage
from longshort.config import Task as TaskName
from longshort.config import Variant
from longshort.errors import CorruptArtefact
from longshort.models.compiled import served
from longshort.models.compiled.served import Served
from longshort.models.encoder import Carried, at_hand
from longshort.models.forecaster import Forecaster, forecaster
from longshort.models.network import Network, Shape
from longshort.tasks.caption import CaptionShape
from longshort.tasks.classify import ClassifyShape
from longshort.tasks.forecast import FinalStateHead, ForecastShape
from longshort.tasks.language_model import LanguageModelShape
from longshort.tasks.speech import Speech
from longshort.tasks.tag import TagShape
from longshort.tasks.translate import TranslateShape

WEIGHTS, CARD = "weights.safetensors", "model.json"
SHAPES: dict[TaskName, type[ForecastShape | LanguageModelShape | ClassifyShape | TagShape | TranslateShape | CaptionShape]] = {
    "forecast": ForecastShape,
    "language-model": LanguageModelShape,
    "classify": ClassifyShape,
    "tag": TagShape,
    "translate": TranslateShape,
    "caption": CaptionShape,
}


@dataclass(frozen=True)
class Model:
    """A network in evaluation mode with everything that it must know.

    task     the task's name
    network  weights loaded, on the CPU; a fleet where each ticker has a network of its own
    card     the whole of model.json
    sha256   digest of the artefact
    """

    task: TaskName
    network: Network
    card: dict[str, Any]
    sha256: str

    @torch.inference_mode()
    def __call__(self, read: Tensor, carried: Carried | None = None) -> Tensor:
        """A lone network's answer to a batch, without gradients; carried: see `Encoder.forward`."""
        return self.network(read.unsqueeze(0), carried=carried)[0]

    @torch.inference_mode()
    def quantiles(self, read: Tensor) -> Tensor:
        """What a lone forecaster names beside its answer: (batch, quantiles, horizon), in the order of its shape; they may cross."""
        _, final = self.network.encode(read.unsqueeze(0))
        return self.head.whole(final)[0, :, 1:]

    @property
    def head(self) -> FinalStateHead:
        """A forecaster's head."""
        return cast(FinalStateHead, self.network.head)

    @property
    def speech(self) -> Speech:
        """The head of a translator or a captioner."""
        return cast(Speech, self.network.head)

    @functools.cached_property
    def forecaster(self) -> Forecaster:
        """A lone forecaster's network, for windows as they come in and streams of them."""
        return forecaster(self.network, int(self.card["description"]["spec"]["lookback"]))

    @functools.cached_property
    def served(self) -> Served | None:
        """The network as the compiled library asks it, where it can; what becomes of the network later does not reach it."""
        return served.of(self.card, {name: tensor.numpy().copy() for name, tensor in self.network.state_dict().items()}, self.sha256)

    @property
    def tickers(self) -> list[str]:
        """The tickers that have a network each, in the order of the axis of members; none where one network serves all."""
        return [member["ticker"] for member in self.card.get("members", ())]

    def of(self, ticker: str) -> Model:
        """The model of one ticker: its network and its scaler."""
        k = self.tickers.index(ticker)
        network = _network(self.card, {name: tensor[k : k + 1] for name, tensor in self.network.state_dict().items()})
        description = {**self.card["description"], "scaler": self.card["members"][k]["scaler"]}
        card = {name: value for name, value in self.card.items() if name != "members"}
        return Model(self.task, network, {**card, "description": description}, self.sha256)


def place_of(item: Path, fold: int | None, seed: int) -> Path:
    """Where a seed's model lies in an item's output; those of folds before the newest, numbered from 1, in folders of their own."""
    return (item if fold is None else item / f"fold-{fold}") / f"seed-{seed}"


def shape_of(task: TaskName, shape: Shape) -> dict[str, Any]:
    """What a task's front and head are built from, as `model.json` has it: sizes, and no data."""
    # no quantiles are not written: so it was before there were any
    return {field.name: value for field in fields(SHAPES[task]) if (value := getattr(shape, field.name)) != ()}


def save(folder: Path, task: TaskName, shape: Shape, variant: Variant, state: dict[str, Tensor], card: dict[str, Any]) -> None:
    """Write a model's files into a folder that is being built, and seal it.

    card  what else `model.json` says: the task's ``description``, the ``extent`` of its data, and the model's ``origin``
    """
    folder.mkdir(parents=True, exist_ok=True)
    # torch's tensors may share memory or lie askew; safetensors wants each whole
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in sorted(state.items())}
    storage.write_bytes(folder / WEIGHTS, format_tensors(tensors))
    content = {
        "task": task,
        "shape": shape_of(task, shape),
        "variant": variant.model_dump(),
        **card,
    }
    storage.write_json(folder / CARD, content)
    storage.seal(folder)


def load(folder: Path) -> Model:
    """Verify, then read a model.

    raises  CorruptArtefact when any byte is not as it was written, or the weights do not fit the architecture
    """
    sha256 = storage.verify(folder)
    card = storage.read_json(folder / CARD)
    if "engine" not in card["origin"]:
        raise CorruptArtefact(
            f"{folder}: an older longshort wrote this model in a form that is no longer read. Put another in its place with "
            "`longshort promote MODEL VERSION`."
        )
    tensors = parse_tensors((folder / WEIGHTS).read_bytes())
    try:
        return Model(card["task"], _network(card, tensors), card, sha256)
    except RuntimeError as error:
        raise CorruptArtefact(
            f"{folder / WEIGHTS}: the weights do not fit the architecture in {CARD}: {error}. Train the model again with `longshort run`."
        ) from None


def _network(card: dict[str, Any], tensors: dict[str, Tensor]) -> Network:
    """A fleet with these weights, in evaluation mode; under the engine that trained them, where this machine has it."""
    members = len(next(iter(tensors.values())))
    generators = [torch.Generator() for _ in range(members)]
    variant = Variant(**card["variant"])
    network = Network(SHAPES[card["task"]](**card["shape"]), variant, at_hand(card["origin"]["engine"], variant), generators)
    network.load_state_dict(tensors)
    return network.eval()
