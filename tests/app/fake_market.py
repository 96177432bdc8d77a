"""Prices for the fake engine: seeded walks, candles folded from one-minute candles, a book around the last price."""

from __future__ import annotations

import threading
import time

import numpy as np
import pandas as pd

from engine.domain import INTERVAL_S, NS_PER_S

HISTORY_MINUTES = 20 * 1440
START_PX = {"BTCUSDT": 91_250.0, "ETHUSDT": 3_120.0, "SOLUSDT": 142.0, "BNBUSDT": 905.0, "XRPUSDT": 2.21,
            "DOGEUSDT": 0.163}  # fmt: skip
TICK = {"BTCUSDT": 0.1, "ETHUSDT": 0.01, "SOLUSDT": 0.01, "BNBUSDT": 0.01, "XRPUSDT": 0.0001, "DOGEUSDT": 0.00001}
LOT = {"BTCUSDT": 0.001, "ETHUSDT": 0.001, "SOLUSDT": 0.01, "BNBUSDT": 0.01, "XRPUSDT": 0.1, "DOGEUSDT": 1.0}


class FakeMarket:
    """Six symbols whose history ends now; ``tick`` moves one of them on."""

    def __init__(self, seed: int = 7) -> None:
        self.lock = threading.Lock()
        self.rng = np.random.default_rng(seed)
        minute_ns = 60 * NS_PER_S
        last_open = time.time_ns() // minute_ns * minute_ns
        self.minutes: dict[str, pd.DataFrame] = {}
        self.px: dict[str, float] = {}
        for symbol, start in START_PX.items():
            shocks = self.rng.standard_t(4, HISTORY_MINUTES) * 0.00045
            close = start * np.exp(np.cumsum(shocks - shocks.mean()))
            open_px = np.concatenate([[start], close[:-1]])
            spread = np.abs(self.rng.normal(0, 0.0003, (2, HISTORY_MINUTES)))
            self.minutes[symbol] = pd.DataFrame({
                "ts_open": last_open - minute_ns * np.arange(HISTORY_MINUTES - 1, -1, -1),
                "open_px": open_px,
                "high_px": np.maximum(open_px, close) * (1 + spread[0]),
                "low_px": np.minimum(open_px, close) * (1 - spread[1]),
                "close_px": close,
                "volume": self.rng.gamma(2.0, 50_000.0 / start, HISTORY_MINUTES),
            })  # fmt: skip
            self.px[symbol] = float(close[-1])

    def round_px(self, symbol: str, px: float) -> float:
        return round(round(px / TICK[symbol]) * TICK[symbol], 8)

    def tick(self, symbol: str) -> tuple[dict, float, float, int]:
        """Move one symbol and return its open bar, last price, last quantity and aggressor side."""
        with self.lock:
            frame = self.minutes[symbol]
            px = self.round_px(symbol, self.px[symbol] * float(np.exp(self.rng.normal(0, 0.00006))))
            qty = round(max(float(self.rng.gamma(1.0, 400.0)) / px, LOT[symbol]), 3)
            direction = 1 if px >= self.px[symbol] else -1
            self.px[symbol] = px
            minute = time.time_ns() // (60 * NS_PER_S) * 60 * NS_PER_S
            if int(frame["ts_open"].iat[-1]) != minute:
                frame.loc[len(frame)] = [minute, px, px, px, px, 0.0]
                frame["ts_open"] = frame["ts_open"].astype("int64")
            row = len(frame) - 1
            frame.iat[row, 2] = max(frame.iat[row, 2], px)
            frame.iat[row, 3] = min(frame.iat[row, 3], px)
            frame.iat[row, 4] = px
            frame.iat[row, 5] += qty
            return frame.iloc[row].to_dict(), px, qty, direction

    def bars(self, symbol: str, interval: str, limit: int) -> pd.DataFrame:
        with self.lock:
            frame = self.minutes[symbol].copy()
        step = INTERVAL_S[interval] * NS_PER_S
        if interval != "1m":
            frame["ts_open"] = frame["ts_open"] // step * step
            frame = frame.groupby("ts_open", as_index=False).agg(
                {"open_px": "first", "high_px": "max", "low_px": "min", "close_px": "last", "volume": "sum"}
            )
        return frame.tail(limit).reset_index(drop=True)

    def book(self, symbol: str, levels: int = 20) -> tuple[list[list[float]], list[list[float]]]:
        px, tick = self.px[symbol], TICK[symbol]
        step = max(tick, self.round_px(symbol, px * 0.00002))
        qty = self.rng.gamma(1.5, 4_000.0 / px, (2, levels)).round(3)
        bids = [[self.round_px(symbol, px - tick - i * step), float(qty[0, i])] for i in range(levels)]
        asks = [[self.round_px(symbol, px + tick + i * step), float(qty[1, i])] for i in range(levels)]
        return bids, asks
