"""How much of a result hangs on each assumption: the same rule again, with one assumption changed at a time."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from engine.core.simulate import SimResult
from engine.domain import F8, NS_PER_S, InstrumentTable
from engine.research.config import Resolved
from engine.research.figures import DAYS_PER_YEAR, Stretch, ratios
from engine.research.funding_cover import Known
from engine.research.loading import BarTable
from engine.research.run_params import IMPACT, LIQUIDATION_FEE, MAINTENANCE_MARGIN, SPREAD_VOL, Market
from engine.research.simulation import has_volume, scan_again

SETTLEMENT_S = 28_800
USUAL_FUNDING = 0.0001
"""What longs pay at each settlement where nobody wants one side more: the interest part, 0.01 % every 8 hours."""


LATENCY_MS = 60_000.0
PARTICIPATION = 0.01
LOT_VALUE = 10.0
"""Quote currency: venues make a lot a power of ten of the base that is worth about as much."""

MIN_NOTIONAL = 50.0


class Change(NamedTuple):
    """One assumption made otherwise."""

    assumption: str
    change: str
    market: Market
    funding: F8 | None
    instruments: InstrumentTable


def usual_funding(bars: BarTable) -> F8:
    """Return rates (T, N) as if longs had paid the interest part at every settlement."""
    closes_s = bars.ts_close // NS_PER_S
    due = closes_s // SETTLEMENT_S - (closes_s - bars.interval_s) // SETTLEMENT_S
    rates = np.repeat((USUAL_FUNDING * due)[:, None], len(bars.symbols), axis=1)
    return np.ascontiguousarray(rates, dtype=np.float64)


def _costs(run: Change, volume_known: bool) -> list[Change]:
    market = run.market

    def other(assumption: str, change: str, **fields: Any) -> Change:
        return run._replace(assumption=assumption, change=change, market=market._replace(**fields))

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
    changes.append(other("delay", "+ 1 bar", delay_bars=market.delay_bars + 1))
    later = market.latency_ms + LATENCY_MS
    return [*changes, other("latency", f"+ {LATENCY_MS / 1000.0:g} s", latency_ms=later)]


def _venue(run: Change, bars: BarTable, gate: bool, volume_known: bool) -> list[Change]:
    """Return what the venue may ask for. Its filters and a thin market are not simulated without the gate."""
    market, filters = run.market, run.instruments
    margin = market.maintenance_margin
    change = "x 2" if margin > 0.0 else f"{MAINTENANCE_MARGIN:g} instead of none"
    asked = market._replace(
        maintenance_margin=2.0 * margin or MAINTENANCE_MARGIN,
        liquidation_fee=market.liquidation_fee or LIQUIDATION_FEE,
    )
    changes = [run._replace(assumption="margin", change=change, market=asked)]
    if not gate:
        return changes
    if volume_known:
        limit = market.max_participation
        part, instead = (PARTICIPATION, "no limit") if limit is None else (limit / 2.0, f"{limit:g}")
        said = f"{part:g} of a bar's volume instead of {instead}"
        thin = market._replace(max_participation=part)
        changes.append(run._replace(assumption="participation", change=said, market=thin))
    lots = np.where(filters.lot_size > 0.0, 10.0 * filters.lot_size, venue_lots(bars))
    coarse = "x 10" if (filters.lot_size > 0.0).any() else f"powers of ten worth about {LOT_VALUE:g} instead of none"
    rounded = filters._replace(lot_size=lots, min_qty=np.maximum(filters.min_qty, lots))
    changes.append(run._replace(assumption="lots", change=coarse, instruments=rounded))
    least = np.maximum(10.0 * filters.min_notional, MIN_NOTIONAL)
    said = f"{least.max():g} instead of {filters.min_notional.max():g}"
    larger = filters._replace(min_notional=least)
    return [*changes, run._replace(assumption="smallest order", change=said, instruments=larger)]


def venue_lots(bars: BarTable) -> F8:
    """Return for every symbol the power of ten of the base that is worth about ``LOT_VALUE`` at its middle price, (N,).

    0, which rounds nothing, for a symbol without bars.
    """
    lots = np.zeros(len(bars.symbols))
    for i, column in enumerate(bars.close_px.T):
        closes = column[np.isfinite(column)]
        if len(closes):
            lots[i] = 10.0 ** round(math.log10(LOT_VALUE / float(np.median(closes))))
    return lots


def _funding(run: Change, bars: BarTable, known: Known | None) -> list[Change]:
    if run.funding is None:
        said = "longs pay 0.01 % every 8 h instead of none"
        return [run._replace(assumption="funding", change=said, funding=usual_funding(bars))]
    changes = [
        run._replace(assumption="funding", change="none", funding=None),
        run._replace(assumption="funding", change="x 2", funding=2.0 * run.funding),
    ]
    if known is not None and not known.all():
        filled = np.where(known, run.funding, usual_funding(bars))
        said = "longs pay 0.01 % every 8 h where it is unknown"
        changes.append(run._replace(assumption="funding", change=said, funding=filled))
    return changes


def changes_of(resolved: Resolved, funding: F8 | None, bars: BarTable, known: Known | None = None) -> list[Change]:
    """Return what is changed, one assumption at a time, the run as it is first.

    Parameters
    ----------
    resolved : Resolved
    funding : (T, N) float64 or None
    bars : BarTable
    known : (T, N) bool, optional
        Where funding is known; default: wherever it is given.
    """
    run = Change("as run", "", resolved.market, funding, resolved.instruments)
    volume_known = has_volume(bars)
    venue = _venue(run, bars, resolved.params.gate, volume_known)
    return [run, *_costs(run, volume_known), *venue, *_funding(run, bars, known)]


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
    known: Known | None = None,
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
    known : (T, N) bool, optional
        Where funding is known.

    Returns
    -------
    list of dict
        ``assumption, change, sharpe, cagr, max_drawdown, final_equity``; NaN where a figure does not exist.
    """
    rows = []
    for change in changes_of(resolved, funding, bars, known):
        between()
        asked = resolved._replace(instruments=change.instruments)
        result = scan_again(bars, change.funding, asked, cash, wish, change.market)
        rows.append(_row(change, bars, result, cash))
    return rows
