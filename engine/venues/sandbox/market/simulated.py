"""The simulated market: a seeded process drives fair values, background accounts make the book and the tape.

What is modelled: several correlated assets (see `process`), market makers whose spread widens and whose quantities
shrink as volatility rises, noise takers with heavy-tailed quantities and persistent direction, momentum takers.
What is not: fair value does not react to anybody's orders. A large order walks the book and pays for it, the eaten
levels come back within a second, and no lasting impact remains. Nor do background traders react to people's positions.

Fair values are a function of seed, start and time (see `fair`), whatever the steps and the speed; the same sequence of
`advance` times gives the same orders and trades too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from engine.errors import ConfigError
from engine.venues.sandbox.contracts import CONTRACTS
from engine.venues.sandbox.market.assets import ASSETS, choose_symbols
from engine.venues.sandbox.market.bars import MINUTE_MS, Bars
from engine.venues.sandbox.market.fair import FairPath, Stretch
from engine.venues.sandbox.market.history import FundingRows, build_history
from engine.venues.sandbox.market.process import F8, activity
from engine.venues.sandbox.market.shocks import Shock
from engine.venues.sandbox.market.traders import (
    GAP,
    MOMENTUM,
    NOISE,
    Ladder,
    grid_for,
    minimum_lots,
    open_background_accounts,
    print_trade,
)
from engine.venues.sandbox.model import BUY, SELL

if TYPE_CHECKING:
    from engine.venues.sandbox.exchange import Exchange

STRESSED = 2
_STEP_MS = 150
_MAX_STEPS = 6
_COARSE_MS, _COARSE_STEPS = 1_000, 3
# How a coarse step's volume is split over its first extreme, its second one, and its end.
_LEGS = (0.3, 0.3, 0.4)
_MOMENTUM_SHARE = 0.25
_SAME_SIDE = 0.65
_REACH_BPS = 15.0
_TREND_HALF_LIFE_S = 30.0


class SimulatedMarket:
    """A market out of a seed; implements `Market`.

    Parameters
    ----------
    symbols : sequence of str or None
        None means all contracts.
    seed : int
    start_ms : int
        UTC ms, floored to the minute; history ends there.
    """

    def __init__(self, symbols: Sequence[str] | None, seed: int, start_ms: int) -> None:
        if seed < 0:
            raise ConfigError(f"the market seed must not be negative, got {seed}")
        self.symbols = choose_symbols(symbols, tuple(s for s in ASSETS if s in CONTRACTS))
        self.market_start_ms = start_ms // MINUTE_MS * MINUTE_MS
        self.finished = False
        self.state = "live"
        self._assets = [ASSETS[s] for s in self.symbols]
        self._contracts = [CONTRACTS[s] for s in self.symbols]
        self._past = build_history(
            dict(zip(self.symbols, self._assets, strict=True)),
            dict(zip(self.symbols, self._contracts, strict=True)),
            self.market_start_ms,
            seed,
        )
        self._fair = FairPath(self._past, self.market_start_ms, seed)
        self._rng = np.random.default_rng([seed, 5])
        self._trend: F8 = np.zeros(len(self.symbols))
        self._seen_log_px: F8 = self._fair.log_px
        self._rates = np.array([a.trades_per_s for a in self._assets])
        self._last_side = [BUY] * len(self.symbols)
        self._ladders = [
            Ladder(c, grid_for(c, a.reference_px), a.depth_usdt, self._rng)
            for c, a in zip(self._contracts, self._assets, strict=True)
        ]
        self._now_ms = self.market_start_ms

    async def open(self) -> None:
        """Nothing to connect to."""

    async def close(self) -> None:
        """Nothing to release."""

    @property
    def regime(self) -> int:
        """The volatility regime: 0 calm, 1 normal, 2 stressed."""
        return self._fair.regime

    def set_regime(self, regime: int) -> None:
        """Force the volatility regime from the next minute on, for drills and tests; the chain goes on from there."""
        self._fair.set_regime(regime)

    def shake(self, shock: Shock) -> None:
        """Lay a shock over the fair values of its symbols; volatility is stressed from the next minute on."""
        moves = np.array([1.0 if symbol in shock.symbols else 0.0 for symbol in self.symbols])
        self._fair.shocks.append((shock, moves))
        self.set_regime(STRESSED)

    def history(self, symbol: str, interval: str) -> Bars:
        """Return closed bars before the start; see `Market.history`."""
        if interval not in ("1m", "1h"):
            raise ConfigError(f'history comes in "1m" and "1h", not "{interval}"')
        return (self._past.minutes if interval == "1m" else self._past.hours)[symbol]

    def history_funding(self, symbol: str) -> FundingRows:
        """Return two years of settlements; see `Market.history_funding`."""
        return self._past.funding[symbol]

    def fair_px(self, symbol: str) -> float:
        """Return the hidden fair value in USDT around which the makers quote."""
        return float(np.exp(self._fair.log_px[self.symbols.index(symbol)]))

    def start(self, exchange: Exchange, now_ms: int) -> None:
        """Open background accounts and quote every book."""
        open_background_accounts(exchange, self.symbols, now_ms)
        self._now_ms = now_ms
        for j, px in enumerate(np.exp(self._fair.log_px).tolist()):
            self._set_index(exchange, j, px, now_ms)
            self._ladders[j].requote(exchange, self._touch(j, px), self._thickness(j), now_ms, refill=1.0)

    def advance(self, exchange: Exchange, now_ms: int) -> None:
        """Move to `now_ms` in at most six steps, whatever the distance.

        Fine steps trade order by order against the ladders. Coarse ones (over a second each) visit the highest and the
        lowest price of the step and print their volume in three trades at the touch.
        """
        elapsed = now_ms - self._now_ms
        if elapsed <= 0:
            return
        n_steps = min(_MAX_STEPS, -(-elapsed // _STEP_MS))
        if elapsed > n_steps * _COARSE_MS:
            n_steps = _COARSE_STEPS
        dt_ms = elapsed / n_steps
        for i in range(n_steps):
            moment_ms = now_ms if i == n_steps - 1 else self._now_ms + round(dt_ms * (i + 1))
            stretch = self._fair.move(moment_ms)
            self._follow_trend(stretch, dt_ms / 1e3)
            # A step trades just before its end, so that a minute's last step belongs to that minute.
            if dt_ms > _COARSE_MS:
                self._coarse_step(exchange, _legs(stretch), moment_ms - 1, dt_ms, i == n_steps - 1)
            else:
                self._fine_step(exchange, moment_ms - 1, dt_ms)
        self._now_ms = now_ms

    def _follow_trend(self, stretch: Stretch, dt_s: float) -> None:
        """Standardised recent return, which momentum takers look at."""
        if len(stretch.log_px) < 1:
            return
        moved = stretch.log_px[-1] - self._seen_log_px
        self._seen_log_px = stretch.log_px[-1]
        keep = 0.5 ** (dt_s / _TREND_HALF_LIFE_S)
        self._trend = keep * self._trend + math.sqrt(1 - keep * keep) * moved / stretch.deviation

    def _counts(self, now_ms: int, dt_ms: float) -> list[int]:
        busy = activity(now_ms, self._fair.vol_ratio)
        counts: list[int] = self._rng.poisson(busy * self._rates * (dt_ms / 1e3)).tolist()
        return counts

    def _fine_step(self, exchange: Exchange, now_ms: int, dt_ms: float) -> None:
        counts = self._counts(now_ms, dt_ms)
        refill = 1.0 - 0.5 ** (dt_ms / 100.0)
        for j, px in enumerate(np.exp(self._fair.log_px).tolist()):
            touch = self._quote(exchange, j, px, now_ms, refill=refill, deep=True)
            for _ in range(counts[j]):
                self._take(exchange, j, touch, now_ms)
            self._set_index(exchange, j, px, now_ms)

    def _coarse_step(self, exchange: Exchange, legs: tuple[F8, F8, F8], now_ms: int, dt_ms: float, last: bool) -> None:
        counts = self._counts(now_ms, dt_ms)
        noise = np.exp(0.3 * self._rng.standard_normal(len(counts)) - 0.045).tolist()
        high_later = (legs[1] >= legs[0]).tolist()
        for leg, (log_px, share) in enumerate(zip(legs, _LEGS, strict=True)):
            end = leg == len(legs) - 1
            for j, px in enumerate(np.exp(log_px).tolist()):
                touch = self._quote(exchange, j, px, now_ms, refill=1.0, deep=last and end)
                if counts[j] >= len(legs) or (end and counts[j]):
                    usdt = self._assets[j].taker_usdt * counts[j] * noise[j] * share
                    # Buyers lift the price to its high, sellers push it to its low; the end goes either way.
                    sold = self._rng.random() < 0.5 if end else high_later[j] == (leg == 0)
                    self._print(exchange, j, touch[0] if sold else touch[1], usdt, sold, now_ms)
                self._set_index(exchange, j, px, now_ms)

    def _quote(
        self, exchange: Exchange, j: int, px: float, now_ms: int, *, refill: float, deep: bool
    ) -> tuple[int, int]:
        """Let the makers follow the fair value; a large move is shown to the mark at once (see `GAP`)."""
        touch = self._touch(j, px)
        self._ladders[j].requote(exchange, touch, self._thickness(j), now_ms, refill=refill, deep=deep)
        if abs(px / (exchange.mark(self.symbols[j]) or px) - 1.0) > GAP:
            self._set_index(exchange, j, px, now_ms)
        return touch

    def _touch(self, j: int, px: float) -> tuple[int, int]:
        """Best bid and ask in ticks: the half spread grows with the square root of volatility, more in stress."""
        ratio = float(self._fair.vol_ratio[j])
        half = self._assets[j].half_spread_bps * 1e-4 * max(0.8, ratio if ratio > 1.5 else ratio**0.5)
        tick_size = self._contracts[j].tick_size
        bid = math.floor(px * (1 - half) / tick_size)
        return bid, max(bid + 1, math.ceil(px * (1 + half) / tick_size))

    def _thickness(self, j: int) -> float:
        ratio = float(self._fair.vol_ratio[j])
        left = float(self._fair.thin(self._now_ms)[j]) if self._fair.shocks else 1.0
        return float(min(1.6, max(0.12, ratio**-0.9))) * left

    def _set_index(self, exchange: Exchange, j: int, px: float, now_ms: int) -> None:
        exchange.set_prices(self.symbols[j], index=px / (1.0 + float(self._fair.premium[j])), now_ms=now_ms)

    def _side(self, j: int, draws: list[float]) -> tuple[str, int]:
        trend = float(self._trend[j])
        if draws[0] < _MOMENTUM_SHARE and abs(trend) > 0.5:
            return MOMENTUM, BUY if trend > 0 else SELL
        side = self._last_side[j] if draws[1] < _SAME_SIDE else -self._last_side[j]
        self._last_side[j] = side
        return NOISE, side

    def _take(self, exchange: Exchange, j: int, touch: tuple[int, int], now_ms: int) -> None:
        """One taker order; notional is log-normal with a deviation of 1.3, so a few orders make most of the volume."""
        draws = self._rng.random(2).tolist()
        usdt = self._assets[j].taker_usdt * math.exp(1.3 * float(self._rng.standard_normal()) - 0.845)
        account, side = self._side(j, draws)
        contract, tick = self._contracts[j], touch[1] if side == BUY else touch[0]
        lots = max(minimum_lots(contract, tick), round(usdt / (tick * contract.tick_size * contract.lot_size)))
        reach = max(2, round(tick * _REACH_BPS * 1e-4))
        exchange.quote(account, contract.symbol, side, tick + side * reach, lots, now_ms, "IOC")

    def _print(self, exchange: Exchange, j: int, tick: int, usdt: float, sold: bool, now_ms: int) -> None:
        contract = self._contracts[j]
        lots = max(1, round(usdt / (tick * contract.tick_size * contract.lot_size)))
        print_trade(exchange, contract, tick, lots, sold, now_ms)


def _legs(stretch: Stretch) -> tuple[F8, F8, F8]:
    """Prices to visit within a coarse step: its extremes in the order in which they came, and its end."""
    path = stretch.log_px
    low, high = path.min(axis=0), path.max(axis=0)
    low_first = path.argmin(axis=0) < path.argmax(axis=0)
    return np.where(low_first, low, high), np.where(low_first, high, low), path[-1]
