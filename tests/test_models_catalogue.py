"""Models, catalogue: what `longshort variants` prints, and the page that shows it."""

import json
from typing import get_args

import pytest
from projects import ROOT
from typer.testing import CliRunner

from longshort import cli, config
from longshort.config import Variant
from longshort.errors import UnknownVariant
from longshort.models import catalogue
from longshort.models.cells import CELLS
from longshort.models.cells.cell import undefined

PAGE = (ROOT / "docs/variants.md").read_text()


def said(*arguments):
    """What the command prints."""
    done = CliRunner().invoke(cli.app, ["variants", *arguments])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.stdout


def test_the_settings_know_the_cells_of_the_catalogue_and_no_other():
    assert list(get_args(config.Cell)) == list(CELLS)


def test_the_list_has_a_line_a_cell_and_fits_into_80_columns():
    lines = said().splitlines()
    assert [line.split()[0] for line in lines[1 : len(CELLS) + 1]] == list(CELLS)
    assert max(map(len, lines)) <= 80
    assert next(line for line in lines if line.startswith("lstm ")) == "lstm                 10,400  torch, native  LSTM"
    assert f"{4 * 52 * (8 + 52 + 1):,}" == "12,688" and "lstm                 12,688" in said("--inputs", "8", "--hidden", "52")


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("name", CELLS)
def test_the_page_of_a_cell_shows_all_of_its_equations_and_fits(name, width):
    lines = catalogue.page(name, 1, 50, width)
    assert all(f"    {equation}" in lines for equation in CELLS[name].equations.splitlines())
    assert max(map(len, lines)) < width
    text = " ".join(" ".join(lines).split())
    assert CELLS[name].source in text and CELLS[name].note in text
    assert all(reason in text for reason in undefined(CELLS[name]).values())


def test_as_json_a_cell_has_its_options_engines_and_what_is_not_defined():
    everything = json.loads(said("--json"))
    assert [entry["cell"] for entry in everything] == list(CELLS)
    one = json.loads(said("slstm", "--json"))
    assert one == next(entry for entry in everything if entry["cell"] == "slstm")
    assert one["engines"] == ["reference"] and "no kernel for cell 'slstm'" in one["other_engines"]["torch"]
    for entry in everything:
        assert set(entry["options"]) | set(entry["not_defined"]) == set(Variant.model_fields) - set(catalogue.EXTRA)
        assert not set(entry["options"]) & set(entry["not_defined"])


def test_a_cell_that_there_is_not_is_refused_with_those_that_there_are():
    with pytest.raises(UnknownVariant, match=r"no cell 'lstn'\. Known: rnn, .*, lstm, .*sru\."):
        said("lstn")


def test_the_page_of_variants_holds_what_the_command_prints():
    assert "```\n$ longshort variants\n" + said() + "```" in PAGE


def test_the_example_on_the_page_of_variants_stands_in_the_catalogue_and_in_the_tests():
    blocks = [block.partition("\n```")[0] for block in PAGE.split("```python\n")[1:]]
    places = [ROOT / "src/longshort/models/cells/minimal.py", ROOT / "tests/test_models_cells.py"]
    assert len(blocks) == len(places)
    for block, place in zip(blocks, places, strict=True):
        for part in block.split("\n\n\n"):
            assert part in place.read_text(), part
