"""Parts of a sweep: the bars at which a day ends, how members are shared out, what closed trades came to."""

from __future__ import annotations

import math

import numpy as np
import pytest

from engine.core.known import averages
from engine.core.matching import new_fill_log
from engine.core.tally import Trips, trips_of
from engine.domain import NS_PER_DAY
from engine.research.figures import day_ends
from engine.research.grid import chunks_of


@pytest.mark.parametrize("seed", range(8))
def test_a_day_ends_with_its_last_bar(seed):
    rng = np.random.default_rng(seed)
    step = [NS_PER_DAY // 24, NS_PER_DAY // 4, NS_PER_DAY, 7][seed % 4]
    ts_close = np.cumsum(rng.integers(1, 9, 80)) * step + int(rng.integers(0, 3)) * NS_PER_DAY // 2
    day = (ts_close - 1) // NS_PER_DAY  # a bar that closes at midnight belongs to the day it ends
    assert day_ends(ts_close).tolist() == [k for k in range(80) if k == 79 or day[k + 1] != day[k]]


@pytest.mark.parametrize(
    ("n", "n_workers", "largest"), [(100, 2, 64), (3, 2, 64), (1000, 4, 64), (9, 1, 1), (1, 8, 64)]
)
def test_chunks_hold_every_member_once_and_only_become_shorter(n, n_workers, largest):
    chunks = chunks_of(list(range(n)), n_workers, largest)
    assert [member for chunk in chunks for member in chunk] == list(range(n))
    sizes = [len(chunk) for chunk in chunks]
    assert sizes == sorted(sizes, reverse=True)
    assert max(sizes) <= largest
    assert len(sizes) >= min(n, n_workers)


def test_trades_are_told_by_what_is_left_of_them():
    log = new_fill_log(8)
    log.qty[:6] = [2.0, -1.0, -2.0, 1.0, 5.0, -5.0]  # a trade in two halves, a flip to short, its end, then one more
    log.px[:6] = [10.0, 12.0, 11.0, 14.0, 10.0, 10.0]
    log.fee[:6] = [0.2, 0.1, 0.2, 0.1, 0.0, 0.5]
    trips = trips_of(log, 6, 1)
    # long: -20 + 12 + 11 - (0.2 + 0.1 + 0.1) = 2.6; short: 11 - 14 - (0.1 + 0.1) = -3.2; the last: its fee
    assert trips == pytest.approx(Trips(3, 1, 2.6, 3.7))
    assert trips.win_rate == pytest.approx(1 / 3)
    assert trips.profit_factor == pytest.approx(2.6 / 3.7)
    assert math.isnan(trips_of(log, 0, 1).win_rate)
    assert math.isnan(Trips(1, 0, 0.0, 0.0).profit_factor)
    assert Trips(1, 1, 3.0, 0.0).profit_factor == math.inf


def test_shared_averages_are_those_of_the_definition():
    close_px = np.random.default_rng(3).uniform(50.0, 60.0, (40, 1))
    found = averages(close_px, (3, 5, 8, 13, 21))
    for span, average in found.items():
        own = close_px[0, 0]
        for t in range(40):
            own = own + 2.0 / (span + 1.0) * (close_px[t, 0] - own)
            assert average[t] == own
