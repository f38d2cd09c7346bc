"""The command line: each command prepares the process, calls a room, and says what came of it.

stdout is the result, stderr the progress. Slow libraries are imported by the command that needs them,
so `longshort --help` answers at once.
"""

from __future__ import annotations

import contextlib
import enum
import errno
import importlib
import json
import os
import signal
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from longshort import environment, storage
from longshort.errors import (
    AuditFailed,
    DataRefused,
    LongshortError,
    PartlyDone,
    PromotionRefused,
    ReproductionDiffers,
    UnknownVariant,
    UsageError,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from longshort.config import Params
    from longshort.registry.decision import Decision
    from longshort.registry.local import Registry
    from longshort.tuning.search import Findings, Plan
    from longshort.tuning.study import Trial

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None)
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
Set = Annotated[list[str] | None, typer.Option("--set", metavar="a.b=c", help="Write a value into params.yaml first; may be repeated.")]
OfDataset = Annotated[str | None, typer.Option("--dataset", help="Whose model; default: the first data set that has one.")]
UNWRITABLE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM}
IN_THE_WAY = {errno.ENOTDIR, errno.EEXIST, errno.EISDIR}


@app.callback()
def longshort() -> None:
    """Retrain recurrent networks on prices and text; only a better model serves."""


# --- the main job -----------------------------------------------------------------------------


@app.command()
def run(
    params: Annotated[Path | None, typer.Option("--params", help="Replace params.yaml with this file first.")] = None,
    settings: Set = None,
    as_json: Json = False,
) -> None:
    """The main job: retrain what changed, print the leaderboard, the verdict and the next forecast."""
    from longshort import console, graph

    root = _root()
    with graph.lock(root, console.say):  # what a stage reads must not change while it runs
        _apply(root, params, settings or [])
    try:
        _run("retraining", root)
    except PartlyDone:  # what the stages came to is whole, and what a person waited for
        _show_leaderboard(root, as_json)
        raise
    _summarise(root, as_json)


@app.command()
def stage(name: str, item: Annotated[str, typer.Option("--item", help="A data set, or DATASET-VARIANT.")]) -> None:
    """Run one stage of dvc.yaml on one item; this is what DVC calls."""
    root = _root()
    params = _params(root)
    known = ("ingestion", "validation", "windows", "training", "evaluation")
    if name not in known:
        raise UsageError(f"no stage '{name}'. Known: {', '.join(known)}.")
    items = params.training.items if name in ("training", "evaluation") else params.ingestion.datasets
    if item not in items:
        raise UsageError(f"stage {name} has no item '{item}'. Known: {', '.join(items)}.")
    importlib.import_module(f"longshort.{name}.stage").run(root, item, params)


@app.command()
def tune(
    item: Annotated[str, typer.Argument(help="One of `training.items` of params.yaml, such as goog-lstm.")],
    settings: Set = None,
    as_json: Json = False,
) -> None:
    """Search over an item's settings, as `tuning` of params.yaml says; compare the best found with what there is."""
    root = _root()
    from longshort import console, graph, trials
    from longshort.tuning import search

    _end_on_sigterm()
    with graph.lock(root, console.say):  # as `run`: what is written must not change what a retraining reads
        _apply(root, None, settings or [])
    params = _params(root)
    plan = search.plan(root, item, params)
    search.refuse_stale(root, plan.dataset)
    console.say(f"tuning {item} on {plan.where.name}")
    with graph.held(plan.state.with_suffix(".lock"), f"search over {item}", console.say):
        away: list[PartlyDone] = []  # MLflow is asked again in the end, not after each round
        found = search.search(plan, console.say, lambda told: _log_search(root, plan, told, away))
        if as_json:
            _print_json(found.as_json())
        else:
            for table in trials.tables(found):
                _console().print(table)
            print("\n".join(trials.lines(found)))
        sys.stdout.flush()
        _log_search(root, plan, found)


def _log_search(root: Path, plan: Plan, told: list[Trial] | Findings, away: list[PartlyDone] | None = None) -> None:
    """Bring MLflow up to date; when it is away, note that in ``away`` and go on without it.

    raises  PartlyDone when there is no ``away``
    """
    if away:
        return
    from longshort import tracking
    from longshort.tuning import record

    try:
        with tracking.reachable(root, plan.params, f"longshort tune {plan.item}"):
            client = tracking.connect(root, plan.params)
            if isinstance(told, list):
                record.log_trials(client, root, plan, told)
            else:
                record.log_findings(client, root, plan, told)
    except PartlyDone as error:
        if away is None:
            raise
        away.append(error)


class Occasion(enum.StrEnum):
    """What is done on a schedule: a flow each."""

    retraining = "retraining"
    watching = "watching"
    forecasting = "forecasting"


@app.command()
def watch(as_json: Json = False) -> None:
    """Look whether what serves is still what it was judged to be; retrain, with the reason, where it is not."""
    from longshort import accounts, journal
    from longshort.monitoring import watch as watching

    root = _root()
    _priced(_params(root))
    _run("watching", root)
    seen = [journal.read(watching.place(root, dataset))[-1] for dataset in _priced(_params(root))]
    if as_json:
        return _print_json(seen)
    print("\n\n".join("\n".join(accounts.watched(one)) for one in seen))
    if any(one["retrain"] for one in seen):
        print()
        _summarise(root, as_json=False)


@app.command()
def schedule(
    occasion: Annotated[Occasion, typer.Argument(help="What is done then.")] = Occasion.retraining,
    cron: Annotated[str | None, typer.Option("--cron", help='When, such as "30 22 * * 1-5" (UTC).')] = None,
    every: Annotated[float | None, typer.Option("--every", help="Or: every so many seconds.")] = None,
    prefect_port: Annotated[int, typer.Option(min=1024, max=65535)] = 4200,
) -> None:
    """Serve a Prefect deployment that retrains, watches or forecasts on a schedule, until it is stopped."""
    if (cron is None) == (every is None):
        raise UsageError('say when: --cron "30 22 * * 1-5", or --every SECONDS.')
    root = _root()
    from longshort import servers

    _end_on_sigterm()
    with servers.prefect(root, prefect_port) as address:
        print(f"Prefect {address} · deployment {occasion}/scheduled · stop with Ctrl-C", file=sys.stderr)
        servers.serve(root, _flow(root, occasion), cron, every)


@app.command()
def replay(
    paths: list[str],
    months: Annotated[int, typer.Option("--months", min=1, help="The newest, which arrive one by one.")] = 12,
    tickers: Annotated[int, typer.Option("--tickers", min=1, help="Spread over the alphabet.")] = 20,
    every: Annotated[int, typer.Option("--every", min=1, metavar="MONTHS", help="When a retraining is due.")] = 1,
    regime: Annotated[int | None, typer.Option("--regime", metavar="MONTH", help="Plant: from it on prices move thrice as much.")] = None,
    broken: Annotated[int | None, typer.Option("--broken", metavar="MONTH", help="Plant: its file has prices in cents.")] = None,
    into: Annotated[Path, typer.Option("--into", help="The folder of the replay's own project.")] = Path(".state/replay"),
    settings: Set = None,
) -> None:
    """Live through the newest months of price files again: retraining, watching and forecasting as they would have run; and their worth."""
    from longshort import console, tracking
    from longshort import replay as replays
    from longshort.ingestion import intake
    from longshort.ingestion.dataset import assemble, terms

    source = storage.find_root()
    files = intake.collect(paths)
    params = intake.with_dataset(_params(source), intake.CHECKED, "forecast", {})
    table = assemble({file.name: file for file in files}, "forecast", terms(params, intake.CHECKED)).table
    made = replays.plan(table, tickers, months, regime, broken)
    folder = (source / into).resolve()
    replays.lay_out(source, folder, settings or [], console.say)
    environment.prepare(folder)
    os.chdir(folder)
    replays.walk(folder, made, every, lambda occasion, **how: _run(occasion, folder, **how), console.say)
    from longshort.monitoring import trend as trends
    from longshort.registry import ledger

    params = _params(folder)
    found = trends.read(tracking.connect(folder, params), folder, params, replays.DATASET)
    print("\n".join(trends.lines(found)))
    print(
        f"\nlook    {trends.write(folder, found)}\n        {ledger.place(folder)}\nor      cd {folder}    longshort history    longshort ui"
    )


@app.command()
def systems(
    names: Annotated[list[str] | None, typer.Argument(help="Of systems; default: the table of all.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Run them all.")] = False,
    fast: Annotated[bool, typer.Option("--fast", help="A smaller run, to see that everything works.")] = False,
    data: Annotated[Path | None, typer.Option("--data", help="The real files in place of the embedded ones; a file or a folder.")] = None,
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Networks of each kind, whose figures are averaged.")] = 1,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="a=b", help="A setting of the network or its training: cell=gru, hidden_size=300.")
    ] = None,
    as_json: Json = False,
) -> None:
    """The systems of five well-known tutorials, published figures beside ours; or train some, with their figures and pictures."""
    from longshort import console
    from longshort.systems import catalogue, record, running, showing

    root = _root()
    if every and names:
        raise UsageError(f"--all runs every system, and {names[0]} is named besides. Leave one of them out.")
    chosen = list(catalogue.SYSTEMS) if every else names or []
    if not chosen:
        if fast or data is not None or seeds > 1 or settings:
            raise UsageError("--fast, --data, --seeds and --set say how a system is run, and none is named. Name some, or say --all.")
        entries = record.read(root)
        if as_json:
            _print_json(entries)
        else:
            _console().print(showing.table(entries))
        if record.unlogged(root):
            running.log(root, _params(root))
        return
    if data is not None and len(chosen) > 1:
        raise UsageError("--data goes with one system: each reads files of its own. Name one, or leave --data out.")
    _end_on_sigterm()
    occasions = running.planned(root, _params(root), chosen, data, fast, range(seeds), settings or [], console.say)
    found: list[dict[str, Any]] = []

    def tell(entry: dict[str, Any]) -> None:
        found.append(entry)
        if not as_json:
            print("\n".join(showing.lines(entry, record.place(root, entry["system"], entry["fast"]))), flush=True)

    try:
        running.run(occasions, tell)
    finally:  # what has ended is whole, whatever became of the others
        if as_json and found:
            _print_json(found)


# --- a person's files -------------------------------------------------------------------------


Ticker = Annotated[str | None, typer.Option("--ticker", help="Of files of one ticker that do not bear its name.")]
DateFormat = Annotated[str | None, typer.Option("--date-format", help="dmy, mdy, epoch_s, epoch_ms, excel, or a pattern such as %d.%m.%y.")]
DecimalMark = Annotated[str | None, typer.Option("--decimal", help="The decimal mark: . or ,")]
Price = Annotated[str | None, typer.Option("--price", help="The column that shall be close.")]
Adjust = Annotated[str | None, typer.Option("--adjust", help="Splits: auto repairs them, ratio only columns of two scales, none nothing.")]
Encoding = Annotated[str | None, typer.Option("--encoding", help="Such as cp1252.")]
ExchangeCalendar = Annotated[str | None, typer.Option("--calendar", help="An exchange such as XNYS, or none: every row is a step.")]
SkipRows = Annotated[int | None, typer.Option("--skip-rows", min=0, help="Lines before the header.")]
OnDuplicate = Annotated[str | None, typer.Option("--on-dup", help="last: of rows of one date with other values keep the last.")]
Prefer = Annotated[str | None, typer.Option("--prefer", help="newer: of files that contradict one another the one that reaches further.")]
Errors = Annotated[str | None, typer.Option("--errors", help="replace: put U+FFFD for bytes that are no character.")]
Strict = Annotated[bool | None, typer.Option("--strict", help="A warning about a text is a refusal.")]
Kind = Annotated[str | None, typer.Option("--as", help="stocks, text, labels, tags, pairs or captions, where files do not tell.")]


@app.command()
def ingest(
    context: typer.Context,
    paths: list[str],
    kind: Kind = None,
    dataset: Annotated[str | None, typer.Option("--dataset", help="The data set's name; default: the file's or folder's.")] = None,
    ticker: Ticker = None,
    date_format: DateFormat = None,
    decimal: DecimalMark = None,
    price: Price = None,
    adjust: Adjust = None,
    encoding: Encoding = None,
    errors: Errors = None,
    strict: Strict = None,
    calendar: ExchangeCalendar = None,
    skip_rows: SkipRows = None,
    on_duplicate: OnDuplicate = None,
    prefer: Prefer = None,
    accept: Annotated[bool, typer.Option("--accept-restatement", help="The new history may rewrite the one that is held.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be taken in; change nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Take a person's files in: data/raw/<dataset>/, versioned by DVC, and a line in params.yaml."""
    from longshort import accounts, console, graph
    from longshort.ingestion import intake

    root = _root()
    _kind(kind)
    files = intake.collect(paths)
    task = _task(kind, files)
    name = dataset or intake.dataset_name(files)
    read = _said(context)
    params = intake.with_dataset(_params(root), name, task, read)
    if dry_run:
        account, written, changes = intake.inspect(files, params, name), "", None
    else:
        with graph.lock(root, console.say):
            taken = intake.take_in(root, name, files, params, accept)
            account, changes, written = taken.account, taken.difference, intake.register(root, name, task, read)
    if as_json:
        return _print_json({"dataset": name, "task": task, "dry_run": dry_run, "account": account, "difference": changes})
    print(f"{name} ({task})")
    print("\n".join(accounts.lines(account)))
    if changes:
        print(accounts.difference_line(changes))
    if written:
        print(written, end="")
    if not dry_run:
        print(_next(name, task))


@app.command()
def check(
    context: typer.Context,
    paths: list[str],
    kind: Kind = None,
    ticker: Ticker = None,
    date_format: DateFormat = None,
    decimal: DecimalMark = None,
    price: Price = None,
    adjust: Adjust = None,
    encoding: Encoding = None,
    errors: Errors = None,
    strict: Strict = None,
    calendar: ExchangeCalendar = None,
    skip_rows: SkipRows = None,
    on_duplicate: OnDuplicate = None,
    as_json: Json = False,
) -> None:
    """Say what files are, and what would be mended, set aside or refused, each by itself; nothing is taken in."""
    from longshort import accounts
    from longshort.ingestion import intake

    params = _params(_root())
    read = _said(context)
    found: list[dict[str, Any]] = []
    files = intake.collect(paths)
    for together in intake.together(files, _kind(kind)):
        file = {"file": str(together[0]), **({"beside": [str(other) for other in together[1:]]} if together[1:] else {})}
        try:
            task = _task(kind, together)
            account = intake.inspect(together, intake.with_dataset(params, intake.CHECKED, task, read), intake.CHECKED, files)
            found.append({**file, "task": task, "account": account})
            if not as_json:
                print("\n".join(accounts.lines(account)))
        except (DataRefused, UsageError) as error:
            found.append({**file, "refused": str(error)})
            if not as_json:
                print(f"{together[0].name}\n  refused    {error}")
    if as_json:
        _print_json(found)
    refused = sum("refused" in entry for entry in found)
    if refused:
        raise DataRefused(f"{refused} of {len(found)} files would be refused; nothing was taken in. Mend them as it says above.")


def _next(name: str, task: str) -> str:
    """What a person does with a data set that was taken in."""
    return f"Next: longshort run; then git add data/raw/{name}.dvc params.yaml dvc.lock && git commit"


def _kind(kind: str | None) -> Any:
    """The task of what a person calls a kind of files; None where they said nothing."""
    from longshort.ingestion.recognition import KINDS

    if kind is not None and kind not in KINDS:
        raise UsageError(f"--as {kind}: expected {', '.join(KINDS)}.")
    return KINDS[kind] if kind else None


def _task(kind: str | None, files: list[Path]) -> Any:
    from longshort.ingestion import recognition

    return _kind(kind) or recognition.guess_task(files)


def _said(context: typer.Context) -> dict[str, Any]:
    """What a person said about files, by its name in `read` of params.yaml; what they did not say is left out.

    raises  UsageError with the option that nobody can mean
    """
    from longshort import config

    said = {name: value for name in config.Read.model_fields if (value := context.params.get(name)) is not None}
    config.read_settings(said)
    return said


# --- looking ----------------------------------------------------------------------------------


@app.command()
def leaderboard(as_json: Json = False) -> None:
    """Every variant's figures on the test part, beside the naive ones."""
    _show_leaderboard(_root(), as_json)


@app.command()
def history(as_json: Json = False) -> None:
    """Who was champion when, why, and by which data, code and run; who was refused, and why."""
    from longshort.registry import ledger

    root = _root()
    entries = ledger.history(root)
    if as_json:
        return _print_json(entries)
    for line in [*ledger.lines(entries), *ledger.serving(entries)]:
        print(line)
    for said in _drifts(root, dict.fromkeys(entry["model"] for entry in entries)):
        print(said, file=sys.stderr)


@app.command()
def trend(
    dataset: Annotated[str | None, typer.Argument(help="Of prices; default: all.")] = None,
    as_json: Json = False,
) -> None:
    """Skill by date across retrainings, why each took place, and what retraining was worth against naive and against never doing it."""
    from longshort.monitoring import trend as trends

    root, client, params = _registry()
    priced = _priced(params)
    if dataset is not None and dataset not in priced:
        raise UsageError(f"no price data set '{dataset}' is trained on. Known: {', '.join(priced)}.")
    found = [trends.read(client, root, params, name) for name in ([dataset] if dataset else priced)]
    if as_json:
        return _print_json([trends.as_json(each) for each in found])
    for each in found:
        print(each.dataset)
        print("\n".join(trends.lines(each)))
        if each.points:
            print(f"\nlook    {trends.write(root, each).relative_to(root)}\n")


@app.command()
def variants(
    name: Annotated[str | None, typer.Argument(help="A cell: its equations, its paper, and the options that it has.")] = None,
    inputs: Annotated[int, typer.Option("--inputs", min=1, help="Features of a step, for the count of parameters.")] = 1,
    hidden: Annotated[int, typer.Option("--hidden", min=2, help="The hidden size, likewise.")] = 50,
    as_json: Json = False,
) -> None:
    """The catalogue: which recurrent cells there are, where they come from, and which engines run them."""
    from longshort.models import catalogue
    from longshort.models.cells import CELLS

    if name is not None and name not in CELLS:
        raise UnknownVariant(f"no cell '{name}'. Known: {', '.join(CELLS)}.")
    if as_json:
        entries = [catalogue.entry(each, inputs, hidden) for each in ([name] if name else CELLS)]
        return _print_json(entries[0] if name else entries)
    lines = catalogue.page(name, inputs, hidden, _console().width) if name else catalogue.table(inputs, hidden)
    print("\n".join(lines))


@app.command()
def audit(
    items: Annotated[list[str] | None, typer.Argument(help="Of `training.items`; default: the first of each data set.")] = None,
    as_json: Json = False,
) -> None:
    """Prove that nothing of the future reaches a model: change it, and look what moves."""
    root = _root()
    from dataclasses import asdict

    from longshort.audit import stage
    from longshort.config import LABELLED

    params = _params(root)
    firsts: dict[str, str] = {}
    for name, entry in params.training.items.items():
        if entry.task not in LABELLED:
            firsts.setdefault(entry.dataset, name)
    if not (items or firsts):
        raise UsageError("no item of prices or of running text; the proofs are about time, and rows have none.")
    found = {}
    for item in items or firsts.values():
        print(f"auditing {item}", file=sys.stderr)
        found[item] = stage.run(root, item, params)
    if as_json:
        _print_json({item: [asdict(proof) for proof in proofs] for item, proofs in found.items()})
    else:
        for item, proofs in found.items():
            print(item)
            for proof in proofs:
                print(f"  {'holds' if proof.holds else 'FAILS'}  {proof.name}: {proof.said}")
    failed = [f"{item}: {proof.name}" for item, proofs in found.items() for proof in proofs if not proof.holds]
    if failed:
        sys.stdout.flush()
        many = f"{len(failed)} of {sum(map(len, found.values()))} proofs do not hold"
        raise AuditFailed(f"{many}: {'; '.join(failed)}. Trust no score of these until they do.")


@app.command()
def doctor(
    fix: Annotated[bool, typer.Option("--fix", help="Remove what is damaged, so that it is made again.")] = False,
    as_json: Json = False,
) -> None:
    """Check every byte of stage outputs, the DVC cache and registered models."""
    root = _root()
    from longshort import doctor as examination

    found = examination.examine(root, _params(root), fix)
    if as_json:
        _print_json([vars(each) for each in found])
    else:
        for each in found:
            print(f"{each.path}: {each.problem}: {each.remedy}")
        if not found:
            print("every byte is as it was written")
    if found and not fix:
        raise typer.Exit(3)


# --- the registry -----------------------------------------------------------------------------


@app.command()
def promote(
    model: str,
    version: Annotated[str | None, typer.Argument(help="Default: the challenger.")] = None,
    force: Annotated[str | None, typer.Option("--force", metavar="REASON", help="Whatever the judge says; the reason is recorded.")] = None,
) -> None:
    """Judge a version against naive and the champion, now; make it champion if it earned that (else exit 4)."""
    from longshort.registry import decision, versions

    if force is not None and not force.strip():
        raise UsageError("--force wants a reason in words: it is what `longshort history` will say.")
    root, client, params = _registry()
    dataset = _dataset_of(model, params)
    found = versions.find(client, model, version) if version else versions.at_alias(client, model, versions.CHALLENGER)
    if found is None:
        raise UsageError(f"no model '{model}' has a challenger. Run `longshort run` first.")
    verdict = decision.settle(client, root, params, dataset, found, force)
    if not verdict.promote:
        raise PromotionRefused(f"{model} v{found.version}: {verdict.reason}")
    print(f"{model} v{found.version}: {verdict.reason}")


@app.command()
def rollback(
    model: str, forward: Annotated[bool, typer.Option("--forward", help="To the champion that was last gone back from.")] = False
) -> None:
    """Put the champion before back, once it answers as when it was registered; again goes back further."""
    from longshort.registry import promotion

    root, client, params = _models()
    _dataset_of(model, params)
    old, new = promotion.rollback(client, root, model, forward)
    print(f"{model}: champion is v{new} again (was v{old})")


@app.command()
def reproduce(
    run: Annotated[str, typer.Argument(help="The id of a training or retraining in MLflow, or its beginning, as `history` shows it.")],
    as_json: Json = False,
) -> None:
    """Make a run again from its commit, data and settings, and compare; PASS or FAIL becomes a tag of the run (FAIL: exit 5)."""
    from longshort import console
    from longshort.registry import reproduction

    root, client, _ = _registry()
    found = reproduction.reproduce(client, root, run, console.say)
    if as_json:
        _print_json({**vars(found), "sentence": found.sentence})
    else:
        print(found.sentence)
    if found.difference:
        sys.stdout.flush()
        raise ReproductionDiffers(f"run {found.run_id[:8]} came to something else; what it came to is in {found.worktree}.")


# --- answers from a registered model ----------------------------------------------------------


@app.command()
def forecast(
    ticker: Annotated[str | None, typer.Argument(help="Default: write the next forecasts of every ticker to reports/forecasts.")] = None,
    steps: Annotated[int | None, typer.Option("--sessions", min=1, max=250, help="How many; default: the model's horizon.")] = None,
    plot: Annotated[Path | None, typer.Option("--plot", metavar="FILE", help="Draw them behind the newest sessions, as PNG.")] = None,
    as_json: Json = False,
) -> None:
    """The next sessions' prices of a ticker, with intervals, and which model says so."""
    from longshort import serving

    if ticker is None:
        if steps or plot or as_json:
            raise UsageError("--sessions, --plot and --json are of one ticker: `longshort forecast TICKER`.")
        root = _root()
        _priced(_params(root))
        return _run("forecasting", root)
    root, client, params = _models()
    for dataset, entry in params.ingestion.datasets.items():
        if entry.task == "forecast" and (root / "data/ingestion" / dataset).exists():
            table = serving.read_tidy(root, dataset)
            if ticker.upper() in set(table["ticker"].to_pylist()):
                break
    else:
        raise UsageError(f"no data set holds the ticker '{ticker}'. Take its file in with `longshort ingest FILE`, then `longshort run`.")
    model, by = _serving_model(root, client, f"forecast-{dataset}")
    told = serving.forecast(model, table, ticker.upper(), params.evaluation.coverage, steps)
    if plot is not None:
        storage.write_bytes(plot, serving.picture(told, table, f"said by {by['model']} v{by['version']}, the {by['alias']}"))
    if as_json:
        days = [day.isoformat() for day in told.sessions]
        return _print_json({**vars(told), "last_session": told.last_session.isoformat(), "sessions": days, **by})
    for day, level, low, high in zip(told.sessions, told.levels, told.low, told.high, strict=True):
        change = 100 * (level / told.last_price - 1)
        band = f", {told.coverage:.0%} between {low:.2f} and {high:.2f}" if low is not None and high is not None else ""
        print(f"{told.ticker}  {day:%a} {day}  {level:.2f}{band}  ({change:+.2f} % on {told.last_price:.2f} of {told.last_session})")
    print(_by_whom(by))


@app.command()
def generate(
    prompt: str,
    count: Annotated[int, typer.Option("-n", min=1, max=1000, help="Words to write.")] = 32,
    dataset: OfDataset = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Another seed, another text.")] = 0,
    as_json: Json = False,
) -> None:
    """Write on from a few words."""
    from longshort import serving

    model, by = _model_of("language-model", dataset)
    written, unknown = serving.generate(model, prompt, count, seed)
    if as_json:
        return _print_json({"text": written, "unknown_words_in_prompt": unknown, **by})
    print(written)
    if unknown:
        print(f"({unknown} word(s) of the prompt are not in the vocabulary)", file=sys.stderr)
    print(_by_whom(by))


@app.command()
def complete(
    text: str,
    count: Annotated[int, typer.Option("--count", min=1, max=100, help="Suggestions.")] = 5,
    dataset: OfDataset = None,
    as_json: Json = False,
) -> None:
    """Suggest how a text goes on while it is typed: the rest of its last word, or the next one."""
    from longshort import serving

    model, by = _model_of("language-model", dataset)
    found = serving.Completer(model).suggest(text, count)
    if as_json:
        told = [{"word": one.word, "probability": one.probability, "finishes": one.finishes} for one in found]
        return _print_json({"suggestions": told, **by})
    for one in found:
        print(f"{one.probability:7.2%}  {one.word}{'' if one.finishes else '  (next word)'}")
    print(_by_whom(by))


@app.command()
def classify(text: str, dataset: OfDataset = None, as_json: Json = False) -> None:
    """The label of a text, and how probable it is."""
    from longshort import serving

    model, by = _model_of("classify", dataset)
    shares = serving.labels(model, text)
    label, *others = shares
    if as_json:
        return _print_json({"label": label, "probabilities": shares, "unknown_words": serving.unknown_words(model, text), **by})
    beside = ", ".join(f"{other} {shares[other]:.0%}" for other in others[:2])
    print(f"{label}  {shares[label]:.0%}" + f"  (then {beside})" * bool(beside))
    _say_unknown(serving.unknown_words(model, text))
    print(_by_whom(by))


@app.command()
def tag(text: str, dataset: OfDataset = None, as_json: Json = False) -> None:
    """A tag for each word of a text; words stand between spaces."""
    from longshort import serving
    from longshort.evaluation import answers

    model, by = _model_of("tag", dataset)
    asked = serving.readable(model, text)
    words, tags = asked.split(), answers.tags(model, [asked])[0].split()
    if as_json:
        return _print_json({"words": words, "tags": tags, "unknown_words": serving.unknown_words(model, text), **by})
    wide = max(map(len, words))
    for word, own in zip(words, tags, strict=True):
        print(f"{word:{wide}}  {own}")
    _say_unknown(serving.unknown_words(model, text))
    print(_by_whom(by))


@app.command()
def translate(
    text: str,
    dataset: OfDataset = None,
    beam: Annotated[int, typer.Option("--beam", min=1, max=64, help="Beginnings that are kept; 1 is greedy.")] = 4,
    as_json: Json = False,
) -> None:
    """A text in the other language, or form, of a data set of pairs."""
    from longshort import serving
    from longshort.evaluation import answers

    model, by = _model_of("translate", dataset)
    found = answers.translated(model, [serving.readable(model, text)], beam)[0]
    if as_json:
        return _print_json({"translation": found, "unknown_words": serving.unknown_words(model, text), **by})
    print(found)
    _say_unknown(serving.unknown_words(model, text))
    print(_by_whom(by))


@app.command()
def caption(
    file: Annotated[Path, typer.Argument(help="CSV, TSV or JSON with the columns that were learned; a column caption is ignored.")],
    dataset: OfDataset = None,
    beam: Annotated[int, typer.Option("--beam", min=1, max=64, help="Beginnings that are kept; 1 is greedy.")] = 4,
    as_json: Json = False,
) -> None:
    """The caption of each row of numbers of a file."""
    from longshort.evaluation import answers
    from longshort.ingestion import captions, source
    from longshort.windows.captions import Vectors

    model, by = _model_of("caption", dataset)
    read = _params(_root()).ingestion.datasets[by["model"].removeprefix("caption-")].read  # files are read as those it learned from
    columns = tuple(answers.columns(model))
    values = captions.read_vectors(source.read(file), str(file), columns, read.encoding, read.errors or "strict", read.decimal)
    found = answers.captioned(model, Vectors(columns, values), beam)
    if as_json:
        return _print_json({"captions": found, **by})
    print("\n".join(found))
    print(_by_whom(by))


@app.command()
def ui(
    mlflow_port: Annotated[int, typer.Option(min=1024, max=65535)] = 5000,
    prefect_port: Annotated[int, typer.Option(min=1024, max=65535)] = 4200,
) -> None:
    """Start the MLflow and Prefect servers on this machine, and say where everything is."""
    root = _root()
    params = _params(root)
    from longshort import servers

    _end_on_sigterm()
    with servers.prefect(root, prefect_port) as prefect, servers.mlflow(root, params, mlflow_port) as mlflow:
        print(f"MLflow      {mlflow}\nPrefect     {prefect.removesuffix('/api')}")
        for name in params.ingestion.datasets:
            page = root / "data/validation" / name / "index.html"
            if page.exists():
                print(f"Data Docs   {page.as_uri()}")
        print("Stop with Ctrl-C.", flush=True)
        signal.pause()


# --- what the commands share ------------------------------------------------------------------


def _end_on_sigterm() -> None:
    """Let SIGTERM end the command as an exception does, so that the servers that it started end with it."""

    def end(number: int, _: Any) -> NoReturn:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, end)


def _root() -> Path:
    root = storage.find_root()
    environment.prepare(root)
    return root


def _params(root: Path) -> Params:
    from longshort import config

    return config.read(root / "params.yaml")


def _apply(root: Path, file: Path | None, settings: list[str]) -> None:
    from longshort import config, editing

    path = root / "params.yaml"
    if file is not None:
        print(editing.replace(path, file), end="", file=sys.stderr)
    if settings:
        print(editing.assign(path, settings), end="", file=sys.stderr)
    from longshort.models import choice

    params = config.read(path)
    if measured := choice.settle(params):
        print(editing.assign(path, measured), end="", file=sys.stderr)
    if said := choice.standing_in(params):  # what is measured is there, so only what was named can be missing
        print(said, file=sys.stderr)


def _flow(root: Path, occasion: str) -> Any:
    """The flow of an occasion, loaded by path from the project's root as Prefect's entrypoints are."""
    from prefect.flows import load_flow_from_entrypoint

    os.chdir(root)
    return load_flow_from_entrypoint(f"flows/{occasion}.py:{occasion}")


def _run(occasion: str, root: Path, **how: Any) -> None:
    """Run the flow of an occasion, with a Prefect server that lives as long as this process."""
    from longshort import console, databases, forkserver, lastrun, servers, tracking

    params = _params(root)
    servers.end_orphans(root)
    if not (root / ".state/prefect").exists() and not databases.kept("prefect").exists():
        console.say("  the first run: Prefect and MLflow make their databases, some 20 s")
    wait_for_server = servers.start_temporary_prefect(root)
    forkserver.start(root)  # before Prefect, whose threads would not let it be forked from us
    flow = _flow(root, occasion)
    # what the flow will need takes seconds, as the server's start does: imports, and the schema of a new MLflow store
    importlib.import_module("dvc.repo")
    if params.tracking.uri == "local" and lastrun.standing(root, params) is None:
        with contextlib.suppress(Exception):  # a store that is broken is told of by the task that needs it
            tracking.connect(root, params)
    wait_for_server()
    _run_flow(flow, root, how)


def _run_flow(flow: Any, root: Path, how: dict[str, Any]) -> None:
    from concurrent.futures import ThreadPoolExecutor, wait

    import psutil

    from longshort import graph

    # not in the main thread: there Prefect takes SIGTERM for itself, and answers it when the stages that run have ended
    with ThreadPoolExecutor(1) as pool:

        def stop(number: int, _: Any) -> NoReturn:
            graph.stop_running()
            wait([running], timeout=3)  # Prefect is told how it ended
            for child in psutil.Process().children(recursive=True):
                with contextlib.suppress(psutil.Error):
                    child.kill()
            print("longshort: interrupted; run the same command again to go on", file=sys.stderr, flush=True)
            os._exit(128 + number)

        running = pool.submit(flow, root, **how, return_state=True)
        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGINT, stop)
        state = running.result()
    if not state.is_completed():
        from prefect.states import get_state_exception

        error = get_state_exception(state)
        assert isinstance(error, BaseException)
        raise error


def _summarise(root: Path, as_json: bool) -> None:
    from longshort import lastrun
    from longshort import leaderboard as board
    from longshort.registry.decision import Decision

    params = _params(root)
    last = lastrun.read(root)
    decisions = [Decision(**entry) for entry in last["decisions"]]
    rows = board.rows(root, params)
    if as_json:
        came_to = {name: last[name] for name in ("flow_run_id", "nothing_new", "decisions")}
        return _print_json({"leaderboard": board.as_json(rows), **came_to})
    console = _console()
    for table in board.tables(rows):
        console.print(table)
    for alarm in board.alarms(rows):
        print(f"{alarm}\n")
    for decision in decisions:
        print(_verdict(decision))
    for said in last["forecasts"]:
        print(f"\n{said}")
    _where_to_look(root, params, last["nothing_new"])


def _show_leaderboard(root: Path, as_json: bool) -> None:
    from longshort import leaderboard as board

    rows = board.rows(root, _params(root))
    if not rows:
        raise UsageError("nothing has been evaluated yet. Run `longshort run` first.")
    if as_json:
        return _print_json(board.as_json(rows))
    for table in board.tables(rows):
        _console().print(table)
    for alarm in board.alarms(rows):
        print(alarm)


def _verdict(decision: Decision) -> str:
    who = f"{decision.model} v{decision.version} ({decision.variant}, seed {decision.seed})"
    serves = f"v{decision.champion} serves" if decision.champion else "nothing serves: naive is still the best"
    return f"{who}: {decision.reason}; {serves}"


def _where_to_look(root: Path, params: Params, nothing_new: bool) -> None:
    if nothing_new:
        print("\nnothing new: every stage Cached, every run recorded already")
    print("\nlook    longshort ui         MLflow on http://127.0.0.1:5000, Prefect on http://127.0.0.1:4200")
    for name in params.ingestion.datasets:
        print(f"        data/validation/{name}/index.html")
    print("        data/evaluation/<data set>-<variant>/pictures/")
    from longshort.leaderboard import RANKED_BY

    asked = {item.task for item in params.training.items.values()}
    ticker = "GOOG" if "goog" in params.ingestion.datasets else "TICKER"
    ways = {"forecast": f"forecast {ticker}", "language-model": 'generate "the value of" -n 32', "caption": "caption FILE"}
    print("ask     " + "    ".join(f"longshort {ways.get(task, f'{task} TEXT')}" for task in RANKED_BY if task in asked))
    print('keep    git add params.yaml dvc.lock data/raw && git commit -m "Retrain"')


def _registry() -> tuple[Path, MlflowClient, Params]:
    from longshort import tracking

    root = _root()
    params = _params(root)
    with tracking.reachable(root, params):
        return root, tracking.connect(root, params), params


def _priced(params: Params) -> list[str]:
    if not (known := params.forecast_datasets()):
        raise UsageError("no price data set is trained on. Take one in with `longshort ingest FILE`, then `longshort run`.")
    return known


def _models() -> tuple[Path, Registry, Params]:
    """The registry where it is asked for versions and aliases alone: a project's own without MLflow, which takes long to be imported."""
    from longshort.registry.local import local

    root = _root()
    params = _params(root)
    if params.tracking.uri == "local" and (registry := local(root / "mlflow/store/mlflow.db")):
        return root, registry, params
    return _registry()


def _dataset_of(model: str, params: Params) -> str:
    known = {f"{entry.task}-{name}": name for name, entry in params.ingestion.datasets.items()}
    if model not in known:
        raise UsageError(f"no model '{model}'. Known: {', '.join(known)}.")
    return known[model]


def _serving_model(root: Path, client: Registry, name: str) -> tuple[Any, dict[str, Any]]:
    from longshort.registry import promotion, versions

    version, alias = promotion.serving_version(client, root, name)
    if said := promotion.drift(client, root, name):
        print(said, file=sys.stderr)
    return versions.open_version(client, version), {"model": name, "version": str(version.version), "alias": alias}


def _model_of(task: str, dataset: str | None) -> tuple[Any, dict[str, Any]]:
    """The model that serves a task's data set, by default the first one that something is trained on; and who it is."""
    root, client, params = _models()
    trained = {item.dataset for item in params.training.items.values()}
    known = [name for name, entry in params.ingestion.datasets.items() if entry.task == task and name in trained]
    if not known or (dataset is not None and dataset not in known):
        told = {"classify": "texts with a label", "tag": "texts with a tag a word", "translate": "pairs", "caption": "rows with captions"}
        what = told.get(task, "text")
        named = f" '{dataset}'" if dataset else ""
        there = ", ".join(known) or "none. Take one in with `longshort ingest`, then `longshort run`"
        raise UsageError(f"no data set{named} of {what} that a model is trained on. Known: {there}.")
    return _serving_model(root, client, f"{task}-{dataset or known[0]}")


def _say_unknown(words: list[str]) -> None:
    if words:
        print(f"({len(words)} unknown word(s): {', '.join(words)})", file=sys.stderr)


def _drifts(root: Path, models: Iterable[str]) -> list[str]:
    """What was moved by hand of these models; nothing where MLflow is away."""
    from longshort import tracking
    from longshort.registry import promotion

    params = _params(root)
    if not models or (params.tracking.uri == "local" and not (root / "mlflow/store/mlflow.db").exists()):
        return []
    try:
        with tracking.reachable(root, params, "longshort history"):
            client = tracking.connect(root, params)
            return [said for model in models if (said := promotion.drift(client, root, model))]
    except PartlyDone as away:
        return [f"whether an alias was moved by hand is not known: {away}"]


def _by_whom(by: dict[str, Any]) -> str:
    if by["alias"] == "champion":
        return f"said by {by['model']} v{by['version']}, the champion"
    return f"said by {by['model']} v{by['version']}, the challenger: no model has beaten what is naive yet, so there is no champion"


def _console() -> Any:
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else 110)


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False))


def _end_quietly() -> NoReturn:
    """The reader of stdout has gone, as `head` does: that is no error."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    raise SystemExit(0)


def main() -> NoReturn:
    """Run the command line; every error becomes its sentence and its exit code."""
    if sys.stdout is None:  # it was closed; no file that is opened shall get its number, and what libraries print
        sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115
    try:
        code = app(standalone_mode=False)  # what typer.Exit was given, or nothing
        if code == 130:  # what typer makes of Ctrl-C
            raise KeyboardInterrupt
        sys.stdout.flush()
        raise SystemExit(code or 0)
    except SystemExit as leave:
        if isinstance(leave.__context__, BrokenPipeError):  # typer's own answer to a reader that has gone is 1
            _end_quietly()
        raise
    except typer.Abort:
        raise SystemExit(130) from None
    except LongshortError as error:
        print(f"longshort: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from None
    except KeyboardInterrupt:
        print("longshort: interrupted; run the same command again to go on", file=sys.stderr)
        raise SystemExit(130) from None
    except BrokenPipeError:
        _end_quietly()
    except OSError as error:
        if error.errno in UNWRITABLE | IN_THE_WAY:
            remedy = "Free some space or mend the permissions" if error.errno in UNWRITABLE else "Move away what stands in a folder's place"
            remedy += "; nothing was half-written."
            print(f"longshort: {error.filename or 'the disk'}: {error.strerror}. {remedy}", file=sys.stderr)
            raise SystemExit(74) from None
        raise
    except Exception as error:
        if type(error).__module__.startswith("click") or hasattr(error, "format_message"):
            print(f"longshort: {error.format_message()}", file=sys.stderr)  # type: ignore[attr-defined]
            raise SystemExit(2) from None
        raise
