"""What a person holds beside the strategy, in its decisions."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from decider_builders import (
    HISTORY,
    INSTRUMENTS,
    MINUTE,
    SYMBOLS,
    account_with,
    config,
    decided,
    market_now,
)
from execution_builders import NOW, mark

from engine.domain import Purpose, Rule, TradingState
from engine.runtime.account import Position
from engine.runtime.by_hand import quantities
from engine.runtime.decider import Decider
from engine.shocks import shocks


def by_hand(weight, strategy=0.0, symbol="BTCUSDT", equity=10_000.0):
    """Return an account in which a person holds ``weight`` of a symbol and the strategy another, at the mark."""
    px = HISTORY[symbol][-1].close_px
    qty = [round(part * equity / px, 3) for part in (weight, strategy)]
    return account_with(equity, **{symbol: Position(sum(qty), px, manual_qty=qty[0])})


def book_after(decision, account):
    """Return the weights of the whole account once the strategy has what it was allowed."""
    held = np.array([account.position(symbol).manual_qty for symbol in SYMBOLS])
    px = np.array([HISTORY[symbol][-1].close_px for symbol in SYMBOLS])
    return (held + decision.target_qty) * px / decision.equity


@pytest.mark.parametrize("weight", [0.2, 0.45, -0.2])
def test_the_strategy_grows_into_what_a_person_leaves_so_a_gap_keeps_the_floor_of_the_account(weight):
    account = by_hand(weight)
    _, decision, _, _ = decided(config(max_stress_loss=1.0), account=account)
    book = book_after(decision, account)
    held = abs(account.position("BTCUSDT").manual_qty) * HISTORY["BTCUSDT"][-1].close_px / 10_000.0
    strategy = np.abs(decision.target_qty * [HISTORY[s][-1].close_px for s in SYMBOLS] / 10_000.0)
    assert 1.0 - (held + strategy.sum()) * 0.31 >= 0.85 - 1e-9  # against both, as if nothing of them netted
    assert held + strategy.sum() == pytest.approx(
        0.15 / (0.31 * 1.02), abs=0.03
    )  # and takes what is left and worth an order
    assert np.abs(book).max() <= 0.5 + 1e-9
    np.testing.assert_allclose(decision.limit[:, Rule.CUSHION], 0.15 / (0.31 * 1.02) - held, rtol=1e-9)


def test_every_limit_on_the_book_is_less_by_what_is_held_by_hand_and_the_record_says_so():
    account = by_hand(0.2)
    decider, decision, view, a_slice = decided(account=account)
    kept = json.loads(decider.detail(decision, a_slice, view, {}))["by_hand"]
    assert kept["gross"] == pytest.approx(kept["weight"]["BTCUSDT"]) == pytest.approx(0.2, abs=0.01)
    assert kept["cvar"] > 0.0
    assert kept["stress"] >= 0.05 * kept["gross"]
    limits = decision.limit[0]
    assert limits[Rule.CVAR] == pytest.approx(0.04 - kept["cvar"])
    assert limits[Rule.STRESS] == pytest.approx(0.20 - kept["stress"])
    assert limits[Rule.NET_CAP] == limits[Rule.CLUSTER_CAP] == pytest.approx(1.0 - kept["gross"])
    assert limits[Rule.GROSS_CAP] == pytest.approx(2.0 - kept["gross"])
    plain = decided()[1].limit[0]
    assert (plain[Rule.CVAR], plain[Rule.CUSHION]) == (0.04, pytest.approx(0.15 / (0.31 * 1.02)))


def test_what_is_held_by_hand_is_measured_like_the_strategys_own():
    """The same position measures the same, whoever holds it."""
    decider, decision, view, a_slice = decided(account=by_hand(0.1))
    kept = json.loads(decider.detail(decision, a_slice, view, {}))["by_hand"]
    wish = np.array([kept["weight"]["BTCUSDT"], 0.0])
    own = Decider(config(strategy="mine.py"), INSTRUMENTS)
    own.warm_up({symbol: bars[:-1] for symbol, bars in HISTORY.items()})
    a_market = market_now()
    decision, _ = own.decide(a_slice, account_with(), a_market, np.zeros(2), TradingState.RUNNING, wish)
    measured = decision.measured[0]
    assert (kept["cvar"], kept["stress"]) == (pytest.approx(measured[Rule.CVAR]), pytest.approx(measured[Rule.STRESS]))


def test_a_person_who_takes_the_whole_limit_leaves_nothing_and_keeps_what_is_held():
    account = by_hand(0.9, strategy=0.3)
    _, decision, _, _ = decided(account=account)
    assert decision.act[0] == 1
    assert decision.target_qty.tolist() == [0.0, 0.0]  # the strategy's part alone: the rest is not its to sell


def test_within_the_symbol_cap_the_strategy_sells_its_own_part_and_says_why():
    wide = config(use_gate_book=False)
    account = by_hand(0.45, strategy=0.3)
    decider, decision, view, a_slice = decided(a_config=wide, account=account)
    assert decision.act[0] == 1
    assert 0.0 <= book_after(decision, account)[0] <= 0.5 + 1e-9
    rest = by_hand(0.47)
    decider, decision, view, a_slice = decided(a_config=wide, account=rest)
    assert (decision.act[0], decision.target_qty[0]) == (0, 0.0)  # what is left is not worth an order
    why = json.loads(decider.detail(decision, a_slice, view, {}))["why_not"]["BTCUSDT"]
    assert why.startswith("A person holds 0.4")


def test_a_symbol_that_the_strategy_does_not_know_counts_with_the_heaviest_tail():
    account = by_hand(0.0)
    account.positions = {"DOGEUSDT": Position(10_000.0, 0.1, manual_qty=10_000.0)}
    decider = Decider(config(), INSTRUMENTS)
    market = market_now()
    market.on_mark(mark(0.1, "DOGEUSDT"))
    a_slice = market.slice_at(SYMBOLS, "1m", HISTORY["BTCUSDT"][-1].ts_open, NOW)
    decision, view = decider.decide(a_slice, account, market, np.zeros(2), TradingState.RUNNING)
    kept = json.loads(decider.detail(decision, a_slice, view, {}))["by_hand"]
    assert kept["stress"] == pytest.approx(0.1 * max(abs(shock.market) for shock in shocks()))  # 12 March 2020
    assert kept["stress"] > 0.1 * (0.40 + 0.05)
    assert kept["cvar"] >= 0.1 * (1.0 / 365.0) ** 0.5 * 2.0
    decider = Decider(config(use_gate_book=False), INSTRUMENTS)
    decision, view = decider.decide(a_slice, account, market, np.zeros(2), TradingState.RUNNING)
    kept = json.loads(decider.detail(decision, a_slice, view, {}))["by_hand"]
    assert kept["stress"] == 0.0


def test_a_persons_profit_is_not_taken_for_the_strategys_edge():
    decider, _, _, a_slice = decided(account=by_hand(0.4))
    decider.set_book(period_equity=10_000.0)
    market, account = market_now(), by_hand(0.4)
    px = HISTORY["BTCUSDT"][-1].close_px
    market.on_mark(mark(px * 1.1, "BTCUSDT"))
    decider.decide(
        a_slice._replace(ts_close=a_slice.ts_close + MINUTE), account, market, np.zeros(2), TradingState.RUNNING
    )
    made = account.position("BTCUSDT").manual_qty * px * 0.1
    assert decider.state.book[0]["period_equity"] == pytest.approx(10_000.0 + made)


def test_resting_orders_of_a_person_take_room_before_they_fill():
    def order(symbol, in_flight_qty):
        return SimpleNamespace(spec=SimpleNamespace(symbol=symbol), in_flight_qty=in_flight_qty)

    working = [order("BTCUSDT", 0.2), order("BTCUSDT", -0.5), order("ETHUSDT", 1.0)]
    executor = SimpleNamespace(
        account=by_hand(0.0), open_orders=lambda purpose: working if purpose == Purpose.MANUAL else []
    )
    executor.account.positions = {"BTCUSDT": Position(0.4, 1.0, manual_qty=0.4), "SOLUSDT": Position(1.0, 1.0)}
    assert quantities(executor) == {"BTCUSDT": pytest.approx(0.6), "ETHUSDT": 1.0}
