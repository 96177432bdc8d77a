"""PPO, SAC and A2C as policies over single symbols; one bar at a time or many at once."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from engine.core.metrics import sharpe_ratio
from engine.domain import F8, NS_PER_DAY, NS_PER_S
from engine.errors import ModelError
from models.actor import Actor, Opinion, actor_of
from models.agent_training import CONFIGS, AgentConfig, config_of, train_agent
from models.env import PracticeTerms, TradingEnv, market_of, practice_terms
from models.forecast import Learnable, Progress
from models.own_book import PaperBook
from models.panel import funding_due
from models.tabular import Scaler

BURN_IN = 168
"""Bars before the first asked one that the paper book walks through, so that it does not start flat there."""

SHRINK_DAYS = 365.0
"""Days of evidence that count as much as the belief that all agents are equally good."""

DAYS_PER_YEAR = 365.0
COST_RATE = 0.0006
"""Fee and slippage of a fill that agents practise with, fraction of notional."""


class Rollout(NamedTuple):
    """What an agent wished for and what its paper books earned, T bars of N symbols."""

    wish: F8  # (T, N) in [-1, 1], NaN where too little is known
    earned: F8  # (T, N) simple return after costs and funding


class AgentStream:
    """An agent that is shown one bar after the other. It carries its paper book; the policy has no other memory."""

    def __init__(self, actor: Actor, scaler: Scaler, terms: PracticeTerms, n_symbols: int) -> None:
        params, costs = terms.params, terms.costs
        self._actor, self._scaler = actor, scaler
        self._book = PaperBook(
            n_symbols, params.vol_target, params.bars_per_year, params.max_symbol_weight, params.max_drawdown,
            params.rebalance_band, costs.fee_rate + costs.slippage_rate,
        )  # fmt: skip
        self.observation = np.zeros((n_symbols, len(scaler.scale) + 4), dtype=np.float32)

    @property
    def earned(self) -> F8:
        """Simple returns (N,) of the paper books at the newest bar, the order's costs included."""
        return self._book.earned

    def opinion(self) -> Opinion:
        """Return what the agent says at the newest bar, with spread and value."""
        return self._actor.opinion(self.observation)

    def update(self, features: np.ndarray, close_px: F8, sigma: F8, funding: F8) -> F8:
        """Take a closed bar and return the wishes (N,).

        Parameters
        ----------
        features : (N, F) float32, unscaled
        close_px : (N,) float64, quote per base
        sigma : (N,) float64
            Standard deviation of one bar's log return.
        funding : (N,) float64
            Rate that is settled at this close, 0 when none is.

        Returns
        -------
        (N,) float64 in [-1, 1]
            NaN where too few features are known.
        """
        inputs, known = self._scaler.inputs(features)
        return self.advance(inputs, known, close_px, sigma, funding)

    def advance(self, inputs: np.ndarray, known: np.ndarray, close_px: F8, sigma: F8, funding: F8) -> F8:
        """Take a closed bar whose features are scaled already."""
        self.observation[:, :-4] = inputs
        self.observation[:, -4:] = self._book.mark(close_px, sigma, funding)
        mean = self._actor.mean(self.observation)[:, 0].astype(np.float64)
        wish = np.where(known & (sigma > 0.0), mean, np.nan)
        self._book.order(wish)
        return wish


class Agent:
    """One agent: a policy over single symbols, trained in ``env.TradingEnv`` on symbols and stretches drawn at random.

    Parameters
    ----------
    config : AgentConfig
    terms : PracticeTerms, optional
        Default: ``practice_terms`` at the bars' own frequency.
    """

    def __init__(self, config: AgentConfig, terms: PracticeTerms | None = None) -> None:
        self.name = config.algorithm
        self.config = config
        self.terms = terms
        self.scaler: Scaler | None = None
        self._tensors: dict[str, np.ndarray] = {}
        self._actor: Actor | None = None

    @property
    def fitted(self) -> tuple[Actor, Scaler, PracticeTerms]:
        """What it takes to act, or a refusal."""
        if self._actor is None or self.scaler is None or self.terms is None:
            raise ModelError(f"{self.name} has learned nothing yet: fit or load it first")
        return self._actor, self.scaler, self.terms

    def fit(self, data: Learnable, train: slice, valid: slice, seed: int, progress: Progress) -> dict[str, float]:
        """Learn from ``train``; from what is known when there was a training before.

        The scaler is that of the first training, because the weights were learned on its inputs. Nothing is chosen by
        ``valid``: its Sharpe ratio is out of sample.

        Returns
        -------
        dict
            ``seconds``, ``steps``, ``valid_sharpe`` (after costs, of equal parts of all symbols), and ``valid_days``,
            ``valid_sum``, ``valid_squares`` of those daily returns.

        Raises
        ------
        Cancelled
        """
        if self.terms is None:
            self.terms = practice_terms(_bars_per_year(data), COST_RATE)
        if self.scaler is None:
            self.scaler = Scaler.of(data.features[train])
        market = market_of(data, train, self.scaler, self.terms)
        terms, config = self.terms, self.config

        def make_env() -> TradingEnv:
            return TradingEnv(market, terms, episode_bars=config.episode_bars)

        self._tensors, report = train_agent(config, make_env, seed, progress, self._tensors or None)
        self._actor = actor_of(self._tensors)
        daily = daily_earned(self.rollout(data, valid), data, valid)
        report["valid_sharpe"] = sharpe_ratio(daily, DAYS_PER_YEAR)
        return report | dict(zip(("valid_days", "valid_sum", "valid_squares"), shown_by(daily), strict=True))

    def rollout(self, data: Learnable, rows: slice) -> Rollout:
        """Return wishes and paper results of the bars ``rows``, the book having walked ``BURN_IN`` bars before."""
        actor, scaler, terms = self.fitted
        start, stop, _ = rows.indices(len(data.panel.ts_close))
        first = max(start - BURN_IN, 0)
        walked = slice(first, stop)
        inputs, known = scaler.inputs(data.features[walked])
        close_px, sigma = (np.ascontiguousarray(column[walked]) for column in (data.panel.close_px, data.sigma))
        funding = funding_due(data.panel)[walked]
        stream = AgentStream(actor, scaler, terms, close_px.shape[1])
        wish, earned = np.empty(close_px.shape), np.empty(close_px.shape)
        for t in range(len(close_px)):
            wish[t] = stream.advance(inputs[t], known[t], close_px[t], sigma[t], funding[t])
            earned[t] = stream.earned
        return Rollout(wish[start - first :], earned[start - first :])

    def weights(self, data: Learnable, rows: slice) -> F8:
        """Return the wishes (T', N) for the bars ``rows``, in [-1, 1], NaN where there is none."""
        return self.rollout(data, rows).wish

    def stream(self, n_symbols: int) -> AgentStream:
        """Return the agent as it runs bar by bar, flat."""
        return AgentStream(*self.fitted, n_symbols)

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, object]]:
        """Return tensors and JSON-able settings: all that the registry keeps."""
        _actor, scaler, terms = self.fitted
        tensors = {**self._tensors, "scaler.center": scaler.center, "scaler.scale": scaler.scale}
        return tensors, {"config": self.config.plain(), "terms": _plain_terms(terms)}

    def load(self, tensors: dict[str, np.ndarray], settings: dict[str, Any]) -> None:
        """Take up what ``state`` gave."""
        self.config = config_of(settings["config"])
        self.terms = _terms_of(settings["terms"])
        self.name = self.config.algorithm
        self.scaler = Scaler(tensors["scaler.center"], tensors["scaler.scale"])
        self._tensors = {name: value for name, value in tensors.items() if not name.startswith("scaler.")}
        self._actor = actor_of(self._tensors)


def blended(wishes: np.ndarray, shares: F8) -> F8:
    """Return sum_m share_m wish_m for wishes (M, ...), NaN where an agent has none."""
    found: F8 = np.tensordot(shares, wishes, axes=1)
    return found


def shown_by(daily: F8) -> tuple[float, float, float]:
    """Return the evidence in daily returns: days, sum, sum of squares."""
    return float(len(daily)), float(daily.sum()), float((daily * daily).sum())


def shares_of(evidence: F8) -> F8:
    """Return weights (M,) from days, sums and sums of squares (M, 3) of daily returns.

    weight ~ max(0, S), with S the annual Sharpe ratio, shrunk toward the mean of all rows by n / (n + 365) for n days.

    Examples
    --------
    A year of evidence: the better agent's Sharpe ratio of 1 is drawn half way to the mean of 0.

    >>> day, std = 1.0 / 365.0, 1.0 / 365.0**0.5
    >>> rows = [[365, m * 365 * day, 365 * (day * day + std * std)] for m in (1.0, -1.0)]
    >>> [float(share) for share in shares_of(np.array(rows))]
    [1.0, 0.0]
    """
    days = np.maximum(evidence[:, 0], 1.0)
    mean = evidence[:, 1] / days
    variance = np.maximum(evidence[:, 2] / days - mean * mean, 0.0)
    known = (evidence[:, 0] >= 2.0) & (variance > 1e-18)
    sharpe = np.divide(mean, np.sqrt(variance), out=np.zeros(len(days)), where=known) * math.sqrt(DAYS_PER_YEAR)
    trust = evidence[:, 0] / (evidence[:, 0] + SHRINK_DAYS)
    skill = np.where(known, np.maximum(trust * sharpe + (1.0 - trust) * sharpe.mean(), 0.0), 0.0)
    total = skill.sum()
    return skill / total if total > 0.0 else np.zeros(len(skill))


def daily_earned(found: Rollout, data: Learnable, rows: slice) -> F8:
    """Return the daily simple returns of equal parts in every symbol's paper book, by UTC day."""
    day = (data.panel.ts_close[rows] - 1) // NS_PER_DAY
    growth = np.log1p(np.maximum(found.earned.mean(axis=1), -0.999))
    _days, place = np.unique(day, return_inverse=True)
    return np.expm1(np.bincount(place, weights=growth))


def _bars_per_year(data: Learnable) -> float:
    step_ns = float(np.median(np.diff(data.panel.ts_close)))
    return DAYS_PER_YEAR * 86_400.0 * NS_PER_S / step_ns


LEFT_AT_USUAL = frozenset({"risk", "tail_table", "underlying", "shocks"})
"""Limits on the whole book, which practice has none of: an agent answers for its own wish, the gate for the book."""


def _plain_terms(terms: PracticeTerms) -> dict[str, object]:
    params = {name: value for name, value in terms.params._asdict().items() if name not in LEFT_AT_USUAL}
    params["trend_horizon_bars"] = terms.params.trend_horizon_bars.tolist()
    return {
        "costs": [float(rate) for rate in terms.costs],
        "params": params,
        "cash": terms.cash,
        "full_conviction_sharpe": terms.full_conviction_sharpe,
    }


def _terms_of(plain: dict[str, Any]) -> PracticeTerms:
    params = plain["params"] | {"trend_horizon_bars": np.array(plain["params"]["trend_horizon_bars"])}
    usual = practice_terms()
    return usual._replace(
        costs=type(usual.costs)(*plain["costs"]), params=usual.params._replace(**params), cash=plain["cash"],
        full_conviction_sharpe=plain["full_conviction_sharpe"],
    )  # fmt: skip


def make_ppo() -> Agent:
    """Return an untrained PPO agent."""
    return Agent(CONFIGS["ppo"])


def make_sac() -> Agent:
    """Return an untrained SAC agent."""
    return Agent(CONFIGS["sac"])


def make_a2c() -> Agent:
    """Return an untrained A2C agent."""
    return Agent(CONFIGS["a2c"])
