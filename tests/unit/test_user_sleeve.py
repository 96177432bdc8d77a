"""A user's strategy in the engine: a backtest's weights to the bit, and whatever it does wrong stops only itself."""

from __future__ import annotations

import json
import math
import re

import numpy as np
import pytest
from execution_builders import BTC, NOW, TOP, bar, mark

from engine.domain import NS_PER_S, TradingState
from engine.errors import CommandRefused, ConfigError
from engine.runtime.account import Account, Position
from engine.runtime.decider import Decider
from engine.runtime.market import MarketState
from engine.runtime.user_sleeve import UserSleeve
from engine.runtime.warming import chosen_strategy
from engine.settings import SystemConfig
from engine.strategies.user import UserRunner
from engine.strategies.versions import keep, kept, kept_path

MINUTE = 60 * NS_PER_S
SYMBOLS = ("BTCUSDT", "ETHUSDT")
INSTRUMENTS = {"BTCUSDT": BTC, "ETHUSDT": BTC._replace(symbol="ETHUSDT", base="ETH")}
STATEFUL = """
import numpy as np

class Strategy:
    history = 40

    def __init__(self, gain=0.3):
        self.gain, self.mean = gain, None

    def on_bar(self, past):
        newest = past.close[-1]
        self.mean = newest if self.mean is None else 0.9 * self.mean + 0.1 * newest
        if len(past.close) < 5:
            return None
        tilt = np.tanh(100.0 * (newest / self.mean - 1.0)) * self.gain - 0.01 * past.weight + past.equity * 1e-9
        return dict(zip(past.symbols, tilt))
"""
MOODY = """
import os, time

class Strategy:
    history = 10

    def __init__(self):
        self.seen = 0

    def on_bar(self, past):
        mood = past.volume[-1, 0]
        if mood == 1.0 and not os.path.exists("hung"):
            open("hung", "w").close()
            time.sleep(60)
        if mood == 2.0:
            os._exit(3)
        if mood == 3.0:
            raise ValueError("no luck")
        if mood == 4.0:
            return {"BTCUSD": 0.1}
        self.seen += 1
        return {"BTCUSDT": len(past.close) / 100.0}
"""


def written(folder, source, name="mine.py"):
    path = folder / name
    path.write_text(source)
    return path


def rows_of(rng, volume=7.0):
    close = 100.0 * np.exp(rng.normal(0, 0.01, 2))
    return [close, close * 1.01, close * 0.99, close, np.array([volume, volume])]


@pytest.fixture
def sleeve_of(tmp_path):
    made = []

    def make(source, limit_s=5.0, **params):
        told = []
        sleeve = UserSleeve(written(tmp_path, source), params, SYMBOLS, lambda *said: told.append(said), limit_s)
        made.append(sleeve)
        sleeve.open()
        return sleeve, told

    yield make
    for sleeve in made:
        sleeve.close()


def test_the_process_gives_the_backtests_weights_to_the_bit(sleeve_of, tmp_path):
    sleeve, _ = sleeve_of(STATEFUL, gain=0.2)
    runner = UserRunner(tmp_path / "mine.py", {"gain": 0.2}, SYMBOLS)
    assert sleeve.history == runner.history == 40
    rng, weight = np.random.default_rng(1), np.zeros(2)
    for i in range(60):
        rows = rows_of(rng)
        sleeve.see(i, rows)
        runner.warm_up(i, rows)
    for i in range(60, 160):
        rows, equity = rows_of(rng), 10_000.0 + i / 7.0
        wished = runner.decide(i, rows, weight, equity)
        np.testing.assert_array_equal(sleeve.ask(i, rows, weight, equity), wished)
        weight = wished
    assert sleeve.trouble is None


def test_a_strategy_that_hangs_is_ended_started_again_and_shown_the_bars(sleeve_of):
    sleeve, _ = sleeve_of(MOODY, limit_s=0.3)
    rng, flat = np.random.default_rng(2), np.zeros(2)
    for i in range(30):
        sleeve.see(i, rows_of(rng))
    assert sleeve.ask(30, rows_of(rng), flat, 1e4)[0] == 0.1
    assert np.isnan(sleeve.ask(31, rows_of(rng, volume=1.0), flat, 1e4)).all()
    assert "no answer within 0.3 s" in sleeve.trouble
    sleeve._limit_s = 5.0
    # ten bars of history, that on which it hung among them: nothing is missing
    assert sleeve.ask(32, rows_of(rng), flat, 1e4)[0] == 0.1
    assert sleeve.trouble is None


@pytest.mark.parametrize(
    ("mood", "sentence"),
    [
        (2.0, "ended: the engine's log has its last words"),
        (3.0, r"failed: ValueError: no luck \(line 18\)"),
        (4.0, "a weight for 'BTCUSD'; the run has BTCUSDT, ETHUSDT; did you mean 'BTCUSDT'"),
    ],
)
async def test_a_failure_costs_one_decision_and_the_next_one_counts_again(sleeve_of, mood, sentence):
    sleeve, told = sleeve_of(MOODY)
    rng, flat = np.random.default_rng(3), np.zeros(2)
    for i in range(12):
        sleeve.see(i, rows_of(rng))
    assert np.isnan(await sleeve.decide(12, rows_of(rng, mood), flat, 1e4)).all()
    assert re.search(sentence, sleeve.trouble), sleeve.trouble
    assert [severity for severity, _, _ in told] == ["warning"]
    if mood == 2.0:
        return  # the bar on which it ends itself is among those it is shown again
    assert (await sleeve.decide(13, rows_of(rng), flat, 1e4))[0] == 0.1
    assert sleeve.trouble is None


async def test_three_failures_in_a_row_switch_it_off_with_one_incident(sleeve_of):
    sleeve, told = sleeve_of(MOODY)
    rng, flat = np.random.default_rng(4), np.zeros(2)
    for i in range(3):
        await sleeve.decide(i, rows_of(rng, 3.0), flat, 1e4)
    assert sleeve.is_off
    assert np.isnan(await sleeve.decide(4, rows_of(rng), flat, 1e4)).all()
    assert [severity for severity, _, _ in told] == ["warning", "error"]
    assert "is switched off" in told[-1][2]
    assert "choose it again on the Settings page" in told[-1][2]
    assert "is switched off after 3 failures in a row" in sleeve.trouble


def test_secrets_of_the_environment_do_not_reach_it(sleeve_of, monkeypatch):
    monkeypatch.setenv("ASTER_PRIVATE_KEY", "0xsecret")
    monkeypatch.setenv("ASTROLABE_PASSPHRASE", "secret")
    source = """
import os

class Strategy:
    def on_bar(self, past):
        return {"BTCUSDT": float(any("secret" in value for value in os.environ.values()))}
"""
    sleeve, _ = sleeve_of(source)
    assert sleeve.ask(1, rows_of(np.random.default_rng(5)), np.zeros(2), 1e4)[0] == 0.0


def test_an_edited_file_is_another_version_and_a_changed_copy_is_refused(tmp_path):
    path, home = written(tmp_path, STATEFUL, "my own.py"), tmp_path / "home"
    first = keep(home, str(path))
    assert first.startswith("my_own-")
    assert keep(home, str(path)) == keep(home, first) == first
    path.write_text(STATEFUL.replace("0.9", "0.8").replace("0.1", "0.2"))
    second = keep(home, str(path))
    assert second != first
    assert set(kept(home)) == {first, second}
    kept_path(home, first).write_text("tampered")
    with pytest.raises(ConfigError, match="was changed after it was kept"):
        kept_path(home, first)
    with pytest.raises(ConfigError, match="is not in"):
        kept_path(home, "../mine.py")
    with pytest.raises(ConfigError, match="there is no strategy file"):
        keep(home, str(tmp_path / "none.py"))


async def test_a_chosen_file_is_loaded_once_before_it_is_put_in_force(tmp_path):
    before = SystemConfig(symbols=SYMBOLS)
    chosen = SystemConfig(symbols=SYMBOLS, strategy=str(written(tmp_path, STATEFUL)), strategy_params={"gain": 0.1})
    config = await chosen_strategy(tmp_path / "home", chosen, before)
    assert (tmp_path / "home" / "strategies" / config.strategy).is_file()
    wrong = chosen.model_copy(update={"strategy_params": {"gian": 0.1}})
    with pytest.raises(CommandRefused, match="Did you mean 'gain'"):
        await chosen_strategy(tmp_path / "home", wrong, before)
    assert await chosen_strategy(tmp_path, before, before) is before


def engine_side(home, source=STATEFUL, share=1.0):
    name = keep(home, str(written(home, source)))
    decider = Decider(
        SystemConfig(use_gate_book=False, symbols=SYMBOLS, strategy=name, rebalance_band=0.0), INSTRUMENTS, share
    )
    told = []
    decider.open(home, lambda *said: told.append(said))
    rng = np.random.default_rng(6)
    history = {
        symbol: [bar((i + 1) * MINUTE, px * math.exp(rng.normal(0, 0.01)), symbol) for i in range(60)]
        for symbol, px in zip(SYMBOLS, (50_000.0, 3_000.0), strict=True)
    }
    decider.warm_up({symbol: bars[:-1] for symbol, bars in history.items()})
    market = MarketState()
    for symbol, bars in history.items():
        px = bars[-1].close_px
        market.on_top(TOP._replace(symbol=symbol, bid_px=px - 0.05, ask_px=px + 0.05))
        market.on_mark(mark(px, symbol))
        market.on_bar(bars[-1])
    account = Account()
    account.cash, account.positions = 10_000.0, {"ETHUSDT": Position(-0.5, 3_000.0)}
    return decider, market, account, market.slice_at(SYMBOLS, "1m", 60 * MINUTE, NOW), told


async def test_the_decider_trades_what_the_strategy_wishes_through_the_gate(tmp_path):
    decider, market, account, a_slice, _ = engine_side(tmp_path)
    try:
        assert decider.warm_up_bars == 40
        wish = await decider.wish(a_slice, account, market, lambda symbol: 0.0)
        decision, view = decider.decide(a_slice, account, market, np.zeros(2), TradingState.RUNNING, wish)
        np.testing.assert_array_equal(decision.raw_weight, wish)
        assert decision.act.any()
        record = json.loads(decider.detail(decision, a_slice, view, {}, wish))
        assert record["own"]["wish"] == wish.tolist()
        assert record["own"]["trouble"] is None
        tenth = Decider(decider.config, INSTRUMENTS, share=0.1)
        tenth.take_over(decider)
        again = await tenth.wish(a_slice, account, market, lambda symbol: 0.0)
        assert np.abs(again).max() < 0.11 * 0.32  # a tenth of the capital makes a tenth of the wish
    finally:
        decider.close()


async def test_a_strategy_without_an_answer_keeps_the_positions_and_the_record_says_why(tmp_path):
    source = STATEFUL.replace("return dict", "1 / 0; return dict")
    decider, market, account, a_slice, told = engine_side(tmp_path, source)
    try:
        wish = await decider.wish(a_slice, account, market, lambda symbol: 0.0)
        decision, view = decider.decide(a_slice, account, market, np.zeros(2), TradingState.RUNNING, wish)
        assert not decision.act.any()
        why = json.loads(decider.detail(decision, a_slice, view, {}, wish))["why_not"]
        assert "ZeroDivisionError" in why["BTCUSDT"]
        assert decider.summary(decision).startswith("No trade. The strategy gave no weights: on_bar in mine-")
        assert told[0][:2] == ("warning", "strategy")
    finally:
        decider.close()


def test_a_copy_that_is_gone_stops_neither_the_engine_nor_the_gate(tmp_path):
    decider = Decider(SystemConfig(symbols=SYMBOLS, strategy="mine-0123456789ab.py"), INSTRUMENTS)
    told = []
    decider.open(tmp_path, lambda *said: told.append(said))
    assert decider.sleeve is None
    assert "choose its file again on the Settings page" in told[0][2]
    assert decider.trouble.startswith("The strategy could not be started")
