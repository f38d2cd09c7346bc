"""Texts: a person's labelled files, or sentences made by code, for classifiers and taggers."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from longshort.config import ClassifyWindows
from longshort.errors import DataRefused, UsageError
from longshort.evaluation import classes
from longshort.ingestion import intake, recognition
from longshort.systems import originals
from longshort.systems.occasion import Occasion
from longshort.windows.labelled import ClassifyData, classify_data

MAJORITY, LINEAR = "majority", "TF-IDF + logistic regression"
FAST = 400  # rows of a run that only shows that everything works

# of what a home is asked: the words, and in braces what has a tag
REQUESTS = {
    "weather": ("what is the weather in {city}", "will it rain in {city} {day}", "how cold is it in {city} {day}", "weather {city} {day}"),
    "time": ("what time is it", "what time is it in {city}", "tell me the time please", "how late is it in {city} now"),
    "timer": ("set a timer for {span}", "wake me in {span}", "remind me in {span}", "start counting down {span}"),
    "music": ("play {song} by {artist}", "put on some {genre}", "i want to hear {artist}", "play {genre} in the {room}"),
    "lights": ("turn the lights {state} in the {room}", "lights {state}", "make the {room} brighter", "it is too dark in the {room}"),
    "greeting": ("good morning", "hello there", "hi , how are you", "good to see you again"),
    "farewell": ("good night", "see you {day}", "bye for now", "that is all , thank you"),
    "calendar": ("what is on {day}", "am i free {day} at {hour}", "move my meeting to {day}", "book {hour} {day} for a call"),
}
FILLERS = {
    "city": ("oslo", "lisbon", "new york", "rio de janeiro", "cairo", "tokyo", "san marino", "vienna"),
    "day": ("today", "tomorrow", "on monday", "on friday", "next week", "the day after tomorrow"),
    "span": ("ten minutes", "an hour", "half an hour", "two hours", "ninety seconds", "a quarter of an hour"),
    "song": ("blue river", "the long road", "paper moon", "winter song"),
    "artist": ("the tall trees", "ada stone", "night parade", "olu and the band"),
    "genre": ("jazz", "folk music", "slow blues", "opera"),
    "room": ("kitchen", "living room", "hall", "children 's room"),
    "state": ("on", "off", "down low"),
    "hour": ("nine", "half past four", "noon", "six in the evening"),
}
OPENINGS = ("", "please", "could you tell me", "hey ,", "i would like to know")
# of a place where one eats
SUBJECTS = ("the soup", "our waiter", "the room", "this dish", "the music", "the bread", "the service", "the whole evening")
GOOD, BAD = ("good", "warm", "lovely", "fresh", "kind", "worth every cent"), ("bad", "cold", "dull", "stale", "rude", "a waste of money")
DEGREES = ("", "really", "rather", "simply", "as always")


@dataclass(frozen=True)
class Texts:
    """Rows of text, what each is labelled, and where the files say it the part of each.

    tags  a row's tags between spaces; none where there are none
    real  whether they are those that our aims name, all of them
    """

    name: str
    texts: list[str]
    labels: list[str]
    tags: list[str] | None
    parts: list[str] | None
    real: bool = False

    def only(self, rows: Sequence[int]) -> Texts:
        """The same for some of the rows."""
        return Texts(
            self.name,
            [self.texts[row] for row in rows],
            [self.labels[row] for row in rows],
            None if self.tags is None else [self.tags[row] for row in rows],
            None if self.parts is None else [self.parts[row] for row in rows],
        )


def read(occasion: Occasion, made: Texts, known: Sequence[str], tagged: bool = False) -> Texts:
    """A person's files where there are any, else what was made; a fast run takes some rows of each part.

    known   the originals that our aims name
    tagged  whether rows must have tags
    raises  DataRefused
    """
    found = made if occasion.data is None else _of_files(occasion, known, tagged)
    if not occasion.fast:
        return found
    rows = list(range(len(found.texts)))
    random.Random(0).shuffle(rows)
    kept = [row for part in ("train", "validation", "test") for row in _some(rows, found.parts, part)]
    return found.only(sorted(kept) if found.parts else sorted(rows[:FAST]))


def _some(rows: Sequence[int], parts: list[str] | None, part: str) -> list[int]:
    return [row for row in rows if parts is not None and parts[row] == part][: FAST // 2]


def _of_files(occasion: Occasion, known: Sequence[str], tagged: bool) -> Texts:
    assert occasion.data is not None
    files = [file for file in intake.collect([str(occasion.data)]) if file.suffix != ".json"]  # a list of labels stands beside Banking77
    try:
        task = recognition.guess_task(files)
    except UsageError:  # it is known here what they are for; whether they are that is for the readers to say
        task = "tag" if tagged else "classify"
    if task not in (("tag",) if tagged else ("classify", "tag")):
        wanted = "words with a tag each, as ATIS has them" if tagged else "texts with a label each"
        raise DataRefused(f"{occasion.data}: reads like data for '{task}', and {occasion.name} takes {wanted}. Give such files.")
    columns: dict[str, Any] = intake.table_of(files, occasion.params, task).to_pydict()
    name = f"{occasion.data.resolve().name}, {len(columns['text']):,} rows"
    kept = [columns[column] for column in ("part", "text", "label", "tags") if column in columns]
    real = originals.is_one(known, sorted(zip(*kept, strict=True), key=repr))  # in whatever order files come
    return Texts(name, columns["text"], columns["label"], columns.get("tags"), columns.get("part"), real)


def requests(count: int = 3000, seed: int = 0) -> Texts:
    """What a home is asked, with its intent, and a tag a word; made."""
    draw = random.Random(seed)
    texts, tags, labels = [], [], []
    for _ in range(count):
        label = draw.choice(list(REQUESTS))
        words, own = [], []
        for word in f"{draw.choice(OPENINGS)} {draw.choice(REQUESTS[label])}".split():
            if word.startswith("{"):
                slot = word[1:-1]
                filler = draw.choice(FILLERS[slot]).split()
                words += filler
                own += [f"B-{slot}", *(f"I-{slot}" for _ in filler[1:])]
            else:
                words.append(word)
                own.append("O")
        texts.append(" ".join(words))
        tags.append(" ".join(own))
        labels.append(label)
    return Texts(f"{count:,} made requests to a home", texts, labels, tags, None)


def opinions(count: int = 2000, seed: int = 0) -> Texts:
    """What guests say, good or bad, where a not turns the sense around; made."""
    draw = random.Random(seed)
    texts, labels = [], []
    for _ in range(count):
        good, turned = draw.random() < 0.5, draw.random() < 0.4
        word = draw.choice(GOOD if good != turned else BAD)
        said = [draw.choice(SUBJECTS), "was", "not" if turned else "", draw.choice(DEGREES), word]
        other = draw.choice(GOOD + BAD)
        tail = (
            f"and nobody at the next table called it {other}" if draw.random() < 0.3 else draw.choice(("", "at all", "i think", "tonight"))
        )
        texts.append(" ".join([*filter(None, said), tail]).strip())
        labels.append("good" if good else "bad")
    return Texts(f"{count:,} made opinions of guests", texts, labels, None, None)


def divided(found: Texts, parts: list[str] | None, spec: ClassifyWindows) -> ClassifyData:
    """The rows as a classifier reads them, in ``parts`` or in those that the windows room makes.

    raises  DataRefused, also when all rows that are learned from have one label
    """
    shown = {label for label, part in zip(found.labels, parts or ["train"] * len(found.labels), strict=True) if part == "train"}
    if len(shown) < 2:
        only = f"all rows to learn from are labelled '{min(shown)}'" if shown else "there are no rows to learn from"
        raise DataRefused(f"{found.name}: {only}, and a classifier needs two labels to tell apart. Give rows of more than one.")
    try:
        data = classify_data(found.texts, found.labels, parts, spec)
    except DataRefused as error:  # what it says to set in params.yaml is not asked here
        raise DataRefused(f"{found.name}: {str(error).partition('. ')[0]}. Give more rows, of more different words.") from None
    if len(data.names) < 2:
        raise DataRefused(
            f"{found.name}: of the rows to learn from only those labelled '{data.names[0]}' do not stand in another part too, and a "
            "classifier needs two labels to tell apart. Give more rows."
        )
    return data


def asked(data: ClassifyData) -> NDArray[np.int64]:
    """The number of each test row's label."""
    own = data.division.parts["test"]
    return data.labels[own.start : own.stop].astype(np.int64)


def rivals(data: ClassifyData) -> dict[str, float]:
    """The accuracy of what costs nothing: the most frequent label of train, and a linear model of words and pairs of words."""
    labels, train = asked(data), data.division.parts["train"]
    said = {
        MAJORITY: classes.majority(data.labels[train.start : train.stop], len(labels)),
        LINEAR: classes.LinearOfTexts(data).named("test"),
    }
    return {name: float(np.mean(one == labels)) for name, one in said.items()}
