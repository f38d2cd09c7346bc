"""Card: a page a version, in Markdown, for people: what it learned from, how good it is beside what costs nothing, and its limits.

It stands in `reports/models/` and, as the version's description, on MLflow's page of the version. Written again whenever the judge has
spoken; what is not known is left out.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from longshort import storage
from longshort.audit.proof import kept
from longshort.config import LABELLED
from longshort.registry import golden, ledger, versions
from longshort.tracking import KIND, PARENT
from longshort.windows.prices import PARTS

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion

FIGURES = {
    "forecast": {"rmse": "RMSE", "mae": "MAE", "mase": "MASE", "skill": "skill", "dm_p_value": "DM p"},
    "language-model": {"perplexity": "perplexity", "bits_per_character": "bits/character"},
    "classify": {"accuracy": "accuracy", "macro_f1": "mean F1 of labels"},
    "tag": {"f1": "F1 of spans", "precision": "precision", "recall": "recall", "word_accuracy": "words tagged right"},
    "translate": {"bleu": "BLEU", "chrf": "chrF", "exact": "right (%)"},
    "caption": {"bleu": "BLEU", "chrf": "chrF", "exact": "right (%)"},
}
WORDS = {
    "forecast": "names the next sessions' prices of a ticker",
    "language-model": "names the next word of a text",
    "classify": "names the label of a text",
    "tag": "names a tag for each word of a text",
    "translate": "says a text in another form or language",
    "caption": "says the caption of a row of numbers",
}
LIMITS = {
    "forecast": (
        "It has seen the tickers and the years above and no others. A price that no model foresees is foreseen by none: read the skill "
        "before a forecast. It knows neither news nor costs, and is no advice to trade."
    ),
    "language-model": "It knows the words of its training part and no others, and says what such a text would say next, true or not.",
    "classify": "It knows the labels and the words of its training part and no others, and names one of these labels whatever it is asked.",
    "tag": "It knows the tags and the words of its training part and no others, and names a tag for every word whatever it is asked.",
    "translate": "It knows the words of its training part and no others, and answers fluently, rightly or not.",
    "caption": (
        "It reads the columns of its training part and no others, each beside what it was there, and says words of that part in some order "
        "whatever the numbers are, rightly or not."
    ),
}


def place(root: Path, model: str, version: str) -> Path:
    """Where a version's card lies."""
    return root / "reports/models" / f"{model}-v{version}.md"


def write(client: MlflowClient, root: Path, version: ModelVersion) -> Path:
    """Write a version's card into reports/ and into MLflow, where it is not there as it should be; returns its place."""
    text = card(client, root, version)
    path = place(root, version.name, str(version.version))
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        storage.write_bytes(path, text.encode())
    if client.get_model_version(version.name, version.version).description != text:
        client.update_model_version(version.name, version.version, description=text)
    return path


def card(client: MlflowClient, root: Path, version: ModelVersion) -> str:
    """A version's page."""
    run = client.get_run(str(version.run_id))
    model = storage.read_json(versions.fetch(client, version) / "model.json")
    sections = {
        "Verdict": _verdict(root, version, model["task"]),
        "Data": _data(version, run, model),
        "Figures on the test part": _figures(client, run, model["task"]),
        "Evidence": _evidence(root, version, run),
        "Environment": _environment(version, model),
        "Limits": [
            LIMITS[model["task"]],
            "The weights are those of the best epoch on the training part; they were not refitted on the validation and test parts.",
        ],
        "Made again by": [f"`longshort reproduce {version.run_id}`"],
    }
    title = f"# {version.name} v{version.version}\n\n{_what(version, model)}"
    return "\n\n".join([title, *(f"## {name}\n" + "\n".join(lines) for name, lines in sections.items() if lines)]) + "\n"


def _what(version: ModelVersion, model: dict[str, Any]) -> str:
    variant, tags = model["variant"], version.tags
    size = f"{variant['num_layers']} × {variant['hidden_size']}" + (", both ways" if variant["bidirectional"] else "")
    tickers = f", a network for each of {len(model['members'])} tickers" if model.get("members") else ""
    return f"A model that {WORDS[model['task']]}: {variant['cell']}, {size}{tickers}; item {tags['item']}, seed {tags['seed']}."


def _verdict(root: Path, version: ModelVersion, task: str) -> list[str]:
    """The judge's last word, from the ledger."""
    own = [entry for entry in ledger.history(root) if entry["model"] == version.name and entry.get("version") == str(version.version)]
    said = [entry for entry in own if entry["event"] in (ledger.PROMOTED, ledger.REFUSED, ledger.ADOPTED)]
    if not said:
        return []
    last = said[-1]
    lines = [f"{last['reason']} ({last['time']})"]
    if "count" in last:
        beside = (f"v{last['against']} and " if last.get("against") else "") + last["naive_name"].replace("_", " ")
        p_values = {"naive": last["p_naive"], "the champion": last["p_champion"]}
        p_said = ", ".join(f"p {p:.2g} against {who}" for who, p in p_values.items() if p is not None)
        lines.append(
            f"Scored beside {beside} on {last['count']:,} {'rows' if task in LABELLED else 'windows'} that no contender had learned from, "
            f"the first at {last['first']}, sha256 `{last['windows_sha256'][:16]}`" + (f"; {p_said}." if p_said else ".")
        )
    return [f"- {line}" for line in lines]


def _data(version: ModelVersion, run: Run, model: dict[str, Any]) -> list[str]:
    sha256 = version.tags.get("data_sha256") or run.data.tags.get("data_sha256")
    calendar = model["description"].get("calendar")
    dataset = version.name.removeprefix(f"{model['task']}-")
    lines = [f"- data set {dataset}" + (f", sha256 `{sha256}`" if sha256 else "") + (f", sessions of {calendar}" if calendar else "")]
    for part, extent in ((part, model.get("extent", {}).get(part)) for part in PARTS):
        if extent is None:
            continue
        if "last_target" in extent:
            lines.append(f"- {part}: {extent['first_target']} to {extent['last_target']}")
        elif "rows" in extent:
            lines.append(f"- {part}: {extent['rows']:,} rows")
        else:
            lines.append(f"- {part}: until word {extent['words']:,}, sha256 of all until there `{extent['sha256'][:16]}`")
    lines.append(f"- windows sha256 `{model['origin'].get('windows_sha256', 'not known')}`")
    return lines


def _figures(client: MlflowClient, run: Run, task: str) -> list[str]:
    """A table of the model and every baseline of its retraining; skill and p-value are against the last value."""
    rows = {"this model": run.data.metrics}
    if parent := run.data.tags.get(PARENT):
        query = f"tags.`{KIND}` = 'baseline' and tags.`{PARENT}` = '{parent}'"
        found = client.search_runs([run.info.experiment_id], query, order_by=["attributes.run_name ASC"])
        rows |= {one.data.tags["variant"].replace("_", " "): one.data.metrics for one in found}
    rows = {who: metrics for who, metrics in rows.items() if any(f"test_{key}" in metrics for key in FIGURES[task])}
    names = {key: name for key, name in FIGURES[task].items() if any(f"test_{key}" in metrics for metrics in rows.values())}
    if not names:
        return []
    lines = [f"| | {' | '.join(names.values())} |", "|---|" + "---:|" * len(names)]
    for who, metrics in rows.items():
        cells = [f"{metrics[f'test_{key}']:.4g}" if f"test_{key}" in metrics else "" for key in names]
        lines.append(f"| {who} | {' | '.join(cells)} |")
    return lines


def _evidence(root: Path, version: ModelVersion, run: Run) -> list[str]:
    """What intervals held, and what the last audit over these data came to; no line of what is not known."""
    lines, figures = [], run.data.metrics
    if "test_coverage" in figures:
        score = f", interval score {100 * figures['test_interval_score']:.2f} % of the level"
        lines.append(f"- intervals held {100 * figures['test_coverage']:.1f} % of the test part{score}")
    proofs = kept(root, version.tags["item"], version.tags.get("data_sha256") or run.data.tags.get("data_sha256", ""))
    if proofs:
        failed = [f"{proof.name} ({proof.said})" for proof in proofs if not proof.holds]
        said = f"{len(proofs) - len(failed)} of {len(proofs)} proofs hold that nothing of the future reaches it"
        lines.append(f"- audit: {said}" + (f"; not: {'; '.join(failed)}" if failed else ""))
    return lines


def _environment(version: ModelVersion, model: dict[str, Any]) -> list[str]:
    origin, tags = model["origin"], version.tags
    registered = json.loads(tags[versions.GOLDEN]) if versions.GOLDEN in tags else None
    lines = [f"- trained on {origin['device']}, engine {origin['engine']}" + (f", torch {origin['torch']}" if "torch" in origin else "")]
    if registered:
        machine = registered["machine"]
        lines.append(
            f"- registered on {machine['cpu']} ({machine['vectors']}), torch {machine['torch']}, where it runs with {registered['engine']}"
        )
    if "git_commit" in tags:
        lines.append(f"- commit `{tags['git_commit']}`, params.yaml sha256 `{tags['params_sha256'][:16]}`")
    lines.append(f"- code of windows, tasks, models and training sha256 `{origin.get('code_sha256', 'not known')[:16]}`")
    lines.append(
        "- determinism: the same bits from the same data, settings and code on the same kind of CPU with the same engine and torch; "
        f"golden predictions elsewhere within {golden.RELATIVE:g}"
    )
    return lines
