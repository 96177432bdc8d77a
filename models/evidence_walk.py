"""The walk that gives a set of forecasters its share of a decision: forecast, trade, pay, and look at the days."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from engine.core.simulate import SimBars
from engine.domain import F8, NS_PER_S
from engine.research.backtest import BacktestConfig
from engine.research.config import resolve
from models.conformal import adapted
from models.earned import TradingEvidence, evidence_of
from models.ensemble import combine, skill_of, weights_from
from models.forecast import HORIZONS, Learnable, Panel, Prediction
from models.panel import funding_due, rows_of
from models.position import positions
from models.shown import FEWEST_TRADED_DAYS
from models.tallies import Tally, day_index
from models.trading import Terms, traded

BLOCK_DAYS = 30
"""Members are weighed anew after so many judged days, by the days before; in the first nobody has a record."""

WARM_BARS = 2_000
"""Bars before the judged ones on which volatilities and the rule settle."""

CASH = 10_000.0
GATES_OFF = {"use_gate_drawdown": "off", "use_gate_daily_loss": "off"}
"""The two gates that depend on past losses would make one bad week of a stream decide all that follows."""


def usual_terms(panel: Panel) -> Terms:
    """Return the costs and limits of a backtest with default settings on a panel's bars, funding paid where known."""
    interval_s = round(float(np.median(np.diff(panel.ts_close))) / NS_PER_S)
    has_volume = bool((np.nan_to_num(panel.volume) > 0.0).any(axis=0).all())
    config = BacktestConfig(data=Path(), params=GATES_OFF)  # the bars are here already: no path is read
    found = resolve(config, interval_s, panel.symbols, has_volume)
    bars = SimBars(
        panel.ts_close, panel.open_px, panel.close_px, funding_due(panel), panel.high_px, panel.low_px, panel.volume
    )
    return Terms(bars, found.instruments, found.costs, found.params, found.assumptions, CASH)


def walked(
    data: Learnable, judged: slice, said: Mapping[str, Prediction], base: Prediction, skills: Mapping[str, Tally]
) -> TradingEvidence:
    """Return what the ensemble would have earned on judged bars, weighed at every moment by the days before alone.

    Parameters
    ----------
    data : Learnable
    judged : slice
        Bars that no member has learned from.
    said : mapping of name to Prediction
        Of the judged bars.
    base : Prediction
        The base rate's.
    skills : mapping of name to Tally
        Daily sums and counts of each member's gains on the base rate.

    Returns
    -------
    TradingEvidence
        Of the days after the first block, net of fees, spread, impact and known funding.
    """
    ts_close = data.panel.ts_close[judged]
    day = day_index(ts_close)
    first = int(np.searchsorted(day, BLOCK_DAYS))
    n_days = max(int(day[-1]) - BLOCK_DAYS, 0) if len(day) else 0
    if not said or n_days < FEWEST_TRADED_DAYS:  # too few to tell anything: nothing is traded
        return TradingEvidence(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, n_days)
    combined = _weighed_before(said, base, skills, day)
    target, known = data.target[judged], data.ts_known[judged]
    target = np.where((known <= ts_close[-1])[:, None, :], target, np.nan)
    issued, _ = adapted(combined.quantile, target, ts_close, known)
    wish = positions(issued, combined.prob_up)
    start = max(judged.indices(len(data.panel.ts_close))[0] - WARM_BARS, 0)
    warm = judged.start - start
    terms = usual_terms(rows_of(data.panel, slice(start, judged.stop)))
    return traded_evidence(np.concatenate([np.zeros((warm, wish.shape[1])), wish]), terms, warm + first)


def traded_evidence(wish: F8, terms: Terms, first: int) -> TradingEvidence:
    """Return what a wish (T, N) earned from bar ``first`` on, beside holding and the trend rule at the same terms."""
    daily, hold = (traded(one, terms, first).daily for one in (wish, np.ones(wish.shape)))
    return evidence_of(daily, hold, traded(wish, terms, first, 0.0).daily)


def _weighed_before(
    said: Mapping[str, Prediction], base: Prediction, skills: Mapping[str, Tally], day: np.ndarray
) -> Prediction:
    quantile, prob_up = np.array(base.quantile, dtype=np.float64), np.array(base.prob_up, dtype=np.float64)
    reach = -(-HORIZONS[-1] // 24)  # days until the longest horizon of a day is known; hourly bars
    for begin in range(BLOCK_DAYS, int(day[-1]) + 1, BLOCK_DAYS):
        until = begin - reach
        weights = weights_from(
            {name: skill_of(sums[:until], counts[:until]) for name, (sums, counts) in skills.items()}
        )
        rows = slice(*np.searchsorted(day, (begin, begin + BLOCK_DAYS)))
        part = {name: Prediction(one.quantile[rows], one.prob_up[rows]) for name, one in said.items()}
        found = combine(part, Prediction(base.quantile[rows], base.prob_up[rows]), weights).prediction
        quantile[rows], prob_up[rows] = found
    return Prediction(quantile, prob_up)
