"""A trained network on disk: `weights.safetensors` and `model.json`, sealed by a manifest. No pickle.

`model.json` holds the architecture, the task's description (scaler or vocabulary, spec, calendar) and
where the model comes from, so that a folder is all that serving needs.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load as parse_tensors
from safetensors.torch import save as format_tensors
from torch import Tensor

from longshort import storage
from longshort.config import Task as TaskName
from longshort.config import Variant
from longshort.errors import CorruptArtefact
from longshort.models.encoder import first_that_runs
from longshort.models.network import Network, Shape
from longshort.tasks.forecast import ForecastShape
from longshort.tasks.language_model import LanguageModelShape

WEIGHTS, CARD = "weights.safetensors", "model.json"
SHAPES: dict[TaskName, type[ForecastShape] | type[LanguageModelShape]] = {
    "forecast": ForecastShape,
    "language-model": LanguageModelShape,
}


@dataclass(frozen=True)
class Model:
    """A network in evaluation mode with everything that it must know.

    task     the task's name
    network  weights loaded, on the CPU
    card     the whole of model.json
    sha256   digest of the artefact
    """

    task: TaskName
    network: Network
    card: dict[str, Any]
    sha256: str

    @torch.inference_mode()
    def __call__(self, read: Tensor) -> Tensor:
        """The network's answer, without gradients."""
        return self.network(read)


def save(folder: Path, task: TaskName, shape: Shape, variant: Variant, state: dict[str, Tensor], card: dict[str, Any]) -> None:
    """Write a model's files into a folder that is being built, and seal it.

    card  what else `model.json` says: the task's ``description``, and the model's ``origin``
    """
    folder.mkdir(parents=True, exist_ok=True)
    # torch's tensors may share memory or lie askew; safetensors wants each whole
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in sorted(state.items())}
    storage.write_bytes(folder / WEIGHTS, format_tensors(tensors))
    content = {
        "task": task,
        "shape": {field.name: getattr(shape, field.name) for field in fields(SHAPES[task])},
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
    variant = Variant(**card["variant"])
    network = Network(SHAPES[card["task"]](**card["shape"]), variant, first_that_runs(variant))
    try:
        network.load_state_dict(parse_tensors((folder / WEIGHTS).read_bytes()))
    except RuntimeError as error:
        raise CorruptArtefact(
            f"{folder / WEIGHTS}: the weights do not fit the architecture in {CARD}: {error}. Train the model again with `longshort run`."
        ) from None
    return Model(card["task"], network.eval(), card, sha256)
