"""Models, encoder: what each option does to the layers, fleets, and sequences of different lengths."""

import itertools
import math

import pytest
import torch
from projects import first_that_runs
from test_models_cells import HIDDEN, sequence, variant

from longshort.config import Variant
from longshort.errors import ConfigError
from longshort.models import masks
from longshort.models.cells import CELLS
from longshort.models.cells.cell import undefined
from longshort.models.encoder import Encoder
from longshort.models.masks import Draw, stream

DRAW = Draw((0,), epoch=1, place=4)
DROPPING = ("dropout", "variational_dropout", "recurrent_dropout", "zoneout", "weight_dropout")


def generators(*seeds):
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def encoder(name, *seeds, inputs=2, engine=None, **settings):
    settings = variant(name, **settings)
    return Encoder(inputs, settings, engine or first_that_runs(settings), generators(*(seeds or (0,))))


def rows(steps=6, batch=3, members=1):
    """(members, batch, steps, inputs)."""
    return sequence(steps, batch, 2, members).transpose(1, 2).float()


# --- fleets -----------------------------------------------------------------------------------


def options_of(name):
    """The dropping options that a cell has, all at once."""
    return {option: 0.3 for option in DROPPING if option not in undefined(CELLS[name])}


@pytest.mark.few(10)
@pytest.mark.parametrize("name", CELLS)
def test_a_member_of_a_fleet_is_begun_trained_and_answers_as_it_does_alone_to_the_bit(name):
    settings = {"num_layers": 2, "bidirectional": True, "initial_state": "learned", "residual": True, **options_of(name)}
    read, seeds = rows(members=3), (5, 6, 7)
    fleet = encoder(name, *seeds, **settings)
    states, final = fleet(read, Draw(seeds, 2, 9))
    gradients = torch.autograd.grad(states.pow(2).sum() + final.pow(2).sum(), list(fleet.parameters()))
    for k, seed in enumerate(seeds):
        alone = encoder(name, seed, **settings)
        for mine, theirs in zip(alone.parameters(), fleet.parameters(), strict=True):
            assert torch.equal(mine[0], theirs[k])
        its_states, its_final = alone(read[k : k + 1], Draw((seed,), 2, 9))
        assert torch.equal(its_states[0], states[k]) and torch.equal(its_final[0], final[k])
        its = torch.autograd.grad(its_states.pow(2).sum() + its_final.pow(2).sum(), list(alone.parameters()))
        for mine, theirs in zip(its, gradients, strict=True):
            assert torch.equal(mine[0], theirs[k])


def test_members_of_different_seeds_differ_and_of_equal_seeds_do_not():
    fleet = encoder("gru", 1, 2, 1)
    for weight in fleet.parameters():
        assert torch.equal(weight[0], weight[2]) and not torch.equal(weight[0], weight[1])


# --- lengths ----------------------------------------------------------------------------------

LENGTHS = torch.tensor([6, 1, 4])


@pytest.mark.few(20)
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("name", CELLS)
def test_rows_of_different_lengths_are_as_if_read_one_by_one(name, bidirectional):
    model = encoder(name, num_layers=2, bidirectional=bidirectional).double().eval()
    read = rows().double()
    for number, length in enumerate(LENGTHS.tolist()):
        read[0, number, length:] = math.nan  # what stands in the padding is nobody's business
    weights = torch.randn(3, 6, model.width, dtype=torch.float64), torch.randn(3, model.final_width, dtype=torch.float64)

    def charged(states, final, number):
        return (states * weights[0][number, : states.shape[-2]]).sum() + (final * weights[1][number]).sum()

    states, final = model(read, lengths=LENGTHS)
    together = torch.autograd.grad(charged(states[0], final[0], slice(None)), list(model.parameters()))
    alone = [torch.zeros_like(weight) for weight in together]
    for number, length in enumerate(LENGTHS.tolist()):
        its_states, its_final = model(read[:, number : number + 1, :length])
        torch.testing.assert_close(states[0, number, :length], its_states[0, 0])
        torch.testing.assert_close(final[0, number], its_final[0, 0])
        assert (states[0, number, length:] == 0).all()
        for total, gradient in zip(
            alone, torch.autograd.grad(charged(its_states[0, 0], its_final[0, 0], number), list(model.parameters())), strict=True
        ):
            total += gradient
    for mine, theirs in zip(together, alone, strict=True):
        torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize("name", ["lstm", "mgu", "mingru", "alstm"])
def test_padding_receives_no_gradient(name):
    read = rows().requires_grad_()
    states, final = encoder(name, bidirectional=True, num_layers=2).eval()(read, lengths=LENGTHS)
    (states.sum() + final.sum()).backward()
    for number, length in enumerate(LENGTHS.tolist()):
        assert (read.grad[0, number, length:] == 0).all() and (read.grad[0, number, :length] != 0).all()


# --- odd shapes -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CELLS)
def test_one_row_of_one_step_through_37_units(name):
    settings = {"projection_size": 5} if CELLS[name].projects else {}
    model = encoder(name, hidden_size=37, num_layers=2, bidirectional=True, **settings).eval()
    states, final = model(rows(steps=1, batch=1))
    assert states.shape == (1, 1, 1, model.width) and final.shape == (1, 1, model.final_width)
    assert states.isfinite().all() and final.isfinite().all()


# --- options ----------------------------------------------------------------------------------


def factors(kind, rate, shape, layer=0, part=0):
    return torch.from_numpy(DRAW.factors(kind, stream(layer, 0, part), rate, shape))[0].double()


def by_hand(model, read, state=1.0, update=None, zoned=None, recurrent=1.0, zoneout=None):
    """A GRU whose reset comes before its product, one layer, in plain steps: (batch, steps, inputs) to (batch, steps, hidden)."""
    w = {name: weight[0] for name, weight in model.directions(0)[0].tensors().items()}
    h, told = torch.zeros(len(read), HIDDEN, dtype=torch.float64), []
    for t in range(read.shape[1]):
        r, z, n = (read[:, t] @ w["W"] + w["b"]).split(HIDDEN, dim=-1)
        past_r, past_z = ((h * state) @ (w["R"] * recurrent)).split(HIDDEN, dim=-1)
        r, z = (r + past_r).sigmoid(), (z + past_z).sigmoid()
        n = (n + (r * h * state) @ w["R_rh"]).tanh() * (1 if update is None else update[:, t])
        new = (1 - z) * n + z * h
        if zoned is not None:
            new = torch.where(zoned[:, t], h, new)
        h = new if zoneout is None else zoneout * h + (1 - zoneout) * new
        told.append(h)
    return torch.stack(told, dim=1)


def one_layer(**settings):
    return encoder("gru_reset_before", **settings).double(), rows().double()


def test_dropout_stands_after_every_layer_and_is_new_at_every_step():
    model, read = one_layer(dropout=0.4)
    torch.testing.assert_close(model(read, DRAW)[0][0], by_hand(model, read[0]) * factors(masks.OUTPUT, 0.4, (3, 6, HIDDEN)))
    torch.testing.assert_close(model.eval()(read)[0][0], by_hand(model, read[0]))
    deep = encoder("gru_reset_before", num_layers=3, dropout=0.5)
    seen = []
    whole, deep._dropped = deep._dropped, lambda *given, **more: seen.append(given[2:5]) or whole(*given, **more)
    deep(rows(), DRAW)
    assert [given for given in seen if given[0] == masks.OUTPUT] == [(masks.OUTPUT, stream(layer), 0.5) for layer in range(3)]


def test_variational_dropout_is_the_same_at_every_step_on_input_and_state():
    model, read = one_layer(variational_dropout=0.4)
    state = factors(masks.STATE, 0.4, (3, 1, HIDDEN))[:, 0]
    expected = by_hand(model, read[0] * factors(masks.INPUT, 0.4, (3, 1, 2)), state=state)
    torch.testing.assert_close(model(read, DRAW)[0][0], expected)
    torch.testing.assert_close(model.eval()(read)[0][0], by_hand(model, read[0]))


def test_recurrent_dropout_stands_on_the_candidate_alone():
    model, read = one_layer(recurrent_dropout=0.4)
    expected = by_hand(model, read[0], update=factors(masks.UPDATE, 0.4, (3, 6, HIDDEN)))
    torch.testing.assert_close(model(read, DRAW)[0][0], expected)
    torch.testing.assert_close(model.eval()(read)[0][0], by_hand(model, read[0]))


def test_zoneout_keeps_units_in_training_and_takes_the_mean_in_evaluation():
    model, read = one_layer(zoneout=0.4)
    zoned = torch.from_numpy(DRAW.dropped(masks.ZONEOUT, stream(0), 0.4, (3, 6, HIDDEN)))[0]
    assert zoned.any() and not zoned.all()
    torch.testing.assert_close(model(read, DRAW)[0][0], by_hand(model, read[0], zoned=zoned))
    torch.testing.assert_close(model.eval()(read)[0][0], by_hand(model, read[0], zoneout=0.4))


def test_zoneout_keeps_h_and_c_of_an_lstm_each_by_its_own_mask():
    model = encoder("lstm", zoneout=0.4).double()
    read, w = rows().double(), {name: weight[0] for name, weight in model.directions(0)[0].tensors().items()}
    zoned = [torch.from_numpy(DRAW.dropped(masks.ZONEOUT, stream(0, 0, part), 0.4, (3, 6, HIDDEN)))[0] for part in (0, 1)]
    h = c = torch.zeros(3, HIDDEN, dtype=torch.float64)
    for t in range(6):
        i, f, o, g = (read[0, :, t] @ w["W"] + h @ w["R"] + w["b"]).split(HIDDEN, dim=-1)
        new = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h, c = torch.where(zoned[0][:, t], h, o.sigmoid() * new.tanh()), torch.where(zoned[1][:, t], c, new)
        torch.testing.assert_close(model(read, DRAW)[0][0, :, t], h)


def test_weight_dropout_drops_weights_of_the_recurrent_matrices_once_a_batch():
    model, read = one_layer(weight_dropout=0.4)
    w = model.directions(0)[0].tensors()
    for part, name in enumerate(("R", "R_rh")):
        mask = factors(masks.WEIGHT, 0.4, (1, *w[name].shape[1:]), part=part)
        assert 0 < (mask == 0).double().mean() < 1
        w[name].data *= mask
    dropped = by_hand(model, read[0])
    for part, name in enumerate(("R", "R_rh")):  # what was dropped is lost, the others go back
        w[name].data /= factors(masks.WEIGHT, 0.4, (1, *w[name].shape[1:]), part=part).max()
    answer = model(read, DRAW)[0][0]
    torch.testing.assert_close(answer, dropped)
    answer.sum().backward()
    for part, name in enumerate(("R", "R_rh")):
        assert (w[name].grad[factors(masks.WEIGHT, 0.4, (1, *w[name].shape[1:]), part=part) == 0] == 0).all()


@pytest.mark.parametrize("inputs", [2, HIDDEN])  # also where what the first layer reads could be added
def test_residual_adds_what_a_layer_reads_from_the_second_on(inputs):
    plain, residual = (encoder("gru", num_layers=2, residual=residual, inputs=inputs).eval() for residual in (False, True))
    read, first = torch.randn(1, 3, 6, inputs), encoder("gru", num_layers=1, inputs=inputs).eval()
    first.load_state_dict({name: weight for name, weight in plain.state_dict().items() if name.startswith("layers.0")})
    torch.testing.assert_close(residual(read)[0], plain(read)[0] + first(read)[0])
    torch.testing.assert_close(residual(read)[1], residual(read)[0][:, :, -1])


@pytest.mark.parametrize("name", CELLS)
def test_a_learned_start_is_where_the_first_step_goes_on_from(name):
    model, read = encoder(name, initial_state="learned").double().eval(), rows(steps=5).double()
    torch.testing.assert_close(model(read)[0], encoder(name).double().eval()(read)[0])  # it begins as zero
    starts = {key: weight for key, weight in model.directions(0)[0].tensors().items() if key.startswith("start_")}
    for weight in starts.values():
        weight.data.uniform_(0.1, 0.9)
    answer = model(read)[0]
    for weight, gradient in zip(starts.values(), torch.autograd.grad(answer[:, :, 0].sum(), list(starts.values())), strict=True):
        assert (gradient != 0).all() and weight.shape[0] == 1
    if len(starts) == len(CELLS[name].states) == 1:  # reading on from a state is reading from it
        model.directions(0)[0].start_h.data = answer[:, 0, 1].data
        torch.testing.assert_close(model(read[:, :1, 2:])[0], answer[:, :1, 2:])


def test_attention_weighs_all_states_for_the_answer_at_the_end():
    model, read = encoder("alstm", bidirectional=True).double().eval(), rows().double()
    states, final = model(read)
    w = {name: weight[0] for name, weight in model.attention.tensors().items()}
    scores = torch.stack([torch.tanh(states[0, :, t] @ w["W_a"] + w["b_a"]) @ w["u_a"] for t in range(6)], dim=1)
    shares = scores.exp() / scores.exp().sum(dim=1, keepdim=True)
    context = sum(shares[:, t, None] * states[0, :, t] for t in range(6))
    last = torch.cat([states[0, :, -1, :HIDDEN], states[0, :, 0, HIDDEN:]], dim=-1)
    torch.testing.assert_close(final[0], torch.cat([context, last], dim=-1))


# --- what weights begin with ------------------------------------------------------------------


@pytest.mark.parametrize("name", CELLS)
def test_weights_begin_uniform_in_one_over_the_root_of_the_hidden_size(name):
    settings = {"projection_size": 40} if CELLS[name].projects else {}
    for key, weight in encoder(name, hidden_size=64, **settings, inputs=30).directions(0)[0].state_dict().items():
        if key not in ("u", "gain_x", "gain_h", "gain_c", "shift_c"):
            assert weight.abs().max() <= 1 / 8
            assert weight.std() == pytest.approx(1 / 8 / math.sqrt(3), rel=0.25), key


def test_weights_begin_as_keras_has_them():
    weights = {
        key: weight[0]
        for key, weight in encoder("lstm", hidden_size=20, inputs=7, initialisation="keras").directions(0)[0].tensors().items()
    }
    torch.testing.assert_close(weights["R"] @ weights["R"].T, torch.eye(20), atol=1e-5, rtol=0)  # over all gates together
    limit = math.sqrt(6 / (7 + 4 * 20))
    assert 0.9 * limit < weights["W"].abs().max() <= limit
    assert weights["b"].tolist() == [0.0] * 20 + [1.0] * 20 + [0.0] * 40  # i, f, o, g
    assert (encoder("gru", initialisation="keras").directions(0)[0].tensors()["b"] == 0).all()


def test_nguyen_and_widrow_spread_the_thresholds_of_units_over_what_they_read():
    own = encoder("lstm", hidden_size=64, inputs=1, initialisation="nguyen_widrow").directions(0)[0].tensors()
    W, b = own["W"][0, 0], own["b"][0]
    torch.testing.assert_close(W.abs(), torch.full_like(W, 0.7 * 64))
    thresholds = -b / W  # where what a gate adds up is 0: all over the inputs, and not beyond
    assert thresholds.abs().max() <= 1 and torch.histc(thresholds, bins=4, min=-1, max=1).min() > 0.15 * len(b)
    several = encoder("gru", hidden_size=16, inputs=5, initialisation="nguyen_widrow").directions(0)[0].tensors()["W"][0]
    torch.testing.assert_close(several.norm(dim=0), torch.full((48,), 0.7 * 16 ** (1 / 5)))


FORGETTING = [name for name in CELLS if CELLS[name].forget]


@pytest.mark.parametrize("name", FORGETTING)
def test_a_large_forget_bias_keeps_the_past(name):
    settings = {"projection_size": 2} if CELLS[name].projects else {}
    kept = []
    for bias in (-8.0, 8.0):
        model = encoder(name, forget_bias=bias, hidden_size=8, **settings).double().eval()
        read = rows(steps=40).double().requires_grad_()
        model(read)[0][:, :, -1].square().sum().backward()
        early, late = read.grad[:, :, :20].abs().mean(), read.grad[:, :, -1].abs().mean()
        kept.append((early / late).item())
    assert kept[1] > 30 * kept[0], kept


@pytest.mark.parametrize("name", FORGETTING)
def test_chrono_begins_gates_for_memories_up_to_the_longest(name):
    cell, (gate, sign) = CELLS[name], CELLS[name].forget
    settings = {"projection_size": 2} if cell.projects else {}
    weights = encoder(name, chrono_steps=50, hidden_size=400, **settings).directions(0)[0].state_dict()
    blocks = dict(zip(cell.biased or cell.gates, weights["b"][0].split(400), strict=True))
    memory = (sign * blocks[gate]).exp()
    assert 1 <= memory.min() < 3 and 47 < memory.max() <= 49.001 and memory.mean() == pytest.approx(25, abs=3)
    if cell.writes:
        torch.testing.assert_close(blocks[cell.writes], -blocks[gate])


# --- settings that do not go together ---------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"projection_size": 50}, r"projection_size is 50 but hidden_size is 50: .*Set projection_size to 49 or less"),
        ({"residual": True}, r"num_layers is 1\. Set num_layers to 2 or more"),
        ({"chrono_steps": 9, "forget_bias": 1.0}, r"both say what the forget gate's b begins with\. Leave one of them out"),
        ({"chrono_steps": 2}, r"chrono_steps is 2, .*Set 3 or more"),
    ],
)
def test_settings_that_contradict_one_another_are_refused(settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        Variant(cell="lstm", hidden_size=50, num_layers=1, bidirectional=False, dropout=0.0, **settings)


def test_a_fleet_asks_for_a_seed_a_member():
    with pytest.raises(ValueError, match=r"has 2 members and the draw 1 seeds\. Hand in one seed a member"):
        encoder("gru", 1, 2, dropout=0.1)(rows(members=2), Draw((1,), 1, 0))


@pytest.mark.parametrize("lengths", [[6, 0, 4], [6, 7, 4]])
def test_a_row_without_steps_or_with_more_than_there_are_is_refused(lengths):
    with pytest.raises(ValueError, match=r"lengths go from \d to \d, and a row has 1 to 6 steps"):
        encoder("gru").eval()(rows(), lengths=torch.tensor(lengths))


def test_an_option_that_a_cell_has_not_is_refused_when_the_layers_are_built():
    with pytest.raises(ConfigError, match=r"`zoneout` is not defined for cell 'slstm': c, n and m belong together"):
        encoder("slstm", zoneout=0.1)


@pytest.mark.parametrize(("name", "engine"), itertools.product(["lstm", "gru"], ["torch", "reference"]))
def test_masks_follow_the_window_and_not_the_batch(name, engine):
    model, read = encoder(name, engine=engine, num_layers=2, dropout=0.5), rows(batch=6)
    together = model(read, Draw((0,), 1, 10))[0]
    halves = [model(read[:, first : first + 3], Draw((0,), 1, 10 + first))[0] for first in (0, 3)]
    torch.testing.assert_close(torch.cat(halves, dim=1), together)
