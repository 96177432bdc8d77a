"""Our own fills as evidence: what each parent order cost, and what the cost model is fitted to."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from engine.domain import NS_PER_S, Mode
from engine.execution.ids import CHILD, base36, order_prefix
from engine.execution.impact import CostModel, Paid, assumed_model, fitted, from_json
from engine.execution.orders import none_if_nan
from engine.execution.parents import Parent, tally
from engine.execution.quality import PARTS, Execution, Wanted, benchmarks, cost_bps, shortfall
from engine.research.own_costs import LIVE, file_name
from engine.runtime.executor import Executor
from engine.runtime.session import Session, market_key
from storage.database import Database

HOUR_NS, MINUTE_NS = 3600 * NS_PER_S, 60 * NS_PER_S
FEWEST_BARS = 10  # minutes of an hour that must be there before its volume and volatility count
NEWEST = 5_000
RESTING_TIFS = ("GTX", "GTC", "HIDDEN")


def quality_of(executor: Executor, parent: Parent, end_px: float) -> dict[str, Any]:
    """Return a finished parent's shortfall and benchmarks, as plain JSON types; unknown numbers are None."""
    store, spec = executor.store, parent.spec
    store.flush()
    prefix = f"{order_prefix(executor.tag)}{CHILD}-{base36(parent.parent_id)}-"
    rows = store.rows(
        "SELECT qty, px, fee, is_maker, arrival_px, ts_received FROM fills WHERE account = ? AND "
        "starts_with(client_id, ?) ORDER BY ts_received",
        [executor.account_key, prefix],
    )
    fills = [
        Execution(abs(r["qty"]), r["px"], _number(r["arrival_px"]), r["fee"] or 0.0, bool(r["is_maker"])) for r in rows
    ]
    decision_px = parent.arrival_px if math.isnan(parent.decision_px) else parent.decision_px
    wanted = Wanted(spec.side, spec.qty, decision_px, parent.arrival_px, end_px)
    split = shortfall(wanted, fills)
    notional = spec.qty * decision_px
    window = [spec.symbol, parent.ts_created, parent.ts_final]
    trades = store.rows("SELECT px, qty FROM ticks WHERE symbol = ? AND ts_received BETWEEN ? AND ?", window)
    tops = store.rows(
        "SELECT ts_received AS ts, (bid_px + ask_px) / 2 AS mid FROM book_tops WHERE symbol = ? "
        "AND ts_received BETWEEN ? AND ? ORDER BY ts_received",
        window,
    )
    market = benchmarks(
        [(t["px"], t["qty"]) for t in trades], [(t["ts"], t["mid"]) for t in tops], parent.ts_created, parent.ts_final
    )
    filled = math.fsum(fill.qty for fill in fills)
    avg_px = math.fsum(fill.qty * fill.px for fill in fills) / filled if filled > 0 else math.nan
    maker = math.fsum(fill.qty for fill in fills if fill.is_maker)
    return {
        "parts": {name: none_if_nan(value) for name, value in zip(PARTS, split, strict=True)},
        "total": none_if_nan(split.total), "total_bps": none_if_nan(split.total / notional * 1e4),
        "notional": none_if_nan(notional), "filled": filled, "maker_share": maker / filled if filled > 0 else None,
        "against": {
            "arrival_bps": none_if_nan(cost_bps(spec.side, avg_px, parent.arrival_px)),
            "vwap_bps": none_if_nan(cost_bps(spec.side, avg_px, market.vwap_px)),
            "twap_bps": none_if_nan(cost_bps(spec.side, avg_px, market.twap_px)),
        },
    }  # fmt: skip


def keep_quality(executor: Executor, parent: Parent, children: list[Any], quality: dict[str, Any]) -> None:
    """Write a finished parent's row again with what it cost."""
    row = parent.row(executor.account_key, tally(children)) | {"quality": json.dumps(quality, allow_nan=False)}
    executor.store.append("parents", [row])


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


class Hours:
    """Volume and volatility of the hour before a moment, from stored minute candles of one symbol."""

    def __init__(self, store: Database, symbol: str) -> None:
        found = store.read(
            "SELECT ts_open, close_px, coalesce(volume, 0.0) AS volume FROM bars WHERE symbol = ? AND interval = '1m' "
            "ORDER BY ts_open",
            [symbol],
        )
        self._ts, close_px, volume = (found.column(name).to_numpy() for name in ("ts_open", "close_px", "volume"))
        self._volume = np.concatenate(([0.0], np.cumsum(volume)))
        squares = np.diff(np.log(close_px), prepend=np.log(close_px[:1])) ** 2
        self._squares = np.concatenate(([0.0], np.cumsum(squares)))

    def at(self, ts: int) -> tuple[float, float]:
        """Return volume (base) and volatility of the hour that ends at ``ts``; NaN with too few candles."""
        first, last = np.searchsorted(self._ts, [ts - HOUR_NS, ts - MINUTE_NS + 1])
        if last - first < FEWEST_BARS:
            return math.nan, math.nan
        scale = 60.0 / (last - first)
        volume = (self._volume[last] - self._volume[first]) * scale
        return float(volume), math.sqrt(max(float(self._squares[last] - self._squares[first]), 0.0) * scale)


class Origin(NamedTuple):
    """Whose fills are evidence of one another: those of one market, and with real money those of one account."""

    market: str  # of ``engine.research.own_costs.PREFERRED``
    accounts: tuple[str, ...]


def origin_of(store: Database, session: Session) -> Origin:
    """Return what this session's cost model is fitted to.

    Every start of the practice exchange makes a new account; those that traded the same kind of market count together.
    """
    if session.mode == Mode.LIVE:
        return Origin(LIVE, (session.account_key,))
    prefix, kind = market_key(""), session.market_source
    rows = store.rows("SELECT key, value FROM settings WHERE starts_with(key, ?)", [prefix])
    same = {row["key"].removeprefix(prefix) for row in rows if json.loads(row["value"]) == kind}
    return Origin(kind, tuple(sorted({*same, session.account_key})))


def paid_children(store: Database, accounts: Sequence[str]) -> list[tuple[dict[str, Any], Paid]]:
    """Return every finished order of some accounts that filled, newest last: its row, and it as the fit sees it."""
    rows = store.rows(
        "WITH made AS (SELECT o.client_id, o.symbol, o.side, o.tif, max(f.ts_filled) AS ts, sum(abs(f.qty)) AS qty, "
        "sum(abs(f.qty) * f.px) AS worth, sum(CASE WHEN f.is_maker THEN abs(f.qty) * f.px ELSE 0 END) AS made, "
        "sum(CASE WHEN f.is_maker THEN f.fee ELSE 0 END) AS maker_fee, "
        "sum(CASE WHEN f.is_maker THEN 0 ELSE f.fee END) AS taker_fee, max(f.arrival_px) AS mid "
        "FROM fills f JOIN orders o USING (account, client_id) WHERE o.purpose IN ('target', 'manual', 'flatten') "
        "AND list_contains(?, f.account) "
        f"GROUP BY ALL ORDER BY ts DESC LIMIT {NEWEST}) "
        f"SELECT m.*, CASE WHEN b.ts_exchange <= m.ts + {2 * MINUTE_NS} THEN (b.bid_px + b.ask_px) / 2 END AS later "
        f"FROM (SELECT *, ts + {MINUTE_NS} AS after FROM made) m ASOF LEFT JOIN book_tops b "
        "ON m.symbol = b.symbol AND m.after <= b.ts_exchange ORDER BY m.ts",
        [list(accounts)],
    )
    hours: dict[str, Hours] = {}
    found = []
    for row in rows:
        hour = hours.setdefault(row["symbol"], Hours(store, row["symbol"]))
        volume, sigma = hour.at(row["ts"])
        mid, side = _number(row["mid"]), row["side"]
        paid = Paid(
            side * (row["worth"] / row["qty"] / mid - 1.0), side * (_number(row["later"]) / mid - 1.0),
            row["qty"] / volume if volume > 0 else math.nan, sigma, row["worth"], row["made"], row["taker_fee"],
            row["maker_fee"], row["tif"] in RESTING_TIFS,
        )  # fmt: skip
        found.append((row, paid))
    return found


def fit_costs(store: Database, session: Session, fees: tuple[float, float], now: int) -> dict[str, Any]:
    """Fit the cost model to our fills on this market, keep it as a new version, and return it.

    Parameters
    ----------
    session : Session
        Whose model it is; the file of another market, and that of real money, stay as they are.
    fees : (taker, maker), fractions of notional
        The venue's rates: used where nothing was paid yet.
    """
    store.flush()
    origin = origin_of(store, session)
    pairs = paid_children(store, origin.accounts)
    model = fitted([paid for _, paid in pairs], *fees)
    body = json.dumps(model.as_json(), sort_keys=True, allow_nan=False)
    version = "c" + hashlib.sha256(f"{now}{body}".encode()).hexdigest()[:8]
    n_parents = store.rows(
        "SELECT count(*) AS n FROM parents WHERE quality IS NOT NULL AND list_contains(?, account)",
        [list(origin.accounts)],
    )[0]["n"]
    row = {
        "version": version, "ts": now, "account": session.account_key, "n_fills": model.n_children,
        "n_parents": n_parents,
    }  # fmt: skip
    store.append_durable("cost_models", [row | {"model": body}]).result(30)
    kept = row | {"model": model.as_json(), "mode": str(session.mode), "market": origin.market}
    place = store.path.parent / file_name(origin.market)
    scratch = place.with_suffix(".tmp")
    scratch.write_text(json.dumps(kept, indent=1, allow_nan=False))
    scratch.replace(place)
    return kept


def newest_costs(
    store: Database, accounts: Sequence[str], fees: tuple[float, float]
) -> tuple[dict[str, Any] | None, CostModel]:
    """Return the row and the model of the newest fit by some accounts, or None and what is assumed."""
    rows = store.rows(
        "SELECT * FROM cost_models WHERE list_contains(?, account) ORDER BY ts DESC LIMIT 1", [list(accounts)]
    )
    if not rows:
        return None, assumed_model(*fees)
    return rows[0], from_json(json.loads(rows[0]["model"]))
