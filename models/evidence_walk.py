"""The walk that gives a set of forecasters its share of a decision: forecast, trade, pay, and look at the days."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from engine.core.simulate import SimBars
from engine.core.turnover import has_volume
from engine.domain import F8, NS_PER_S
from engine.research.backtest import BacktestConfig
from engine.research.config import resolve
from models.catalogue import BASE
from models.earned import TradingEvidence, evidence_of
from models.ensemble import combine, skill_of, weights_from
from models.forecast import HORIZONS, Learnable, Panel, Prediction
from models.panel import funding_due, rows_of
from models.shown import FEWEST_TRADED_DAYS
from models.tallies import Tally, day_index
from models.trading import Terms, traded

BLOCK_DAYS = 30
"""Members are weighed anew after so many judged days, by the days before; in the first nobody has a record."""

REACH_DAYS = -(-HORIZONS[-1] // 24)
"""Days until the outcomes of a day's forecasts are known; hourly bars. The first block is longer by so many, so that
the second can look at a whole block."""

WARM_BARS = 2_000
"""Bars before the judged ones on which volatilities and the rule settle."""

CASH = 10_000.0
GATES_OFF = {"use_gate_drawdown": "off", "use_gate_daily_loss": "off"}
"""The two gates that depend on past losses would make one bad week of a stream decide all that follows."""


class Block(NamedTuple):
    """A stretch of judged bars in which members count the same."""

    name: str  # its first day
    test: slice  # its rows


def usual_terms(panel: Panel) -> Terms:
    """Return the costs and limits of a backtest with default settings on a panel's bars, funding paid where known."""
    interval_s = round(float(np.median(np.diff(panel.ts_close))) / NS_PER_S)
    config = BacktestConfig(data=Path(), params=GATES_OFF)  # the bars are here already: no path is read
    found = resolve(config, interval_s, panel.symbols, has_volume(panel.volume, panel.close_px.shape))
    bars = SimBars(
        panel.ts_close, panel.open_px, panel.close_px, funding_due(panel), panel.high_px, panel.low_px, panel.volume
    )
    return Terms(bars, found.instruments, found.costs, found.params, found.assumptions, CASH)


def blocks_of(ts_close: np.ndarray, judged: slice) -> tuple[Block, ...]:
    """Return the blocks of judged bars between which members are weighed anew, in order, named by their first day."""
    start = judged.indices(len(ts_close))[0]
    day = day_index(ts_close[judged])
    found = []
    begins = [0, *range(BLOCK_DAYS + REACH_DAYS, int(day[-1]) + 1, BLOCK_DAYS)]
    for begin, end in pairwise([*begins, int(day[-1]) + 1]):
        first, last = (int(row) for row in np.searchsorted(day, (begin, end)))
        if last > first:
            name = str(ts_close[judged][first].astype("datetime64[ns]").astype("datetime64[D]"))
            found.append(Block(name, slice(start + first, start + last)))
    return tuple(found)


def weighed_before(
    said: Mapping[str, Prediction], base: Prediction, skills: Mapping[str, Tally], ts_close: np.ndarray
) -> tuple[Prediction, dict[str, F8]]:
    """Return the ensemble's forecasts of judged bars, weighed in every block by the days before it alone.

    Parameters
    ----------
    said : mapping of name to Prediction
        Of the judged bars.
    base : Prediction
        The base rate's, which speaks alone in the first block, because nobody has a record then.
    skills : mapping of name to Tally
        Daily sums and counts of each member's gains on the base rate.
    ts_close : (T',) int64 ns
        Of the judged bars.

    Returns
    -------
    tuple of Prediction and dict of name to (blocks, H)
        What each counted in each block, the base rate among them.
    """
    quantile, prob_up = np.array(base.quantile, dtype=np.float64), np.array(base.prob_up, dtype=np.float64)
    day = day_index(ts_close)
    listed = []
    for block in blocks_of(ts_close, slice(0, len(ts_close))):
        rows = block.test
        until = max(int(day[rows.start]) - REACH_DAYS, 0)
        weights = weights_from(
            {name: skill_of(sums[:until], counts[:until]) for name, (sums, counts) in skills.items()}
        )
        part = {name: Prediction(one.quantile[rows], one.prob_up[rows]) for name, one in said.items()}
        quantile[rows], prob_up[rows] = combine(
            part, Prediction(base.quantile[rows], base.prob_up[rows]), weights
        ).prediction
        listed.append(weights)
    shares = {name: np.stack([weights.member[k] for weights in listed]) for k, name in enumerate(skills)}
    shares[BASE] = np.stack([np.broadcast_to(weights.base, (len(HORIZONS),)) for weights in listed])
    return Prediction(quantile, prob_up), shares


def walked(data: Learnable, judged: slice, wish: F8) -> TradingEvidence:
    """Return what the ensemble's wishes earned on judged bars, weighed at every moment by the days before alone.

    Parameters
    ----------
    data : Learnable
    judged : slice
        Bars that no member has learned from.
    wish : (T', N) float64
        On these, from the forecasts of ``weighed_before``.

    Returns
    -------
    TradingEvidence
        Of the days after the first block, net of fees, spread, impact and known funding.
    """
    day = day_index(data.panel.ts_close[judged])
    first = int(np.searchsorted(day, BLOCK_DAYS + REACH_DAYS))
    n_days = max(int(day[-1]) - BLOCK_DAYS - REACH_DAYS, 0) if len(day) else 0
    if n_days < FEWEST_TRADED_DAYS:  # too few to tell anything: nothing is traded
        return TradingEvidence(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, n_days)
    start = max(judged.indices(len(data.panel.ts_close))[0] - WARM_BARS, 0)
    warm = judged.start - start
    terms = usual_terms(rows_of(data.panel, slice(start, judged.stop)))
    return traded_evidence(np.concatenate([np.zeros((warm, wish.shape[1])), wish]), terms, warm + first)


def traded_evidence(wish: F8, terms: Terms, first: int) -> TradingEvidence:
    """Return what a wish (T, N) earned from bar ``first`` on, beside holding and the trend rule at the same terms."""
    daily, hold = (traded(one, terms, first).daily for one in (wish, np.ones(wish.shape)))
    return evidence_of(daily, hold, traded(wish, terms, first, 0.0).daily)
