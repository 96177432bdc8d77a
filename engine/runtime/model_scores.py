"""Forecasts as they are stored, the bars and funding that models are shown, and the outcomes that have come."""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from engine.domain import NS_PER_DAY, NS_PER_S, Bar
from storage.database import Database

ENSEMBLE = "ensemble"
BAR_NS = 3_600 * NS_PER_S
INTERVAL = "1h"
FUNDING_AGE_NS = 2 * NS_PER_DAY
"""Older rates are unknown, as in the panels that models learn from."""

SIDES = {0.95: ("low_95", "high_95"), 0.9: ("low_90", "high_90"), 0.8: ("low", "high"), 0.5: ("low_50", "high_50")}
"""Columns of ``forecasts`` that bound each central interval."""

OUTCOMES = (
    "SELECT f.ts_close, f.symbol, f.version, f.model, f.horizon, f.role, f.median, f.low, f.high, f.prob_up, "
    "f.low_50, f.high_50, f.low_90, f.high_90, f.low_95, f.high_95, "
    "ln(b.close_px / f.close_px) / (f.sigma * sqrt(f.horizon)) AS outcome "
    "FROM forecasts f JOIN bars b ON b.symbol = f.symbol AND b.interval = ? "
    "AND b.ts_open = f.ts_close + (f.horizon - 1) * ? "
    "WHERE f.close_px > 0 AND f.sigma > 0 AND b.close_px > 0 AND f.prob_up IS NOT NULL"
)
"""A forecast made at a close over h bars comes true at the close of the bar that opens h - 1 bars later."""


def forecast_scores(store: Database, since_ns: int = 0) -> pa.Table:
    """Return what past forecasts of each model were worth by horizon, from ``since_ns`` on.

    ``n`` outcomes, ``direction`` (share of them on the side that the probability named), ``covered_80`` (share inside
    the stated 80 % interval) and ``log_loss``. Overlapping outcomes count as they are: errors are not stated here.
    """
    return store.read(
        f"WITH o AS ({OUTCOMES} AND f.ts_close >= ?) SELECT version, model, horizon, any_value(role) AS role, "
        "count(*) AS n, avg(CAST((prob_up > 0.5) = (outcome > 0) AS DOUBLE)) AS direction, "
        "avg(CAST(outcome BETWEEN low AND high AS DOUBLE)) AS covered_80, "
        "avg(-ln(greatest(CASE WHEN outcome > 0 THEN prob_up ELSE 1 - prob_up END, 1e-6))) AS log_loss "
        "FROM o GROUP BY 1, 2, 3 ORDER BY 1, 2, 3",
        [INTERVAL, BAR_NS, since_ns],
    )


def forecast_rows(role: str, answer: dict[str, Any], levels: list[float], horizons: list[int]) -> list[dict[str, Any]]:
    """Return one answer of the models' process as rows of table ``forecasts``; what is unknown is left out."""
    mid = levels.index(0.5)
    at = {
        name: levels.index(round((1.0 + side * level) / 2.0, 3))
        for level, names in SIDES.items() for side, name in zip((-1.0, 1.0), names, strict=True)
    }  # fmt: skip
    said = dict(answer.get("models") or {})
    if answer.get("ensemble"):
        said[ENSEMBLE] = answer["ensemble"]
    rows = []
    for model, one in said.items():
        for i, symbol in enumerate(answer["symbols"]):
            for h, horizon in enumerate(horizons):
                quantile, prob_up = one["quantile"][i][h], one["prob_up"][i][h]
                if prob_up is None or quantile[mid] is None:
                    continue
                weight = one.get("weight")
                rows.append({
                    "ts_close": answer["ts_close"], "symbol": symbol, "version": answer["version"], "model": model,
                    "horizon": horizon, "role": role, "close_px": answer["close_px"][i], "sigma": answer["sigma"][i],
                    "median": quantile[mid], "prob_up": prob_up, "weight": None if weight is None else weight[i][h],
                    **{name: quantile[place] for name, place in at.items()},
                })  # fmt: skip
    return rows


def rows_of(symbols: Sequence[str], bars: dict[str, Bar]) -> list[list[float | None]]:
    """Return open, high, low, close and volume, each of all symbols; None where a symbol has no bar."""
    names = ("open_px", "high_px", "low_px", "close_px", "volume")
    return [[getattr(bars[s], name) if s in bars else None for s in symbols] for name in names]


def stored_bars(store: Database, symbols: tuple[str, ...], interval: str, count: int) -> list[Any]:
    """Return the newest stored bars on one clock, oldest first.

    (ts_close, [open, high, low, close, volume, funding] of (N,)); funding is the newest rate that was settled by then.
    None where a symbol has no bar, or no rate; the clock has no holes.
    """
    names = ("open_px", "high_px", "low_px", "close_px", "volume")
    holes = ", ".join("?" for _ in symbols)
    table = store.read(
        f"SELECT symbol, ts_open, {', '.join(names)} FROM bars WHERE interval = ? AND symbol IN ({holes}) "
        f"AND ts_open > (SELECT max(ts_open) FROM bars WHERE interval = ? AND symbol IN ({holes})) - ? "
        "ORDER BY ts_open",
        [interval, *symbols, interval, *symbols, count * BAR_NS],
    )
    if not table.num_rows:
        return []
    column = {name: table.column(name).to_pylist() for name in ("symbol", "ts_open", *names)}
    first, last = column["ts_open"][0], column["ts_open"][-1]
    place = {symbol: i for i, symbol in enumerate(symbols)}
    rows: list[Any] = [
        (ts + BAR_NS, [[None] * len(symbols) for _ in names]) for ts in range(first, last + BAR_NS, BAR_NS)
    ]
    for k, symbol in enumerate(column["symbol"]):
        for at, name in enumerate(names):
            rows[(column["ts_open"][k] - first) // BAR_NS][1][at][place[symbol]] = column[name][k]
    funding = settled(store, symbols, first, last + BAR_NS)
    for ts, columns in rows:
        columns.append([_rate_at(funding[symbol], ts) for symbol in symbols])
    return rows


Rates = tuple[list[int], list[float]]  # moments of settlement, ns, rising, and rates


def settled(store: Database, symbols: tuple[str, ...], since: int, until: int) -> dict[str, Rates]:
    """Return the settled funding rates of every symbol that may count between two moments, ns."""
    holes = ", ".join("?" for _ in symbols)
    found: dict[str, Rates] = {symbol: ([], []) for symbol in symbols}
    for row in store.rows(
        f"SELECT symbol, ts_funding, rate FROM funding WHERE symbol IN ({holes}) AND ts_funding > ? "
        "AND ts_funding <= ? AND rate IS NOT NULL ORDER BY ts_funding",
        [*symbols, since - FUNDING_AGE_NS, until],
    ):
        moments, rates = found[row["symbol"]]
        moments.append(row["ts_funding"])
        rates.append(row["rate"])
    return found


def rates_at(store: Database, symbols: tuple[str, ...], ts: int) -> list[float | None]:
    """Return the newest rate of every symbol that was settled by a moment, None where it is unknown or too old."""
    found = settled(store, symbols, ts, ts)
    return [_rate_at(found[symbol], ts) for symbol in symbols]


def _rate_at(rates: Rates, ts: int) -> float | None:
    at = bisect.bisect_right(rates[0], ts) - 1
    return rates[1][at] if at >= 0 and ts - rates[0][at] <= FUNDING_AGE_NS else None
