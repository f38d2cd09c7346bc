"""Choice: engines are named before the graph starts, and what cannot be trained is refused with its reason."""

import pytest
from projects import project

from longshort import config, editing
from longshort.errors import ConfigError, UnknownVariant
from longshort.models import choice
from longshort.models.cells.kernels import GATES
from longshort.models.compiled import library

ITEMS = (
    "training.items={goog-lstm: {dataset: goog, task: forecast, variant: lstm}, goog-mgu: {dataset: goog, task: forecast, variant: mgu%s}}"
)
MGU = "models.variants.mgu={cell: mgu, hidden_size: 4, num_layers: 1, bidirectional: false, dropout: 0.0}"


def settled(tmp_path, *settings):
    path = project(tmp_path, MGU, *settings) / "params.yaml"
    if measured := choice.settle(config.read(path)):
        editing.assign(path, measured)
    return config.read(path)


def test_the_cells_with_kernels_are_the_same_in_both_lists():
    assert set(editing.KERNELS) == set(GATES)


def test_auto_becomes_a_name_for_each_item(tmp_path):
    params = settled(tmp_path, "training.engine=auto", ITEMS % "")
    assert params.engine_of("goog-lstm") in ("torch", "reference", "native")
    assert params.engine_of("goog-mgu") in ("reference", "native"), "torch has no kernel for it"
    assert choice.settle(params) == []


def test_auto_takes_what_was_measured_to_be_faster(tmp_path, monkeypatch):
    for faster in ("torch", "reference", *(["native"] if library.absent() is None else [])):
        monkeypatch.setattr(choice, "seconds", lambda variant, engine, shape, faster=faster: float(engine != faster))
        assert settled(tmp_path / faster, "training.engine=auto", ITEMS % ", engine: auto").engine_of("goog-lstm") == faster


def test_a_measurement_is_of_real_steps(tmp_path):
    variant = settled(tmp_path, ITEMS % ", engine: reference").models.variants["lstm"]
    assert 0 < choice.seconds(variant, "torch", (2, 3, 1)) < 1


def test_an_engine_that_cannot_run_a_variant_is_refused_before_anything_runs(tmp_path):
    with pytest.raises(
        ConfigError, match=r"items\.goog-mgu: engine 'torch' cannot train it: torch has no kernel for cell 'mgu'.*engine: reference"
    ):
        settled(tmp_path, ITEMS % "")


def test_a_stage_does_not_measure(tmp_path):
    path = project(tmp_path, MGU, "training.engine=auto", ITEMS % "") / "params.yaml"
    with pytest.raises(ConfigError, match=r"its engine is auto, which `longshort run` measures"):
        config.read(path).engine_of("goog-lstm")


def test_a_list_of_variants_is_trained_on_every_data_set(tmp_path):
    path = project(tmp_path, "models.variants=[lstm, bilstm, lstm_cifg, lstmp]") / "params.yaml"
    params = config.read(path)
    assert list(params.training.items) == [
        *("goog-lstm", "goog-bilstm", "goog-lstm_cifg", "goog-lstmp"), *("topics-lstm", "topics-lstm_cifg", "topics-lstmp"),
    ]  # fmt: skip
    assert params.models.variants["lstm_cifg"].cell == "lstm_cifg" and params.engine_of("goog-lstm_cifg") == "reference"
    assert params.engine_of("goog-lstm") == "torch"
    assert choice.settle(params) == []


def test_a_variant_that_nobody_knows_is_refused_with_the_nearest(tmp_path):
    with pytest.raises(UnknownVariant, match=r"'lstn' is no variant of the file, and no cell.*lstm"):
        project(tmp_path, "models.variants=[lstn]")
