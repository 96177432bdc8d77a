"""What trading agents earned beyond what needs no agent: the only thing that gives them weight."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from engine.domain import F8
from models.agent_ensemble import AgentEnsemble
from models.agent_training import CONFIGS
from models.agents import BURN_IN, Rollout, blended, daily_earned, shares_of
from models.catalogue import SEEDS
from models.earned import TradingEvidence, evidence_of
from models.env import PracticeTerms, unit_weight
from models.evidence_walk import WARM_BARS, usual_terms
from models.forecast import Learnable
from models.judging import Judged
from models.own_book import PaperBook
from models.panel import funding_due, rows_of
from models.trading import sized_weights

FIRST_SHARE = 0.67
"""Of the work: the first training takes twice the steps of the second."""


def taught(
    data: Learnable, algorithms: tuple[str, ...], ends: tuple[int, int], seed: int, told: Callable[[float], bool],
    seeds: int = SEEDS,
) -> tuple[AgentEnsemble, TradingEvidence, dict[str, list[Judged]]]:  # fmt: skip
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

    Returns
    -------
    AgentEnsemble
    TradingEvidence
        Of all of them together, as they are used.
    dict of str to list of Judged
        What each algorithm wished on the judged bars, one for each seed, and what one of each wished together.

    Raises
    ------
    Cancelled
    """
    agents = AgentEnsemble(tuple(CONFIGS[name] for name in algorithms), seeds)
    rest = slice(ends[1], len(data.panel.ts_close))
    agents.fit(data, slice(0, ends[0]), slice(*ends), seed, lambda share, _: told(FIRST_SHARE * share))
    wishes = _walked_wishes(agents, data, rest)
    found = _evidence(agents, data, rest, blended(wishes, agents.shares))
    each = _by_algorithm(agents, wishes[:, wishes.shape[1] - (rest.stop - rest.start) :], algorithms, seed)
    agents.fit(data, slice(0, rest.stop), rest, seed, lambda share, _: told(FIRST_SHARE + (1.0 - FIRST_SHARE) * share))
    return agents, found, each


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
    return _evidence(agents, data, rows, blended(_walked_wishes(agents, data, rows), agents.shares))


def _walk(data: Learnable, rows: slice) -> slice:
    start, stop, _ = rows.indices(len(data.panel.ts_close))
    return slice(max(start - BURN_IN, 0), stop)


def _walked_wishes(agents: AgentEnsemble, data: Learnable, rows: slice) -> F8:
    """Return each agent's wishes (M, T', N) on bars ``rows`` and those before that its paper book walks through."""
    return np.array([member.weights(data, _walk(data, rows)) for member in agents.members])


def _by_algorithm(
    agents: AgentEnsemble, wishes: F8, algorithms: tuple[str, ...], seed: int
) -> dict[str, list[Judged]]:  # fmt: skip
    """Return the wishes (M, T', N) of agents by algorithm and seed, and blended as the walk-forward blends a seed's."""
    names = [member.name for member in agents.members]
    rows = {name: [k for k, one in enumerate(names) if one == name] for name in algorithms}
    found = {
        name: [Judged(name, seed + k, {}, [], wishes[row], {}) for k, row in enumerate(own)]
        for name, own in rows.items()
    }
    together = []
    for k in range(len(names) // len(algorithms)):
        own = [rows[name][k] for name in algorithms]
        shares = shares_of(agents.evidence[own])
        counted = {name: shares[m : m + 1] for m, name in enumerate(algorithms)}
        together.append(Judged(agents.name, seed + k, {}, [], blended(wishes[own], shares), counted))
    return found | {agents.name: together}


def _evidence(agents: AgentEnsemble, data: Learnable, rows: slice, wish: F8) -> TradingEvidence:
    terms, walked = agents.members[0].fitted[2], _walk(data, rows)
    wishes = {
        "agents": wish, "hold": np.ones((walked.stop - walked.start, data.sigma.shape[1])),
        "trend": trend_wish(data, walked, terms),
    }  # fmt: skip
    daily = {name: _daily(one, data, walked, rows, terms) for name, one in wishes.items()}
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
