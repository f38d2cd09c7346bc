"""The page of inputs is true: every real file has the outcome that docs/inputs.md gives, where the files are at hand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from longshort import config
from longshort.errors import DataRefused
from longshort.ingestion import intake

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared/data"
PARAMS = config.read(ROOT / "params.yaml")
LINES = (ROOT / "docs/inputs.md").read_text(encoding="utf-8").partition("| file | outcome |")[2].splitlines()[2:]
FILES = [[cell.strip() for cell in line.strip("|").split("|")] for line in LINES if line.startswith("|")]


def test_the_page_lists_files_of_every_kind():
    assert {name.partition("/")[0] for name, *_ in FILES} == {"nab", "series", "stocks", "text"} and len(FILES) > 45


@pytest.mark.parametrize(("name", "outcome", "kept", "quarantined", "merged", "mended"), FILES, ids=[entry[0] for entry in FILES])
def test_a_real_file_has_the_outcome_of_the_page(name, outcome, kept, quarantined, merged, mended):
    path = SHARED / name
    if not path.is_file():
        pytest.skip(f"{path} is not here")
    task = "language-model" if name.startswith("text/") else "forecast"
    params = intake.with_dataset(PARAMS, intake.CHECKED, task, {})
    if outcome.startswith("refused: "):
        with pytest.raises(DataRefused) as refusal:
            intake.inspect([path], params, intake.CHECKED)
        assert outcome.removeprefix("refused: ") in str(refusal.value)
        return
    account = intake.inspect([path], params, intake.CHECKED)
    (file,) = account["files"]
    assert [f"{account[part]:,}" for part in ("kept", "quarantined", "merged")] == [kept, quarantined, merged]
    assert account["rows_in"] == account["kept"] + account["quarantined"] + account["merged"]
    assert "; ".join(f"{each['what']} ({each['count']:,})" for each in file.get("repairs", [])) == mended
    calendar = re.search(r"as (\S+?)(;|$)", outcome)
    assert (calendar[1] if calendar else None) == account.get("calendar", {}).get("name")
