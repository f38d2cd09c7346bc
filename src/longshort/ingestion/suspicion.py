"""Suspicion: what a text holds that a person should look at before a model learns it. Nothing is changed here.

Characters of a wrong encoding, keys and addresses (counted, their values never repeated), and lines that stand again
and again. Works on characters as the file has them, so that places are those an editor shows.
"""

from __future__ import annotations

import copy
import re
from collections import Counter

from longshort.ingestion.encoding import Place

MOST_MOJIBAKE = 0.001  # share of the characters
MOST_REPEATED, LEAST_REPEATS = 0.01, 10  # share of the lines that are not blank, and times
_BLOCK = 1024 * 1024  # characters that are looked at together
_LINES = 100_000  # different lines that are counted at once; beyond it a count is too low by a 100,000th of the lines at most
_LINE = 1000  # characters; a longer line is no boilerplate

# bytes 80 to BF as Latin-1 and as cp1252 show them: what follows the first byte of a character in UTF-8 (in « été » it does not)
_BEHIND = "[\u0080-\u00bf€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ]"
# the first character alone decides whether to look further: alternatives from the start would take five times as long
_MOJIBAKE = re.compile(
    "[\u0080-\u0084\u0086-\u009fÂ-ô]"
    f"(?:(?<=[Â-ß]){_BEHIND}|(?<=[à-ï])(?!\u00a0»){_BEHIND}{{2}}|(?<=[ð-ô]){_BEHIND}{{3}}|(?<=[\u0080-\u009f]))"
)
_LOST = re.compile("\ufffd")


def _paid_with(digits: str) -> bool:
    """Whether a number is one of a payment card: its check digit is right (Luhn)."""
    figures = [int(digit) for digit in digits if digit.isdigit()]
    return len(set(figures)) > 1 and sum(sum(divmod(2 * f, 10)) if place % 2 else f for place, f in enumerate(reversed(figures))) % 10 == 0


_SECRETS: dict[str, tuple[str, re.Pattern[str]]] = {  # what, what every one holds, how it looks; plain letters first: those are found fast
    "private keys": ("-----BEGIN ", re.compile(r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY")),
    "access keys of Amazon": ("A", re.compile(r"A(?<!\wA)(?:KIA|SIA)[A-Z0-9]{16}\b")),
    "access keys of GitHub": ("gh", re.compile(r"gh[pousr]_[A-Za-z0-9]{36}")),
    "access tokens of GitHub": ("github_pat_", re.compile(r"github_pat_\w{60,}")),
    "access keys of Google": ("AIza", re.compile(r"AIza[\w-]{35}")),
    "access keys of Slack": ("xox", re.compile(r"xox[abprs]-[\w-]{10,}")),
    "access keys that begin with sk-": ("sk-", re.compile(r"sk-(?<!\wsk-)[\w-]{20,}")),
    "web tokens (JWT)": ("eyJ", re.compile(r"eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]+")),
    "addresses with a password": ("://", re.compile(r"://[^\s/:@]{1,100}:[^\s/@]{1,100}@")),
    "e-mail addresses": ("@", re.compile(r"@(?<=[A-Za-z0-9_+-]@)[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){0,5}\.[A-Za-z]{2,}")),
}
_CARD = re.compile(r"[0-9](?<![\w.-][0-9])[0-9]{3}([ -]?)(?:[0-9]{4}\1[0-9]{4}\1[0-9]{1,7}|[0-9]{6}\1[0-9]{5})(?![\w-])")


def _count_secrets(text: str) -> Counter[str]:
    """How many of each kind; a card's number must have the right check digit (Luhn)."""
    found = Counter({kind: len(pattern.findall(text)) for kind, (always, pattern) in _SECRETS.items() if always in text})
    for match in _CARD.finditer(text):
        figures = [int(figure) for figure in match[0] if figure.isdigit()]
        doubled = [sum(divmod(2 * figure, 10)) if place % 2 else figure for place, figure in enumerate(reversed(figures))]
        found["numbers of payment cards"] += len(set(figures)) > 1 and sum(doubled) % 10 == 0
    return found


class Suspicions:
    """Looks at the characters of one file, in pieces of any size.

    lines  whether a line that stands again and again is worth a word: in labelled text it is a row, and counted as one
    lost   whether U+FFFD is: it is not where a person asked to replace bytes by it
    """

    def __init__(self, name: str, lines: bool = True, lost: bool = True) -> None:
        self._name, self._by_line = name, lines
        self._traces = {"mojibake": _MOJIBAKE, **({"lost": _LOST} if lost else {})}
        self._rest = ""
        self._place = Place()
        self._characters = 0
        self._found: Counter[str] = Counter()
        self._secrets: Counter[str] = Counter()
        self._first: dict[str, str] = {}  # what -> line:column of the first
        self._repeats: Counter[int] = Counter()  # hash of a line -> times
        self._lines = 0
        self._example: dict[int, tuple[int, int]] = {}  # hash of a frequent line -> the number of one, and its length

    def feed(self, text: str) -> None:
        """Look at a piece. Blocks are cut by what the text is, so that they are the same however it comes in."""
        self._rest += text
        while len(self._rest) >= _BLOCK:
            end = self._rest.rfind("\n", 0, _BLOCK) + 1 or self._rest.rfind(" ", 0, _BLOCK) + 1 or _BLOCK
            block, self._rest = self._rest[:end], self._rest[end:]
            self._look(block)

    def finish(self) -> None:
        """Look at what is left."""
        self._look(self._rest)
        self._rest = ""

    @property
    def warnings(self) -> tuple[str, ...]:
        """What was found, a sentence each; complete after `finish`."""
        return (*self._encoding_warnings(), *self._secret_warnings(), *self._line_warnings())

    def _look(self, block: str) -> None:
        self._characters += len(block)
        if not block.isascii():
            for what, pattern in self._traces.items():
                for match in pattern.finditer(block):
                    self._found[what] += 1
                    if what not in self._first:
                        self._first[what] = self._place_of(block, match.start())
        self._secrets.update(_count_secrets(block))
        if self._by_line:
            self._count_lines(block)
        self._place.advance(block)

    def _place_of(self, block: str, offset: int) -> str:
        here = copy.copy(self._place)
        here.advance(block[:offset])
        return str(here)

    def _count_lines(self, block: str) -> None:
        lines = [line.strip() for line in block.replace("\r\n", "\n").replace("\r", "\n").split("\n")]
        hashes = [hash(line) if len(line) <= _LINE else None for line in lines]
        self._repeats.update(found for line, found in zip(lines, hashes, strict=True) if line and found is not None)
        self._lines += sum(map(bool, lines))
        for found, times in self._repeats.most_common(round(1 / MOST_REPEATED)):
            if found not in self._example and self._too_often(times) and found in hashes:
                place = hashes.index(found)
                self._example[found] = (self._place.line + place, len(lines[place]))
        if len(self._repeats) > _LINES:  # Misra and Gries, 1982: what is left out stands less often than this
            rare = sorted(self._repeats.values(), reverse=True)[_LINES]
            self._repeats = Counter({found: times - rare for found, times in self._repeats.items() if times > rare})

    def _too_often(self, times: int) -> bool:
        return times >= LEAST_REPEATS and times > MOST_REPEATED * self._lines

    def _encoding_warnings(self) -> list[str]:
        warnings = []
        if lost := self._found["lost"]:
            warnings.append(
                f"{self._name}:{self._first['lost']}: {lost:,} times U+FFFD, the first here: characters that were lost to a wrong encoding "
                "before; expected none; find the file as it was before that."
            )
        mojibake = self._found["mojibake"]
        if mojibake > MOST_MOJIBAKE * self._characters:
            warnings.append(
                f"{self._name}:{self._first['mojibake']}: {mojibake:,} characters such as Ã© or â€™, the first here, "
                f"are {mojibake / self._characters:.2%} of all: UTF-8 that was read as cp1252 and saved; "
                f"expected {MOST_MOJIBAKE:.1%} at most; find the file as it was before that."
            )
        return warnings

    def _secret_warnings(self) -> list[str]:
        counts = ", ".join(f"{kind}: {count:,}" for kind, count in self._secrets.items() if count)
        if not counts:
            return []
        return [f"{self._name}: secrets or personal data ({counts}; values are not shown); a model may repeat them; remove them."]

    def _line_warnings(self) -> list[str]:
        frequent = [(found, times) for found, times in self._repeats.items() if self._too_often(times) and found in self._example]
        warnings = []
        for found, times in sorted(frequent, key=lambda one: (-one[1], self._example[one[0]])):
            number, length = self._example[found]
            warnings.append(
                f"{self._name}:{number}:1: this line of {length} characters stands {times:,} times, "
                f"{times / self._lines:.1%} of the lines; expected {MOST_REPEATED:.0%} at most; "
                "is it a header or a footer? Remove it if it says nothing."
            )
        return warnings
