"""Models, cells: each rule is its paper's equations, written again here in NumPy, unit by unit, one row at a time."""

import itertools
import math

import numpy as np
import pytest
import torch
from projects import first_that_runs

from longshort.config import Variant
from longshort.errors import ConfigError
from longshort.models.cells import CELLS, refusal, shapes
from longshort.models.cells.cell import ACTIVATIONS, count, output_size, recurrent, undefined
from longshort.models.encoder import Encoder
from longshort.models.engines import ENGINES, Inside
from longshort.models.engines.reference import by_scan, step_by_step
from longshort.models.masks import Draw

HIDDEN, PROJECTION = 3, 2
each_cell = pytest.mark.parametrize("name", CELLS)


def variant(name, **changes):
    """A small variant of a cell."""
    settings = {"hidden_size": HIDDEN, "num_layers": 1, "bidirectional": False, "dropout": 0.0}
    if CELLS[name].projects:
        settings["projection_size"] = PROJECTION
    return Variant(cell=name, **(settings | changes))


def projection(name):
    return PROJECTION if CELLS[name].projects else 0


def weights(name, inputs=2, members=1, hidden=HIDDEN, seed=0):
    """Weights that are large enough for every term to matter, and no two alike."""
    draw = torch.Generator().manual_seed(seed)
    made = shapes(CELLS[name], inputs, hidden, projection(name))
    return {key: torch.randn(members, *shape, generator=draw, dtype=torch.float64) for key, shape in made.items()}


def sequence(steps=4, batch=2, inputs=2, members=1, seed=1):
    """(members, steps, batch, inputs)."""
    return torch.randn(members, steps, batch, inputs, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# --- the equations by hand --------------------------------------------------------------------


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


class Hand:
    """One row's cell by hand: ``W("i", j)`` is unit j's share of the input in gate i, ``R("i", j, h)`` of a state."""

    def __init__(self, name, given):
        cell = CELLS[name]
        self.given = {key: weight[0].numpy() for key, weight in given.items()}
        self.gates, self.biased, self.products = cell.gates, cell.biased or cell.gates, cell.products
        self.x = None

    def W(self, gate, j, x=None):
        column = self.gates.index(gate) * HIDDEN + j
        x = self.x if x is None else x
        return sum(x[i] * self.given["W"][i, column] for i in range(len(x)))

    def b(self, gate, j):
        return self.given["b"][self.biased.index(gate) * HIDDEN + j]

    def R(self, gate, j, state, product="h"):
        matrix = self.given[recurrent(product)]
        column = self.products[product].index(gate) * HIDDEN + j
        return sum(state[i] * matrix[i, column] for i in range(len(state)))

    def v(self, vector, j):
        return self.given[vector][j]

    def M(self, matrix, j, vector):
        return sum(vector[i] * self.given[matrix][i, j] for i in range(len(vector)))

    def a(self, gate, j, state):
        """What most gates are before their activation."""
        return self.W(gate, j) + self.R(gate, j, state) + self.b(gate, j)


UNITS = range(HIDDEN)


def rnn(w, s):
    return {"h": [math.tanh(w.a("h", j, s["h"])) for j in UNITS]}


def rnn_relu(w, s):
    return {"h": [max(0, w.a("h", j, s["h"])) for j in UNITS]}


def indrnn(w, s):
    return {"h": [max(0, w.W("h", j) + w.v("u", j) * s["h"][j] + w.b("h", j)) for j in UNITS]}


def lstm(w, s):
    h, c = [], []
    for j in UNITS:
        i, f, o = (sigmoid(w.a(gate, j, s["h"])) for gate in "ifo")
        c.append(f * s["c"][j] + i * math.tanh(w.a("g", j, s["h"])))
        h.append(o * math.tanh(c[j]))
    return {"h": h, "c": c}


def lstm_1997(w, s):
    h, c = [], []
    for j in UNITS:
        i, o = sigmoid(w.a("i", j, s["h"])), sigmoid(w.a("o", j, s["h"]))
        c.append(s["c"][j] + i * (4 * sigmoid(w.a("g", j, s["h"])) - 2))
        h.append(o * (2 * sigmoid(c[j]) - 1))
    return {"h": h, "c": c}


def greff(w, s, change=""):
    """Greff et al.'s vanilla LSTM, and what one of their variants changes in it."""
    h, c = [], []
    for j in UNITS:
        z = w.a("z", j, s["h"])
        z = z if change == "NIAF" else math.tanh(z)
        i = 1 if change == "NIG" else sigmoid(w.a("i", j, s["h"]) + w.v("p_i", j) * s["c"][j])
        if change == "NFG":
            f = 1
        elif change == "CIFG":
            f = 1 - i
        else:
            f = sigmoid(w.a("f", j, s["h"]) + w.v("p_f", j) * s["c"][j])
        c.append(z * i + s["c"][j] * f)
        o = 1 if change == "NOG" else sigmoid(w.a("o", j, s["h"]) + w.v("p_o", j) * c[j])
        h.append(o * (c[j] if change == "NOAF" else math.tanh(c[j])))
    return {"h": h, "c": c}


def lstm_fgr(w, s):
    new = {name: [] for name in "hcifo"}
    for j in UNITS:
        past = {gate: sum(w.R(gate, j, s[other], other) for other in "ifo") for gate in "ifo"}
        z = math.tanh(w.a("z", j, s["h"]))
        i = sigmoid(w.a("i", j, s["h"]) + past["i"] + w.v("p_i", j) * s["c"][j])
        f = sigmoid(w.a("f", j, s["h"]) + past["f"] + w.v("p_f", j) * s["c"][j])
        c = f * s["c"][j] + i * z
        o = sigmoid(w.a("o", j, s["h"]) + past["o"] + w.v("p_o", j) * c)
        for name, value in zip("hcifo", (o * math.tanh(c), c, i, f, o), strict=True):
            new[name].append(value)
    return new


def lstmp(w, s):
    inner = lstm(w, s)
    return {"h": [w.M("P", j, inner["h"]) for j in range(PROJECTION)], "c": inner["c"]}


def normalised(values):
    values = np.array(values)
    return (values - values.mean()) / math.sqrt(values.var() + 1e-5)


def lstm_layer_norm(w, s):
    x = normalised([w.W(gate, j) for gate in "ifog" for j in UNITS])
    r = normalised([w.R(gate, j, s["h"]) for gate in "ifog" for j in UNITS])
    a = w.given["gain_x"] * x + w.given["gain_h"] * r + w.given["b"]
    i, f, o, g = (a[block * HIDDEN : (block + 1) * HIDDEN] for block in range(4))
    c = [sigmoid(f[j]) * s["c"][j] + sigmoid(i[j]) * math.tanh(g[j]) for j in UNITS]
    of_c = normalised(c)
    return {"h": [sigmoid(o[j]) * math.tanh(w.v("gain_c", j) * of_c[j] + w.v("shift_c", j)) for j in UNITS], "c": c}


def slstm(w, s):
    """Without the stabiliser m, of which h does not depend."""
    h, c, n = [], [], []
    for j in UNITS:
        i, f = math.exp(w.a("i", j, s["h"])), sigmoid(w.a("f", j, s["h"]))
        c.append(f * s["c"][j] + i * math.tanh(w.a("z", j, s["h"])))
        n.append(f * s["n"][j] + i)
        h.append(sigmoid(w.a("o", j, s["h"])) * c[j] / n[j])
    return {"h": h, "c": c, "n": n}


def lstm_mogrifier(w, s):
    x, h = w.x, s["h"]
    for number in range(1, 6):
        if number % 2:
            x = [2 * sigmoid(w.M(f"Q{number}", i, h)) * x[i] for i in range(len(x))]
        else:
            h = [2 * sigmoid(w.M(f"M{number}", j, x)) * h[j] for j in UNITS]
    w.x = x
    return lstm(w, {"h": h, "c": s["c"]})


def gru(w, s):
    new = []
    for j in UNITS:
        r, z = sigmoid(w.a("r", j, s["h"])), sigmoid(w.a("z", j, s["h"]))
        n = math.tanh(w.W("n", j) + w.b("n", j) + r * (w.R("n", j, s["h"]) + w.v("b_r", j)))
        new.append((1 - z) * n + z * s["h"][j])
    return {"h": new}


def gru_reset_before(w, s):
    r = [sigmoid(w.a("r", j, s["h"])) for j in UNITS]
    z = [sigmoid(w.a("z", j, s["h"])) for j in UNITS]
    past = [r[j] * s["h"][j] for j in UNITS]
    n = [math.tanh(w.W("n", j) + w.b("n", j) + w.R("n", j, past, "rh")) for j in UNITS]
    return {"h": [(1 - z[j]) * n[j] + z[j] * s["h"][j] for j in UNITS]}


def mgu(w, s):
    f = [sigmoid(w.a("f", j, s["h"])) for j in UNITS]
    past = [f[j] * s["h"][j] for j in UNITS]
    n = [math.tanh(w.W("n", j) + w.b("n", j) + w.R("n", j, past, "fh")) for j in UNITS]
    return {"h": [(1 - f[j]) * s["h"][j] + f[j] * n[j] for j in UNITS]}


def mutated(w, s, z, x=lambda value: value):
    r = [sigmoid(w.a("r", j, s["h"])) for j in UNITS]
    past = [r[j] * s["h"][j] for j in UNITS]
    n = [math.tanh(w.R("n", j, past, "rh") + x(w.W("n", j)) + w.b("n", j)) for j in UNITS]
    return {"h": [n[j] * z[j] + s["h"][j] * (1 - z[j]) for j in UNITS]}


def mut1(w, s):
    return mutated(w, s, [sigmoid(w.W("z", j) + w.b("z", j)) for j in UNITS], math.tanh)


def mut2(w, s):
    return mutated(w, s, [sigmoid(w.a("z", j, s["h"])) for j in UNITS])


def mut3(w, s):
    past = [math.tanh(value) for value in s["h"]]
    return mutated(w, s, [sigmoid(w.W("z", j) + w.R("z", j, past, "th") + w.b("z", j)) for j in UNITS])


def janet(w, s):
    gate = [w.a("f", j, s["h"]) for j in UNITS]
    g = [math.tanh(w.a("g", j, s["h"])) for j in UNITS]
    return {"h": [sigmoid(gate[j]) * s["h"][j] + (1 - sigmoid(gate[j] - 1)) * g[j] for j in UNITS]}


def ugrnn(w, s):
    g = [sigmoid(w.a("g", j, s["h"])) for j in UNITS]
    c = [math.tanh(w.a("c", j, s["h"])) for j in UNITS]
    return {"h": [g[j] * s["h"][j] + (1 - g[j]) * c[j] for j in UNITS]}


def minlstm(w, s):
    new = []
    for j in UNITS:
        i, f = sigmoid(w.W("i", j) + w.b("i", j)), sigmoid(w.W("f", j) + w.b("f", j))
        new.append(f / (f + i) * s["h"][j] + i / (f + i) * (w.W("n", j) + w.b("n", j)))
    return {"h": new}


def mingru(w, s):
    z = [sigmoid(w.W("z", j) + w.b("z", j)) for j in UNITS]
    return {"h": [(1 - z[j]) * s["h"][j] + z[j] * (w.W("n", j) + w.b("n", j)) for j in UNITS]}


def sru(w, s):
    h, c = [], []
    for j in UNITS:
        f = sigmoid(w.W("f", j) + w.v("v_f", j) * s["c"][j] + w.b("f", j))
        r = sigmoid(w.W("r", j) + w.v("v_r", j) * s["c"][j] + w.b("r", j))
        c.append(f * s["c"][j] + (1 - f) * w.W("n", j))
        h.append(r * c[j] + (1 - r) * w.W("s", j))
    return {"h": h, "c": c}


BY_HAND = {
    "lstm_peephole": greff,
    "lstm_np": lstm,
    "alstm": lstm,
    **{
        f"lstm_{change.lower()}": lambda w, s, change=change: greff(w, s, change)
        for change in ("NIG", "NFG", "NOG", "NIAF", "NOAF", "CIFG")
    },
    **{name: globals()[name] for name in CELLS if name in globals()},
}
STATES = "hcnifo"


def by_hand(name, given, steps):
    """(steps, batch, size of h) of the first member, in plain Python."""
    size, rows = output_size(CELLS[name], HIDDEN, projection(name)), []
    for row in range(steps.shape[2]):
        states, told = {state: [0.0] * HIDDEN for state in STATES} | {"h": [0.0] * size}, []
        for x in steps[0, :, row].tolist():
            hand = Hand(name, given)
            hand.x = x
            states = BY_HAND[name](hand, states)
            told.append(states["h"])
        rows.append(told)
    return torch.tensor(rows, dtype=torch.float64).transpose(0, 1)


def by_rule(name, given, steps, inside=None):
    cell = CELLS[name]
    return ENGINES["reference"].forward(cell, cell.activation, given, steps, inside or Inside())


@each_cell
def test_a_rule_is_the_papers_equations(name):
    given, steps = weights(name), sequence()
    torch.testing.assert_close(by_rule(name, given, steps)[0], by_hand(name, given, steps), rtol=1e-12, atol=1e-12)


@each_cell
def test_every_weight_of_a_cell_is_used_in_every_one_of_its_places(name):
    # a peephole on the wrong gate, or a block that is read twice, leaves another unread
    given = {key: weight.requires_grad_() for key, weight in weights(name).items()}
    by_rule(name, given, sequence(steps=5, batch=7)).square().sum().backward()
    for key, weight in given.items():
        assert (weight.grad != 0).all(), key


@each_cell
def test_the_gradient_is_that_of_finite_differences(name):
    given, steps = weights(name), sequence(steps=3, batch=2).requires_grad_()
    if "relu" in CELLS[name].activation:  # finite differences must not step over its corner
        given["b"] = given["b"].abs() + 3
    names = list(given)
    leaves = [given[key].requires_grad_() for key in names]
    assert torch.autograd.gradcheck(
        lambda steps, *leaves: by_rule(name, dict(zip(names, leaves, strict=True)), steps), (steps, *leaves), fast_mode=True
    )


@each_cell
def test_a_member_of_a_fleet_has_the_bits_that_it_has_alone(name):
    for dtype in (torch.float32, torch.float64):
        given = {key: weight.to(dtype) for key, weight in weights(name, members=3, inputs=5).items()}
        steps = sequence(members=3, batch=5, inputs=5).to(dtype)
        together = by_rule(name, given, steps)
        for k in range(3):
            alone = by_rule(name, {key: weight[k : k + 1] for key, weight in given.items()}, steps[k : k + 1])
            assert torch.equal(alone[0], together[k])


@each_cell
def test_a_rule_holds_for_all_members_at_once(name):
    # as on a CUDA device, where a fleet goes through in one batched product
    cell, given, steps = CELLS[name], weights(name, members=3), sequence(members=3)
    together, _ = step_by_step(cell, cell.activation, given, steps, Inside(), {})
    torch.testing.assert_close(together, by_rule(name, given, steps), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", [name for name in CELLS if CELLS[name].linear])
@pytest.mark.parametrize("steps", [1, 2, 3, 7, 8, 13])
def test_the_scan_is_the_loop_in_value_and_gradient(name, steps):
    cell, read = CELLS[name], sequence(steps=steps, members=2)
    given = weights(name, members=2) | {"start_h": torch.randn(2, HIDDEN, dtype=torch.float64)}
    given = {key: weight.requires_grad_() for key, weight in given.items()}
    inside = Inside(update_mask=torch.rand(2, steps, 2, HIDDEN, dtype=torch.float64))
    answers = [run(cell, cell.activation, given, read, inside, {})[0] for run in (step_by_step, by_scan)]
    torch.testing.assert_close(*answers)
    gradients = [torch.autograd.grad(answer.pow(3).sum(), list(given.values())) for answer in answers]
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)


def test_an_slstm_survives_exponents_that_no_number_holds():
    given = {key: 1e4 * weight for key, weight in weights("slstm").items()}
    given = {key: weight.float().requires_grad_() for key, weight in given.items()}
    answer = by_rule("slstm", given, sequence(steps=6).float())
    answer.sum().backward()
    assert answer.isfinite().all() and all(weight.grad.isfinite().all() for weight in given.values())


# --- what an entry says -----------------------------------------------------------------------


@each_cell
def test_an_entry_names_its_gates_in_its_equations_and_its_paper(name):
    cell = CELLS[name]
    assert cell.title and any(str(year) in cell.source for year in range(1990, 2026))
    assert "h = " in cell.equations and set("".join(cell.products.values())) <= set(cell.gates)
    if len(cell.gates) > 1 and name not in ("lstm_layer_norm", "slstm"):  # which write all gates at once
        for gate in cell.gates:
            assert f"W_{gate} x" in cell.equations, gate
        for product, gates in cell.products.items():
            for gate in gates:
                assert f"R_{product}{gate}" in cell.equations if product in "ifo" else f"R_{gate}" in cell.equations, gate


@each_cell
def test_parameters_are_counted_as_they_are_made(name):
    encoder = Encoder(4, variant(name), first_that_runs(variant(name)))
    assert sum(parameter.numel() for parameter in encoder.parameters()) == count(CELLS[name], 4, HIDDEN, projection(name))


@pytest.mark.parametrize(
    ("name", "parameters"), [("lstm", 10_400), ("gru", 7_850), ("rnn", 2_600), ("indrnn", 150), ("lstm_peephole", 10_550)]
)
def test_known_counts_of_parameters(name, parameters):
    assert count(CELLS[name], inputs=1, hidden=50) == parameters


# --- options ----------------------------------------------------------------------------------

OPTIONS = {
    "variational_dropout": 0.3,
    "weight_dropout": 0.3,
    "recurrent_dropout": 0.3,
    "zoneout": 0.3,
    "forget_bias": 1.0,
    "chrono_steps": 20,
    "activation": "softsign",
}


@pytest.mark.parametrize(("name", "option"), itertools.product(CELLS, OPTIONS))
def test_an_option_changes_the_network_or_is_refused_with_its_reason(name, option):
    settings = variant(name, **{option: OPTIONS[option]})
    refused = refusal(name, CELLS[name], settings)
    assert (refused is not None) == (option in undefined(CELLS[name]))
    if refused:
        with pytest.raises(ConfigError, match=rf"`{option}` is not defined for cell '{name}': \w.*\.$"):
            Encoder(2, settings, "reference")
        return

    def answer(settings):
        torch.manual_seed(0)
        encoder = Encoder(2, settings, "reference").double()
        return encoder(sequence().transpose(1, 2), Draw((0,), 1, 0))[0]

    assert not torch.equal(answer(settings), answer(variant(name)))


def test_an_activation_takes_the_place_of_every_tanh_of_a_cell():
    given, steps = weights("lstm"), sequence()
    cell = CELLS["lstm"]
    found = ENGINES["reference"].forward(cell, "softsign", given, steps, Inside())
    hand, (h, c) = given, (torch.zeros(2, HIDDEN, dtype=torch.float64),) * 2
    for t in range(4):
        a = steps[0, t] @ hand["W"][0] + h @ hand["R"][0] + hand["b"][0]
        i, f, o, g = a.split(HIDDEN, dim=-1)
        c = f.sigmoid() * c + i.sigmoid() * torch.nn.functional.softsign(g)
        h = o.sigmoid() * torch.nn.functional.softsign(c)
        torch.testing.assert_close(found[0, t], h)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_are_torchs(name):
    x = torch.linspace(-3, 3, 7)
    theirs = {"linear": lambda x: x, "softsign": torch.nn.functional.softsign}.get(name) or getattr(torch, name)
    torch.testing.assert_close(ACTIVATIONS[name](x), theirs(x))


def test_a_projection_is_asked_for_where_the_cell_projects():
    with pytest.raises(ConfigError, match=r"cell 'lstmp' projects its state: set `projection_size`"):
        Encoder(2, variant("lstmp", projection_size=0), "torch")
    with pytest.raises(ConfigError, match=r"`projection_size` is not defined for cell 'gru'"):
        Encoder(2, variant("gru", projection_size=2), "torch")
