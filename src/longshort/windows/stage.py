"""The shell of the windows room: `data/ingestion` and `data/validation` in, `data/windows` out."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from longshort import sessions, storage
from longshort.config import Params, PriceWindows, Task, TextWindows
from longshort.errors import DataRefused
from longshort.windows import captions, files, labelled, prices, text
from longshort.windows.contamination import Overlap
from longshort.windows.folds import newest
from longshort.windows.labelled import Division, Sequences
from longshort.windows.text import Vocabulary
from longshort.windows.tokens import Paragraphs, tokenise

if TYPE_CHECKING:
    import pyarrow as pa

SHOWN = 5  # labels in a line of progress


def run(root: Path, item: str, params: Params) -> None:
    """Cut one data set into windows.

    raises  CorruptArtefact, or DataRefused when the data set is too short or does not vary
    """
    source, judged = root / "data/ingestion" / item, root / "data/validation" / item
    storage.verify(source)
    storage.verify(judged)
    if not storage.read_json(judged / "result.json")["success"]:
        raise DataRefused(
            f"{judged / 'result.json'}: validation refused '{item}'. Run `longshort stage validation --item {item}` for the reasons."
        )
    table = storage.read_table(source / "table.parquet")
    try:
        with storage.new_artefact(root / "data/windows" / item) as folder:
            task = params.ingestion.datasets[item].task
            if task == "forecast":
                account = storage.read_json(source / "account.json") if (source / "account.json").exists() else {}
                spec, lacking = prices.possible(params.windows.forecast, account.get("prices", prices.PRICES))
                if lacking:
                    print(f"windows of {item}: without {', '.join(lacking)}, which the data set has no prices for")
                calendar = sessions.of_dataset(source, params.validation.forecast.calendar)
                files.write_prices(folder, price_data(table, spec, calendar))
            elif task == "language-model":
                files.write_text(folder, text_data(table, item, params))
            else:
                write_labelled(folder, table, item, task, params)
    except DataRefused as error:
        raise type(error)(f"{source / 'table.parquet'}: {error}") from None


def price_data(table: pa.Table, spec: PriceWindows, calendar: str) -> files.PriceData:
    """Series, and parts and scaler of each fold, of a tidy price table."""
    columns = tidy_columns(table)
    return folded(prices.make_series(columns, spec, session_numbers(calendar, columns["date"])), spec, calendar)


def folded(series: prices.Series, spec: PriceWindows, calendar: str) -> files.PriceData:
    """A series parted and scaled, fold by fold.

    raises  SeriesTooShort, DataRefused as `prices.make_parts` and `prices.fit_scaler`
    """

    def of_fold(fold: int) -> files.PriceData:
        parts = prices.make_parts(series, spec, fold)
        return files.PriceData(spec, series, parts, prices.fit_scaler(series, parts["train"], spec), calendar)

    return newest(of_fold, spec.folds)


def tidy_columns(table: pa.Table) -> dict[str, NDArray[Any]]:
    """The tidy table's columns as arrays; a missing volume is NaN. Dates are datetime64[D], or [s] where rows are intraday."""
    import pyarrow as pa

    unit = "D" if table.schema.field("date").type == pa.date32() else "s"
    frame = table.to_pandas()
    columns = {name: frame[name].to_numpy(np.float64, na_value=np.nan) for name in ("open", "high", "low", "close", "volume")}
    return {"ticker": frame["ticker"].to_numpy(str), "date": frame["date"].to_numpy(f"datetime64[{unit}]"), **columns}


def session_numbers(calendar: str, dates: NDArray[Any]) -> Callable[[NDArray[Any]], NDArray[np.int64]]:
    """A function from dates to their place among the calendar's sessions."""
    if calendar == sessions.EVERY_ROW:
        own = np.unique(dates)
        return lambda asked: np.searchsorted(own, asked).astype(np.int64)
    days = sessions.sessions(calendar, dates.min().item(), dates.max().item()).to_numpy("datetime64[D]")
    return lambda asked: np.searchsorted(days, asked).astype(np.int64)


def rows(table: pa.Table) -> Iterator[tuple[str, str]]:
    """The rows of a tidy text table: the name of the document and its text; those of one name are one text, too long for a row."""
    for batch in table.select(["document", "text"]).to_batches(max_chunksize=1):
        yield batch["document"][0].as_py(), batch["text"][0].as_py()


def text_data(table: pa.Table, item: str, params: Params) -> files.TextData:
    """Ids, parts and vocabulary of each fold of a tidy text table; says what was read before the split was clean.

    raises  DataRefused when a fifth of the validation part's words and more are unknown, or a part is too short, in any fold
    """
    spec = params.windows.language_model
    blocks, words = tokenise(rows(table))

    def of_fold(fold: int) -> files.TextData:
        if spec.folds == 1:
            return _text_fold(blocks, words, item, spec, fold)
        which = f"fold {fold + 1} of {spec.folds}"
        try:
            return _text_fold(blocks, words, f"{item}, {which}", spec, fold)
        except DataRefused as error:
            raise type(error)(f"{which}, of {len(blocks.ids):,} words in all: {error} Or lower `windows.language-model.folds`.") from None

    return newest(of_fold, spec.folds)


def _text_fold(blocks: Paragraphs, words: list[str], name: str, spec: TextWindows, fold: int) -> files.TextData:
    split = parts, dropped, stood = text.split(blocks, spec, fold)
    for overlap in stood:
        if overlap.found:
            print(f"windows of {name}: {overlap}")
    for part, count in dropped.items():
        if count:
            print(f"windows of {name}: {count:,} words dropped from {part}, the paragraphs of such runs; none is left")
    train, validation = (text.count(parts[part].ids, words) for part in ("train", "validation"))
    data = text_of_parts(*split, words, train, spec)
    print(f"windows of {text.judge_unknown(train, validation, name, spec.min_count, spec.max_vocabulary)}")
    return dataclasses.replace(data, reach=text.reach(blocks, words, spec, fold))


def text_of_parts(
    parts: dict[str, Paragraphs],
    dropped: dict[str, int],
    stood: list[Overlap],
    words: list[str],
    train: Counter[str],
    spec: TextWindows,
) -> files.TextData:
    """Ids and vocabulary of a text that `text.split` has parted.

    words   by the number that they have in the parts
    train   how often each stands in the training part
    raises  DataRefused as `text.make_vocabulary` and `text.make_stretches`
    """
    vocabulary = text.make_vocabulary(train, spec)
    ids, stretches = text.make_stretches(parts, words, vocabulary, spec)
    return files.TextData(spec, ids, stretches, vocabulary, dropped, stood)


def write_labelled(folder: Path, table: pa.Table, item: str, task: Task, params: Params) -> None:
    """Write the windows of a tidy table of labelled texts, tagged words, pairs, or vectors with captions; says what became of the rows.

    raises  DataRefused when a part is empty, or a fifth of the validation part's words and more are unknown
    """
    columns = {name: table[name].to_pylist() for name in table.column_names if table.schema.field(name).type != "double"}
    named = columns.get("part")
    if task == "caption":
        shown = captions.caption_data(captions.Vectors.from_table(table), columns[captions.CAPTION], named, params.windows.caption)
        files.write_caption(folder, shown)
        division, spoken = shown.division, {item: (shown.captions, shown.vocabulary)}
    elif task == "classify":
        texts = labelled.classify_data(columns["text"], columns["label"], named, params.windows.classify)
        files.write_classify(folder, texts)
        division, spoken = texts.division, {item: (texts.texts, texts.vocabulary)}
    elif task == "tag":
        words = labelled.tag_data(columns["text"], columns["tags"], columns["label"], named, params.windows.tag)
        files.write_tag(folder, words)
        division, spoken = words.division, {item: (words.texts, words.vocabulary)}
    else:
        pairs = labelled.translate_data(columns["source"], columns["target"], named, params.windows.translate)
        files.write_translate(folder, pairs)
        sides = {"sources": (pairs.sources, pairs.source_vocabulary), "targets": (pairs.targets, pairs.target_vocabulary)}
        division, spoken = pairs.division, {f"{item}, {side}": own for side, own in sides.items()}
    _tell(item, division)
    spec = params.of_task(params.windows, task)
    for name, (found, vocabulary) in spoken.items():
        train, validation = (_counts(found, vocabulary, division, part) for part in ("train", "validation"))
        print(f"windows of {text.judge_unknown(train, validation, name, spec.min_count, spec.max_vocabulary, f'windows.{task}')}")


def _tell(item: str, division: Division) -> None:
    """Say what became of the rows of labelled text."""
    print(f"windows of {item}: {', '.join(f'{own.stop - own.start:,} {part}' for part, own in division.parts.items())} rows")
    for overlap in division.stood:
        if overlap.found:
            print(f"windows of {item}: {overlap}")
    for part, own in division.parts.items():
        if own.dropped:
            print(f"windows of {item}: {own.dropped:,} rows dropped from {part}: they stand in a later part, or are too long")
        if own.unseen:
            shown = ", ".join(list(own.unseen)[:SHOWN]) + (" and more" if len(own.unseen) > SHOWN else "")
            print(f"windows of {item}: {len(own.unseen):,} labels or tags of {part} stand in no row of train: {shown}")


def _counts(found: Sequences, vocabulary: Vocabulary, division: Division, part: str) -> Counter[str]:
    """How often each token stands in a part, those that are unknown as [UNK]."""
    own = division.parts[part]
    return text.count(found.ids[found.offsets[own.start] : found.offsets[own.stop]], vocabulary.words)
