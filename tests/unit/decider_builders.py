"""A market that rises, accounts in it, and a first decision on both."""

import numpy as np
from execution_builders import BTC, NOW, TOP, bar, mark

from engine.domain import NS_PER_S, TradingState
from engine.runtime.account import Account
from engine.runtime.decider import Decider
from engine.runtime.market import MarketState
from engine.settings import SystemConfig

MINUTE = 60 * NS_PER_S
SYMBOLS = ("BTCUSDT", "ETHUSDT")
ETH = BTC._replace(symbol="ETHUSDT", base="ETH")
INSTRUMENTS = {"BTCUSDT": BTC, "ETHUSDT": ETH}
N_BARS = 400


def config(**changes):
    defaults = {"symbols": SYMBOLS, "trend_horizons_hours": (0.5, 1.0), "volatility_horizon_hours": 0.5}
    return SystemConfig(**(defaults | changes))


def rising(symbol, px, n_bars=N_BARS):
    """Bars that rise by two basis points on average, with a wiggle so that volatility is not zero."""
    rng = np.random.default_rng(5 if symbol == "BTCUSDT" else 6)
    closes = px * np.exp(np.cumsum(0.0002 + 0.0003 * rng.standard_normal(n_bars)))
    return [bar((i + 1) * MINUTE, float(close), symbol) for i, close in enumerate(closes)]


HISTORY = {"BTCUSDT": rising("BTCUSDT", 50_000.0), "ETHUSDT": rising("ETHUSDT", 3_000.0)}


def market_now(symbols=SYMBOLS):
    market = MarketState()
    for symbol in symbols:
        px = HISTORY[symbol][-1].close_px
        market.on_top(TOP._replace(symbol=symbol, bid_px=px - 0.05, ask_px=px + 0.05))
        market.on_mark(mark(px, symbol))
        market.on_bar(HISTORY[symbol][-1])
    return market


def account_with(cash=10_000.0, **positions):
    account = Account()
    account.cash = cash
    account.positions = positions
    return account


def decided(a_config=None, account=None, state=TradingState.RUNNING, warmed=True):
    a_config = a_config or config()
    decider = Decider(a_config, INSTRUMENTS)
    if warmed:
        decider.warm_up({symbol: bars[:-1] for symbol, bars in HISTORY.items()})
    market = market_now()
    a_slice = market.slice_at(SYMBOLS, "1m", HISTORY["BTCUSDT"][-1].ts_open, NOW)
    decision, view = decider.decide(a_slice, account or account_with(), market, np.zeros(2), state)
    return decider, decision, view, a_slice
