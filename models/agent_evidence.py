"""What trading agents earned beyond what needs no agent: the only thing that gives them weight."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from engine.domain import F8
from models.agent_ensemble import AgentEnsemble
from models.agent_training import CONFIGS
from models.agents import BURN_IN, Rollout, daily_earned
from models.catalogue import SEEDS
from models.earned import TradingEvidence, evidence_of
from models.env import PracticeTerms, unit_weight
from models.evidence_walk import WARM_BARS, usual_terms
from models.forecast import Learnable
from models.own_book import PaperBook
from models.panel import funding_due, rows_of
from models.trading import sized_weights

FIRST_SHARE = 0.67
"""Of the work: the first training takes twice the steps of the second."""


def taught(
    data: Learnable,
    algorithms: tuple[str, ...],
    ends: tuple[int, int],
    seed: int,
    told: Callable[[float], bool],
    seeds: int = SEEDS,
) -> tuple[AgentEnsemble, TradingEvidence]:
    """Return agents that have learned from all bars, and what they earned on those after both ends before they had.

    Nothing stops agents or chooses among their weights, so no bars are held back from the second training: the bars
    that judged them are learned from last.

    Parameters
    ----------
    data : Learnable
    algorithms : tuple of str
    ends : tuple of int
        Rows at which the bars to learn from end, and those that weigh the agents against each other.
    seed : int
    told : callable of the share done
        Returns False to cancel.
    seeds : int
        Agents of each algorithm.

    Raises
    ------
    Cancelled
    """
    agents = AgentEnsemble(tuple(CONFIGS[name] for name in algorithms), seeds)
    rest = slice(ends[1], len(data.panel.ts_close))
    agents.fit(data, slice(0, ends[0]), slice(*ends), seed, lambda share, _: told(FIRST_SHARE * share))
    found = judged(agents, data, rest)
    agents.fit(data, slice(0, rest.stop), rest, seed, lambda share, _: told(FIRST_SHARE + (1.0 - FIRST_SHARE) * share))
    return agents, found


def judged(agents: AgentEnsemble, data: Learnable, rows: slice) -> TradingEvidence:
    """Return what the ensemble's wishes earned on bars that its agents had not learned from.

    Holding every symbol and the decision core's trend rule go through the same paper books at the same costs; see
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
        "trend": trend_wish(data, walked, terms),
    }  # fmt: skip
    daily = {name: _daily(wish, data, walked, rows, terms) for name, wish in wishes.items()}
    return evidence_of(daily["agents"], daily["hold"], daily["trend"])


def trend_wish(data: Learnable, rows: slice, terms: PracticeTerms) -> F8:
    """Return the trend rule's wishes (T', N) for bars ``rows``, each symbol traded for itself as an agent trades it.

    The weight is the decision core's own: its trend signal with the settings' horizons over its own volatility, up to
    the symbol's cap. A wish is that weight over the paper book's weight of full conviction, so the book holds the
    rule's weight; NaN where the rule still warms up or nothing can be sized.
    """
    start, stop, _ = rows.indices(len(data.panel.ts_close))
    first, most = max(start - WARM_BARS, 0), terms.params.max_symbol_weight
    params = usual_terms(rows_of(data.panel, slice(first, stop))).params._replace(vol_target=terms.params.vol_target)
    close_px = data.panel.close_px[first:stop]
    nothing = np.zeros((stop - first, 1))
    alone = [sized_weights(close_px[:, i : i + 1], nothing, params, 0.0) for i in range(close_px.shape[1])]
    weight = np.clip(np.concatenate(alone, axis=1)[start - first :], -most, most)
    unit = unit_weight(data.sigma[start:stop], terms.params)
    return np.divide(weight, unit, out=np.full(weight.shape, np.nan), where=unit > 0.0)


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
