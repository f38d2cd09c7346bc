"""Tasks: what a network reads, what it should have said, and how the difference is charged."""

from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
import torch
from projects import days, prices, project, run_stage, take_in, texts

from longshort import config
from longshort.tasks.cross_entropy import ROWS, summed_cross_entropy
from longshort.tasks.language_model import IGNORED, NextWordHead
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
    answer = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    loss, terms = forecast.loss(lambda read, draw: answer, torch.empty(0), torch.tensor([[1.0, 4.0], [0.0, 4.0]]))
    assert (loss.item(), terms) == (0 + 4 + 9 + 0, 4)


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


def test_a_language_model_is_charged_the_nats_of_the_charged_tokens(language):
    states = torch.log(torch.tensor([[[0.5, 0.25, 0.25], [0.1, 0.1, 0.8]]]))
    head = NextWordHead(width=3, vocabulary=3)
    with torch.no_grad():  # a head that passes its states on: they are the logits
        head.linear.weight.copy_(torch.eye(3))
        head.linear.bias.zero_()
    network = SimpleNamespace(head=head, encode=lambda read, draw: (states, states[:, -1]))
    loss, terms = language.loss(network, torch.empty(0), torch.tensor([[1, IGNORED]]))
    assert terms == 1 and loss.item() == pytest.approx(np.log(4))
    loss, terms = language.loss(network, torch.empty(0), torch.tensor([[1, 2]]))
    assert terms == 2 and loss.item() == pytest.approx(np.log(4) - np.log(0.8))


@pytest.mark.parametrize("tokens", [1, ROWS - 1, ROWS + 3])
def test_the_fused_cross_entropy_is_torchs_own_in_value_and_gradient(tokens):
    torch.manual_seed(tokens)
    linear, target = torch.nn.Linear(5, 7, dtype=torch.float64), torch.randint(0, 7, (tokens,))
    states = torch.randn(tokens, 5, dtype=torch.float64, requires_grad=True)
    wanted = torch.nn.functional.cross_entropy(linear(states), target, reduction="sum")
    found = summed_cross_entropy(states, linear, target)
    torch.testing.assert_close(found, wanted)
    for ours, theirs in zip(
        torch.autograd.grad(3 * found, [states, linear.weight, linear.bias]),
        torch.autograd.grad(3 * wanted, [states, linear.weight, linear.bias]),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs)


def test_a_description_is_json_that_a_model_can_be_read_with(forecast, language):
    from longshort.windows.files import scaler_from

    assert scaler_from(forecast.description()["scaler"]).scale.tobytes() == forecast.data.scaler.scale.tobytes()
    assert tuple(language.description()["vocabulary"]) == language.data.vocabulary.words
