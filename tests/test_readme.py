"""README: what it names is there. A newcomer's first page must not lie."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from longshort import cli, config

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "mlflow/README.md"]
TEXT = (ROOT / "README.md").read_text()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_of_a_page_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_every_command_that_the_readme_names_is_one():
    known = {command.name or command.callback.__name__ for command in cli.app.registered_commands}
    assert set(re.findall(r"longshort ([a-z]+)\b", TEXT)) <= known | {"longshort"}


def test_every_target_of_make_that_a_page_names_is_one():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for page in PAGES:
        assert set(re.findall(r"`make ([a-z]+)`", page.read_text())) <= targets


def test_the_output_in_the_readme_names_the_variants_and_baselines_that_ship():
    shown = TEXT.partition("```")[2].partition("```")[0]
    params = config.read(ROOT / "params.yaml")
    for item in params.training.items.values():
        assert re.search(rf"^ ?{item.variant} ", shown, re.MULTILINE), item.variant
    assert all(word in shown for word in ("naive", "unigram", "trigram", "challenger"))


def test_the_params_file_of_a_network_a_ticker_differs_in_nothing_but_what_it_is_for():
    own, usual = (YAML(typ="safe").load(ROOT / path) for path in ("docs/network-a-ticker.yaml", "params.yaml"))
    config.read(ROOT / "docs/network-a-ticker.yaml")
    assert own["ingestion"].pop("datasets") == {"all_stocks_5yr": {"task": "forecast", "source": "raw"}}
    assert own["training"].pop("items") == {
        "all_stocks_5yr-lstm-per-ticker": {"dataset": "all_stocks_5yr", "task": "forecast", "variant": "lstm", "per": "ticker"}
    }
    assert own["training"].pop("seeds") == [0]
    assert [own["training"]["forecast"].pop(name) for name in ("max_epochs", "patience")] == [20, 20]
    del usual["ingestion"]["datasets"], usual["training"]["items"], usual["training"]["seeds"]
    del usual["training"]["forecast"]["max_epochs"], usual["training"]["forecast"]["patience"]
    assert own == usual
