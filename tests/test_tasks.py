"""Tasks: what a network reads, what it should have said, and how the difference is charged."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
import torch
from projects import days, prices, project, run_stage, take_in, texts
from sklearn.metrics import mean_pinball_loss, mean_squared_error

from longshort import config
from longshort.models.network import Network
from longshort.tasks.cross_entropy import ROWS, summed_cross_entropy
from longshort.tasks.forecast import FinalStateHead, ForecastTask, charge
from longshort.tasks.language_model import IGNORED, NextWordHead
from longshort.tasks.layers import Embeddings, Linears
from longshort.tasks.task import open_task


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = project(tmp_path_factory.mktemp("tasks"), "windows.forecast.horizon=2", "windows.forecast.gap=2")
    take_in(root, "goog", pa.concat_tables([prices(days(300), "AAA"), prices(days(280), "BBB", seed=1)]))
    take_in(root, "topics", texts())
    for item in ("goog", "topics"):
        run_stage(root, "windows", item)
    return root


@pytest.fixture(scope="module")
def forecast(root):
    return open_task("forecast", root / "data/windows/goog", config.read(root / "params.yaml"))


@pytest.fixture(scope="module")
def language(root):
    return open_task("language-model", root / "data/windows/topics", config.read(root / "params.yaml"))


def joined(task, part, size=7, seed=0, epoch=1):
    return [torch.cat(each) for each in zip(*task.batches(part, size, seed, epoch), strict=True)]


LSTM = config.Variant(cell="lstm", hidden_size=3, num_layers=1, bidirectional=False, dropout=0.0)


# --- forecast ---------------------------------------------------------------------------------


def test_a_past_is_sessions_by_columns_and_a_future_is_sessions(forecast):
    past, future = next(forecast.batches("train", 7, 0, 1))
    assert past.shape == (7, 8, forecast.inputs) and future.shape == (7, 2)
    assert past.dtype == future.dtype == torch.float32


def test_the_target_of_a_window_is_the_first_column_of_the_windows_after_it(forecast):
    past, future = joined(forecast, "validation")
    one_ticker = len(past) // 2
    torch.testing.assert_close(future[: one_ticker - 2, 0], past[1 : one_ticker - 1, -1, 0], rtol=0, atol=0)
    torch.testing.assert_close(future[: one_ticker - 2, 1], past[2:one_ticker, -1, 0], rtol=0, atol=0)


def test_a_part_is_read_in_order_and_training_is_shuffled(forecast):
    windows = forecast.data.parts
    for part in ("validation", "test"):
        past, _ = windows[part].gather(forecast.scaled, np.arange(len(windows[part])))
        assert (joined(forecast, part)[0].numpy() == past).all()
    past, _ = windows["train"].gather(forecast.scaled, np.arange(len(windows["train"])))
    assert (joined(forecast, "train")[0].numpy() != past).any()


def test_an_epoch_reads_every_training_window_once_whatever_the_batch_size(forecast):
    rows = [sorted(map(bytes, joined(forecast, "train", size, epoch=epoch)[0].numpy())) for size, epoch in ((1, 1), (7, 2), (9999, 3))]
    assert rows[0] == rows[1] == rows[2]
    assert len(set(rows[0])) == len(rows[0]) == len(forecast.data.parts["train"])


@pytest.mark.parametrize("task", ["forecast", "language"])
def test_an_order_is_a_pure_function_of_seed_and_epoch(task, request):
    task = request.getfixturevalue(task)
    first = joined(task, "train", seed=3, epoch=5)[0]
    assert torch.equal(first, joined(task, "train", seed=3, epoch=5)[0])
    for seed, epoch in ((3, 6), (4, 5)):
        other = joined(task, "train", seed=seed, epoch=epoch)[0]
        assert first.shape != other.shape or not torch.equal(first, other)


def test_a_forecast_is_charged_its_squared_error_summed(forecast):
    answer = torch.tensor([[[1.0, 2.0], [3.0, 4.0]]])
    losses, terms, _ = charge(answer.unsqueeze(2), torch.tensor([[[1.0, 4.0], [0.0, 4.0]]]), ())
    assert (losses.tolist(), terms.tolist()) == ([0 + 4 + 9 + 0], [4])
    (read, target), network = next(forecast.batches("train", 3, 0, 1)), Network(forecast, LSTM, "torch")
    wanted = charge(network(read[None]).unsqueeze(2), target[None], ())
    assert all(map(torch.equal, forecast.loss(network, read[None], target[None])[:2], wanted[:2]))


LEVELS = (0.05, 0.5, 0.9)


def test_a_quantile_is_charged_the_pinball_loss_of_scikit_learn_beside_the_squared_error():
    draw = torch.Generator().manual_seed(0)
    answer, target = torch.randn(2, 7, 4, 3, generator=draw), torch.randn(2, 7, 3, generator=draw)
    target[1, 2:] = torch.nan  # which is not charged
    losses, terms, _ = charge(answer, target, LEVELS)
    assert terms.tolist() == [21, 6]
    for k in range(2):
        asked = ~target[k].isnan()
        came = target[k][asked].numpy()
        costs = [mean_pinball_loss(came, answer[k, :, n][asked].numpy(), alpha=level) for n, level in enumerate(LEVELS, start=1)]
        squared = mean_squared_error(came, answer[k, :, 0][asked].numpy())
        assert losses[k].item() / terms[k].item() == pytest.approx(squared + sum(costs), rel=1e-5)


def test_what_is_not_charged_gives_no_quantile_a_gradient():
    answer = torch.zeros(1, 2, 2, 1, requires_grad=True)
    charge(answer, torch.tensor([[[1.0], [torch.nan]]]), (0.9,))[0].sum().backward()
    assert answer.grad.flatten().tolist() == pytest.approx([-2, -0.9, 0, 0])


def test_a_network_with_quantiles_answers_its_point_forecast_and_its_head_names_them_all(forecast):
    task = ForecastTask.of(forecast.data, LEVELS)
    network, (read, target) = Network(task, LSTM, "torch"), next(task.batches("train", 3, 0, 1))
    whole = network.head.whole(network.encode(read[None])[1])
    assert whole.shape == (1, 3, 4, task.horizon) and torch.equal(network(read[None]), whole[:, :, 0])
    assert all(map(torch.equal, task.loss(network, read[None], target[None])[:2], charge(whole, target[None], LEVELS)[:2]))


def test_each_member_is_charged_its_own_squared_error_and_nothing_where_nothing_is_asked(forecast):
    answer = torch.tensor([[[1.0, 2.0], [3.0, 4.0]], [[1.0, 1.0], [7.0, 8.0]]], requires_grad=True)
    target = torch.tensor([[[1.0, 4.0], [0.0, 4.0]], [[0.0, 3.0], [forecast.uncharged, forecast.uncharged]]])
    losses, terms, _ = charge(answer.unsqueeze(2), target, ())
    assert (losses.tolist(), terms.tolist()) == ([13, 1 + 4], [4, 2])
    losses.sum().backward()
    assert answer.grad.tolist() == [[[0, -4], [6, 0]], [[2, -4], [0, 0]]]


# --- language model ---------------------------------------------------------------------------


@pytest.mark.parametrize("part", ["train", "validation", "test"])
def test_the_target_of_a_token_is_the_token_after_it(language, part):
    for read, target in language.batches(part, 5, 0, 1):
        assert read.shape == target.shape == (len(read), 6) and read.dtype == target.dtype == torch.int64
        charged = target[:, :-1] != IGNORED
        assert (target[:, :-1][charged] == read[:, 1:][charged]).all()


@pytest.mark.parametrize("part", ["validation", "test"])
def test_outside_training_every_token_is_charged_once_and_in_order(language, part):
    _, target = joined(language, part)
    stretch = language.data.stretches[part]
    assert target[target != IGNORED].tolist() == language.data.ids[stretch.start : stretch.stop].tolist()


def test_in_training_every_window_is_charged_whole(language):
    read, target = joined(language, "train")
    stretch = language.data.stretches["train"]
    assert (target != IGNORED).all()
    assert stretch.stop - stretch.start - 2 * 6 <= target.numel() < stretch.stop - stretch.start
    assert read.max() < language.vocabulary_size


@pytest.mark.parametrize("part", ["train", "validation", "test"])
def test_where_states_are_carried_a_row_of_a_batch_reads_on_where_that_of_the_batch_before_stopped(language, part):
    carried = dataclasses.replace(language, carried=True)
    batches = list(carried.batches(part, 5, 0, 1))
    reads, targets = (torch.cat(each, dim=1) for each in zip(*batches, strict=True))
    assert {read.shape[1] for read, _ in batches[:-1]} == {6} and (part != "train" or len(reads) == 5)
    assert (targets[:, :-1][targets[:, :-1] != IGNORED] == reads[:, 1:][targets[:, :-1] != IGNORED]).all()
    stretch = language.data.stretches[part]
    assert targets[targets != IGNORED].tolist() == language.data.ids[max(stretch.start, 1) : stretch.stop].tolist()
    for other in ((7, 3), (0, 2)):  # streams are those of any seed and epoch
        assert all(map(torch.equal, batches[0], next(carried.batches(part, 5, *other))))


@pytest.mark.parametrize("part", ["train", "validation"])
@pytest.mark.parametrize("most", [1, 5, 11, 35, 10**6])
def test_an_order_is_the_same_windows_however_many_are_asked_for_at_a_time(language, part, most):
    for task in (language, dataclasses.replace(language, carried=True)):
        stretches = list(task.order(part, 0, 1, 5, most))
        assert [each.place for each in stretches] == [0, *np.cumsum([len(each.starts) for each in stretches])[:-1]]
        one = list(task.order(part, 0, 1, 5, 1))
        for starts_or_counts in ("starts", "counts"):
            joined_up = [np.concatenate([getattr(each, starts_or_counts) for each in way]) for way in (stretches, one)]
            assert (joined_up[0] == joined_up[1]).all()
        assert all(len(each.starts) <= max(most, each.rows) for each in stretches) and len({each.rows for each in stretches}) == 1


def test_each_member_is_charged_the_nats_of_its_charged_tokens(language):
    states = torch.log(torch.tensor([[[[0.5, 0.25, 0.25], [0.1, 0.1, 0.8]]]])).expand(4, -1, -1, -1)
    head = NextWordHead(3, 3, generators(*range(4)))
    with torch.no_grad():  # heads that pass their states on, the last with the words turned round: they are the logits
        head.linear.weight.copy_(torch.stack([torch.eye(3)] * 3 + [torch.eye(3).flip(1)]))
        head.linear.bias.zero_()
    network = SimpleNamespace(head=head, encode=lambda read, draw, carried: (states, states[:, :, -1]))
    read = torch.zeros(4, 1, 2, dtype=torch.int64)
    target = torch.tensor([[[1, IGNORED]], [[1, 2]], [[IGNORED, IGNORED]], [[2, 2]]])
    wanted = ([np.log(4), np.log(4) - np.log(0.8), 0.0, np.log(2) + np.log(10)], [1, 2, 0, 2])
    losses, terms, _ = language.loss(network, read, target)
    assert losses.tolist() == pytest.approx(wanted[0]) and terms.tolist() == wanted[1]
    with torch.no_grad():  # as outside training
        losses, terms, _ = language.loss(network, read, target)
    assert losses.tolist() == pytest.approx(wanted[0]) and terms.tolist() == wanted[1]


@pytest.mark.parametrize("tokens", [1, ROWS - 1, ROWS + 3])
def test_the_fused_cross_entropy_is_torchs_own_in_value_and_gradient(tokens):
    torch.manual_seed(tokens)
    given = [torch.randn(*shape, dtype=torch.float64, requires_grad=True) for shape in ((tokens, 5), (5, 7), (7,))]
    states, weight, bias = given
    target = torch.randint(0, 7, (tokens,))
    wanted = torch.nn.functional.cross_entropy(states @ weight + bias, target, reduction="sum")
    found = summed_cross_entropy(*given, target)
    torch.testing.assert_close(found, wanted)
    for ours, theirs in zip(torch.autograd.grad(3 * found, given), torch.autograd.grad(3 * wanted, given), strict=True):
        torch.testing.assert_close(ours, theirs)
    with torch.no_grad():  # another way, without gradients
        torch.testing.assert_close(summed_cross_entropy(*given, target), wanted)


# --- fronts and heads of a fleet --------------------------------------------------------------

# what a layer is made with, and what it reads: (members) -> what is called
WORDS = torch.randint(11, (3, 2, 4), generator=torch.Generator().manual_seed(0))
STATES = torch.randn(3, 2, 4, 5, generator=torch.Generator().manual_seed(0))
LAYERS = {
    "linear layer": (lambda own: Linears(5, 7, own), (STATES,), (2, 4, 7)),
    "embedding": (lambda own: Embeddings(11, 6, own), (WORDS,), (2, 4, 6)),
    "head of a forecast": (lambda own: FinalStateHead(5, 3, own), (STATES, STATES[:, :, -1]), (2, 3)),
    "head of a language model": (lambda own: NextWordHead(5, 11, own), (STATES, STATES[:, :, -1]), (2, 4, 11)),
}


def generators(*seeds):
    return [torch.Generator().manual_seed(seed) for seed in seeds]


@pytest.mark.parametrize(("make", "read", "shape"), LAYERS.values(), ids=LAYERS)
def test_a_front_or_head_of_a_fleet_is_that_of_each_member_alone(make, read, shape):
    together = make(generators(4, 5, 6))
    answers = together(*read)
    assert answers.shape == (3, *shape)
    answers.pow(2).sum().backward()
    for k, seed in enumerate((4, 5, 6)):
        alone = make(generators(seed))
        answer = alone(*(each[k : k + 1] for each in read))
        assert torch.equal(answer[0], answers[k])
        answer.pow(2).sum().backward()
        for mine, theirs in zip(alone.parameters(), together.parameters(), strict=True):
            assert torch.equal(mine[0], theirs[k])
            torch.testing.assert_close(theirs.grad[k], mine.grad[0])


@pytest.mark.parametrize(("make", "read", "shape"), LAYERS.values(), ids=LAYERS)
def test_a_member_of_a_front_or_head_sees_no_other(make, read, shape):
    layer = make(generators(4, 5, 6))
    layer(*read)[1].pow(2).sum().backward()
    for parameter in layer.parameters():
        assert (parameter.grad[[0, 2]] == 0).all() and (parameter.grad[1] != 0).any()


def test_a_linear_layer_is_torchs_own_and_begins_in_the_same_range():
    layer, read = Linears(40, 30, generators(0, 1)), torch.randn(2, 6, 40)
    for k in range(2):
        torch.testing.assert_close(layer(read)[k], torch.nn.functional.linear(read[k], layer.weight[k].t(), layer.bias[k]))
    for parameter in layer.parameters():
        assert 0.9 / 40**0.5 < parameter.abs().max() <= 1 / 40**0.5


def test_an_embedding_names_the_row_of_the_word_in_its_own_members_table():
    layer = Embeddings(11, 6, generators(4, 5, 6))
    vectors = layer(WORDS)
    for (k, row, step), word in np.ndenumerate(WORDS.numpy()):
        assert torch.equal(vectors[k, row, step], layer.table[k, word])
    assert 0.09 < layer.table.abs().max() <= 0.1


def test_a_description_is_json_that_a_model_can_be_read_with(forecast, language):
    from longshort.windows.files import scaler_from

    assert scaler_from(forecast.description()["scaler"]).scale.tobytes() == forecast.data.scaler.scale.tobytes()
    assert tuple(language.description()["vocabulary"]) == language.data.vocabulary.words
