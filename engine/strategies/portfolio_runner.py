"""The portfolio strategy with its memory: what backtest, paper and live call, one bar or many at a time."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from pydantic import ValidationError

from engine.core.step import normal_params
from engine.core.targets import BAND_SYMBOLS
from engine.domain import F8, I8, Params, Sleeve
from engine.errors import ConfigError, DataError
from engine.strategies import portfolio
from engine.strategies.portfolio import PortfolioParams
from engine.strategies.sharer import Sharer
from engine.strategies.sharing import TRAIN_DAYS
from engine.strategies.sleeves.scan import advance_book
from engine.strategies.sleeves.state import LEARNED, NAMES, Book, Rules, new_book

_LONGEST_MEMORIES = 1.5


PATIENT = ("momentum", "carry")
"""Sleeves whose wish changes by the week: their own books follow it over ``PATIENCE_HOURS``."""


class Told(NamedTuple):
    """What the portfolio strategy said over T bars of N symbols and S sleeves."""

    weight: F8  # (T, N)
    share: F8  # (T, S) what each sleeve's own book was multiplied by
    net: F8  # (T, S) net return of each sleeve's own book


def rules_of(own: PortfolioParams, params: Params, n_symbols: int, cost_rate: float = portfolio.COST_RATE) -> Rules:
    """Return the sleeves' rules in bars.

    Parameters
    ----------
    own : PortfolioParams
    params : Params
        Volatility target, bars a year and rebalance band are read.
    n_symbols : int
        The band shrinks with the symbols as the core's does.
    cost_rate : float
        Of what a sleeve trades, for its own net return.
    """
    per_hour = params.bars_per_year / (365.0 * 24.0)

    def alpha(hours: float) -> float:
        return 2.0 / (max(hours * per_hour, 2.0) + 1.0)

    def gain(hours: float) -> float:
        keep = 1.0 - alpha(hours)
        return math.sqrt(keep * keep / (1.0 - keep * keep))

    patient = min(1.0 / (portfolio.PATIENCE_HOURS * per_hour), 1.0)
    trend = max(float(params.trend_horizon_bars.max()) / 2.0, params.vol_horizon_bars)
    return Rules(
        momentum_keep=1.0 - alpha(own.momentum_hours), momentum_gain=gain(own.momentum_hours),
        momentum_needed=max(0.5 * own.momentum_hours * per_hour, params.vol_horizon_bars),
        reversal_keep=1.0 - alpha(own.reversal_hours),
        reversal_gain=gain(own.reversal_hours), tail_keep=1.0 - alpha(own.tail_hours), tail_gain=gain(own.tail_hours),
        funding_alpha=alpha(own.funding_hours), funding_needed=0.5 * own.funding_hours * per_hour,
        fast_alpha=alpha(portfolio.FAST_VOL_HOURS), slow_alpha=alpha(portfolio.SLOW_VOL_HOURS), trend_needed=trend,
        band=params.rebalance_band * min(1.0, BAND_SYMBOLS / n_symbols), cost_rate=cost_rate,
        pace=np.array([patient if name in PATIENT else 1.0 for name in NAMES]),
        most_diversification=portfolio.MOST_DIVERSIFICATION, tail_budget=own.tail_budget,
        basis_budget=own.basis_budget, basis_cap=own.basis_cap, basis_hurdle=own.basis_hurdle,
        day_volatility=portfolio.day_volatility(params.vol_target),
        enabled=np.array([name in own.sleeves for name in NAMES], dtype=np.int8),
    )  # fmt: skip


class PortfolioRunner:
    """The portfolio strategy over one set of symbols.

    Parameters
    ----------
    params : Params
        Of the run: trend horizons, volatility target, bars a year, shorts, band.
    own : dict
        The strategy's own parameters, see ``PortfolioParams``.
    symbols : tuple of str
    cost_rate : float
        Of what a sleeve trades, for its own net return, which the shares are learned from.
    at_once : bool
        Plans of an optimiser are made where they are owed; off where another process makes them, see ``Sharer``.

    Raises
    ------
    ConfigError
        A parameter that is unknown or out of range.
    """

    def __init__(
        self, params: Params, own: dict[str, Any], symbols: tuple[str, ...], cost_rate: float = portfolio.COST_RATE,
        *, at_once: bool = True,
    ) -> None:  # fmt: skip
        try:
            self.own = PortfolioParams.model_validate(own)
        except ValidationError as error:
            told = error.errors()[0]
            raise ConfigError(f"portfolio: {'.'.join(map(str, told['loc']))}: {told['msg']}") from None
        self.symbols = symbols
        self._params = normal_params(params)._replace(sleeve=int(Sleeve.TREND), model_share=0.0)
        self._rules = rules_of(self.own, self._params, len(symbols), cost_rate)
        self.book: Book = new_book(symbols, self._params)
        self.sharer = Sharer(self.own.sharing, LEARNED, at_once=at_once)
        self.n_bars = 0

    @property
    def history(self) -> int:
        """Bars that should be seen before the first decision: one and a half of the longest memory.

        With an optimiser also the days that it looks back at.
        """
        longest = max(
            float(self._params.trend_horizon_bars.max()), self._params.vol_horizon_bars,
            2.0 * self._rules.momentum_needed, 2.0 * self._rules.funding_needed,
        )  # fmt: skip
        days = TRAIN_DAYS if self.own.sharing in portfolio.BY_PLAN else 0
        return math.ceil(_LONGEST_MEMORIES * longest + days * self._params.bars_per_year / 365.0)

    @property
    def day_volatility(self) -> float:
        """Volatility of a day at the target, fraction: what a sleeve's daily return is measured in."""
        return self._rules.day_volatility

    @property
    def bars_per_year(self) -> float:
        """Bars a year of the run: what tells a decision every minute from one every hour."""
        return self._params.bars_per_year

    def takes_part(self, name: str) -> bool:
        """Return whether a sleeve is among those that were asked for."""
        return name in self.own.sleeves

    def advance(self, ts_close: I8, close_px: F8, funding: F8 | None = None, given: F8 | None = None) -> Told:
        """Advance by T bars and return what was said at each close.

        Parameters
        ----------
        ts_close : (T,) int64 ns
        close_px : (T, N) float64
        funding : (T, N) float64, optional
            Rates due at each close, fraction; None where they are not known.
        given : (T, N) float64, optional
            The models' convictions in [-1, 1].
        """
        closes = np.ascontiguousarray(close_px, dtype=np.float64)
        if closes.ndim != 2 or closes.shape[1] != len(self.symbols):
            raise DataError(f"close_px has shape {closes.shape}; the portfolio has {len(self.symbols)} symbols")
        unknown = np.full(closes.shape, np.nan)
        rates, wished = (
            unknown if table is None else np.ascontiguousarray(table, dtype=np.float64) for table in (funding, given)
        )
        if not len(closes):
            return Told(np.empty(closes.shape), *(np.empty((0, len(NAMES))) for _ in range(2)))
        self.n_bars += len(closes)
        times = np.ascontiguousarray(ts_close, dtype=np.int64)
        return Told(*advance_book(self.book, self.sharer, closes, rates, wished, times, self._rules, self._params))

    def decide(self, ts_close: int, close_px: F8, funding: F8 | None = None, given: F8 | None = None) -> F8:
        """Return the target weights (N,) at the close of one bar; NaN leaves a position alone.

        Arrays are (N,); their meaning is that of ``advance``.
        """
        one = (None if row is None else np.asarray(row)[None, :] for row in (close_px, funding, given))
        weight: F8 = self.advance(np.array([ts_close], dtype=np.int64), *one).weight[0]  # type: ignore[arg-type]
        return weight
