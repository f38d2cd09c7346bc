"""Models, masks: the layout of the draws, held against Philox written out, so that another engine can make the same bits."""

import itertools

import numpy as np
import pytest

from longshort.models import masks
from longshort.models.masks import Draw, stream

WORD = (1 << 64) - 1


def philox(counter, key):
    """Philox4x64-10 (Salmon et al., 2011, table 2 and equations of section 4.1): four words of 64 bits."""
    c, k = list(counter), list(key)
    for _ in range(10):
        high0, low0 = divmod(c[0] * 0xD2E7470EE14C6C93, 1 << 64)
        high1, low1 = divmod(c[2] * 0xCA5A826395121157, 1 << 64)
        c = [high1 ^ c[1] ^ k[0], low1, high0 ^ c[3] ^ k[1], low0]
        k = [(k[0] + 0x9E3779B97F4A7C15) & WORD, (k[1] + 0xBB67AE8584CAA73B) & WORD]
    return c


def test_philox_written_out_gives_the_known_answers_of_its_authors():
    assert philox((0, 0, 0, 0), (0, 0)) == [0x16554D9ECA36314C, 0xDB20FE9D672D0FDC, 0xD7E772CEE186176B, 0x7E68B68AEC7BA23B]
    assert philox((WORD,) * 4, (WORD,) * 2) == [0x87B092C3013FE90B, 0x438C3C67BE8D0224, 0x9CC7D7C69CD777B6, 0xA09CAEBF594F0BA0]


@pytest.mark.parametrize(("units", "steps", "place"), [(1, 1, 0), (16, 3, 0), (50, 2, 31), (17, 4, 10**9)])
@pytest.mark.parametrize("seed", [0, 2**63 - 1])
def test_a_value_is_the_one_that_the_layout_says(units, steps, place, seed):
    windows, rate, epoch, kind, layer, direction, part = 3, 0.3, 7, masks.UPDATE, 2, 1, 5
    found = Draw((seed,), epoch, place).dropped(kind, stream(layer, direction, part), rate, (windows, steps, units))
    assert found.shape == (1, windows, steps, units)
    blocks = -(-units // 16)
    for window, step, unit in itertools.product(range(windows), range(steps), range(units)):
        counter = (((place + window) * steps + step) * blocks + unit // 16, layer * 256 + direction * 16 + part, kind, 1)
        word = philox(counter, (seed, epoch))[unit % 16 // 4]
        value = word >> 16 * (unit % 4) & 0xFFFF
        assert found[0, window, step, unit] == (value < round(rate * 65536))


def test_the_rate_is_kept_and_so_is_the_mean():
    for rate in (0.001, 0.2, 0.5, 0.99):
        factors = Draw((3,), 1, 0).factors(masks.OUTPUT, 0, rate, (40, 50, 500))
        assert factors.dtype == np.float32 and (factors == 0).mean() == pytest.approx(rate, abs=4 * (rate / 1e6) ** 0.5)
        assert factors.mean(dtype=np.float64) == pytest.approx(1, abs=4 * (rate / (1 - rate) / 1e6) ** 0.5)
        assert set(np.unique(factors)) == {0, np.float32(65536 / (65536 - round(rate * 65536)))}


def test_a_window_has_its_masks_whatever_the_batch_that_it_comes_in():
    whole = Draw((1, 2), 4, 0).dropped(masks.OUTPUT, stream(1), 0.5, (12, 5, 21))
    for first, size in ((0, 5), (5, 5), (10, 2), (7, 1)):
        part = Draw((1, 2), 4, first).dropped(masks.OUTPUT, stream(1), 0.5, (size, 5, 21))
        assert (part == whole[:, first : first + size]).all()


def test_a_member_has_the_masks_that_it_has_alone():
    together = Draw((5, 6, 7), 2, 3).factors(masks.ZONEOUT, stream(0), 0.5, (4, 3, 20))
    for k, seed in enumerate((5, 6, 7)):
        assert (Draw((seed,), 2, 3).factors(masks.ZONEOUT, stream(0), 0.5, (4, 3, 20))[0] == together[k]).all()


def test_masks_of_different_places_seeds_epochs_layers_and_kinds_have_nothing_in_common():
    shape, kinds = (2, 3, 64), [value for name, value in vars(masks).items() if name.isupper() and name not in ("VALUES", "TYPE_CHECKING")]
    places = [
        (seed, epoch, place, kind, layer) for seed in (0, 1) for epoch in (1, 2) for place in (0, 2) for kind in kinds for layer in (0, 1)
    ]
    assert len(set(kinds)) == len(kinds) == 8
    drawn = [Draw((seed,), epoch, place).dropped(kind, stream(layer), 0.5, shape).ravel() for seed, epoch, place, kind, layer in places]
    agreement = np.array([[(one == other).mean() for other in drawn] for one in drawn])
    others = agreement[~np.eye(len(drawn), dtype=bool)]
    assert others.min() > 0.35 and others.max() < 0.65  # of 384 coins, each pair


def test_masks_share_no_block_with_orders_and_initialisation_under_the_same_key():
    orders = np.random.Philox(key=[3, 1]).random_raw(400)
    words = {philox((block, 0, masks.FRONT, 1), (3, 1))[0] for block in range(100)}
    assert not words & set(orders.tolist())
