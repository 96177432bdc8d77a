"""The agents' practice ground: a Gymnasium environment whose every step is one turn of the backtest."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from gymnasium import spaces

from engine.core.costs import Costs
from engine.core.decide import no_limits
from engine.core.frictions import Assumptions
from engine.core.matching import SimBars
from engine.core.simulate import Scan
from engine.domain import F8, I8, Params, Sleeve
from engine.errors import DataError
from models.forecast import Learnable
from models.own_book import CLIP, N_OWN, own_inputs
from models.panel import funding_due
from models.tabular import Scaler

RUIN = 0.5
"""An episode ends for good when equity is at or below this share of its start."""


class PracticeTerms(NamedTuple):
    """On what terms an agent practises: what fills cost, and the limits of the gate."""

    costs: Costs
    params: Params
    assumptions: Assumptions = Assumptions()
    cash: float = 10_000.0
    full_conviction_sharpe: float = 1.5  # annual Sharpe ratio at which the whole volatility target is worth its risk


class Market(NamedTuple):
    """Bars and inputs as an episode reads them. T bars of N symbols."""

    bars: SimBars
    inputs: np.ndarray  # (T, N, F) float32, scaled and clipped, 0 where unknown
    sigma: F8  # (T, N) standard deviation of one bar's log return, known at the close
    unit: F8  # (T, N) weight of full conviction
    starts: I8  # (S,) rows that an episode may start at


def practice_terms(bars_per_year: float = 8760.0, cost_rate: float = 0.0006) -> PracticeTerms:
    """Return the usual terms: the default limits of the settings and 6 bp a fill, split into fee and slippage."""
    params = Params(
        sleeve=int(Sleeve.EXTERNAL), bars_per_year=bars_per_year, trend_horizon_bars=np.array([2.0]),
        vol_horizon_bars=72.0, vol_target=0.2, ema_fast=2, ema_slow=3, allow_short=True, gate=True,
        max_symbol_weight=0.5, max_gross_weight=2.0, max_leverage=3.0, max_daily_loss=0.05, max_drawdown=0.15,
        max_age_s=15.0, rebalance_band=0.05,
    )  # fmt: skip
    return PracticeTerms(Costs(cost_rate * 5.0 / 6.0, cost_rate / 6.0), params)


def unit_weight(sigma: F8, params: Params) -> F8:
    """Return the weight at which one symbol alone has the volatility target: target / (sigma sqrt(bars a year)).

    At most ``max_symbol_weight``; 0 where sigma is unknown, so that nothing is held of what cannot be sized.
    """
    known = np.isfinite(sigma) & (sigma > 0.0)
    full = params.vol_target / math.sqrt(params.bars_per_year)
    return np.minimum(np.divide(full, sigma, out=np.zeros(sigma.shape), where=known), params.max_symbol_weight)


def market_of(data: Learnable, rows: slice, scaler: Scaler, terms: PracticeTerms, sized: bool = True) -> Market:
    """Return the bars ``rows`` of a Learnable as a practice ground.

    Parameters
    ----------
    data : Learnable
    rows : slice
    scaler : Scaler
        Of training rows.
    terms : PracticeTerms
    sized : bool
        An action is a conviction in [-1, 1], of which 1 is a position with the volatility target. False: an action is
        the target weight itself.
    """
    panel = data.panel
    inputs, known = scaler.inputs(data.features[rows])
    sigma = np.ascontiguousarray(data.sigma[rows], dtype=np.float64)
    unit = unit_weight(sigma, terms.params) if sized else np.ones(sigma.shape)
    usable = (known & (unit > 0.0)).any(axis=1)
    bars = SimBars(
        panel.ts_close[rows], panel.open_px[rows], panel.close_px[rows], funding_due(panel)[rows],
        panel.high_px[rows], panel.low_px[rows], panel.volume[rows],
    )  # fmt: skip
    return Market(bars, inputs, sigma, unit, np.flatnonzero(usable))


class Lookout(Scan):
    """A scan that goes one bar ahead of another, so that the bar can be looked at before anything is decided on it.

    A scan meets a bar and decides on it in one turn. This one takes the other's memory and meets the next bar without a
    wish. What it then decides is thrown away: the account as it stands at that close remains.
    """

    def look(self, scan: Scan) -> np.ndarray:
        """Meet the bar at which ``scan`` stands and return the symbols (K,) that were filled in it."""
        for mine, others in zip(scan_memory(self), scan_memory(scan), strict=True):
            mine[...] = others
        before = int(self.account.money["n_fills"][0])
        self.t = scan.t
        self.advance(scan.t + 1)
        return self._log.symbol[before : int(self.account.money["n_fills"][0])]


def scan_memory(scan: Scan) -> tuple[np.ndarray, ...]:
    """Return everything that a scan remembers from bar to bar, apart from its records."""
    return (*scan.account, *scan.state, *scan._venue)


class TradingEnv(gymnasium.Env):  # type: ignore[type-arg]
    """Trade one or a few symbols over a stretch of bars.

    Action, (n,) in [-1, 1]: the conviction for each symbol; times the unit weight it is the EXTERNAL sleeve's wish,
    which goes through the risk gate, lots and the rebalance band, and is filled at the next open with costs.

    Observation, (n * (F + 4),) float32 within ±4: per symbol the scaled features of the bar that has closed, then
    ``own_book.OWN``. Everything in it is known at that close.

    Reward: the utility of a mean-variance investor (Markowitz, 1952; as a reward: Ritter, 2017) in units of the
    volatility target, x = ln(equity' / equity) / (vol_target / sqrt(bars a year)), reward = x - lambda / 2 x², lambda =
    full_conviction_sharpe / sqrt(bars a year). Equity is after fees, slippage and funding. With this lambda, full
    conviction is the best answer to an expected Sharpe ratio of ``full_conviction_sharpe``, half of it to half. The
    differential Sharpe ratio (Moody & Saffell, 1998) was left aside: it depends on running moments that are not in the
    observation, so equal states would get unequal rewards.

    End: ``truncated`` after ``episode_bars`` or with the last bar: the position goes on in truth, so learners
    bootstrap. ``terminated`` when equity is down to ``RUIN``, or the drawdown limit has locked the account.

    Parameters
    ----------
    market : Market
    terms : PracticeTerms
    symbols : int
        How many are traded together; which, is drawn for each episode.
    episode_bars : int

    Raises
    ------
    DataError
        No bar is known enough to start at, or there are fewer than two.
    """

    metadata = {"render_modes": []}  # noqa: RUF012 - the name and kind that Gymnasium asks for

    def __init__(self, market: Market, terms: PracticeTerms, symbols: int = 1, episode_bars: int = 512) -> None:
        n_bars, n_symbols, n_features = market.inputs.shape
        self._starts = market.starts[market.starts < n_bars - 1]
        if len(self._starts) == 0:
            raise DataError(f"none of {n_bars} bars is known well enough to start an episode: give earlier bars")
        if not 1 <= symbols <= n_symbols:
            raise DataError(f"an episode of {symbols} symbols was asked for, and there are {n_symbols}")
        self._market, self._terms, self._episode_bars = market, terms, episode_bars
        self._params = terms.params._replace(sleeve=int(Sleeve.EXTERNAL))
        self._per_reward = math.sqrt(terms.params.bars_per_year) / terms.params.vol_target
        self._aversion = terms.full_conviction_sharpe / math.sqrt(terms.params.bars_per_year)
        self._n = symbols
        self._instruments = no_limits(symbols)
        self._own = np.zeros((symbols, N_OWN))
        self._held = np.zeros(symbols)
        self.action_space = spaces.Box(-1.0, 1.0, (symbols,), np.float32)
        self.observation_space = spaces.Box(-CLIP, CLIP, (symbols * (n_features + N_OWN),), np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start an episode with a flat account.

        ``options`` may hold ``start`` (row) and ``symbols`` (indices); otherwise both are drawn.
        """
        super().reset(seed=seed)
        asked = options or {}
        start = int(asked["start"]) if "start" in asked else int(self.np_random.choice(self._starts))
        n_symbols = self._market.sigma.shape[1]
        if "symbols" in asked:
            chosen = np.asarray(asked["symbols"], dtype=np.int64)
        elif self._n == n_symbols:
            chosen = np.arange(n_symbols)
        else:
            chosen = self.np_random.choice(n_symbols, self._n, replace=False)
        self._open(start, min(start + self._episode_bars + 1, len(self._market.sigma)), chosen)
        self._look()
        return self._observation(), {"start": start, "symbols": chosen}

    def _open(self, start: int, stop: int, chosen: np.ndarray) -> None:
        rows = slice(start, stop)
        given_bars = (column for column in self._market.bars[1:] if len(column))
        cut = [np.ascontiguousarray(column[rows][:, chosen]) for column in given_bars]
        bars = SimBars(np.ascontiguousarray(self._market.bars.ts_close[rows]), *cut)
        self._inputs = self._market.inputs[rows][:, chosen]
        self._sigma = np.ascontiguousarray(self._market.sigma[rows][:, chosen])
        self._unit = np.ascontiguousarray(self._market.unit[rows][:, chosen])
        given = (bars, self._instruments, self._terms.costs, self._params, self._terms.cash)
        self._scan = Scan(*given, assumptions=self._terms.assumptions)
        self._lookout = Lookout(*given, assumptions=self._terms.assumptions)
        self._held[:] = 0.0
        self._last = stop - start - 1

    def _look(self) -> None:
        ahead, t = self._lookout, self._scan.t
        filled = ahead.look(self._scan)
        self._held += 1.0
        self._held[filled] = 0.0
        self.account = ahead.account
        self.equity = float(ahead.track.equity[t])
        peak = float(ahead.state.book["peak_equity"][0])
        drawdown = 1.0 - self.equity / peak if peak > 0.0 else 1.0
        own_inputs(
            self._own, ahead.track.weight[t], self._unit[t], ahead.account.entry_px, ahead.bars.close_px[t],
            self._sigma[t], drawdown, self._params.max_drawdown, self._held,
        )  # fmt: skip

    def _observation(self) -> np.ndarray:
        seen = np.empty((self._n, self._inputs.shape[2] + N_OWN), dtype=np.float32)
        seen[:, :-N_OWN] = self._inputs[self._scan.t]
        seen[:, -N_OWN:] = self._own
        return seen.reshape(-1)

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Decide at the present close, and go on to the next one."""
        wish = np.clip(np.asarray(action, dtype=np.float64).reshape(-1), -1.0, 1.0)
        t = self._scan.t
        np.multiply(wish, self._unit[t], out=self._scan.external_weight[t])
        before = self.equity
        self._scan.advance(t + 1)
        self._look()
        locked = bool(self._lookout.state.book["drawdown_locked"][0])
        ruined = not self.equity > RUIN * self._terms.cash or locked
        gain = math.log(max(self.equity, 1e-9 * before) / before) * self._per_reward
        reward = gain - 0.5 * self._aversion * gain * gain
        return self._observation(), reward, ruined, not ruined and t + 1 >= self._last, {"equity": self.equity}
