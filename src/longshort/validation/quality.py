"""Quality: what a data set looks like and what became of its rows, as one page that opens offline.

It judges nothing; that is for the suites, whose page is index.html beside it. Pure: the same table, account
and sessions give the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from longshort.validation import drawing, portraits, profiles
from longshort.validation.markup import Cell, Part, count, figure, inert, percent, plural, section, table, text
from longshort.validation.profiles import Days

if TYPE_CHECKING:
    import pyarrow as pa

MOST_LISTED = 500  # files and refused tickers in a table
SHOWN = 10  # files with one repair, ways of reading
MOST_KINDS = 100  # of repairs, of warnings and of notes
MOST_RAW = 20  # quarantined rows, as they were

_STYLES = ("datadocs.css", "quality.css")  # the two pages of a data set look alike

_PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{dataset}: quality</title>
<style>
{style}</style>
</head>
<body>
<header>
<p class="kind">Quality of a data set</p>
<h1>{dataset}</h1>
<p class="verdict">{verdict}</p>
<p>data/ingestion/{dataset}/table.parquet · <a href="index.html">what the rules say of it</a></p>
</header>
<nav aria-label="Sections">
{links}
</nav>
<main>
{main}
</main>
</body>
</html>
"""


def page(
    dataset: str,
    task: str,
    table: pa.Table,
    account: dict[str, Any],
    sessions: Days | None = None,
    quarantine: Sequence[dict[str, Any]] = (),
) -> str:
    """The page of a data set, in HTML.

    table       tidy, as ingestion leaves it; where its columns are others, only the account is shown
    account     as in account.json; what it lacks is left out
    sessions    the calendar's days from the table's first to its last, for prices
    quarantine  the rows set aside, in the order of their files
    """
    told = _account(account, quarantine, "line" if task == "language-model" else "row")
    if task == "forecast":
        prices = profiles.of_prices(table)
        verdict, parts = portraits.of_prices(prices, sessions, account) if prices else _unreadable(table)
    elif task in profiles.LABELLED_COLUMNS:
        labelled = profiles.of_labelled(table, task)
        verdict, parts = portraits.of_labelled(labelled) if labelled else _unreadable(table)
    else:
        texts = profiles.of_texts(table)
        verdict, parts = portraits.of_texts(texts) if texts else _unreadable(table)
    parts = [parts[0], *told[:1], *parts[1:], *told[1:]]
    shown = [part for part in parts if part.content]
    return _PAGE.format(
        dataset=inert(dataset),
        style="".join(Path(__file__).with_name(name).read_text(encoding="utf-8") for name in _STYLES),
        verdict=verdict,
        links="\n".join(f'<a href="#{part.anchor}">{part.title}</a>' for part in shown),
        main="\n".join(section(part) for part in shown),
    )


def _unreadable(table: pa.Table) -> tuple[str, list[Part]]:
    names = ", ".join(inert(name) for name in table.column_names) or "none"
    said = f"<p>The columns are not those of this task, so there is nothing to draw. They are: {names}.</p>"
    return f"{plural(table.num_rows, 'row')} that cannot be drawn", [Part("columns", "Columns", said)]


# --- the account: what became of every row --------------------------------------------------------


def _account(account: dict[str, Any], quarantine: Sequence[dict[str, Any]], unit: str) -> list[Part]:
    files = account.get("files") or []
    return [
        Part("rows", f"Every {unit}", _balance(account, unit)),
        Part("repairs", "Repairs and warnings", _changes(files)),
        Part("quarantine", "Quarantine", _quarantined(account, quarantine)),
        Part("refused", "Refused tickers", _refused(files)),
        Part("files", "Files", _files(account, files)),
    ]


def _balance(account: dict[str, Any], unit: str) -> str:
    if "rows_in" not in account:
        return f"<p>Ingestion left no account of these {unit}s.</p>"
    came, kept, aside, merged = (account.get(name, 0) for name in ("rows_in", "kept", "quarantined", "merged"))
    parts = [(kept, "kept", "kept"), (aside, "aside", "quarantined"), (merged, "merged", "merged")]
    sentence = f"<b>{count(came)}</b> {unit}s in = " + " + ".join(f"<b>{count(n)}</b> {name}" for n, _, name in parts)
    told = f"{plural(came, unit)} came in: {count(kept)} kept, {count(aside)} quarantined, {count(merged)} merged"
    key = "".join(f'<li class="{css}">{name} {percent(n / came if came else 0.0, 2)}</li>' for n, css, name in parts if n or not came)
    off = came - kept - aside - merged
    wrong = f'<p class="wrong">This does not add up: {plural(abs(off), unit)} {"lost" if off > 0 else "too many"}.</p>' if off else ""
    drawn = drawing.bar([(n / came if came else 0.0, css) for n, css, _ in parts], 14, "What became of them", told)
    return f'<p class="balance">{sentence}</p>\n{drawn}\n<ul class="key">{key}</ul>{wrong}'


def _changes(files: list[dict[str, Any]]) -> str:
    tables = []
    for name, caption in (("repairs", "Repaired: the value is kept, in another form"), ("warnings", "Warnings: kept as it is")):
        found: dict[str, list[tuple[str, dict[str, Any]]]] = {}
        for file in files:
            for entry in file.get(name) or []:
                found.setdefault(str(entry.get("what", "")), []).append((str(file.get("name", "")), entry))
        rows = [row for what, entries in list(found.items())[:MOST_KINDS] for row in _change(what, entries)]
        if rows:
            caption += f"; {MOST_KINDS} of {plural(len(found), 'kind')}" if len(found) > MOST_KINDS else ""
            tables.append(table(caption, (text("What"), figure("Count"), text("First at")), rows, "changes"))
    notes: dict[str, int] = {}
    for file in files:
        for note in file.get("notes") or []:
            notes[str(note)] = notes.get(str(note), 0) + 1
    if notes:
        rows = [(text(inert(note)), figure(count(n))) for note, n in list(notes.items())[:MOST_KINDS]]
        tables.append(
            table(
                f"Notes; {MOST_KINDS} of {count(len(notes))}" if len(notes) > MOST_KINDS else "Notes",
                (text("What"), figure("Files")),
                rows,
                "changes",
            )
        )
    return "\n".join(tables)


def _change(what: str, entries: list[tuple[str, dict[str, Any]]]) -> Iterable[Sequence[Cell]]:
    """One kind of repair: its sum, and each file's own count where there are few."""
    places = [(_place({**entry, "file": name}), entry.get("count", 0)) for name, entry in entries]
    more = f" and {plural(len(places) - 1, 'more file')}" if len(places) > SHOWN else ""
    yield text(inert(what)), figure(count(sum(n for _, n in places))), text(places[0][0] + more)
    if 1 < len(places) <= SHOWN:
        for place, n in places:
            yield text('<span class="part">of these</span>'), figure(count(n)), text(place)


def _number(value: Any) -> str:
    """A line's number, without separators, as editors take it."""
    return str(value) if isinstance(value, int) else inert(value)


def _quarantined(account: dict[str, Any], rows: Sequence[dict[str, Any]]) -> str:
    if not rows:
        told = account.get("quarantined", 0)
        return f"<p>{plural(told, 'row')} set aside; their text is not here.</p>" if told else ""
    rules: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        rules.setdefault(str(row.get("rule", "")), []).append(row)
    ordered = sorted(rules.items(), key=lambda entry: (-len(entry[1]), entry[0]))
    by_rule = table(
        f"{plural(len(rows), 'row')} set aside, by the rule that they break",
        (text("Rule"), figure("Rows"), text("First at")),
        ((text(inert(rule)), figure(count(len(own))), text(_places(own[:3]))) for rule, own in ordered),
        "changes",
    )
    shown = rows[:MOST_RAW]
    first = f"The first {len(shown)} of them" if len(rows) > len(shown) else "All of them"
    raw = table(
        f"{first}, as they were (a cell that a spreadsheet would run has an apostrophe before it)",
        (text("Where"), text("Why"), text("What stood there")),
        ((text(_place(row)), text(inert(row.get("what", ""))), text(f"<code>{inert(row.get('raw', ''))}</code>")) for row in shown),
        "raw",
    )
    return f"{by_rule}\n{raw}"


def _places(rows: Sequence[dict[str, Any]]) -> str:
    """Some places; a file is named once in a row."""
    said, last = [], None
    for row in rows:
        said.append(_place(row if row.get("file") != last else {**row, "file": None}))
        last = row.get("file")
    return ", ".join(said)


def _place(row: dict[str, Any]) -> str:
    file = [] if row.get("file") is None else [inert(row["file"])]
    return ":".join([*file, *(_number(row[name]) for name in ("line", "column") if row.get(name) is not None)])


def _refused(files: list[dict[str, Any]]) -> str:
    rows = [
        (text(inert(entry.get("ticker", ""))), text(inert(entry.get("what", ""))), text(inert(file.get("name", ""))))
        for file in files
        for entry in file.get("refused") or []
    ]
    if not rows:
        return ""
    more = f"; the first {MOST_LISTED} of them" if len(rows) > MOST_LISTED else ""
    caption = f"{plural(len(rows), 'ticker')} left out whole{more}"
    return table(caption, (text("Ticker"), text("Why"), text("File")), rows[:MOST_LISTED], "refusals")


def _files(account: dict[str, Any], files: list[dict[str, Any]]) -> str:
    parts = []
    if origin := account.get("embedded"):
        source, version, sha256 = (inert(origin.get(name, "")) for name in ("from", "version", "sha256"))
        parts.append(f'<p>Embedded: it comes with {source} {version}.</p>\n<p class="sha">sha256 {sha256}</p>')
    if files:
        ways: dict[tuple[tuple[str, str], ...], list[dict[str, Any]]] = {}
        for file in files:
            if read_as := file.get("read_as"):
                ways.setdefault(tuple((str(k), str(v)) for k, v in read_as.items() if not isinstance(v, int)), []).append(file)
        parts += [_read_as(way, own) for way, own in list(ways.items())[:SHOWN]]
        parts += [f"<p>{plural(len(ways) - SHOWN, 'more way')} of reading; account.json has them all.</p>"] if len(ways) > SHOWN else []
        names = ("rows_in", "kept", "quarantined", "merged")
        rows = [
            (
                text(inert(file.get("name", ""))),
                *(figure(count(file[name]) if name in file else "–") for name in names),
                ("sha", inert(str(file.get("sha256", ""))[:8])),
            )
            for file in files[:MOST_LISTED]
        ]
        more = f"; the first {MOST_LISTED} of them" if len(files) > MOST_LISTED else ""
        head = (text("File"), *(figure(name) for name in ("Rows in", "Kept", "Quarantined", "Merged")), ("sha", "sha256"))
        parts.append(table(f"{plural(len(files), 'file')}{more}", head, rows, "files"))
    return "\n".join(parts)


def _read_as(way: tuple[tuple[str, str], ...], files: list[dict[str, Any]]) -> str:
    """How some files were read; their numbers, such as how many tickers each holds, are summed."""
    sums: dict[str, int] = {}
    for file in files:
        for name, value in file["read_as"].items():
            if isinstance(value, int):
                sums[name] = sums.get(name, 0) + value
    pairs = [*((inert(name), inert(value)) for name, value in way), *((inert(name), count(value)) for name, value in sums.items())]
    whose = inert(files[0].get("name", "")) + (f" and {plural(len(files) - 1, 'more file')}" if len(files) > 1 else "")
    terms = "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in pairs)
    return f'<p class="lead">{whose}: read as</p>\n<dl class="tiles small">{terms}</dl>'
