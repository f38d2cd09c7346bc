"""Models, forecasts in the engine native: a stream has the bits of its windows, and both are the reference's."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from projects import native_is_built
from test_models_cells import variant
from test_models_native import nowhere  # noqa: F401

from longshort.models.cells import CELLS
from longshort.models.compiled import cells, library
from longshort.models.compiled.forecaster import NativeForecaster, without
from longshort.models.forecaster import EngineForecaster, forecaster, native
from longshort.models.network import Network
from longshort.tasks.forecast import ForecastShape

OWN = [name for name in cells.GATES if not CELLS[name].attends]
# lookback, hidden, inputs, horizon, layers: one of each, edges between gates within a vector and at its end, more answers than lanes
SHAPES = [(1, 1, 1, 1, 1), (1, 37, 3, 2, 2), (2, 16, 1, 1, 3), (7, 37, 5, 17, 1), (9, 5, 70, 1, 2), (60, 50, 1, 1, 4), (13, 33, 2, 3, 2)]
OPTIONS = [{}, {"initial_state": "learned"}, {"residual": True, "num_layers": 3}]


def made(kind, inputs=1, horizon=1, engine="native", seed=0):
    """A network, every weight of which is drawn, the states before the first step too; large enough for gates to open and shut."""
    network = Network(ForecastShape(inputs, horizon), kind, engine).eval()
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in network.parameters():
            weight.uniform_(-1, 1, generator=draw).div_(weight.shape[1] ** 0.5 if weight.dim() > 2 else 1)
    return network


def windows(count, lookback, inputs=1, seed=0):
    return np.random.Generator(np.random.Philox(seed)).normal(size=(count, lookback, inputs)).astype(np.float32)


def same_network(network, engine, dtype):
    """The network under another engine."""
    shape = ForecastShape(network.encoder.directions(0)[0].tensors()["W"].shape[1], list(network.parameters())[-1].shape[-1])
    other = Network(shape, network.encoder.variant, engine)
    other.load_state_dict(network.state_dict())
    return other.to(dtype).eval()


@torch.inference_mode()
def exact(network, past):
    """What the reference says in float64."""
    return same_network(network, "reference", torch.float64)(torch.from_numpy(past).double()[None])[0].numpy()


def close(found, wanted, most=2e-5):
    assert found.dtype == np.float32 and np.abs(found - wanted).max() <= most * max(1.0, np.abs(wanted).max())


def streamed(own, past):
    """The answers of a stream to windows, one after the other."""
    stream = own.stream()
    answers = []
    for window in past:
        stream.ahead(window[:-1])
        answers.append(stream.tick(window[-1]))
    return np.array(answers)


@pytest.mark.few(52)
@native_is_built
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", OWN)
def test_windows_and_streams_are_the_references_and_one_anothers_bits(name, shape):
    lookback, hidden, inputs, horizon, layers = shape
    network = made(variant(name, hidden_size=hidden, num_layers=layers), inputs, horizon)
    past = windows(3, lookback, inputs)
    own = forecaster(network, lookback)
    assert isinstance(own, NativeForecaster)
    found = own.answers(past)
    close(found, exact(network, past))
    assert streamed(own, past).tobytes() == found.tobytes()


@native_is_built
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("name", OWN)
def test_options_are_the_references_and_have_a_streams_bits(name, options):
    network = made(variant(name, **{"hidden_size": 19, "num_layers": 2, **options}), 3, 2)
    past = windows(4, 6, 3)
    own = native(network, 6)
    close(own.answers(past), exact(network, past))
    assert streamed(own, past).tobytes() == own.answers(past).tobytes()


@native_is_built
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("name", ["lstm", "gru", "mgu", "sru", "indrnn"])
def test_windows_of_bidirectional_networks_are_the_references(name, options):
    network = made(variant(name, **{"hidden_size": 19, "num_layers": 2, "bidirectional": True, **options}), 3, 2)
    past = windows(4, 6, 3)
    close(native(network, 6).answers(past), exact(network, past))


@native_is_built
@settings(max_examples=60, deadline=None)
@given(st.sampled_from(OWN), *[st.integers(1, most) for most in (12, 70, 20, 20, 3)], st.booleans(), st.integers(0, 2**20))
def test_any_shape_is_the_references_and_has_a_streams_bits(name, lookback, hidden, inputs, horizon, layers, learned, seed):
    changes = {"initial_state": "learned"} if learned else {}
    network = made(variant(name, hidden_size=hidden, num_layers=layers, **changes), inputs, horizon, seed=seed)
    past = windows(2, lookback, inputs, seed)
    own = native(network, lookback)
    close(own.answers(past), exact(network, past), 5e-5)
    assert streamed(own, past).tobytes() == own.answers(past).tobytes()


@native_is_built
@pytest.mark.parametrize("name", OWN)
def test_answers_are_the_same_bytes_for_every_width_and_any_number_of_windows(name):
    network = made(variant(name, hidden_size=37, num_layers=2, initial_state="learned"), 3, 2)
    past = windows(5, 8, 3)
    found = native(network, 8).answers(past)
    for width in range(len(library.widths())):
        own = native(network, 8, width)
        assert own.answers(past).tobytes() == found.tobytes() == streamed(own, past).tobytes()
        assert np.concatenate([own.answers(window[None]) for window in past[::-1]])[::-1].tobytes() == found.tobytes()


@native_is_built
def test_the_activation_of_a_plain_network_is_its_own():
    network = made(variant("rnn", hidden_size=8, activation="relu"))
    past = windows(3, 5)
    close(native(network, 5).answers(past), exact(network, past))


@native_is_built
def test_a_series_streams_as_its_windows_are():
    network, series = made(variant("lstm", hidden_size=50, num_layers=4)), windows(1, 100)[0]
    past = np.lib.stride_tricks.sliding_window_view(series, 60, axis=0).swapaxes(1, 2)
    own = native(network, 60)
    assert streamed(own, past).tobytes() == own.answers(past).tobytes()


@native_is_built
def test_streams_and_windows_of_one_forecaster_do_not_disturb_one_another():
    network, past = made(variant("gru", hidden_size=9, num_layers=2)), windows(2, 6)
    own = native(network, 6)
    wanted = own.answers(past)
    first, second = own.stream(), own.stream()
    first.ahead(past[0, :-1])
    second.ahead(past[1, :-1])
    own.answers(past)
    assert first.tick(past[0, -1]).tobytes() == wanted[0].tobytes() and second.tick(past[1, -1]).tobytes() == wanted[1].tobytes()


@native_is_built
def test_threads_that_share_a_forecaster_get_each_its_own_bytes():
    network, past = made(variant("lstm", hidden_size=30, num_layers=2)), windows(40, 30)
    own = native(network, 30)
    wanted, found = own.answers(past), {}
    ask = lambda first: found.update({n: own.answers(past[n : n + 1])[0].tobytes() for n in range(first, 40, 4)})  # noqa: E731
    threads = [threading.Thread(target=ask, args=(first,)) for first in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[n] for n in range(40)] == [row.tobytes() for row in wanted]


@native_is_built
def test_a_forecaster_keeps_the_weights_that_it_was_made_of():
    network, past = made(variant("lstm")), windows(1, 4)
    own = native(network, 4)
    before = own.answers(past)
    with torch.no_grad():
        for weight in network.parameters():
            weight.zero_()
    assert own.answers(past).tobytes() == before.tobytes()


# --- what is refused, and what others run ---------------------------------------------------------


BOTH = [native, EngineForecaster]


@native_is_built
@pytest.mark.parametrize("kind", BOTH)
def test_a_bidirectional_network_is_not_streamed(kind):
    own = kind(made(variant("lstm", bidirectional=True)), 4)
    with pytest.raises(ValueError, match=r"bidirectional: its backward layers begin with the newest step.*`bidirectional: false`"):
        own.stream()
    assert own.answers(windows(2, 4)).shape == (2, 1)


@native_is_built
@pytest.mark.parametrize("kind", BOTH)
def test_a_stream_answers_once_for_what_was_run_ahead(kind):
    stream = kind(made(variant("lstm")), 4).stream()
    for _ in range(2):
        with pytest.raises(ValueError, match="Call `ahead` with the steps before the newest one first"):
            stream.tick([0.5])
        stream.ahead(np.zeros((3, 1), np.float32))
        stream.tick([0.5])


@native_is_built
@pytest.mark.parametrize("kind", BOTH)
def test_steps_of_another_shape_are_refused(kind):
    own = kind(made(variant("lstm"), inputs=2), 4)
    with pytest.raises(ValueError, match=r"steps come in as \(5, 3, 2\); the network reads \(5, 4, 2\)"):
        own.answers(np.zeros((5, 3, 2), np.float32))
    stream = own.stream()
    with pytest.raises(ValueError, match=r"come in as \(4, 2\); the network reads \(3, 2\)"):
        stream.ahead(np.zeros((4, 2), np.float32))
    stream.ahead(np.zeros((3, 2), np.float32))
    with pytest.raises(ValueError):
        stream.tick([0.5])
    stream.tick([0.5, 0.5])  # nothing was used up by the refusal


@pytest.mark.parametrize("name", ["alstm", "lstmp", "lstm_fgr", "mut1"])
def test_what_the_library_cannot_run_its_engine_forecasts_through_the_same_door(name):
    network = made(variant(name), 2, 3, "reference")
    assert without(network.encoder.variant)
    past = windows(4, 5, 2)
    own = forecaster(network, 5)
    assert isinstance(own, EngineForecaster) and (own.lookback, own.inputs, own.horizon) == (5, 2, 3)
    close(own.answers(past), exact(network, past))
    assert streamed(own, past).tobytes() == np.concatenate([own.answers(window[None]) for window in past]).tobytes()


def test_without_the_library_a_networks_engine_forecasts(nowhere):  # noqa: F811
    network, past = made(variant("lstm"), engine="torch"), windows(2, 5)
    own = forecaster(network, 5)
    assert isinstance(own, EngineForecaster)
    close(own.answers(past), exact(network, past))


@native_is_built
def test_the_library_forecasts_for_networks_of_every_engine():
    past = windows(2, 5)
    found = [forecaster(made(variant("lstm"), engine=engine), 5).answers(past).tobytes() for engine in ("native", "torch", "reference")]
    assert len(set(found)) == 1


def test_a_fleet_has_no_forecast_of_its_own():
    fleet = Network(ForecastShape(1, 1), variant("lstm"), "reference", [torch.Generator(), torch.Generator()])
    with pytest.raises(ValueError, match="a fleet of 2 networks has no forecast of its own"):
        forecaster(fleet, 4)


@native_is_built
@pytest.mark.parametrize("horizon", [1, 5])
def test_a_network_with_quantiles_is_forecast_and_streamed_by_its_point_forecast_alone(horizon):
    past = windows(3, 7)
    network = Network(ForecastShape(1, horizon, quantiles=(0.05, 0.5, 0.95)), variant("lstm", hidden_size=37), "native").eval()
    one = Network(ForecastShape(1, horizon), variant("lstm", hidden_size=37), "native").eval()
    state = network.state_dict()
    one.load_state_dict(state | {name: state[name][..., :horizon] for name in ("head.linear.weight", "head.linear.bias")})
    own, alone = (forecaster(each, 7) for each in (network, one))
    assert own.answers(past).tobytes() == alone.answers(past).tobytes() and own.answers(past).shape == (3, horizon)
    close(own.answers(past), EngineForecaster(network, 7).answers(past))
    assert streamed(own, past).tobytes() == own.answers(past).tobytes()


@native_is_built
def test_every_cell_of_the_library_but_the_one_that_attends_is_forecast_by_it():
    assert [name for name in cells.GATES if without(variant(name))] == ["alstm"]
