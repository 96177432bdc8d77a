"""From bars and the account to a decision and its record."""

import json
import math

import numpy as np
import pytest
from decider_builders import (
    HISTORY,
    INSTRUMENTS,
    MINUTE,
    N_BARS,
    SYMBOLS,
    account_with,
    config,
    decided,
    market_now,
)
from execution_builders import NOW, bar

from engine.domain import N_RULES, RULE_SENTENCE, Rule, TradingState, Verdict
from engine.runtime import decider as decider_module
from engine.runtime.account import Position
from engine.runtime.decider import Decider, account_view, align, params_hash
from engine.runtime.decision_record import decision_detail, reasons, summary
from engine.settings import SystemConfig
from engine.venues.sandbox.market.bars import MINUTE_HISTORY_MS, MINUTE_MS


def test_rising_prices_make_a_warmed_trend_buy_within_its_caps():
    _, decision, _, a_slice = decided()
    assert (decision.raw_weight > 0).all()
    assert (decision.act == 1).all()
    assert (decision.approved_weight > 0).all()
    assert (decision.approved_weight <= 0.5 + 1e-12).all()
    # whole lots of the approved weight, at the mid
    lots = decision.target_qty / 0.001
    np.testing.assert_allclose(lots, np.round(lots), atol=1e-6)
    np.testing.assert_allclose(
        decision.target_qty * a_slice.close_px / 10_000.0, decision.approved_weight, atol=0.001 * 50_000 / 10_000
    )
    assert decision.equity == 10_000.0


def test_every_default_sleeve_is_awake_since_the_beginning_of_the_day_on_a_first_start():
    decider = Decider(SystemConfig(symbols=SYMBOLS, strategy="portfolio"), INSTRUMENTS)
    needed = 0.5 * decider.params.trend_horizon_bars.max()  # the slowest
    assert needed + 24 * 60 <= decider.warm_up_bars <= MINUTE_HISTORY_MS / MINUTE_MS


def test_cold_start_has_no_opinion_and_says_so():
    _, decision, _, _ = decided(warmed=False)
    assert not decision.act.any()
    # one bar seen; half of the longest horizon's sixty are needed
    assert reasons(decision)[0] == f"{RULE_SENTENCE[Rule.WARM_UP]} Measured 1, limit 30."


@pytest.mark.parametrize("changes", [{"state": TradingState.REDUCE_ONLY}, {"a_config": config(use_trend=False)}])
def test_reduce_only_and_a_switched_off_sleeve_open_nothing(changes):
    _, decision, view, _ = decided(**changes)
    assert not decision.act.any()
    assert view.trading_state == TradingState.REDUCE_ONLY
    assert reasons(decision)[0].startswith(RULE_SENTENCE[Rule.TRADING_STATE])


def test_halted_is_not_softened_by_a_switched_off_sleeve():
    _, _, view, _ = decided(a_config=config(use_trend=False), state=TradingState.HALTED)
    assert view.trading_state == TradingState.HALTED


def test_same_bars_and_account_give_the_same_decision_to_the_bit():
    first, second = decided()[1], decided()[1]
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)


def test_warm_up_takes_each_bar_once():
    decider = Decider(config(), INSTRUMENTS)
    assert decider.warm_up({s: bars[:300] for s, bars in HISTORY.items()}) == 300
    assert decider.ts_open_newest == 300 * MINUTE
    assert decider.warm_up({s: bars[:300] for s, bars in HISTORY.items()}) == 0
    assert decider.warm_up({s: bars[250:310] for s, bars in HISTORY.items()}) == 10
    at_once = Decider(config(), INSTRUMENTS)
    at_once.warm_up({s: bars[:310] for s, bars in HISTORY.items()})
    np.testing.assert_array_equal(decider.state.trail, at_once.state.trail)
    np.testing.assert_array_equal(decider.state.n_bars, [310, 310])


def test_next_bar_is_the_one_without_a_gap():
    decider = Decider(config(), INSTRUMENTS)
    decider.warm_up({s: bars[:10] for s, bars in HISTORY.items()})
    assert decider.is_next(11 * MINUTE)
    assert not decider.is_next(12 * MINUTE)
    assert not decider.is_next(10 * MINUTE)


def test_align_puts_symbols_on_one_clock_and_leaves_gaps_unknown():
    history = {
        "BTCUSDT": [bar(MINUTE, 1.0), bar(3 * MINUTE, 3.0), bar(4 * MINUTE, 4.0, is_closed=False)],
        "ETHUSDT": [bar(2 * MINUTE, 20.0), bar(3 * MINUTE, 30.0)],
    }
    (_, _, _, closes, _), ts_open = align(history, SYMBOLS, 0)
    np.testing.assert_array_equal(ts_open, [MINUTE, 2 * MINUTE, 3 * MINUTE])
    np.testing.assert_array_equal(closes, [[1.0, np.nan], [np.nan, 20.0], [3.0, 30.0]])
    (_, _, _, later, _), _ = align(history, SYMBOLS, 2 * MINUTE)
    np.testing.assert_array_equal(later, [[3.0, 30.0]])


@pytest.mark.parametrize(
    ("changes", "n_bars"),
    [
        ({}, 180),  # three times the longest horizon of an hour
        ({"volatility_horizon_hours": 2.0}, 360),
        ({"strategy": "ema-cross", "ema_slow": 50}, 150),
        ({"trend_horizons_hours": (5_000.0,)}, decider_module.MAX_WARM_UP_BARS),
    ],
)
def test_warm_up_reaches_back_three_times_the_slowest_memory(changes, n_bars):
    assert Decider(config(**changes), INSTRUMENTS).warm_up_bars == n_bars


def test_manual_part_of_a_position_is_not_the_strategys_but_counts_in_equity():
    market = market_now()
    btc, eth = (HISTORY[s][-1].close_px for s in SYMBOLS)
    account = account_with(
        9_000.0, BTCUSDT=Position(0.3, btc - 1_000.0, manual_qty=0.2), ETHUSDT=Position(-1.0, eth + 50.0)
    )
    view = account_view(SYMBOLS, account, market, np.zeros(2), TradingState.RUNNING)
    np.testing.assert_allclose(view.position_qty, [0.1, -1.0])
    # 9000 + 0.3 * 1000 + 1 * 50 in all, of which the strategy's own positions show 0.1 * 1000 + 50
    assert view.cash + 100.0 + 50.0 == pytest.approx(9_350.0)
    equity = view.cash + float(np.sum(view.position_qty * (view.mark_px - view.entry_px)))
    assert equity == pytest.approx(9_350.0)


def test_purely_manual_position_is_flat_for_the_strategy():
    market = market_now()
    btc = HISTORY["BTCUSDT"][-1].close_px
    account = account_with(9_000.0, BTCUSDT=Position(0.3, btc - 1_000.0, manual_qty=0.3))
    view = account_view(SYMBOLS, account, market, np.zeros(2), TradingState.RUNNING)
    np.testing.assert_array_equal(view.position_qty, [0.0, 0.0])
    np.testing.assert_array_equal(view.entry_px, [0.0, 0.0])
    assert view.cash == pytest.approx(9_300.0)


def test_unknown_cash_makes_equity_unknown_and_stops_everything():
    _, decision, _, _ = decided(account=account_with(math.nan))
    assert math.isnan(decision.equity)
    assert not decision.act.any()


def thin(**changes):
    """Return settings under which an hour's usual trade allows a small part of what the trend rule wants."""
    usual = HISTORY["BTCUSDT"][-1].close_px * HISTORY["BTCUSDT"][-1].volume * 60.0
    return config(max_hour_participation=1_000.0 / usual, **changes)


def on_newest_bar(decider, volume_times=1.0):
    market = market_now()
    a_slice = market.slice_at(SYMBOLS, "1m", HISTORY["BTCUSDT"][-1].ts_open, NOW)
    a_slice = a_slice._replace(volume=a_slice.volume * volume_times)
    return decider.decide(a_slice, account_with(), market, np.zeros(2), TradingState.RUNNING)[0]


def test_what_was_added_within_the_hour_is_not_granted_again_after_a_restart_or_to_another_strategy():
    first, decision, _, _ = decided(thin())
    bought = decision.target_qty[0] * HISTORY["BTCUSDT"][-1].close_px
    assert 800.0 < bought < 1_000.0
    assert decision.verdict[0, Rule.PARTICIPATION] == Verdict.CLIP
    kept = json.loads(json.dumps(first.memory()))
    assert kept["added"]["BTCUSDT"][1] == pytest.approx(bought)
    restarted, other = Decider(thin(), INSTRUMENTS), Decider(thin(trend_horizons_hours=(0.4, 1.0)), INSTRUMENTS)
    restarted.restore_book(kept | {"peak_equity": 10_000.0, "day_open_equity": 10_000.0, "ts": 0})
    other.adopt_book(first)
    for decider in (restarted, other):
        decider.warm_up({symbol: bars[:-1] for symbol, bars in HISTORY.items()})
        again = on_newest_bar(decider)
        assert again.target_qty[0] * HISTORY["BTCUSDT"][-1].close_px < 1_000.0 - bought + 1.0
        assert decider.memory()["n_acts"] >= kept["n_acts"]


def test_what_usually_trades_is_still_known_after_a_change_of_settings():
    kept, fresh = Decider(thin(), INSTRUMENTS), Decider(thin(rebalance_band=0.01), INSTRUMENTS)
    kept.warm_up({symbol: bars[:-1] for symbol, bars in HISTORY.items()})
    fresh.take_over(kept)
    bought = on_newest_bar(fresh, volume_times=100.0).target_qty[0] * HISTORY["BTCUSDT"][-1].close_px
    assert bought < 1_200.0  # a hundredfold bar among so many moves the average by little; alone it would allow all


def test_book_memory_is_restored_rearmed_and_handed_on():
    decider = Decider(config(), INSTRUMENTS)
    memory = {"peak_equity": 12_000.0, "day_open_equity": 11_000.0, "ts": 5 * MINUTE}
    decider.restore_book(memory)  # as an older version left it
    book = decider.state.book[0]
    assert (book["peak_equity"], book["day_open_equity"], book["edge_n"]) == (12_000.0, 11_000.0, 0.0)
    learnt = {"day_worst": 0.02, "edge_n": 40.0, "edge_sum": 2.0, "edge_square": 41.0}
    decider.restore_book(memory | learnt | {"strategy": "trend"})
    day = {"ts": 24 * 60 * MINUTE - 1}  # the last moment of the same UTC day
    counted = {"minute": 0, "n_acts": 0, "added": {}}
    assert decider.memory() == memory | day | learnt | {"strategy": "trend"} | counted
    decider.restore_book(memory | learnt | {"strategy": "mine.py"})
    assert decider.memory()["edge_n"] == 0.0  # another strategy's edge is not this one's
    other = Decider(config(rebalance_band=0.1), INSTRUMENTS)
    other.adopt_book(decider)
    decider.rearm(10_000.0)
    assert decider.state.book[0]["peak_equity"] == 10_000.0
    assert other.state.book[0]["peak_equity"] == 12_000.0  # a copy, not a view


def test_what_is_noted_of_the_day_stays_when_a_decision_cannot_be_recorded():
    decider, _, _, _ = decided()
    assert decider.state.n_bars[0] == N_BARS
    decider.note_day_loss(0.046)
    decider.set_book(peak_equity=11_000.0)
    decider.take_back()
    book = decider.state.book[0]
    assert (decider.state.n_bars[0], book["day_worst"], book["peak_equity"]) == (N_BARS - 1, 0.046, 11_000.0)
    decider.note_day_loss(0.01)
    assert decider.state.book[0]["day_worst"] == 0.046


def test_record_holds_everything_needed_to_explain_and_repeat():
    decider, decision, view, a_slice = decided(state=TradingState.REDUCE_ONLY)
    detail = json.loads(decision_detail(decision, a_slice, view, SYMBOLS, decider.config, {}))
    assert detail["symbols"] == list(SYMBOLS)
    assert detail["close_px"] == list(a_slice.close_px)
    assert np.shape(detail["verdict"]) == (2, N_RULES)
    assert detail["verdict"][0][Rule.TRADING_STATE] == Verdict.REFUSE
    assert set(detail["why_not"]) == set(SYMBOLS)
    assert detail["inputs"]["cash"] == view.cash
    assert SystemConfig.model_validate(detail["params"]) == decider.config


def test_symbol_held_for_another_reason_gives_that_reason():
    decider, decision, view, a_slice = decided(state=TradingState.REDUCE_ONLY)
    text = decision_detail(decision, a_slice, view, SYMBOLS, decider.config, {"ETHUSDT": "Stopped out."})
    reasons = json.loads(text)["why_not"]
    assert reasons["ETHUSDT"] == "Stopped out."
    assert reasons["BTCUSDT"].startswith(RULE_SENTENCE[Rule.TRADING_STATE])


def test_unknown_numbers_are_null_in_the_record():
    decider, decision, view, a_slice = decided(warmed=False)
    text = decision_detail(decision, a_slice, view, SYMBOLS, decider.config, {})
    assert "NaN" not in text
    assert json.loads(text)["raw_weight"] == [None, None]


def test_summary_names_what_moves_or_why_nothing_does():
    moving = summary(decided()[1], SYMBOLS)
    assert moving.startswith("→ BTCUSDT +0.")
    assert "ETHUSDT +0." in moving
    idle = summary(decided(state=TradingState.REDUCE_ONLY)[1], SYMBOLS)
    assert idle == f"No trade. {RULE_SENTENCE[Rule.TRADING_STATE]}"


def test_params_hash_changes_with_any_setting():
    assert params_hash(config()) == params_hash(config())
    assert params_hash(config()) != params_hash(config(rebalance_band=0.03))
    assert len(params_hash(config())) == 12


# what a person holds beside the strategy ---------------------------------------------------------------------------
