"""Frames: what a suite looks at.

The tidy table of ingestion as a pandas frame, and beside it columns that say in one figure what a rule
asks for, such as ``open_outside``: how far Open lies outside [Low, High]. So plain expectations suffice,
and a refusal shows the figure.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from longshort import sessions

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

WORD = re.compile(r"\w+(?:['’]\w+)*")  # not the tokens of `windows`, which lies to the right
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x9f]")  # all but tab, line and page breaks
_LONG_LINE = 13  # words; shorter lines, such as headings, repeat in honest text
GOES_ON = 4 * 2**20  # characters, half a row of ingestion's: a shorter row is no text that was too long for one


def from_table(table: pa.Table) -> pd.DataFrame:
    """A tidy table as a frame whose types do not hang on the version of pandas or on what is missing.

    Strings are ``StringDtype``, integers ``Int64Dtype``, dates ``datetime64[ms]``.
    """
    import pandas as pd
    import pyarrow as pa

    types = {pa.string(): pd.StringDtype(), pa.large_string(): pd.StringDtype(), pa.int64(): pd.Int64Dtype()}
    frame = table.to_pandas(types_mapper=types.get, date_as_object=False)
    for name in frame.select_dtypes(object):
        frame[name] = frame[name].astype("string")  # a column of objects would satisfy any type while it is empty
    return frame


def prices(frame: pd.DataFrame, calendar: str) -> pd.DataFrame:
    """A tidy price frame with what its rules need beside it; dates become ISO text, as people read them, with a time if one has one.

    ticker_sessions  how many rows its ticker has, said once, in the ticker's first row
    date_is_session  the exchange traded on that day
    in_order         not before the row above, by (ticker, date)
    open_outside, close_outside
                     how far the price lies outside [Low, High], as a share of the price; 0 is inside
    raises           ConfigError, as `sessions.sessions` does
    """
    ticker, dates = frame["ticker"], frame["date"]
    known = dates.dropna()
    every = calendar == sessions.EVERY_ROW or not len(known)
    days = known if every else sessions.sessions(calendar, known.min().date(), known.max().date())
    same, later = ticker == ticker.shift(), ticker > ticker.shift()
    out_of_order = (~later & ~same).fillna(False) | (same & (dates < dates.shift())).fillna(False)
    timed = bool((known != known.dt.normalize()).any())
    return frame.assign(
        date=dates.dt.strftime("%Y-%m-%d %H:%M:%S" if timed else "%Y-%m-%d"),
        ticker_sessions=frame.groupby("ticker", dropna=False)["date"].transform("size").astype("Int64").mask(ticker.duplicated()),
        date_is_session=dates.isin(days) | dates.isna(),  # that a date is missing is another rule's finding
        in_order=~out_of_order.astype(bool),
        open_outside=_outside(frame, "open"),
        close_outside=_outside(frame, "close"),
    )


def _outside(frame: pd.DataFrame, column: str) -> Any:
    """NaN where a price is missing or nothing can be a share of it: other rules see to those."""
    price, low, high = (frame[name].to_numpy(np.float64) for name in (column, "low", "high"))
    with np.errstate(all="ignore"):
        share = np.maximum(np.maximum(low - price, price - high), 0) / price
    return np.where(np.isfinite(share), share, np.nan)


def texts(frame: pd.DataFrame) -> pd.DataFrame:
    """A tidy text frame with what its rules need beside it; rows that go on with the document above are one row with its first.

    words                   of the document
    replacement_characters  U+FFFD, the trace of bytes that were read in the wrong encoding
    control_characters      all of Unicode's but tab, line and page breaks
    corpus_words, corpus_vocabulary, corpus_repeated_lines
                            of all documents together, the same in every row: words, different words
                            in lower case, and the share of lines of 13 words and more that repeat
                            an earlier one
    """
    names, rows = frame["document"], frame["text"].fillna("")
    begins = ~((names == names.shift()).fillna(False).astype(bool) & (rows.str.len().shift(fill_value=0) >= GOES_ON))
    vocabulary: set[str] = set()
    seen: set[str] = set()
    long_lines = 0
    counts = np.zeros((int(begins.sum()), 3), np.int64)
    for document, text in zip(np.cumsum(begins) - 1, rows, strict=True):
        words = WORD.findall(text)
        vocabulary.update(word.lower() for word in set(words))
        counts[document] += (len(words), text.count("\ufffd"), len(_CONTROL.findall(text)))
        for line in text.splitlines():
            if len(line) < GOES_ON and len(line.split(maxsplit=_LONG_LINE - 1)) >= _LONG_LINE:
                long_lines += 1
                seen.add(line.strip())
    return frame[begins.to_numpy()].assign(
        words=counts[:, 0],
        replacement_characters=counts[:, 1],
        control_characters=counts[:, 2],
        corpus_words=int(counts[:, 0].sum()),
        corpus_vocabulary=len(vocabulary),
        corpus_repeated_lines=1 - len(seen) / long_lines if long_lines else 0.0,
    )


def labelled(frame: pd.DataFrame) -> pd.DataFrame:
    """A tidy frame of texts and labels, with what its rules need beside it.

    text_length, text_lost, text_controls
                its characters that are no white space, its U+FFFD, and its control characters
    label_rows  how many rows its label has, said once, in the label's first row
    """
    label = frame["label"]
    rows = frame.groupby("label", dropna=False)["text"].transform("size").astype("Int64").mask(label.duplicated())
    return _looked_at(frame, ("text",)).assign(label_rows=rows)


def tagged(frame: pd.DataFrame) -> pd.DataFrame:
    """A tidy frame of words, tags and labels: as `labelled`, and

    words, tags_count
                what stands between spaces in text and tags
    stray_tags  tags I-x that stand behind neither B-x nor I-x, in a row
    all_tags    different tags of all rows together, the same in every row
    """
    tags = frame["tags"].fillna("").str.split()
    return labelled(frame).assign(
        words=frame["text"].fillna("").str.split().map(len).astype("int64"),
        tags_count=tags.map(len).astype("int64"),
        stray_tags=tags.map(_strays).astype("int64"),
        all_tags=len({tag for own in tags for tag in own}),
    )


def _strays(tags: list[str]) -> int:
    return sum(tag.startswith("I-") and before[2:] != tag[2:] for before, tag in zip(["O", *tags], tags, strict=False))


def pairs(frame: pd.DataFrame) -> pd.DataFrame:
    """A tidy frame of pairs, with what its rules need beside it: as `labelled` for source and target, without labels."""
    return _looked_at(frame, ("source", "target"))


def vectors(frame: pd.DataFrame) -> pd.DataFrame:
    """A tidy frame of numbers with captions, with what its rules need beside the captions: as `labelled` for the caption, and

    numbers, moving
                how many columns of numbers there are, and how many of them have more than one value; the same in every row
    lacking     numbers of the row that are missing, infinite, or no numbers at all
    """
    import pandas as pd

    words = [name for name in ("caption", "part") if name in frame]
    numbers = frame.drop(columns=words).apply(pd.to_numeric, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    finite = np.isfinite(numbers)
    moving = int((np.where(finite, numbers, -np.inf).max(0) > np.where(finite, numbers, np.inf).min(0)).sum()) if len(numbers) else 0
    found = {"numbers": numbers.shape[1], "moving": moving, "lacking": (~finite).sum(axis=1).astype("int64")}
    return _looked_at(frame, ("caption",)).assign(**found)


def _looked_at(frame: pd.DataFrame, columns: tuple[str, ...]) -> pd.DataFrame:
    found: dict[str, Any] = {}
    for column in columns:
        texts = frame[column].fillna("")
        found[f"{column}_length"] = texts.map(lambda text: len("".join(text.split()))).astype("int64")
        found[f"{column}_lost"] = texts.map(lambda text: text.count("\ufffd")).astype("int64")
        found[f"{column}_controls"] = texts.map(lambda text: len(_CONTROL.findall(text))).astype("int64")
    return frame.assign(**found)
