"""Models: what holds for every variant of params.yaml and every task that it may learn."""

import pickle
import warnings

import pytest
import torch
from projects import ROOT, flip
from torch import nn

from longshort import config, storage
from longshort.config import Variant
from longshort.errors import CorruptArtefact
from longshort.models import artefact
from longshort.models.encoder import Encoder
from longshort.models.network import Network
from longshort.tasks.forecast import ForecastShape
from longshort.tasks.language_model import LanguageModelShape

VARIANTS = config.read(ROOT / "params.yaml").models.variants
SHAPES = {
    "forecast": ForecastShape(inputs=2, horizon=3),
    "language-model": LanguageModelShape(inputs=8, vocabulary_size=11, dropout=0.2),
}
BATCH, STEPS = 5, 12

# a network that reads the next word cannot be asked for it: config refuses that pair
pairs = pytest.mark.parametrize(
    ("task", "variant"),
    [(task, name) for task in SHAPES for name in VARIANTS if not (task == "language-model" and VARIANTS[name].bidirectional)],
)


def network(task, variant):
    torch.manual_seed(0)
    return Network(SHAPES[task], VARIANTS[variant])


def examples(task):
    """A batch to read, and weights that make every answer count differently."""
    draw = torch.Generator().manual_seed(1)
    if task == "forecast":
        return torch.randn(BATCH, STEPS, 2, generator=draw), torch.randn(BATCH, 3, generator=draw)
    return torch.randint(11, (BATCH, STEPS), generator=draw), torch.randn(BATCH, STEPS, 11, generator=draw)


@pairs
def test_a_row_answered_alone_equals_its_answer_in_a_batch(task, variant):
    model, (read, _) = network(task, variant).eval(), examples(task)
    for mode in (torch.enable_grad, torch.inference_mode):  # torch has another kernel for each
        with mode():
            alone = torch.cat([model(row[None]) for row in read])
            torch.testing.assert_close(alone, model(read))


@pairs
def test_a_batch_of_one_keeps_its_axis(task, variant):
    model, (read, weights) = network(task, variant).eval(), examples(task)
    assert model(read).shape == weights.shape
    assert model(read[:1]).shape == weights[:1].shape


@pairs
def test_a_past_of_one_step_is_answered(task, variant):
    assert network(task, variant).eval()(examples(task)[0][:, :1]).isfinite().all()


@pairs
def test_every_step_reaches_the_answer_of_its_own_row_and_of_no_other(task, variant):
    model, (read, _) = network(task, variant).eval(), examples(task)
    steps = model.front(read).detach().requires_grad_()
    answer = model.head(*model.encoder(steps))
    answer[2].reshape(-1, answer.shape[-1])[-1].square().sum().backward()  # the last word's answer, or the forecast
    assert (steps.grad[2].abs().sum(dim=-1) > 0).all()
    assert (steps.grad[[0, 1, 3, 4]] == 0).all()


@pytest.mark.parametrize("variant", [name for name in VARIANTS if not VARIANTS[name].bidirectional])
def test_no_later_word_reaches_an_earlier_answer(variant):
    model, (read, _) = network("language-model", variant).eval(), examples("language-model")
    for step in range(STEPS - 1):
        vectors = model.front(read).detach().requires_grad_()
        model.head(*model.encoder(vectors))[:, step].square().sum().backward()
        assert (vectors.grad[:, step + 1 :] == 0).all() and (vectors.grad[:, step] != 0).any()


@pairs
def test_every_parameter_receives_a_gradient_and_is_changed_by_a_step(task, variant):
    model, (read, weights) = network(task, variant).train(), examples(task)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    (model(read) * weights).sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name
    optimizer.step()
    for name, parameter in model.named_parameters():
        assert not torch.equal(parameter, before[name]), name


@pairs
def test_training_and_evaluation_alternate_without_a_trace(task, variant):
    model, (read, _) = network(task, variant).eval(), examples(task)
    first = model(read)
    model.train()(read)
    assert torch.equal(model.eval()(read), first)
    assert torch.equal(model(read), first)


def test_dropout_stands_after_every_layer_in_training_only():
    encoder = Encoder(2, Variant(cell="gru", hidden_size=40, num_layers=3, bidirectional=False, dropout=0.5)).train()
    dropped = []
    encoder.dropout.register_forward_hook(lambda module, given, states: dropped.append((states == 0).float().mean().item()))
    steps = examples("forecast")[0]
    encoder(steps)
    assert len(dropped) == 3 and all(0.4 < share < 0.6 for share in dropped)
    encoder.eval()(steps)
    assert dropped[3:] == [0, 0, 0]


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_the_encoder_is_torchs_own_stack(cell, bidirectional):
    encoder = Encoder(2, Variant(cell=cell, hidden_size=4, num_layers=3, bidirectional=bidirectional, dropout=0.0)).eval()
    torchs = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}[cell](2, 4, 3, batch_first=True, bidirectional=bidirectional)
    for number, layer in enumerate(encoder.layers):
        for name, weights in layer.named_parameters():
            getattr(torchs, name.replace("_l0", f"_l{number}")).data = weights.data
    steps = examples("forecast")[0]
    states, final = encoder(steps)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch would rather have the weights in one piece
        expected, last = torchs(steps)
    last = last[0] if cell == "lstm" else last
    torch.testing.assert_close(states, expected)
    # torch's h_n: the forward direction after the last step, the backward one after the first
    torch.testing.assert_close(final, torch.cat([last[-2], last[-1]], dim=-1) if bidirectional else last[-1])


@pytest.mark.parametrize("name", VARIANTS)
def test_a_variant_is_built_as_its_settings_say(name):
    variant, model = VARIANTS[name], network("forecast", name)
    assert len(model.encoder.layers) == variant.num_layers
    assert {layer.hidden_size for layer in model.encoder.layers} == {variant.hidden_size}
    assert model.encoder.dropout.p == variant.dropout
    assert {type(layer).__name__.lower() for layer in model.encoder.layers} == {variant.cell}


# --- on disk ----------------------------------------------------------------------------------


def saved(folder, task, variant):
    model = network(task, variant)
    artefact.save(folder, task, SHAPES[task], VARIANTS[variant], model.state_dict(), {"description": {}, "origin": {"seed": 0}})
    return model.eval()


@pairs
def test_a_saved_model_answers_the_same_to_the_bit(tmp_path, task, variant):
    model, (read, _) = saved(tmp_path / "seed-0", task, variant), examples(task)
    loaded = artefact.load(tmp_path / "seed-0")
    with torch.inference_mode():  # as validation was scored; with gradients another kernel rounds otherwise
        assert torch.equal(loaded(read), model(read))
    assert (loaded.task, loaded.card["origin"], loaded.sha256) == (task, {"seed": 0}, storage.verify(tmp_path / "seed-0"))
    assert not loaded.network.training and not loaded(read).requires_grad


@pytest.mark.parametrize("task", SHAPES)
def test_a_model_is_the_same_bytes_each_time_and_holds_no_pickle(tmp_path, task):
    for name in ("one", "two"):
        saved(tmp_path / name, task, "lstm")
    files = {path.name: path.read_bytes() for path in (tmp_path / "one").iterdir()}
    assert set(files) == {"weights.safetensors", "model.json", "manifest.json"}
    assert files == {path.name: path.read_bytes() for path in (tmp_path / "two").iterdir()}
    for data in files.values():
        with pytest.raises((pickle.UnpicklingError, ValueError, KeyError, IndexError, EOFError)):
            pickle.loads(data)


@pytest.mark.parametrize("name", ["weights.safetensors", "model.json", "manifest.json"])
def test_a_flipped_byte_of_a_model_is_refused(tmp_path, name):
    saved(tmp_path / "seed-0", "forecast", "rnn")
    size = (tmp_path / "seed-0" / name).stat().st_size
    for place in {0, 7, 8, *range(1, size, size // 15), size - 1}:
        flip(tmp_path / "seed-0" / name, place)
        with pytest.raises(CorruptArtefact, match=name):
            artefact.load(tmp_path / "seed-0")
        flip(tmp_path / "seed-0" / name, place)


def test_weights_of_another_architecture_are_refused(tmp_path):
    saved(tmp_path / "seed-0", "forecast", "rnn")
    card = storage.read_json(tmp_path / "seed-0/model.json")
    card["variant"]["hidden_size"] += 1
    storage.write_json(tmp_path / "seed-0/model.json", card)
    storage.seal(tmp_path / "seed-0")
    with pytest.raises(CorruptArtefact, match=r"(?s)do not fit the architecture in model\.json.*longshort run"):
        artefact.load(tmp_path / "seed-0")
