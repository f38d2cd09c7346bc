"""How windows lie on disk: one folder a data set, arrays as .npy, everything else in windows.json."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from longshort import storage
from longshort.config import CaptionWindows, ClassifyWindows, PriceWindows, TagWindows, Task, TextWindows, TranslateWindows
from longshort.windows.captions import CaptionData, Scaling
from longshort.windows.contamination import Overlap
from longshort.windows.folds import Folded, newest
from longshort.windows.labelled import ClassifyData, Division, RowRange, Sequences, TagData, TranslateData
from longshort.windows.prices import PARTS, Scaler, Segment, Series, Windows, fit_scaler, only
from longshort.windows.text import Reach, Stretch, Vocabulary
from longshort.windows.tokens import Ids

NAME = "windows.json"


@dataclass(frozen=True)
class PriceData(Folded):
    """A price data set, ready for windows: the series in natural units, its parts and its scaler."""

    spec: PriceWindows
    series: Series
    parts: dict[str, Windows]
    scaler: Scaler
    calendar: str

    def tickers(self) -> list[str]:
        """The tickers, in their order."""
        return list(dict.fromkeys(segment.ticker for segment in self.series.segments))

    def of_ticker(self, ticker: str) -> PriceData:
        """This fold's data of one ticker alone, split at the same days, with a scaler fitted on its own training windows.

        raises  SeriesTooShort when a part has no window, with the number of sessions that is missing; DataRefused when
                a column does not vary
        """
        series, parts = only(self.series, self.parts, self.spec, ticker)
        return PriceData(self.spec, series, parts, fit_scaler(series, parts["train"], self.spec), self.calendar)

    def description(self) -> dict[str, Any]:
        """What a model must know to read prices later: spec, scaler and calendar, as JSON."""
        return {
            "spec": self.spec.model_dump(),
            "scaler": {"offset": self.scaler.offset.tolist(), "scale": self.scaler.scale.tolist()},
            "calendar": self.calendar,
        }

    def extent(self) -> dict[str, dict[str, str]]:
        """Where each part lies in time: the first and the last session that its windows ask for; seconds where rows are intraday."""
        found = {}
        for part, windows in self.parts.items():
            held = windows.stops - windows.starts >= windows.lookback + windows.horizon  # tickers begin and end when they like
            found[part] = {
                "first_target": str(self.series.dates[windows.starts[held] + windows.lookback].min()),
                "last_target": str(self.series.dates[windows.stops[held] - 1].max()),
            }
        return found


@dataclass(frozen=True)
class TextData(Folded):
    """A text data set, ready for windows: one array of ids, its parts and its vocabulary.

    dropped  words dropped from each part, since they stand in a later one
    stood    how much of each part stood in the parts before it, before that
    reach    how far into the text each part reaches; none where it was made from no text
    """

    spec: TextWindows
    ids: Ids
    stretches: dict[str, Stretch]
    vocabulary: Vocabulary
    dropped: dict[str, int]
    stood: list[Overlap]
    reach: dict[str, Reach] = field(default_factory=dict)

    def description(self) -> dict[str, Any]:
        """What a model must know to read text later: spec and vocabulary, as JSON. Of folds it says nothing where there is one."""
        return {"spec": self.spec.model_dump(exclude_defaults=True), "vocabulary": list(self.vocabulary.words)}

    def extent(self) -> dict[str, dict[str, Any]]:
        """How far into the text, as it was read, each part reaches: words from its beginning, and the sha256 of all of them."""
        return {part: asdict(reach) for part, reach in self.reach.items()}


def write_prices(folder: Path, data: PriceData) -> None:
    """Write a price data set's files into an artefact that is being built."""
    np.save(folder / "values.npy", data.series.values)
    np.save(folder / "price.npy", data.series.price)
    unit = np.datetime_data(data.series.dates.dtype)[0]
    np.save(folder / "dates.npy", data.series.dates.astype(np.int64))
    segments = [asdict(segment) for segment in data.series.segments]
    described = {"task": "forecast", **data.description(), **({} if unit == "D" else {"dates": unit})}
    folds = [{"parts": _bounds(fold), "scaler": fold.description()["scaler"]} for fold in data.earlier]
    storage.write_json(folder / NAME, {**described, "parts": _bounds(data), "segments": segments, **({"earlier": folds} if folds else {})})


def _bounds(data: PriceData) -> dict[str, dict[str, Any]]:
    """Each part's stretches of the series, and the dates that it asks for."""
    extent = data.extent()
    return {
        part: {"windows": len(windows), "stretches": np.stack([windows.starts, windows.stops], axis=1).tolist(), **extent[part]}
        for part, windows in data.parts.items()
    }


def read_prices(folder: Path) -> PriceData:
    """Read a price data set; `storage.verify` its folder first."""
    content = storage.read_json(folder / NAME)
    spec = PriceWindows(**content["spec"])
    dates = _load(folder / "dates.npy").astype(f"datetime64[{content.get('dates', 'D')}]")
    segments = tuple(Segment(**segment) for segment in content["segments"])
    series = Series(_load(folder / "values.npy"), _load(folder / "price.npy"), dates, segments)
    folds = (*content.get("earlier", ()), content)

    def of_fold(number: int) -> PriceData:
        stretches = {part: np.array(folds[number]["parts"][part]["stretches"], np.int64).reshape(-1, 2) for part in PARTS}
        parts = {part: Windows(own[:, 0], own[:, 1], spec.lookback, spec.horizon) for part, own in stretches.items()}
        return PriceData(spec, series, parts, scaler_from(folds[number]["scaler"]), content["calendar"])

    return newest(of_fold, len(folds))


def scaler_from(content: dict[str, list[float]]) -> Scaler:
    """A scaler from its JSON form."""
    return Scaler(np.array(content["offset"]), np.array(content["scale"]))


def write_text(folder: Path, data: TextData) -> None:
    """Write a text data set's files into an artefact that is being built; each earlier fold, whose ids are others, in its own folder."""
    for number, fold in enumerate(data.earlier, start=1):
        (folder / f"fold-{number}").mkdir()
        write_text(folder / f"fold-{number}", fold)
    np.save(folder / "ids.npy", data.ids)
    parts = {part: {**asdict(stretch), "dropped_words": data.dropped[part]} for part, stretch in data.stretches.items()}
    for part, stretch in data.stretches.items():
        tokens = data.ids[stretch.start : stretch.stop]
        parts[part]["unknown_share"] = float(np.mean(tokens == 0))
    described = {"task": "language-model", **data.description(), "reach": data.extent()}
    storage.write_json(folder / NAME, {**described, "parts": parts, "contamination": _as_json(data.stood)})


def read_text(folder: Path) -> TextData:
    """Read a text data set; `storage.verify` its folder first."""
    content = storage.read_json(folder / NAME)
    earlier = tuple(read_text(folder / f"fold-{number}") for number in range(1, len(list(folder.glob("fold-*"))) + 1))
    stretches = {part: Stretch(p["start"], p["stop"], p["characters"]) for part, p in content["parts"].items()}
    dropped = {part: p["dropped_words"] for part, p in content["parts"].items()}
    vocabulary = Vocabulary(tuple(content["vocabulary"]))
    stood = _from_json(content["contamination"])
    reach = {part: Reach(**own) for part, own in content["reach"].items()}
    spec, ids = TextWindows(**content["spec"]), _load(folder / "ids.npy")
    return TextData(spec, ids, stretches, vocabulary, dropped, stood, reach, earlier=earlier)


def write_classify(folder: Path, data: ClassifyData) -> None:
    """Write a data set of texts and labels into an artefact that is being built."""
    _write_sequences(folder, "", data.texts)
    np.save(folder / "labels.npy", data.labels)
    described = {"labels": list(data.names), "vocabulary": list(data.vocabulary.words)}
    _write_division(folder, data.division, {"task": "classify", "spec": data.spec.model_dump(), **described})


def read_classify(folder: Path) -> ClassifyData:
    """Read a data set of texts and labels; `storage.verify` its folder first."""
    content = storage.read_json(folder / NAME)
    return ClassifyData(
        ClassifyWindows(**content["spec"]),
        _read_sequences(folder, ""),
        _load(folder / "labels.npy"),
        tuple(content["labels"]),
        Vocabulary(tuple(content["vocabulary"])),
        _read_division(folder, content),
    )


def write_tag(folder: Path, data: TagData) -> None:
    """Write a data set of words, tags and labels into an artefact that is being built."""
    _write_sequences(folder, "", data.texts)
    np.save(folder / "tags.npy", data.tags)
    np.save(folder / "labels.npy", data.labels)
    described = {"tags": list(data.tag_names), "labels": list(data.names), "vocabulary": list(data.vocabulary.words)}
    _write_division(folder, data.division, {"task": "tag", "spec": data.spec.model_dump(), **described})


def read_tag(folder: Path) -> TagData:
    """Read a data set of words, tags and labels; `storage.verify` its folder first."""
    content = storage.read_json(folder / NAME)
    return TagData(
        TagWindows(**content["spec"]),
        _read_sequences(folder, ""),
        _load(folder / "tags.npy"),
        tuple(content["tags"]),
        _load(folder / "labels.npy"),
        tuple(content["labels"]),
        Vocabulary(tuple(content["vocabulary"])),
        _read_division(folder, content),
    )


def write_translate(folder: Path, data: TranslateData) -> None:
    """Write a data set of pairs into an artefact that is being built."""
    _write_sequences(folder, "source_", data.sources)
    _write_sequences(folder, "target_", data.targets)
    described = {"source_vocabulary": list(data.source_vocabulary.words), "target_vocabulary": list(data.target_vocabulary.words)}
    _write_division(folder, data.division, {"task": "translate", "spec": data.spec.model_dump(), **described})


def read_translate(folder: Path) -> TranslateData:
    """Read a data set of pairs; `storage.verify` its folder first."""
    content = storage.read_json(folder / NAME)
    return TranslateData(
        TranslateWindows(**content["spec"]),
        _read_sequences(folder, "source_"),
        _read_sequences(folder, "target_"),
        Vocabulary(tuple(content["source_vocabulary"])),
        Vocabulary(tuple(content["target_vocabulary"])),
        _read_division(folder, content),
    )


def write_caption(folder: Path, data: CaptionData) -> None:
    """Write a data set of vectors and captions into an artefact that is being built."""
    np.save(folder / "vectors.npy", data.vectors)
    _write_sequences(folder, "caption_", data.captions)
    described = {"columns": list(data.columns), "scaling": data.scaling.description(), "vocabulary": list(data.vocabulary.words)}
    _write_division(folder, data.division, {"task": "caption", "spec": data.spec.model_dump(), **described})


def read_caption(folder: Path) -> CaptionData:
    """Read a data set of vectors and captions; `storage.verify` its folder first."""
    content = storage.read_json(folder / NAME)
    return CaptionData(
        CaptionWindows(**content["spec"]),
        tuple(content["columns"]),
        _load(folder / "vectors.npy"),
        Scaling.of(content["scaling"]),
        _read_sequences(folder, "caption_"),
        Vocabulary(tuple(content["vocabulary"])),
        _read_division(folder, content),
    )


def read_rows(folder: Path, task: Task) -> ClassifyData | TagData | TranslateData | CaptionData:
    """Read a data set whose examples are rows, of the task that it is for; `storage.verify` its folder first."""
    if task == "classify":
        return read_classify(folder)
    if task == "caption":
        return read_caption(folder)
    return read_tag(folder) if task == "tag" else read_translate(folder)


def _write_sequences(folder: Path, side: str, found: Sequences) -> None:
    np.save(folder / f"{side}ids.npy", found.ids)
    np.save(folder / f"{side}offsets.npy", found.offsets)


def _read_sequences(folder: Path, side: str) -> Sequences:
    return Sequences(_load(folder / f"{side}ids.npy"), _load(folder / f"{side}offsets.npy"))


def _write_division(folder: Path, division: Division, described: dict[str, Any]) -> None:
    np.save(folder / "rows.npy", division.rows)
    np.save(folder / "keys.npy", division.keys)
    parts = {part: asdict(own) for part, own in division.parts.items()}
    storage.write_json(folder / NAME, {**described, "parts": parts, "contamination": _as_json(division.stood)})


def _read_division(folder: Path, content: dict[str, Any]) -> Division:
    parts = {part: RowRange(**content["parts"][part]) for part in PARTS}
    return Division(parts, _load(folder / "rows.npy"), _load(folder / "keys.npy"), _from_json(content["contamination"]))


def _as_json(stood: list[Overlap]) -> list[dict[str, Any]]:
    return [{**asdict(overlap), "share": overlap.share} for overlap in stood]


def _from_json(entries: list[dict[str, Any]]) -> list[Overlap]:
    return [Overlap(entry["earlier"], entry["part"], entry["runs"], entry["found"]) for entry in entries]


def _load(path: Path) -> NDArray[Any]:
    return np.load(path, allow_pickle=False, mmap_mode="r")
