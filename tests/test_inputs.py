"""The page of inputs is true: every real file has the outcome that docs/inputs.md gives, where the files are at hand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from longshort import config
from longshort.errors import LongshortError
from longshort.ingestion import intake, recognition

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared/data"
PARAMS = config.read(ROOT / "params.yaml")
LINES = (ROOT / "docs/inputs.md").read_text(encoding="utf-8").partition("| file | outcome |")[2].splitlines()[2:]
READ = {"--calendar": "calendar", "--adjust": "adjust", "--on-dup": "on_duplicate"}
FILES = [[cell.strip() for cell in line.strip("|").split("|")] for line in LINES if line.startswith("|")]


def test_the_page_lists_files_of_every_kind():
    assert {name.partition("/")[0] for name, *_ in FILES} == {"labelled", "nab", "pairs", "series", "stocks", "text"} and len(FILES) > 57


def inspected(name, outcome, files):
    """The account of files, as what they are taken for: prices may stand in a .txt, whose name does not say it."""
    if name.startswith(("labelled/", "pairs/")):
        task = "classify" if outcome.endswith("--as labels") else recognition.guess_task(files)
    else:
        task = "language-model" if name.startswith("text/") else "forecast"
    asked = {READ[option]: value for option, value in re.findall(r"(--\S+) (\S+)", outcome.partition("; with ")[2])}
    return intake.inspect(files, intake.with_dataset(PARAMS, intake.CHECKED, task, asked), intake.CHECKED), task


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "outcome", "kept", "quarantined", "merged", "mended"), FILES, ids=[f"{entry[0]}: {entry[1]}" for entry in FILES]
)
def test_a_real_file_has_the_outcome_of_the_page(name, outcome, kept, quarantined, merged, mended):
    paths = [SHARED / part for part in name.split(" + ")]
    if not all(path.exists() for path in paths):
        pytest.skip(f"{paths[0]} is not here")
    files = intake.collect([str(path) for path in paths])
    if outcome.startswith("refused: "):
        with pytest.raises(LongshortError) as refusal:
            inspected(name, outcome, files)
        assert outcome.removeprefix("refused: ").partition("; with --")[0] in str(refusal.value)
        return
    account, task = inspected(name, outcome, files)
    assert task == (asked[1] if (asked := re.search(r"taken in for (\w+)", outcome)) else task)
    file = account["files"][0]
    assert [f"{account[part]:,}" for part in ("kept", "quarantined", "merged")] == [kept, quarantined, merged]
    assert account["rows_in"] == account["kept"] + account["quarantined"] + account["merged"]
    assert "; ".join(f"{each['what']} ({each['count']:,})" for each in file.get("repairs", [])) == mended
    calendar = re.search(r"taken in as (\S+?)(;|$)", outcome)
    assert (calendar[1] if calendar else None) == account.get("calendar", {}).get("name")
