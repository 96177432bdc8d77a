"""Fills, equity and the day's memory, one transition at a time."""

import math

import numpy as np
import pytest

from engine.core.account import apply_fill, equity_of, mark_book, valuation_px
from engine.core.step import new_state, rearm, restore_book
from engine.core.targets import whole_lots
from engine.domain import NO_SHOCKS, NS_PER_DAY, NS_PER_S
from engine.settings import SystemConfig

PARAMS = SystemConfig().params()._replace(shocks=NO_SHOCKS)


@pytest.mark.parametrize(
    ("held", "entry", "qty", "px", "after", "entry_after", "realised"),
    [
        (0.0, 0.0, 2.0, 100.0, 2.0, 100.0, 0.0),  # open
        (2.0, 100.0, 2.0, 110.0, 4.0, 105.0, 0.0),  # add: average
        (4.0, 105.0, -1.0, 115.0, 3.0, 105.0, 10.0),  # reduce: 1 * (115 - 105)
        (3.0, 105.0, -3.0, 100.0, 0.0, 0.0, -15.0),  # close
        (3.0, 105.0, -5.0, 100.0, -2.0, 100.0, -15.0),  # flip: 3 closed, 2 opened short
        (-2.0, 100.0, 1.0, 90.0, -1.0, 100.0, 10.0),  # cover half of a short at a gain
    ],
)
def test_fill(held, entry, qty, px, after, entry_after, realised):
    position, entry_px = np.array([held]), np.array([entry])
    assert apply_fill(position, entry_px, 0, qty, px) == pytest.approx(realised)
    assert position[0] == after
    assert entry_px[0] == pytest.approx(entry_after)


def test_equity_is_cash_plus_unrealised_and_ignores_the_price_of_a_flat_symbol():
    equity = equity_of(2, 1000.0, np.array([2.0, 0.0]), np.array([100.0, 0.0]), np.array([90.0, math.nan]))
    assert equity == 980.0


def test_equity_with_an_unknown_mark_is_unknown():
    assert math.isnan(equity_of(1, 1000.0, np.array([1.0]), np.array([100.0]), np.array([math.nan])))


def test_valuation_falls_back_from_mark_to_close_to_entry():
    assert valuation_px(101.0, 100.0, 99.0) == 101.0
    assert valuation_px(math.nan, 100.0, 99.0) == 100.0
    assert valuation_px(math.nan, 0.0, 99.0) == 99.0
    assert math.isnan(valuation_px(math.nan, 0.0, 0.0))


def test_bar_closing_at_midnight_opens_the_new_day():
    state = new_state(1, PARAMS)
    midnight = 20_000 * NS_PER_DAY
    mark_book(state, 100.0, midnight - NS_PER_S)
    mark_book(state, 90.0, midnight)
    assert state.book["day_open_equity"][0] == 90.0
    assert state.book["peak_equity"][0] == 100.0
    mark_book(state, 80.0, midnight + NS_PER_S)
    assert state.book["day_open_equity"][0] == 90.0


def test_restored_and_rearmed_books_leave_the_old_state_alone():
    state = new_state(1, PARAMS)
    restored = restore_book(state, 120.0, 110.0, 5)
    assert state.book["peak_equity"][0] == 0.0
    assert restored.book["peak_equity"][0] == 120.0
    assert restored.book["ts_day_end"][0] == NS_PER_DAY
    restored.book["drawdown_locked"][0] = 1
    rearmed = rearm(restored, 100.0)
    assert (rearmed.book["peak_equity"][0], rearmed.book["drawdown_locked"][0]) == (100.0, 0)
    assert restored.book["drawdown_locked"][0] == 1


@pytest.mark.parametrize(
    ("qty", "lot", "rounded"),
    [(0.0199, 0.01, 0.01), (-0.0199, 0.01, -0.01), (0.009, 0.01, 0.0), (0.3, 0.1, 0.3), (1.23, 0.0, 1.23)],
)
def test_quantities_are_rounded_toward_zero(qty, lot, rounded):
    assert whole_lots(qty, lot) == pytest.approx(rounded, abs=1e-12)
