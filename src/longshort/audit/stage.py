"""The shell of the audit: `data/ingestion` in, proofs out, and in `reports/audit`."""

from __future__ import annotations

from pathlib import Path

import torch

from longshort import sessions, storage
from longshort.audit import prices, texts
from longshort.audit.learning import Learner
from longshort.audit.proof import Proof, keep
from longshort.config import LABELLED, Params
from longshort.errors import UsageError
from longshort.models import choice
from longshort.windows.prices import PRICES, possible
from longshort.windows.stage import rows, tidy_columns
from longshort.windows.tokens import tokenise


def run(root: Path, item: str, params: Params) -> list[Proof]:
    """Prove an item; what is found is also left in `reports/audit/<item>.json`, with the digest of the data.

    raises  UsageError when there is no such item, or its data have not been taken in; CorruptArtefact; DataRefused as the windows room
    """
    if item not in params.training.items:
        raise UsageError(f"no item '{item}' in `training.items`. Known: {', '.join(params.training.items)}.")
    entry = params.training.items[item]
    if entry.task in LABELLED:
        raise UsageError(
            f"the proofs are about time, and rows of a {entry.task} data set have none. That no text or vector stands in two parts is "
            f"seen to when they are cut: data/windows/{entry.dataset}/windows.json says which rows were dropped for it."
        )
    source = root / "data/ingestion" / entry.dataset
    if not source.exists():
        raise UsageError(f"{source} is not there yet. Run `longshort run` first.")
    data_sha256 = storage.verify(source)
    torch.set_num_threads(1)  # the same sums whatever the number of cores
    learner = Learner(
        params.models.variants[entry.variant], params.optimisation_of(item), choice.engine_of(params, item), params.training.seeds[0]
    )
    table = storage.read_table(source / "table.parquet")
    if entry.task == "forecast":
        account = storage.read_json(source / "account.json") if (source / "account.json").exists() else {}
        spec, _ = possible(params.windows.forecast, account.get("prices", PRICES))
        calendar = sessions.of_dataset(source, params.validation.forecast.calendar)
        found = prices.prove(tidy_columns(table), spec, calendar, params.tasks.forecast.quantiles, learner)
    else:
        blocks, words = tokenise(rows(table))
        cut = params.windows.language_model
        found = texts.prove(blocks, words, cut, texts.maker(cut, words), params.tasks.language_model, learner)
    keep(root, item, data_sha256, found)
    return found
