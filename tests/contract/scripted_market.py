"""A market that stands still until a test moves it, and the stock ccxt client that trades on it."""

from __future__ import annotations

import time

import ccxt.pro
import numpy as np

from engine.venues.sandbox.contracts import CONTRACTS
from engine.venues.sandbox.market.bars import BAR_DTYPE, HOUR_MS, MINUTE_MS

MIDS = {"BTCUSDT": 50_000.0, "ETHUSDT": 3_000.0}
LEVELS = 30
MAKER, TAKER = "scripted-maker", "scripted-taker"


class ScriptedMarket:
    """Thirty equal levels on each side of a fixed price: level i is i ticks away and holds ``lots_per_level`` lots."""

    def __init__(self, start_ms: int | None = None, lots_per_level: int = 1_000) -> None:
        self.symbols = tuple(MIDS)
        now_ms = int(time.time() * 1000) if start_ms is None else start_ms
        self.market_start_ms = now_ms // MINUTE_MS * MINUTE_MS if start_ms is None else start_ms
        self.finished = False
        self.state = "live"
        self.lots_per_level = lots_per_level
        self.index = dict(MIDS)

    async def open(self) -> None:
        pass

    async def close(self) -> None:
        pass

    def history(self, symbol, interval):
        """Flat bars that step up by one every bar, so that each row can be told apart: close = mid - bars to start."""
        step, n_bars = (MINUTE_MS, 180) if interval == "1m" else (HOUR_MS, 72)
        bars = np.zeros(n_bars, dtype=BAR_DTYPE)
        end_ms = self.market_start_ms // step * step
        bars["open_ms"] = end_ms - step * np.arange(n_bars, 0, -1)
        px = MIDS[symbol] - np.arange(n_bars, 0, -1)
        for column in ("open", "high", "low", "close"):
            bars[column] = px
        bars["volume"], bars["quote_volume"], bars["n_trades"], bars["taker_buy"] = 2.0, 2.0 * px, 4, 1.0
        return bars

    def history_funding(self, symbol):
        return [(self.market_start_ms - 8 * HOUR_MS, 0.0001, MIDS[symbol])]

    def start(self, exchange, now_ms):
        for account_id in (MAKER, TAKER):
            exchange.open_account(account_id, 1e9, now_ms, internal=True)
        for symbol in self.symbols:
            mid = CONTRACTS[symbol].nearest_tick(MIDS[symbol])
            exchange.set_prices(symbol, index=MIDS[symbol], now_ms=now_ms)
            for i in range(1, LEVELS + 1):
                exchange.quote(MAKER, symbol, 1, mid - i, self.lots_per_level, now_ms)
                exchange.quote(MAKER, symbol, -1, mid + i, self.lots_per_level, now_ms)

    def advance(self, exchange, now_ms):
        for symbol, index in self.index.items():
            exchange.set_prices(symbol, index=index, now_ms=now_ms)


def ccxt_client(server, private_key=None, **options):
    """Return stock ccxt.pro aster pointed at a practice exchange, with the options that it needs."""
    base, ws = server.base_url, server.ws_url
    client = ccxt.pro.aster(
        {
            "privateKey": private_key or server.private_key,
            "rateLimit": 5,
            "options": {
                "builderFee": False,
                "defaultType": "swap",
                "ws": {"cost": 20},
                "fetchOpenOrders": {"warnIfNoSymbol": False},
                **options,
            },
            "urls": {
                "api": {
                    "fapiPublic": base + "/fapi",
                    "fapiPrivate": base + "/fapi",
                    "sapiPublic": base + "/sapi/api",
                    "sapiPrivate": base + "/sapi/api",
                    "ws": {
                        "public": {"swap": ws + "/fstream/stream", "spot": ws + "/sstream/stream"},
                        "private": {"swap": ws + "/fstream/ws", "spot": ws + "/sstream/ws"},
                    },
                }
            },
        }
    )
    client.balance["swap"] = {}
    client.balance["spot"] = {}
    return client
