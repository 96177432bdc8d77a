"""What trading agents earned beyond what needs no agent: the only thing that gives them weight."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from engine.domain import F8
from models.agent_training import CONFIGS
from models.agents import BURN_IN, DAYS_PER_YEAR, AgentEnsemble, Rollout, daily_earned
from models.env import PracticeTerms, funding_due
from models.forecast import Learnable
from models.own_book import PaperBook
from models.shown import FEWEST_AGENT_DAYS

SURE_Z = 1.96
"""Agents whose excess is not this many standard errors above zero count nothing: three of them were tried, twice."""

TREND_BARS = (72, 216, 648)
"""Horizons of the trend rule's defaults, hours."""


FIRST_SHARE = 0.67
"""Of the work: the first training takes twice the steps of the second."""


class AgentEvidence(NamedTuple):
    """A record on bars that the agents had not learned from. Simple returns a day, after costs."""

    excess: float  # beyond holding and the trend rule
    error: float  # its standard error
    sharpe: float  # of all they earned, annual
    sharpe_error: float
    n_days: int

    @property
    def share(self) -> float:
        """What the agents earned of a decision, in [0, 1]: z^2 / (1 + z^2) of a sure excess, else 0.

        Examples
        --------
        >>> AgentEvidence(0.002, 0.001, 1.0, 1.0, 300).share
        0.8
        >>> AgentEvidence(0.001, 0.001, 1.0, 1.0, 300).share
        0.0
        """
        z = self.excess / self.error if self.error > 0.0 else 0.0
        return z * z / (1.0 + z * z) if z >= SURE_Z and self.n_days >= FEWEST_AGENT_DAYS else 0.0


def taught(
    data: Learnable, algorithms: tuple[str, ...], ends: tuple[int, int], seed: int, told: Callable[[float], bool]
) -> tuple[AgentEnsemble, AgentEvidence]:
    """Return agents that have learned from all bars, and what they earned on those after both ends before they had.

    Parameters
    ----------
    data : Learnable
    algorithms : tuple of str
    ends : tuple of int
        Rows at which the bars to learn from end, and those that weigh the agents against each other.
    seed : int
    told : callable of the share done
        Returns False to cancel.

    Raises
    ------
    Cancelled
    """
    agents, rest = AgentEnsemble(tuple(CONFIGS[name] for name in algorithms)), slice(ends[1], len(data.panel.ts_close))
    agents.fit(data, slice(0, ends[0]), slice(*ends), seed, lambda share, _: told(FIRST_SHARE * share))
    found = judged(agents, data, rest)
    agents.fit(data, slice(0, ends[1]), rest, seed, lambda share, _: told(FIRST_SHARE + (1.0 - FIRST_SHARE) * share))
    return agents, found


def judged(agents: AgentEnsemble, data: Learnable, rows: slice) -> AgentEvidence:
    """Return what the ensemble's wishes earned on bars that its agents had not learned from.

    Holding every symbol and following the trend rule go through the same paper books at the same costs. The excess is
    the intercept of a regression of the agents' daily returns on those two: what they add to either.

    Parameters
    ----------
    agents : AgentEnsemble
        Fitted on earlier bars.
    data : Learnable
    rows : slice
        The judged bars.
    """
    start, stop, _ = rows.indices(len(data.panel.ts_close))
    terms = agents.members[0].fitted[2]
    walked = slice(max(start - BURN_IN, 0), stop)
    wishes = {
        "agents": agents.weights(data, walked), "hold": np.ones((stop - walked.start, data.sigma.shape[1])),
        "trend": trend_wish(data, walked),
    }  # fmt: skip
    daily = {name: _daily(wish, data, walked, rows, terms) for name, wish in wishes.items()}
    return evidence_of(daily["agents"], np.stack([daily["hold"], daily["trend"]]))


def trend_wish(data: Learnable, rows: slice) -> F8:
    """Return the mean of the signs of the past returns over ``TREND_BARS`` (T', N), 0 where none is known."""
    log_px = np.log(data.panel.close_px)
    signs = np.zeros(log_px.shape)
    for bars in TREND_BARS:
        signs[bars:] += np.nan_to_num(np.sign(log_px[bars:] - log_px[:-bars]))
    return signs[rows] / len(TREND_BARS)


def _daily(wish: F8, data: Learnable, walked: slice, rows: slice, terms: PracticeTerms) -> F8:
    params, costs = terms.params, terms.costs
    book = PaperBook(
        wish.shape[1], params.vol_target, params.bars_per_year, params.max_symbol_weight, params.max_drawdown,
        params.rebalance_band, costs.fee_rate + costs.slippage_rate,
    )  # fmt: skip
    close_px, sigma = (np.ascontiguousarray(column[walked]) for column in (data.panel.close_px, data.sigma))
    funding, earned = funding_due(data.panel)[walked], np.empty(wish.shape)
    for t in range(len(wish)):
        book.mark(close_px[t], sigma[t], funding[t])
        book.order(wish[t])
        earned[t] = book.earned
    skipped = rows.indices(len(data.panel.ts_close))[0] - walked.start
    return daily_earned(Rollout(wish[skipped:], earned[skipped:]), data, rows)


def evidence_of(daily: F8, others: F8) -> AgentEvidence:
    """Return the evidence in daily returns (D,) beside those (K, D) of what needs no agent; ordinary least squares."""
    n_days, deviation = len(daily), float(np.std(daily)) if len(daily) else 0.0
    if n_days <= len(others) + 1 or not deviation > 0.0:
        return AgentEvidence(0.0, 0.0, 0.0, 0.0, n_days)
    x = np.vstack([np.ones(n_days), others[others.std(axis=1) > 0.0]])
    inverse = np.linalg.pinv(x @ x.T)
    found = inverse @ x @ daily
    residual = daily - found @ x
    variance = float(residual @ residual) / (n_days - len(x))
    sharpe = float(np.mean(daily)) / deviation * math.sqrt(DAYS_PER_YEAR)
    # Lo (2002) for independent returns, in daily units: (1 + SR^2 / 2) / n
    sharpe_error = math.sqrt((DAYS_PER_YEAR + 0.5 * sharpe * sharpe) / n_days)
    return AgentEvidence(float(found[0]), math.sqrt(variance * inverse[0, 0]), sharpe, sharpe_error, n_days)
