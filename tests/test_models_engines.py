"""Models, engines: every engine gives the reference's states and gradients, or says why it does not run."""

import warnings

import pytest
import torch
from projects import first_that_runs, native_is_built
from test_models_cells import HIDDEN, PROJECTION, projection, sequence, variant, weights
from torch import nn

from longshort.errors import ConfigError
from longshort.models.cells import CELLS
from longshort.models.cells.cell import starts
from longshort.models.encoder import Encoder
from longshort.models.engines import ENGINES, Inside
from longshort.models.engines.kernels import GATES, torch_weights, weights_from_torch
from longshort.models.masks import Draw

OWN = [name for name in CELLS if name in GATES]  # the cells that torch has
# what sums of these sizes may differ by where the order of their terms is another's
TOLERANCE = {torch.float64: {"rtol": 1e-12, "atol": 1e-12}, torch.float32: {"rtol": 2e-5, "atol": 1e-5}}


def modules(name, inputs, **settings):
    """torch's own module of a cell."""
    if "c" in CELLS[name].states:
        return nn.LSTM(inputs, HIDDEN, proj_size=projection(name), **settings)
    return nn.GRU(inputs, HIDDEN, **settings) if name == "gru" else nn.RNN(inputs, HIDDEN, nonlinearity=CELLS[name].activation, **settings)


@pytest.mark.parametrize("name", OWN)
def test_torchs_own_module_is_the_rule_in_value_and_gradient(name):
    cell, given, steps = CELLS[name], weights(name), sequence(steps=6, batch=3)
    module = modules(name, 2).double()
    for key, weight in torch_weights(cell, given).items():
        getattr(module, key).data = weight.clone()
    given = {key: weight.requires_grad_() for key, weight in given.items()}
    mine = ENGINES["reference"].forward(cell, cell.activation, given, steps, Inside())[0]
    theirs, _ = module(steps[0])
    torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-12)
    mine.pow(3).sum().backward()
    theirs.pow(3).sum().backward()
    wanted = torch_weights(cell, {key: weight.grad for key, weight in given.items()})
    for key in wanted:
        theirs_grad = getattr(module, key).grad
        if key == "bias_hh_l0":  # of torch's second bias only the gate n of a GRU has one here
            wanted[key], theirs_grad = wanted[key][-HIDDEN:], theirs_grad[-HIDDEN:]
            if name != "gru":
                continue
        torch.testing.assert_close(theirs_grad, wanted[key], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", OWN)
def test_weights_go_to_torch_and_back_to_the_bit(name):
    given = weights(name)
    back = weights_from_torch(CELLS[name], torch_weights(CELLS[name], given))
    assert back.keys() == given.keys()
    for key, weight in given.items():
        assert torch.equal(back[key], weight), key


@pytest.mark.parametrize("name", OWN)
def test_a_module_of_torchs_comes_over_whole(name):
    module = modules(name, 2).double()
    steps = sequence(steps=5)
    found = ENGINES["reference"].forward(
        CELLS[name], CELLS[name].activation, weights_from_torch(CELLS[name], module.state_dict()), steps, Inside()
    )
    torch.testing.assert_close(found[0], module(steps[0])[0], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("learned", [False, True], ids=["zero start", "learned start"])
@pytest.mark.parametrize("name", OWN)
def test_the_engine_torch_is_the_reference(name, learned, dtype):
    cell, steps, given = CELLS[name], sequence(steps=6, batch=3, members=2).to(dtype), weights(name, members=2)
    if learned:
        given |= {key: torch.randn(2, *shape, dtype=torch.float64) for key, shape in starts(cell, HIDDEN, projection(name)).items()}
    given = {key: weight.to(dtype).requires_grad_() for key, weight in given.items()}
    answers, gradients = {}, {}
    for engine in ("reference", "torch"):
        answers[engine] = ENGINES[engine].forward(cell, cell.activation, given, steps, Inside())
        gradients[engine] = torch.autograd.grad(answers[engine].pow(3).sum(), list(given.values()))
    torch.testing.assert_close(answers["torch"], answers["reference"], **TOLERANCE[dtype])
    for mine, theirs in zip(gradients["reference"], gradients["torch"], strict=True):
        scale = mine.abs().max()
        torch.testing.assert_close(theirs / scale, mine / scale, **TOLERANCE[dtype])
    with torch.inference_mode():  # torch has another kernel there
        found = ENGINES["torch"].forward(cell, cell.activation, given, steps, Inside())
    torch.testing.assert_close(found, answers["reference"], **TOLERANCE[dtype])


@pytest.mark.parametrize("name", OWN)
def test_a_member_under_the_engine_torch_has_the_bits_that_it_has_alone(name):
    given = {key: weight.float() for key, weight in weights(name, members=3).items()}
    steps = sequence(members=3).float()
    together = ENGINES["torch"].forward(CELLS[name], CELLS[name].activation, given, steps, Inside())
    for k in range(3):
        alone = {key: weight[k : k + 1] for key, weight in given.items()}
        assert torch.equal(ENGINES["torch"].forward(CELLS[name], CELLS[name].activation, alone, steps[k : k + 1], Inside())[0], together[k])


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("engine", [pytest.param(name, marks=native_is_built if name == "native" else ()) for name in ENGINES])
def test_a_stack_of_layers_is_torchs_own(cell, bidirectional, engine, monkeypatch):
    monkeypatch.setattr(ENGINES["cuda"], "absent", lambda: None)  # its layers are the same wherever their tensors lie
    encoder = Encoder(2, variant(cell, num_layers=3, bidirectional=bidirectional), engine).eval()
    torchs = modules(cell, 2, num_layers=3, batch_first=True, bidirectional=bidirectional)
    for layer in range(3):
        for direction, given in enumerate(encoder.directions(layer)):
            for name, weight in torch_weights(CELLS[cell], given.tensors()).items():
                getattr(torchs, name.replace("_l0", f"_l{layer}") + direction * "_reverse").data = weight.data.clone()
    steps = sequence(steps=7, batch=5)[0].transpose(0, 1).float()
    states, final = encoder(steps[None])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch would rather have the weights in one piece
        expected, last = torchs(steps)
    last = last[0] if cell == "lstm" else last
    torch.testing.assert_close(states[0], expected)
    # torch's h_n: the forward direction after the last step, the backward one after the first
    torch.testing.assert_close(final[0], torch.cat([last[-2], last[-1]], dim=-1) if bidirectional else last[-1])


# --- who runs what ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", CELLS)
def test_the_reference_runs_every_cell_and_torch_its_own(name):
    assert ENGINES["reference"].runs(variant(name)) is None
    assert (ENGINES["torch"].runs(variant(name)) is None) == (name in OWN)
    assert first_that_runs(variant(name)) == ("torch" if name in OWN else "reference")


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"cell": "mgu"}, "no kernel for cell 'mgu'"),
        ({"zoneout": 0.1}, "`zoneout` acts inside the loop"),
        ({"recurrent_dropout": 0.1}, "`recurrent_dropout` acts inside the loop"),
        ({"variational_dropout": 0.1}, "`variational_dropout` acts inside the loop"),
        ({"activation": "relu"}, "has no activation 'relu'"),
    ],
)
def test_what_torch_cannot_run_is_refused_with_the_reason_and_a_way_out(settings, reason):
    settings = variant(settings.pop("cell", "lstm"), **settings)
    with pytest.raises(ConfigError, match=rf"engine 'torch' cannot run this variant: .*{reason}.*\. Take engine 'reference'"):
        Encoder(2, settings, "torch")
    assert first_that_runs(settings) == "reference"


def test_an_engine_that_there_is_not_is_refused():
    with pytest.raises(ConfigError, match=r"there is no engine 'cudnn'\. Known: torch, reference, native, cuda\."):
        Encoder(2, variant("lstm"), "cudnn")


@pytest.mark.parametrize("settings", [{"dropout": 0.4}, {"weight_dropout": 0.4}, {"residual": True}, {"initial_state": "learned"}], ids=str)
@pytest.mark.parametrize("cell", ["lstm", "lstmp", "gru"])
def test_options_outside_the_loop_are_the_same_under_both_engines(cell, settings):
    answers = []
    for engine in ("reference", "torch"):
        torch.manual_seed(0)
        encoder = Encoder(2, variant(cell, num_layers=2, bidirectional=True, **settings), engine).double()
        for name, weight in encoder.named_parameters():
            if "start" in name:
                weight.data.uniform_(-1, 1, generator=torch.Generator().manual_seed(1))
        answers.append(encoder(sequence().transpose(1, 2), Draw((0,), 1, 3))[0])
    torch.testing.assert_close(*answers, rtol=1e-12, atol=1e-12)
    assert answers[0].shape[-1] == 2 * (PROJECTION if cell == "lstmp" else HIDDEN)
