"""What trading agents earned beyond what needs no agent: the only thing that gives them weight."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from engine.domain import F8
from models.agent_training import CONFIGS
from models.agents import BURN_IN, AgentEnsemble, Rollout, daily_earned
from models.earned import TradingEvidence, evidence_of
from models.env import PracticeTerms
from models.forecast import Learnable
from models.own_book import PaperBook
from models.panel import funding_due

TREND_BARS = (72, 216, 648)
"""Horizons of the trend rule's defaults, hours."""


FIRST_SHARE = 0.67
"""Of the work: the first training takes twice the steps of the second."""


def taught(
    data: Learnable, algorithms: tuple[str, ...], ends: tuple[int, int], seed: int, told: Callable[[float], bool]
) -> tuple[AgentEnsemble, TradingEvidence]:
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


def judged(agents: AgentEnsemble, data: Learnable, rows: slice) -> TradingEvidence:
    """Return what the ensemble's wishes earned on bars that its agents had not learned from.

    Holding every symbol and following the trend rule go through the same paper books at the same costs; see
    ``models.earned``.

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
    return evidence_of(daily["agents"], daily["hold"], daily["trend"])


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
