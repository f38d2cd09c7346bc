"""Systems that teach: a cell by hand, padded batches, gradients over a hundred steps, and gates."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from test_models_cells import HIDDEN, by_hand, by_rule, sequence, weights

from longshort import config
from longshort.errors import UsageError
from longshort.models.cells import CELLS
from longshort.models.encoder import Encoder
from longshort.models.engines import Inside
from longshort.models.engines.reference import step_by_step
from longshort.systems import cell, digits, digits_deep, gates, gradients, memory, story, variable_length
from longshort.systems.equations import ACTIVATIONS, EQUATIONS, worked_out
from longshort.systems.fitting import Fitted
from longshort.systems.occasion import Occasion

ROOT = Path(__file__).parents[1]
PARAMS = config.read(Path(__file__).with_name("params.yaml"))


def occasion(name, seeds=(0,), **settings):
    return Occasion(ROOT, PARAMS, name, None, True, settings, seeds, lambda said: None)


def column(table, name):
    return [row[table.header.index(name)] for row in table.rows]


def pictured(outcome):
    return {name for name, picture in outcome.pictures.items() if picture.startswith(b"\x89PNG")}


# --- the equations ----------------------------------------------------------------------------


def hand_outs(name, given, steps, activation):
    """(steps, batch, hidden), by the loops of the systems."""
    rows = steps[0].transpose(0, 1).numpy()
    told = worked_out(name, {key: weight[0].numpy() for key, weight in given.items()}, rows, activation)
    return torch.from_numpy(told["h"]).transpose(0, 1)


@pytest.mark.parametrize("name", EQUATIONS)
def test_the_equations_worked_out_are_the_papers_and_the_catalogues(name):
    given, steps = weights(name), sequence()
    found = hand_outs(name, given, steps, CELLS[name].activation)
    torch.testing.assert_close(found, by_hand(name, given, steps), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(found, by_rule(name, given, steps)[0], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("name", ["rnn", "lstm", "gru"])
def test_an_activation_that_is_set_stands_in_the_equations_too(name, activation):
    given, steps = weights(name), sequence()
    expected, _ = step_by_step(CELLS[name], activation, given, steps, Inside(), {})
    torch.testing.assert_close(hand_outs(name, given, steps, activation), expected[0], rtol=1e-12, atol=1e-12)


def test_equations_go_on_from_a_learned_start():
    given, steps = weights("lstm") | {f"start_{state}": torch.rand(1, HIDDEN, dtype=torch.float64) for state in "hc"}, sequence()
    torch.testing.assert_close(hand_outs("lstm", given, steps, "tanh"), by_rule("lstm", given, steps)[0], rtol=1e-12, atol=1e-12)


# --- a cell by hand ---------------------------------------------------------------------------


def test_three_ways_through_a_cell_print_the_same_numbers():
    outcome = cell.run(occasion("cell"))
    assert 0 < outcome.figures[0].value < 1e-6
    ways, cells = column(outcome.tables["differences"], "way"), column(outcome.tables["differences"], "cell")
    assert {"cell by cell", "whole, reference", "whole, torch"} <= set(ways) and set(cells) == {"rnn", "lstm", "gru"}
    assert [row[:3] for row in outcome.tables["outputs"].rows[:5]] == [["rnn", 1, n] for n in (1, 2, 3, 4)] + [["rnn", 2, 1]]
    assert all(f"{value:.5f}" in outcome.said for row in outcome.tables["outputs"].rows for value in row[3:])
    assert pictured(outcome) == {"outputs"}


@pytest.mark.parametrize(
    "settings",
    [
        {"cell": "lstm", "activation": "relu", "hidden_size": 3},
        {"cell": "gru", "num_layers": 2, "residual": True, "initial_state": "learned"},
        {"cell": "rnn", "num_layers": 2, "bidirectional": True},
    ],
)
def test_three_ways_agree_whatever_is_set(settings):
    outcome = cell.run(occasion("cell", **settings))
    assert outcome.figures[0].value < 1e-6 and "not written out" not in outcome.said
    assert "cell by cell" in column(outcome.tables["differences"], "way")


@pytest.mark.parametrize("settings", [{"cell": "lstmp"}, {"cell": "gru", "zoneout": 0.3}])
def test_a_cell_that_is_not_written_out_by_hand_is_stepped_and_it_is_said(settings):
    outcome = cell.run(occasion("cell", **settings))
    assert outcome.figures[0].value < 1e-6 and f"{settings['cell']} is not written out by hand" in outcome.said


def test_an_option_that_a_cell_has_not_is_refused():
    with pytest.raises(UsageError, match="`activation` is not defined for cell 'sru'"):
        cell.run(occasion("cell", cell="sru", activation="relu"))


# --- sequences of different lengths -----------------------------------------------------------


def test_a_padded_batch_is_its_rows_for_every_cell_in_both_directions():
    outcome = variable_length.run(occasion("variable-length"))
    assert [figure.value < bound for figure, bound in zip(outcome.figures, (1e-12, 1e-300), strict=True)] == [True, True]
    assert column(outcome.tables["cells"], "cell") == list(CELLS) and len(outcome.tables["cells"].header) == 1 + 2 * 4
    assert pictured(outcome) == {"states"}


class Leaking(Encoder):
    """Reads the padding as if it were steps."""

    def forward(self, steps, draw=None, lengths=None, carried=None):
        return super().forward(steps, draw)


class Masking(Encoder):
    """Puts zeros behind a row's end and reads the padding all the same."""

    def forward(self, steps, draw=None, lengths=None, carried=None):
        states, final = super().forward(steps, draw)
        if lengths is not None:
            states = states * (torch.arange(states.shape[2]) < lengths[:, None])[None, :, :, None]
        return states, final


@pytest.mark.parametrize("leaking", [Leaking, Masking])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_padding_that_leaks_is_seen(leaking, bidirectional):
    variant = config.Variant(cell="gru", hidden_size=5, num_layers=1, bidirectional=bidirectional, dropout=0.0)
    found = variable_length.compare(leaking(3, variant, "reference").double().eval())
    assert found.final > 1e-3 and found.gradient > 1e-3
    assert (found.behind > 1e-3) == (leaking is Leaking)


def test_cells_without_what_is_set_are_left_out_and_named():
    outcome = variable_length.run(occasion("variable-length", activation="relu", bidirectional=False))
    assert "sru" not in column(outcome.tables["cells"], "cell") and "not defined for cell 'sru'" in outcome.said
    assert outcome.settings["cells"] + outcome.settings["refused"] == len(CELLS)


# --- gradients --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def followed():
    return gradients.run(occasion("gradients"))


def test_a_gradient_vanishes_in_an_rnn_explodes_with_large_weights_and_lives_where_gates_begin_long(followed):
    norms = {row[0]: dict(zip(followed.tables["norms"].header[1:], row[1:], strict=True)) for row in followed.tables["norms"].rows}
    assert norms["RNN"]["reach"] < 12 and norms["LSTM"]["reach"] < 12 and norms["RNN"]["100 back"] < 1e-12
    assert norms["large R"]["100 back"] > 100
    for kept in ("ReLU, R = I", "LSTM, chrono", "GRU, chrono", "LSTM, layer norm"):
        assert norms[kept]["reach"] == gradients.BACK and norms[kept]["from more than 25 back"] > 0.1
    assert norms["truncated"]["25 back"] == 0 < norms["truncated"]["10 back"] == norms["orthogonal R"]["10 back"]
    assert norms["RNN"]["reach"] < norms["orthogonal R"]["reach"] and norms["LSTM"]["reach"] < norms["LSTM, forget bias 1"]["reach"]
    assert pictured(followed) == {"norms", "series"}


def test_clipping_bounds_the_step_and_keeps_the_profiles_shape(followed):
    large, clipped = (next(row for row in followed.tables["norms"].rows if row[0] == name) for name in ("large R", "large R, clipped"))
    shares = [small / great for small, great in zip(clipped[1:6], large[1:6], strict=True)]
    assert shares == pytest.approx([shares[0]] * 5) and shares[0] < 0.01
    update = next(row for row in followed.tables["updates"].rows if row[0] == "large R")
    assert update[1] > 100 and update[2] == pytest.approx(0.001 * update[1]) and update[3] == pytest.approx(0.001)


def test_the_series_for_teaching_is_what_backpropagation_gives(followed):
    rows = followed.tables["series"].rows
    assert [f"{row[3]:.3f}" for row in rows[:2]] == ["0.863", "0.532"]
    variant = config.Variant(cell="rnn", hidden_size=1, num_layers=1, bidirectional=False, dropout=0.0)
    encoder = Encoder(1, variant, "reference").double()
    for name, weight in encoder.directions(0)[0].tensors().items():
        weight.data.fill_(name != "b")
    read = torch.tensor(gradients.SERIES, dtype=torch.float64).view(1, 1, -1, 1)
    of_states, _ = gradients.backwards(encoder, read, torch.ones(1, 1, dtype=torch.float64), len(gradients.SERIES))
    # the product until a step back is the gradient of the state ahead of it; that of the first state's start is not asked
    assert of_states.flatten().flip(0).tolist() == pytest.approx([1.0, *(row[3] for row in rows[:-1])], abs=1e-12)


@pytest.mark.parametrize("name", ["lstm", "gru"])
def test_the_gradient_of_a_state_is_that_of_finite_differences(name):
    variant = config.Variant(cell=name, hidden_size=3, num_layers=1, bidirectional=False, dropout=0.0)
    encoder = Encoder(2, variant, "reference").double()
    read, aim = torch.randn(1, 1, 4, 2, dtype=torch.float64), torch.randn(1, 3, dtype=torch.float64)
    of_states, _ = gradients.backwards(encoder, read, aim, 5)

    def loss(nudge):
        weights, states = encoder.directions(0)[0].tensors(), {}
        for number, x in enumerate(read.unbind(2)):
            states = gradients.step(encoder, weights, x, states)
            if number == 1:
                states = {**states, "h": states["h"] + nudge}
        return (states["h"][0] * aim).sum()

    with torch.no_grad():
        for unit, nudge in enumerate(1e-6 * torch.eye(3, dtype=torch.float64)):
            assert float(loss(nudge) - loss(-nudge)) / 2e-6 == pytest.approx(float(of_states[1, 0, unit]), rel=1e-6)


def test_of_a_cell_that_carries_its_cell_state_alone_that_is_followed():
    outcome = gradients.run(occasion("gradients", cell="sru"))
    reach = dict(zip(column(outcome.tables["norms"], "network"), column(outcome.tables["norms"], "reach"), strict=True))
    assert 2 < reach["sru"] < reach["forget bias 1"] < reach["chrono"] == gradients.BACK


def test_a_cell_that_is_named_is_followed_with_the_remedies_that_it_has():
    outcome = gradients.run(occasion("gradients", cell="rnn", num_layers=2, clip_norm=0.5))
    assert column(outcome.tables["norms"], "network") == ["rnn", "begun as in Keras", "truncated"]
    assert "clipped to 0.5" in outcome.tables["updates"].header
    assert outcome.said.endswith("left out, since the cell has none of what is set: forget bias 1, chrono")


@pytest.mark.parametrize(
    ("row", "setting", "said"),
    [
        (gradients, {"forget_bias": 3.0}, "--set forget_bias: it is one of the remedies that are compared"),
        (gradients, {"cell": [1]}, "--set cell: Input should be 'rnn', "),
        (memory, {"chrono_steps": 10}, "--set chrono_steps: one of the four networks is begun so"),
    ],
)
def test_what_a_row_varies_itself_is_not_set_for_all_of_its_networks(row, setting, said):
    with pytest.raises(UsageError, match=said):
        row.run(occasion("row", **setting))


def test_dropout_and_layers_are_one_setting_where_they_are_compared(monkeypatch):
    tried = []

    def fit(_, label, tasks, variant, how):
        tried.append(variant.dropout)
        return [Fitted(0, None, [])], 1.0

    monkeypatch.setattr(digits, "named", lambda one, task, part: task.data.labels_of(part))
    monkeypatch.setattr(digits_deep, "fit", fit)
    for dropout, kinds in ((0.3, ["no dropout", "dropout 0.3"] * 2), (0.0, ["no dropout"] * 2)):
        figures = digits_deep.run(occasion("digits-deep", dropout=dropout)).figures
        assert [figure.name.split(", ")[-1] for figure in figures] == kinds
    assert tried == [0.0, 0.3, 0.0, 0.3, 0.0, 0.0]
    outcome = story.run(replace(occasion("story", num_layers=3, hidden_size=4, max_epochs=1), fast=True))
    assert [figure.name.split(", ")[0] for figure in outcome.figures] == ["3 layers"] * 3
    assert outcome.settings["variant"]["num_layers"] == 3


def test_a_network_that_is_named_is_called_by_how_its_gates_begin():
    assert list(memory._networks(occasion("memory", cell="gru", chrono_steps=40), 320)) == ["gru, chrono"]
    assert list(memory._networks(occasion("memory", cell="gru"), 320)) == ["gru"]


# --- gates ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shown():
    return gates.run(occasion("gates"))


def test_gates_over_a_sentence_and_over_prices_are_the_printed_equations(shown):
    assert 0 < shown.figures[0].value < 1e-12 and "printed" in shown.figures[0].name
    assert all(figure.naive for figure in shown.figures[1:])
    for stretch in ("sentence", "prices"):
        assert shown.tables[stretch].header == ["step", "f", "i", "g", "o", "c", "h"]
        for gate in "fio":
            assert all(0 < value < 1 for value in column(shown.tables[stretch], gate))
    assert len(shown.tables["prices"].rows) == 60 and column(shown.tables["prices"], "step")[-1] == "2008-10-13"
    assert column(shown.tables["sentence"], "step")[-1] == "."
    assert pictured(shown) == {"sentence", "prices", "sentence-film", "prices-film"}


def test_a_gru_shows_its_own_gates_and_an_unwritten_cell_its_states(monkeypatch):
    found = {}
    monkeypatch.setattr(gates, "_maps", lambda stretch, *_: b"")
    monkeypatch.setattr(gates, "_film", lambda stretch: b"")
    for name in ("gru", "mgu"):
        outcome = gates.run(occasion("gates", cell=name, max_epochs=1, hidden_size=4))
        found[name] = outcome.tables["sentence"].header[1:], outcome.figures[0].value, outcome.said
    assert found["gru"][0] == ["r", "z", "n", "h"] and found["gru"][1] < 1e-12
    assert found["mgu"][0] == ["h"] and found["mgu"][1] < 1e-12 and "mgu are not written out by hand" in found["mgu"][2]


def test_a_gate_moves_the_cell_state_as_its_map_says():
    rows = np.random.Generator(np.random.Philox(0)).normal(size=(1, 6, 2))
    told = worked_out("lstm", {key: weight[0].numpy() for key, weight in weights("lstm").items()}, rows, "tanh")
    for t in range(1, 6):
        kept = told["f"][0, t] * told["c"][0, t - 1] + told["i"][0, t] * told["g"][0, t]
        assert told["c"][0, t] == pytest.approx(kept, abs=1e-15)
        assert told["h"][0, t] == pytest.approx(told["o"][0, t] * np.tanh(told["c"][0, t]), abs=1e-15)


@pytest.mark.parametrize("system", [gates, gradients])
def test_two_directions_are_refused_where_steps_have_an_order(system):
    with pytest.raises(UsageError, match=r"bidirectional: .* Leave it out"):
        system.run(occasion("gates", bidirectional=True))
    with pytest.raises(UsageError, match=r"--set bidirectional: Input should be a valid boolean"):
        system.run(occasion("gates", bidirectional="no"))


@pytest.mark.parametrize(
    ("without", "given", "said"),
    [
        ([97.0, 97.2], [97.3, 97.5], "+0.30 points by dropout"),
        ([97.0, 97.2], [96.8, 96.9], "-0.25 points by dropout"),
        ([97.0, 97.3], [97.2, 97.5], "+0.20 points by dropout, no more than seeds differ"),
        ([97.0], [97.2], "+0.20 points by dropout, one seed each"),
    ],
)
def test_a_gain_by_dropout_is_one_where_no_seed_says_otherwise(without, given, said):
    assert digits_deep._verdict(without, given) == said
