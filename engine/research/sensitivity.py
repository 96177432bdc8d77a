"""How much of a result hangs on each assumption: the same rule again, with one assumption changed at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from engine.core.simulate import SimResult
from engine.domain import F8, NS_PER_S
from engine.research.config import Resolved
from engine.research.figures import DAYS_PER_YEAR, Stretch, ratios
from engine.research.loading import BarTable
from engine.research.run_params import IMPACT, SPREAD_VOL, Market
from engine.research.simulation import has_volume, scan_again

SETTLEMENT_S = 28_800
USUAL_FUNDING = 0.0001
"""What longs pay at each settlement where nobody wants one side more: the interest part, 0.01 % every 8 hours."""


class Change(NamedTuple):
    """One assumption made otherwise."""

    assumption: str
    change: str
    market: Market
    funding: F8 | None


def usual_funding(bars: BarTable) -> F8:
    """Return rates (T, N) as if longs had paid the interest part at every settlement."""
    closes_s = bars.ts_close // NS_PER_S
    due = closes_s // SETTLEMENT_S - (closes_s - bars.interval_s) // SETTLEMENT_S
    rates = np.repeat((USUAL_FUNDING * due)[:, None], len(bars.symbols), axis=1)
    return np.ascontiguousarray(rates, dtype=np.float64)


def _costs(market: Market, funding: F8 | None, volume_known: bool) -> list[Change]:
    def other(assumption: str, change: str, **fields: Any) -> Change:
        return Change(assumption, change, market._replace(**fields), funding)

    def doubled(assumption: str, name: str, start: float) -> Change:
        now = getattr(market, name)
        if now == 0.0:
            return other(assumption, f"{start:g} instead of none", **{name: start})
        return other(assumption, "x 2", **{name: 2 * now})

    # a doubled rebate would flatter
    fees = {name: max(2 * getattr(market, name), getattr(market, name)) for name in ("fee", "maker_fee")}
    changes = [
        other("fees", "x 2", **fees),
        doubled("slippage", "slippage", 0.0001),
        doubled("spread", "spread_vol", SPREAD_VOL),
    ]
    if volume_known:
        changes.append(doubled("impact", "impact", IMPACT))
    if market.maker_share > 0.0:
        changes.append(other("maker share", "none", maker_share=0.0))
    if market.stop_pct > 0.0:
        changes.append(other("stop", "filled at the worst price of its bar", stop_gap=1.0))
    return [*changes, other("delay", "+ 1 bar", delay_bars=market.delay_bars + 1)]


def changes_of(market: Market, funding: F8 | None, bars: BarTable) -> list[Change]:
    """Return what is changed, one assumption at a time, the run as it is first.

    Parameters
    ----------
    market : Market
    funding : (T, N) float64 or None
    bars : BarTable
    """
    if funding is None:
        carried = [Change("funding", "longs pay 0.01 % every 8 h instead of none", market, usual_funding(bars))]
    else:
        carried = [Change("funding", "none", market, None), Change("funding", "x 2", market, 2.0 * funding)]
    return [Change("as run", "", market, funding), *_costs(market, funding, has_volume(bars)), *carried]


def _row(change: Change, bars: BarTable, result: SimResult, cash: float) -> dict[str, Any]:
    equity = result.track.equity
    years = len(equity) * bars.interval_s / (DAYS_PER_YEAR * 86_400)
    found = ratios(bars, equity, Stretch(0, len(equity), cash), years)
    return {
        "assumption": change.assumption, "change": change.change,
        **{name: found[name] for name in ("sharpe", "cagr", "max_drawdown")}, "final_equity": float(equity[-1]),
    }  # fmt: skip


def sensitivity(
    bars: BarTable,
    funding: F8 | None,
    resolved: Resolved,
    cash: float,
    wish: F8,
    between: Callable[[], None] = lambda: None,
) -> list[dict[str, Any]]:
    """Return the figures of a run with each of its assumptions changed against it, the run itself first.

    Parameters
    ----------
    bars : BarTable
    funding : (T, N) float64 or None
        As given to the run.
    resolved : Resolved
    cash : float, quote currency
    wish : (T, N) float64
        Recorded weights; read only when the strategy is a user's, which is not asked again.
    between : callable, optional
        Called before each rerun; may raise to stop.

    Returns
    -------
    list of dict
        ``assumption, change, sharpe, cagr, max_drawdown, final_equity``; NaN where a figure does not exist.
    """
    rows = []
    for change in changes_of(resolved.market, funding, bars):
        between()
        result = scan_again(bars, change.funding, resolved, cash, wish, change.market)
        rows.append(_row(change, bars, result, cash))
    return rows
