"""Models: what holds for every variant of params.yaml, every cell and every option, and every task that they may learn."""

import pickle

import pytest
import torch
from projects import ROOT, first_that_runs, flip
from test_models_cells import variant
from test_models_encoder import generators

from longshort import config, storage
from longshort.config import Variant
from longshort.errors import CorruptArtefact
from longshort.models import artefact, masks
from longshort.models.cells import CELLS
from longshort.models.masks import Draw
from longshort.models.network import Network
from longshort.tasks.forecast import ForecastShape
from longshort.tasks.language_model import LanguageModelShape

OPTIONS = {  # one of each kind, on cells that have them
    "dropped": {"cell": "lstm", "dropout": 0.3, "weight_dropout": 0.3, "residual": True},
    "zoned": {"cell": "gru", "zoneout": 0.3, "recurrent_dropout": 0.3, "variational_dropout": 0.3},
    "learned": {"cell": "lstm_fgr", "initial_state": "learned", "initialisation": "keras"},
    "both_ways": {"cell": "lstmp", "projection_size": 3, "bidirectional": True, "zoneout": 0.3, "residual": True},
    "long": {"cell": "janet", "chrono_steps": 30, "activation": "softsign"},
}
VARIANTS = {
    **config.read(ROOT / "params.yaml").models.variants,
    **{f"cell {name}": variant(name, hidden_size=5, num_layers=2) for name in CELLS},
    **{
        name: Variant(**{"hidden_size": 5, "num_layers": 2, "bidirectional": False, "dropout": 0.0} | said)
        for name, said in OPTIONS.items()
    },
}
SHAPES = {
    "forecast": ForecastShape(inputs=2, horizon=3),
    "language-model": LanguageModelShape(inputs=8, vocabulary_size=11, dropout=0.2),
}
BATCH, STEPS = 5, 12
DRAW = Draw((0,), epoch=1, place=0)

# a network that reads the next word cannot be asked for it, nor can one that answers at the end: config refuses those pairs
pairs = pytest.mark.parametrize(
    ("task", "variant"),
    [
        (task, name)
        for task in SHAPES
        for name in VARIANTS
        if not (task == "language-model" and (VARIANTS[name].bidirectional or VARIANTS[name].cell == "alstm"))
    ],
)


def network(task, variant, *seeds):
    """A fleet, a member a seed; without seeds a lone network."""
    return Network(SHAPES[task], VARIANTS[variant], first_that_runs(VARIANTS[variant]), generators(*(seeds or (0,))))


def examples(task, members=1):
    """A batch to read for each member, and weights that make every answer count differently."""
    draw = torch.Generator().manual_seed(1)
    if task == "forecast":
        return torch.randn(members, BATCH, STEPS, 2, generator=draw), torch.randn(members, BATCH, 3, generator=draw)
    return torch.randint(11, (members, BATCH, STEPS), generator=draw), torch.randn(members, BATCH, STEPS, 11, generator=draw)


@pytest.mark.few(26)
@pairs
def test_a_row_answered_alone_equals_its_answer_in_a_batch(task, variant):
    model, (read, _) = network(task, variant).eval(), examples(task)
    for mode in (torch.enable_grad, torch.inference_mode):  # torch has another kernel for each
        with mode():
            alone = torch.cat([model(row[None, None]) for row in read[0]], dim=1)
            torch.testing.assert_close(alone, model(read))


@pairs
def test_a_batch_of_one_keeps_its_axis(task, variant):
    model, (read, weights) = network(task, variant).eval(), examples(task)
    assert model(read).shape == weights.shape
    assert model(read[:, :1]).shape == weights[:, :1].shape


@pairs
def test_a_past_of_one_step_is_answered(task, variant):
    assert network(task, variant).eval()(examples(task)[0][:, :, :1]).isfinite().all()


def answered(model, steps):
    """A lone network's answer to what its recurrent layers read, (batch, steps, inputs)."""
    return model.head(*model.encoder(steps[None]))[0]


@pairs
def test_every_step_reaches_the_answer_of_its_own_row_and_of_no_other(task, variant):
    model, (read, _) = network(task, variant).eval(), examples(task)
    if CELLS[VARIANTS[variant].cell].activation == "relu":  # a unit that rests passes nothing on
        for name, weight in model.encoder.named_parameters():
            weight.data += 2.0 * name.endswith(".b")
    steps = model.front(read)[0].detach().requires_grad_()
    answer = answered(model, steps)
    answer[2].reshape(-1, answer.shape[-1])[-1].square().sum().backward()  # the last word's answer, or the forecast
    assert (steps.grad[2].abs().sum(dim=-1) > 0).all()
    assert (steps.grad[[0, 1, 3, 4]] == 0).all()


@pytest.mark.parametrize("variant", [name for name in VARIANTS if not VARIANTS[name].bidirectional and VARIANTS[name].cell != "alstm"])
def test_no_later_word_reaches_an_earlier_answer(variant):
    model, (read, _) = network("language-model", variant).eval(), examples("language-model")
    for step in (0, 5, STEPS - 2):
        vectors = model.front(read)[0].detach().requires_grad_()
        answered(model, vectors)[:, step].square().sum().backward()
        assert (vectors.grad[:, step + 1 :] == 0).all() and (vectors.grad[:, step] != 0).any()


@pytest.mark.few(26)
@pairs
def test_every_parameter_receives_a_gradient_and_is_changed_by_a_step(task, variant):
    model, (read, weights) = network(task, variant).train(), examples(task)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    (model(read, DRAW) * weights).sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name
    optimizer.step()
    for name, parameter in model.named_parameters():
        assert not torch.equal(parameter, before[name]), name


@pytest.mark.few(26)
@pairs
def test_training_and_evaluation_alternate_without_a_trace(task, variant):
    model, (read, _) = network(task, variant).eval(), examples(task)
    first = model(read)
    model.train()(read, DRAW)
    assert torch.equal(model.eval()(read), first)
    assert torch.equal(model(read), first)


def test_a_network_in_training_with_dropout_asks_where_its_batch_stands():
    model, (read, _) = network("forecast", "stacked").train(), examples("forecast")
    with pytest.raises(ValueError, match=r"no `draw` says where its batch stands\. Hand one in, or call eval\(\)"):
        model(read)
    assert torch.equal(model.eval()(read, DRAW), model(read))


def test_a_language_models_dropout_stands_on_the_embeddings_and_before_the_head():
    model, (read, _) = network("language-model", "rnn").train(), examples("language-model")
    seen = []
    model.encoder.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    states, _ = model.encode(read, DRAW)
    for dropped, whole, kind in ((seen[0], model.front(read), masks.FRONT), (states, model.encoder(seen[0])[0], masks.HEAD)):
        factors = torch.from_numpy(DRAW.factors(kind, 0, 0.2, tuple(whole.shape[1:])))
        assert 0.1 < (factors == 0).float().mean() < 0.3
        torch.testing.assert_close(dropped, whole * factors, rtol=0, atol=0)


TIED = LanguageModelShape(inputs=6, vocabulary_size=11, dropout=0.0, tied=True)


def tied(*seeds):
    return Network(TIED, variant("lstm", hidden_size=6), "reference", generators(*seeds))


def test_a_tied_head_scores_words_by_their_embeddings_and_has_a_bias_and_nothing_more():
    model, (read, _) = tied(3).eval(), examples("language-model")
    states, _ = model.encode(read)
    torch.testing.assert_close(model(read), states @ model.front.table[0].t() + model.head.bias[0])
    assert {name for name in model.state_dict() if not name.startswith("encoder")} == {"front.table", "head.bias"}
    assert [own.shape for own in model.head.parameters()] == [(1, 11)]


def test_a_tied_head_and_the_embeddings_learn_as_one():
    model, (read, _) = tied(3), examples("language-model")
    never, read = 10, read % 10
    model(read)[..., never].sum().backward()
    assert model.front.table.grad[0, never].abs().min() > 0, "a word that was never read learns from being scored"


def test_a_tied_network_that_was_saved_answers_as_before(tmp_path):
    model, (read, _) = tied(3).eval(), examples("language-model")
    other = tied(4).eval()
    assert not torch.equal(other(read), model(read))
    other.load_state_dict({name: weight.clone() for name, weight in model.state_dict().items()})
    assert torch.equal(other(read), model(read))


def test_members_of_a_tied_fleet_answer_as_each_does_alone():
    fleet, (read, _) = tied(3, 4).eval(), examples("language-model", 2)
    for k, seed in enumerate((3, 4)):
        assert torch.equal(fleet(read)[k], tied(seed).eval()(read[k : k + 1])[0])


# --- fleets -----------------------------------------------------------------------------------

SEEDS = (5, 6, 7)


@pytest.mark.few(26)
@pairs
def test_a_member_of_a_fleet_is_begun_answers_and_learns_as_it_does_alone(task, variant):
    fleet, (read, weights) = network(task, variant, *SEEDS), examples(task, len(SEEDS))
    answers = fleet(read, Draw(SEEDS, 2, 9))
    (answers * weights).sum().backward()
    for k, seed in enumerate(SEEDS):
        lone = network(task, variant, seed)
        answer = lone(read[k : k + 1], Draw((seed,), 2, 9))
        assert torch.equal(answer[0], answers[k])
        (answer * weights[k : k + 1]).sum().backward()
        for (name, mine), theirs in zip(lone.named_parameters(), fleet.parameters(), strict=True):
            assert torch.equal(mine[0], theirs[k]), name
            torch.testing.assert_close(theirs.grad[k], mine.grad[0])


@pytest.mark.few(26)
@pairs
def test_what_one_member_reads_and_answers_reaches_no_other(task, variant):
    fleet, (read, _) = network(task, variant, *SEEDS).train(), examples(task, len(SEEDS))
    answers = fleet(read, Draw(SEEDS, 2, 9))
    answers[1].square().sum().backward()
    for name, parameter in fleet.named_parameters():
        assert (parameter.grad[[0, 2]] == 0).all() and (parameter.grad[1] != 0).any(), name
    other = read.clone()
    other[1] = read[1].flip(0)
    assert [torch.equal(*pair) for pair in zip(answers, fleet(other, Draw(SEEDS, 2, 9)), strict=True)] == [True, False, True]


# --- on disk ----------------------------------------------------------------------------------


def saved(folder, task, variant, *seeds, **card):
    model, engine = network(task, variant, *seeds), first_that_runs(VARIANTS[variant])
    card = {"description": {}, "origin": {"seed": 0, "engine": engine}} | card
    artefact.save(folder, task, SHAPES[task], VARIANTS[variant], model.state_dict(), card)
    return model.eval()


@pytest.mark.few(26)
@pairs
def test_a_saved_model_answers_the_same_to_the_bit(tmp_path, task, variant):
    model, (read, _) = saved(tmp_path / "seed-0", task, variant), examples(task)
    loaded = artefact.load(tmp_path / "seed-0")
    with torch.inference_mode():  # as validation was scored; with gradients another kernel rounds otherwise
        assert torch.equal(loaded(read[0]), model(read)[0])
    assert (loaded.task, loaded.card["origin"]["seed"], loaded.sha256) == (task, 0, storage.verify(tmp_path / "seed-0"))
    assert not loaded.network.training and not loaded(read[0]).requires_grad and loaded.tickers == []


@pytest.mark.parametrize("variant", ["lstm", "bilstm"])
def test_a_saved_model_names_the_same_quantiles_to_the_bit_beside_the_answer_of_its_forecaster(tmp_path, variant):
    shape, (read, _) = ForecastShape(2, 3, quantiles=(0.1, 0.5, 0.9)), examples("forecast")
    model = Network(shape, VARIANTS[variant], "torch", generators(0)).eval()
    card = {"description": {"spec": {"lookback": STEPS}}, "origin": {"engine": "torch"}}
    artefact.save(tmp_path / "model", "forecast", shape, VARIANTS[variant], model.state_dict(), card)
    loaded = artefact.load(tmp_path / "model")
    assert loaded.card["shape"]["quantiles"] == [0.1, 0.5, 0.9] == list(loaded.head.quantiles)
    with torch.inference_mode():
        assert torch.equal(loaded.quantiles(read[0]), model.head.whole(model.encode(read)[1])[0, :, 1:])
        assert torch.equal(loaded(read[0]), model(read)[0])
    assert loaded.quantiles(read[0]).shape == (BATCH, 3, 3) and loaded(read[0]).shape == (BATCH, 3)
    torch.testing.assert_close(torch.from_numpy(loaded.forecaster.answers(read[0].numpy())), loaded(read[0]))


def test_a_model_without_quantiles_is_written_as_before_there_were_any(tmp_path):
    saved(tmp_path / "model", "forecast", "lstm")
    assert storage.read_json(tmp_path / "model/model.json")["shape"] == {"inputs": 2, "horizon": 3}
    plain = ForecastShape(2, 3)
    assert (plain.quantiles, list(artefact.load(tmp_path / "model").head.quantiles)) == ((), [])


@pytest.mark.parametrize("variant", ["stacked", "bilstm", "learned"])
def test_each_ticker_of_a_saved_fleet_has_its_own_network_and_its_own_scaler(tmp_path, variant):
    members = [{"ticker": ticker, "scaler": place} for place, ticker in enumerate(("BBB", "AAA", "CCC"))]
    fleet = saved(tmp_path / "seed-0", "forecast", variant, *SEEDS, members=members, description={"spec": "whole", "scaler": "whole"})
    loaded, (read, _) = artefact.load(tmp_path / "seed-0"), examples("forecast", len(SEEDS))
    assert loaded.tickers == ["BBB", "AAA", "CCC"]
    with torch.inference_mode():
        answers = fleet(read)
    for k, ticker in enumerate(loaded.tickers):
        own = loaded.of(ticker)
        assert torch.equal(own(read[k]), answers[k])
        assert own.card["description"] == {"spec": "whole", "scaler": k} and own.tickers == []


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


def test_a_model_that_an_older_longshort_wrote_is_refused(tmp_path):
    saved(tmp_path / "seed-0", "forecast", "rnn")
    card = storage.read_json(tmp_path / "seed-0/model.json")
    del card["origin"]["engine"]
    storage.write_json(tmp_path / "seed-0/model.json", card)
    storage.seal(tmp_path / "seed-0")
    with pytest.raises(CorruptArtefact, match="an older longshort wrote this model"):
        artefact.load(tmp_path / "seed-0")


def test_weights_of_another_architecture_are_refused(tmp_path):
    saved(tmp_path / "seed-0", "forecast", "rnn")
    card = storage.read_json(tmp_path / "seed-0/model.json")
    card["variant"]["hidden_size"] += 1
    storage.write_json(tmp_path / "seed-0/model.json", card)
    storage.seal(tmp_path / "seed-0")
    with pytest.raises(CorruptArtefact, match=r"(?s)do not fit the architecture in model\.json.*longshort run"):
        artefact.load(tmp_path / "seed-0")
