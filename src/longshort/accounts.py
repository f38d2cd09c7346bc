"""Accounts: how the account of a person's files is told to them."""

from __future__ import annotations

from typing import Any

SHOWN = 5  # of each kind; the rest is counted


def lines(account: dict[str, Any]) -> list[str]:
    """What became of the files of a data set, a line each fact."""
    told = [line for entry in account["files"][:SHOWN] for line in file_lines(entry)]
    if len(account["files"]) > SHOWN:
        told.append(f"and {len(account['files']) - SHOWN:,} more files")
    told += [f"note         {note}" for note in account.get("notes", [])]
    if parts := account.get("parts"):
        told.append(f"parts        {', '.join(f'{count:,} {part}' for part, count in parts.items())}, as files and folders say")
    if calendar := account.get("calendar"):
        told.append(f"calendar     {_calendar(calendar)}")
    told.append(f"rows         {balance(account)}")
    return told


def balance(counts: dict[str, Any]) -> str:
    """The account's equation."""
    return f"{counts['rows_in']:,} in = {counts['kept']:,} kept + {counts['quarantined']:,} quarantined + {counts['merged']:,} merged"


def file_lines(entry: dict[str, Any]) -> list[str]:
    """What one file was read as, what was mended, set aside and refused."""
    read = entry.get("read_as", {})
    words = [str(value) for name, value in read.items() if name in ("layout", "delimiter", "dates", "numbers", "encoding")]
    told = [f"{entry['name']}", *([f"  read as    {', '.join(words)}"] if words else [])]
    if "first" in read:
        tickers = f"{read['tickers']:,} tickers" if read["tickers"] != 1 else f"{read['ticker']}"
        times = f", times {read['times']}" if "times" in read else ""
        told.append(f"  holds      {tickers}, {read['first']} to {read['last']}{times}")
    if "columns" in read:
        told.append(f"  columns    {read['columns']}")
    if "characters" in read:
        told.append(f"  holds      {read['characters']:,} characters")
    if labels := entry.get("labels", {}):
        told.append(f"  holds      {_labels(labels)}")
    if "tags" in read:
        told.append(f"  tags       {read['tags']}")
    told += [
        f"  {column:<10} {each['median']:,} {each['unit']} in the median, {each['most']:,} at most"
        for column, each in entry.get("lengths", {}).items()
    ]
    told.append(f"  {'lines' if 'characters' in read else 'rows':<10} {balance(entry)}")
    for title, found in (("mended", entry.get("repairs", [])), ("look at", entry.get("warnings", []))):
        told += [f"  {title:<10} {each['what']}: {each['count']:,}, first on line {each['line']:,}" for each in found[:SHOWN]]
        if len(found) > SHOWN:
            told.append(f"  {'':<10} and {len(found) - SHOWN:,} kinds more")
    told += [
        f"  set aside  {each['count']:,} rows, first line {each['line']:,}: {each['what']}" for each in entry.get("set_aside", [])[:SHOWN]
    ]
    told += [f"  left out   {each['ticker']}: {each['what']}" for each in entry.get("refused", [])[:SHOWN]]
    if len(entry.get("refused", [])) > SHOWN:
        told.append(f"  {'':<10} and {len(entry['refused']) - SHOWN:,} tickers more")
    told += [f"  note       {note}" for note in entry.get("notes", [])]
    return told


def _labels(counts: dict[str, int]) -> str:
    """The labels of a file with their rows, the most frequent first."""
    shown = ", ".join(f"{label} {count:,}" for label, count in list(counts.items())[:SHOWN])
    more = f" and {len(counts) - SHOWN:,} more" if len(counts) > SHOWN else ""
    return f"{len(counts):,} labels: {shown}{more}" if len(counts) > 1 else f"1 label: {shown}"


def difference_line(told: dict[str, Any]) -> str:
    """What a new version changes in the one that was held."""
    from longshort.ingestion import versions

    return (
        f"held         {told['held']:,} sessions: {told['new']:,} are new, {told['changed']:,} have other values, {told['gone']:,} are gone"
        f"{versions.first_words(told)}"
    )


def _calendar(calendar: dict[str, Any]) -> str:
    if calendar["name"] == "none":
        return "none: every row is a step"
    if "score" in calendar:
        return f"{calendar['name']}, whose sessions fit best: {calendar['score']:.1%} are in common"
    return f"{calendar['name']}, as given"


def watched(seen: dict[str, Any]) -> list[str]:
    """What was seen of the model that serves a data set, a line each fact; a star stands where something has drifted."""
    figures = [f"skill {100 * seen['skill']:+.2f} %"] if seen["skill"] is not None else []
    figures += [f"intervals held {seen['held']:.1%}"] if seen["held"] is not None else []
    figures += [f"{seen['written']:,} forecasts had been written"] if seen["count"] else []
    who = f"{seen['model']} v{seen['version']}, the {seen['alias']}"
    told = [f"{who}: {seen['count']:,} sessions since {seen['since']}, to {seen['until']}"]
    told += [f"  {', '.join(figures)}"] if figures else []
    told += [f"  {'*' if check['drifted'] else ' '} {check['name']:<24}{check['said']}" for check in seen["checks"]]
    return [*told, f"  {'retrained' if seen['retrain'] else 'not retrained'}: {seen['reason']}"]
