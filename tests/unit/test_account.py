"""The account as fills and the venue's reports tell it."""

import math

import pytest
from execution_builders import NOW, fill

from engine.domain import BalanceReport, PositionReport, Purpose
from engine.runtime.account import FLAT, Account, Position, after_fill

LOT = 0.001


@pytest.mark.parametrize(
    ("held", "entry", "qty", "px", "after", "entry_after"),
    [
        (0.0, 0.0, 0.2, 100.0, 0.2, 100.0),  # open
        (0.2, 100.0, 0.2, 110.0, 0.4, 105.0),  # add: average
        (0.4, 105.0, -0.1, 115.0, 0.3, 105.0),  # reduce: entry stays
        (0.3, 105.0, -0.3, 90.0, 0.0, 0.0),  # close
        (0.3, 105.0, -0.5, 90.0, -0.2, 90.0),  # flip: starts anew
        (-0.2, 90.0, -0.2, 80.0, -0.4, 85.0),  # add to a short
        (0.3, 105.0, -0.2999999, 90.0, 0.0, 0.0),  # what is left of a float is flat
    ],
)
def test_fill(held, entry, qty, px, after, entry_after):
    position = after_fill(Position(held, entry), qty, px, LOT)
    assert (position.qty, position.entry_px) == (pytest.approx(after), pytest.approx(entry_after))


def test_fill_of_a_person_is_counted_as_manual():
    account = Account()
    account.apply_fill(fill(0.3), LOT, purpose=Purpose.MANUAL)
    account.apply_fill(fill(-0.1), LOT, purpose=Purpose.TARGET)
    position = account.position("BTCUSDT")
    assert (position.qty, position.manual_qty) == (pytest.approx(0.2), pytest.approx(0.3))


def test_stop_or_flatten_closes_a_person_s_part_too():
    account = Account()
    account.apply_fill(fill(0.4, 50_000.0), LOT, purpose=Purpose.MANUAL)
    account.apply_fill(fill(-0.1, 49_000.0), LOT, purpose=Purpose.PROTECT)
    assert account.position("BTCUSDT").manual_qty == pytest.approx(0.3)
    account.apply_fill(fill(-0.3, 49_000.0), LOT, purpose=Purpose.FLATTEN)
    assert (account.position("BTCUSDT").qty, account.position("BTCUSDT").manual_qty) == (0.0, 0.0)


def test_a_person_who_closes_the_strategy_s_position_is_not_fought():
    account = Account()
    account.apply_fill(fill(0.4, 50_000.0), LOT, purpose=Purpose.TARGET)
    account.apply_fill(fill(-0.4, 50_000.0), LOT, purpose=Purpose.MANUAL)
    position = account.position("BTCUSDT")
    assert (position.qty, position.manual_qty) == (0.0, 0.0)  # nothing that would be opened when the strategy leaves


@pytest.mark.parametrize(("qty", "manual", "sold", "manual_after"), [
    (1.0, 0.4, 0.3, 0.1),  # their own part first
    (1.0, 0.4, 0.7, 0.0),  # then the strategy's
    (1.0, 0.4, 1.5, -0.5),  # and a short of their own
    (0.6, -0.4, 0.2, -0.4),  # opened as a short, beside a long of the strategy
    (0.6, 1.0, 0.6, 0.4),  # beside a short of the strategy
    (-0.5, -0.5, 0.2, -0.7),
])  # fmt: skip
@pytest.mark.parametrize("side", [1, -1])
def test_what_a_person_closes_beyond_their_part_is_the_strategy_s(qty, manual, sold, manual_after, side):
    account = Account()
    account.positions["BTCUSDT"] = Position(side * qty, 50_000.0, side * manual)
    account.apply_fill(fill(-side * sold), LOT, purpose=Purpose.MANUAL)
    assert account.position("BTCUSDT").manual_qty == pytest.approx(side * manual_after)


@pytest.mark.parametrize("purpose", [Purpose.PROTECT, Purpose.FLATTEN])
def test_stop_and_flatten_close_both_parts_alike(purpose):
    account = Account()
    account.apply_fill(fill(0.1), LOT, Purpose.TARGET)
    account.apply_fill(fill(0.3), LOT, Purpose.EXTERNAL)
    account.apply_fill(fill(-0.2), LOT, purpose)  # half of the whole
    position = account.position("BTCUSDT")
    assert (position.qty, position.manual_qty) == (pytest.approx(0.2), pytest.approx(0.15))
    account.apply_fill(fill(-0.2), LOT, purpose)
    assert (account.position("BTCUSDT").qty, account.position("BTCUSDT").manual_qty) == (0.0, 0.0)


def test_symbol_never_traded_is_flat():
    assert Account().position("BTCUSDT") is FLAT


def test_adopted_difference_counts_as_manual():
    account = Account()
    account.apply_fill(fill(0.3, 50_000.0), LOT, purpose=Purpose.TARGET)
    account.adopt(PositionReport("BTCUSDT", 0.5, 50_100.0, 50_000.0, math.nan, 3.0, NOW))
    position = account.position("BTCUSDT")
    assert (position.qty, position.entry_px, position.manual_qty) == (0.5, 50_100.0, pytest.approx(0.2))
    account.adopt(PositionReport("BTCUSDT", 0.0, 50_100.0, 50_000.0, math.nan, 3.0, NOW))
    assert account.position("BTCUSDT").entry_px == 0.0
    assert account.open_positions() == {}


def test_note_takes_liquidation_and_leverage_only():
    account = Account()
    account.apply_fill(fill(0.3, 50_000.0), LOT, purpose=Purpose.TARGET)
    account.note(PositionReport("BTCUSDT", 9.9, 1.0, 50_000.0, 30_000.0, 3.0, NOW))
    position = account.position("BTCUSDT")
    assert (position.qty, position.entry_px, position.liq_px, position.leverage) == (0.3, 50_000.0, 30_000.0, 3.0)
    account.note(PositionReport("BTCUSDT", 0.3, 50_000.0, math.nan, math.nan, math.nan, NOW))  # a push knows neither
    assert account.position("BTCUSDT").liq_px == 30_000.0


def test_pushed_balance_keeps_the_margins_that_it_does_not_name():
    account = Account()
    account.apply_balance(BalanceReport(10_000.0, 9_000.0, 50.0, NOW))
    account.apply_balance(BalanceReport(9_990.0, math.nan, math.nan, NOW))
    assert (account.cash, account.free_margin, account.maintenance_margin) == (9_990.0, 9_000.0, 50.0)


def test_unrealised_profit_of_a_long_and_a_short():
    account = Account()
    account.positions = {"BTCUSDT": Position(0.2, 50_000.0), "ETHUSDT": Position(-2.0, 3_000.0), "X": Position()}
    # 0.2 * (50500 - 50000) - 2 * (3010 - 3000) = 100 - 20
    assert account.unrealized({"BTCUSDT": 50_500.0, "ETHUSDT": 3_010.0}) == pytest.approx(80.0)


def test_missing_mark_makes_the_profit_unknown_and_not_zero():
    account = Account()
    account.positions = {"BTCUSDT": Position(0.2, 50_000.0)}
    assert math.isnan(account.unrealized({}))
    assert Account().unrealized({}) == 0.0


def test_liquidation_price_of_the_other_side_is_forgotten():
    short = Position(qty=-1.0, entry_px=100.0, liq_px=5_000.0)
    assert after_fill(short, -1.0, 100.0, 0.001).liq_px == 5_000.0
    assert after_fill(short, 0.5, 100.0, 0.001).liq_px == 5_000.0
    assert math.isnan(after_fill(short, 2.0, 100.0, 0.001).liq_px)
    assert math.isnan(after_fill(short, 1.0, 100.0, 0.001).liq_px)
