"""The drift meter on the record: gathers a day, has it measured, keeps the outcome and says when it is too large."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from engine.domain import INTERVAL_S, NS_PER_DAY, NS_PER_S, Instrument, InstrumentTable
from engine.errors import CommandRefused, ConfigError, DataError
from engine.research.drift import MIN_DECISIONS, PARTS, Day, Drift, Executed, Made, measure
from engine.research.loading import BarTable, align
from engine.research.user_scan import columns_of
from engine.runtime.decider import MAX_WARM_UP_BARS
from engine.runtime.evidence import both
from engine.runtime.user_sleeve import UserSleeve
from engine.settings import SystemConfig
from engine.strategies.versions import is_file, kept_path
from storage.database import Database

LIMIT_BPS = 25.0  # of the opening equity, a day
MIN_DAYS, WITHIN_DAYS, NEWEST_DAYS = 5, 14, 3
MAX_JOINED_DAYS = 12  # of decisions that are too far apart for ten of them in a day
CATCH_UP_DAYS = 7
FILTERS = "filters"  # key in table settings: the venue's filters when the engine last started
FILTER_NAMES = ("tick_size", "lot_size", "min_qty", "max_qty", "min_notional")


def remember_filters(store: Database, instruments: dict[str, Instrument], symbols: Sequence[str]) -> None:
    """Keep the venue's filters, so that a day can be replayed without the venue."""
    known = {s: {name: getattr(instruments[s], name) for name in FILTER_NAMES} for s in symbols if s in instruments}
    store.remember(FILTERS, store.recall(FILTERS, {}) | known)


def yesterday(now_ns: int) -> str:
    """Return the UTC day before, as YYYY-MM-DD."""
    return (datetime.fromtimestamp(now_ns / NS_PER_S, UTC) - timedelta(days=1)).date().isoformat()


def _day_ns(day: str) -> int:
    try:
        moment = datetime.strptime(day, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        raise CommandRefused(f"{day!r} is not a day of the form 2026-01-31.") from None
    return int(moment.timestamp()) * NS_PER_S


def unmeasured(store: Database, now_ns: int, account: str) -> list[str]:
    """Return the days of the last ``CATCH_UP_DAYS`` that are over and were not measured since, newest first.

    An engine that was down at night owes them; a day measured by hand before its end is owed too.
    """
    done = {row["day"] for row in store.rows("SELECT day, ts FROM drift WHERE account = ?", [account])
            if row["ts"] >= _day_ns(row["day"]) + NS_PER_DAY}  # fmt: skip
    days = [yesterday(now_ns - back * NS_PER_DAY) for back in range(CATCH_UP_DAYS)]
    return [day for day in days if day not in done]


def measure_day(store: Database, day: str, account: str | None = None) -> dict[str, Any]:
    """Measure one UTC day of the newest account, keep the outcome and return it as a row of table ``drift``.

    Raises
    ------
    CommandRefused
        Too little is on the record of that day, with what is missing.
    """
    store.flush()
    account, began = _account(store, account)
    made = _made(store, _day_ns(day), began)
    try:
        gathered = _gather(store, made, account)
        try:
            found = measure(gathered)
        finally:
            if isinstance(gathered.wishes, _Replayed):
                gathered.wishes.close()
    except (ConfigError, DataError, ValueError, LookupError) as error:
        raise CommandRefused(f"{day} cannot be replayed: {error}.") from error
    row = _row(found, account, day, gathered.config.strategy)
    store.append_durable("drift", [row]).result(30)
    return row


def _account(store: Database, account: str | None) -> tuple[str, int]:
    rows = store.rows("SELECT substr(key, 7) AS account, value FROM settings WHERE key LIKE 'began:%'")
    began = {row["account"]: int(json.loads(row["value"])) for row in rows}
    if not began or (account is not None and account not in began):
        raise CommandRefused("Nothing has been traded on this record yet, so there is no day to replay.")
    newest = account or max(began, key=lambda name: began[name])
    return newest, began[newest]


def _made(store: Database, day_ns: int, began: int) -> list[Made]:
    # settings may have changed within the day: the longest stretch under the same ones is measured
    found = max(_stretches(store, day_ns, day_ns + NS_PER_DAY, began), key=len, default=[])
    if 0 < len(found) < MIN_DECISIONS and _is_slow(found):
        # no day of such decisions has enough: the newest ten that end in this day, under the same settings
        first_ns = day_ns - (MAX_JOINED_DAYS - 1) * NS_PER_DAY
        found = _stretches(store, first_ns, day_ns + NS_PER_DAY, began)[-1][-MIN_DECISIONS:]
        if len(found) < MIN_DECISIONS:
            raise CommandRefused(
                f"There are {len(found)} decisions under the same settings up to that day; {MIN_DECISIONS} are needed, "
                "from several days where they are hours apart. It takes some more days."
            )
    if len(found) < MIN_DECISIONS:
        raise CommandRefused(
            f"There are {len(found)} decisions under the same settings on that day; {MIN_DECISIONS} are needed."
        )
    return [
        Made(
            row["decision_id"], row["ts_close"], row["ts_decided"], row["equity"], row["drawdown"] or 0.0,
            row["day_pnl"] or 0.0, json.loads(row["detail"]),
        )
        for row in found
    ]  # fmt: skip


def _stretches(store: Database, after_ns: int, until_ns: int, began: int) -> list[list[dict[str, Any]]]:
    """Return decisions in groups under the same settings, oldest first."""
    rows = store.rows(
        "SELECT decision_id, ts_close, ts_decided, equity, drawdown, day_pnl, params_hash, detail FROM decisions "
        "WHERE ts_close > ? AND ts_close <= ? AND ts_decided >= ? AND equity IS NOT NULL ORDER BY decision_id",
        [after_ns, until_ns, began],
    )
    return [list(group) for _, group in itertools.groupby(rows, key=lambda row: row["params_hash"])]


def _is_slow(found: list[dict[str, Any]]) -> bool:
    """Return whether a whole day of these decisions has fewer than are needed."""
    interval = json.loads(found[0]["detail"]).get("params", {}).get("decision_interval", "1m")
    return INTERVAL_S[interval] * NS_PER_S * MIN_DECISIONS > NS_PER_DAY


def _gather(store: Database, made: list[Made], account: str) -> Day:
    first, last = made[0], made[-1]
    if "venue_mark_px" not in first.detail:
        raise CommandRefused("That day was recorded by an earlier version, which did not keep the venue's marks.")
    config = SystemConfig.model_validate(first.detail["params"])
    symbols = tuple(first.detail["symbols"])
    bars = _bars(store, symbols, config.decision_interval, last.ts_close)
    if first.ts_close not in bars.ts_close or last.ts_close not in bars.ts_close:
        raise CommandRefused("Candles of that day are missing from the record, so it cannot be replayed.")
    paid = store.rows(
        "SELECT coalesce(sum(amount), 0) AS n FROM incomes WHERE account = ? AND kind = 'FUNDING_FEE' "
        "AND ts > ? AND ts <= ?", [account, first.ts_close, last.ts_close],
    )[0]["n"]  # fmt: skip
    executed = _executed(store, account, first, last, symbols)
    wishes = _Replayed(store.path.parent, config, bars, first.ts_close) if is_file(config.strategy) else None
    return Day(config, bars, made, executed, _funding(store, bars), -float(paid), _filters(store, symbols), wishes)


def _bars(store: Database, symbols: tuple[str, ...], interval: str, until: int) -> BarTable:
    span = INTERVAL_S[interval] * NS_PER_S
    series = []
    for symbol in symbols:
        table = store.read(
            "SELECT ts_open, open_px, high_px, low_px, close_px, volume FROM bars "
            "WHERE symbol = ? AND interval = ? AND ts_open >= ? AND ts_open < ? ORDER BY ts_open",
            [symbol, interval, until - MAX_WARM_UP_BARS * span, until],
        )
        if table.num_rows < 2:
            raise CommandRefused(f"There are no candles of {symbol} on the record, so the day cannot be replayed.")
        values = np.column_stack([table.column(index).to_numpy() for index in range(1, 6)])
        series.append((symbol, table.column(0).to_numpy(), values))
    return align(series)


def _executed(store: Database, account: str, first: Made, last: Made, symbols: tuple[str, ...]) -> list[Executed]:
    rows = store.rows(
        "SELECT f.symbol, f.qty, f.px, f.fee, f.arrival_px, f.decision_id, o.purpose, f.ts_received FROM fills f "
        "LEFT JOIN orders o ON o.account = f.account AND o.client_id = f.client_id "
        "WHERE f.account = ? AND f.ts_received > ? AND f.ts_received <= ? ORDER BY f.ts_received, f.trade_id",
        [account, first.ts_decided, last.ts_decided],
    )
    return [
        Executed(
            row["symbol"], row["qty"], row["px"], row["fee"] or 0.0,
            np.nan if row["arrival_px"] is None else row["arrival_px"], row["decision_id"] or 0,
            row["purpose"] or "external", row["ts_received"],
        )
        for row in rows
        if row["symbol"] in symbols
    ]  # fmt: skip


def _funding(store: Database, bars: BarTable) -> np.ndarray:
    rates = np.zeros((len(bars.ts_open), len(bars.symbols)))
    for row in store.rows("SELECT symbol, ts_funding, rate FROM funding WHERE rate IS NOT NULL"):
        index = int(np.searchsorted(bars.ts_close, row["ts_funding"]))
        if row["symbol"] in bars.symbols and row["ts_funding"] > bars.ts_open[0] and index < len(rates):
            rates[index, bars.symbols.index(row["symbol"])] += row["rate"]
    return rates


def _filters(store: Database, symbols: tuple[str, ...]) -> InstrumentTable:
    known = store.recall(FILTERS, {})
    missing = [symbol for symbol in symbols if symbol not in known]
    if missing:
        raise CommandRefused(f"The venue's filters of {missing[0]} are not on the record: start the engine once.")
    columns = {name: np.array([float(known[symbol][name]) for symbol in symbols]) for name in FILTER_NAMES}
    return InstrumentTable(**columns)


class _Replayed:
    """A user's strategy as a replay asks it: in a process of its own, begun anew and warmed up for each world."""

    def __init__(self, home: Path, config: SystemConfig, bars: BarTable, ts_first: int) -> None:
        self._config, self._bars = config, bars
        self._path = kept_path(home, config.strategy)
        self._first = int(np.searchsorted(bars.ts_close, ts_first))
        self._next, self._sleeve = 0, self._begun()

    def _begun(self) -> UserSleeve:
        sleeve = UserSleeve(self._path, self._config.strategy_params, self._bars.symbols)
        sleeve.open()
        for t in range(max(self._first - sleeve.history, 0), self._first):
            sleeve.see(int(self._bars.ts_close[t]), self._rows(t))
        self._next = self._first
        return sleeve

    def _rows(self, t: int) -> list[np.ndarray]:
        return [column[t] for column in columns_of(self._bars)]

    def __call__(self, t: int, weight: np.ndarray, equity: float) -> np.ndarray:
        if t < self._next:
            self.close()
            self._sleeve = self._begun()
        self._next = t + 1
        found = self._sleeve.ask(int(self._bars.ts_close[t]), self._rows(t), weight, equity)
        if self._sleeve.trouble is not None:
            raise DataError(self._sleeve.trouble)
        return found

    def close(self) -> None:
        self._sleeve.close()


def _row(found: Drift, account: str, day: str, strategy: str) -> dict[str, Any]:
    largest = max(found.parts, key=lambda name: abs(found.parts[name]))
    is_small = abs(found.drift_bps) <= LIMIT_BPS
    joined = f" a day over {found.days:.1f} days that end then" if found.days > 1.0 else ""
    verdict = (
        f"{'within' if is_small else 'beyond'} the limit of {LIMIT_BPS:.0f} bp a day: {found.drift_bps:+.1f} bp of "
        f"equity{joined}, the largest part is {largest} with {found.parts[largest]:+.2f}"
    )
    return {
        "account": account, "day": day, "ts": time.time_ns(), "strategy": strategy,
        "n_decisions": found.n_decisions, "n_fills": found.n_fills, "equity": found.equity,
        "pnl_recorded": found.pnl_recorded, "pnl_replayed": found.pnl_replayed,
        **{name: found.parts[name] for name in PARTS}, "drift_bps": found.drift_bps, "verdict": verdict,
    }  # fmt: skip


def drift_rows(store: Database, limit: int = 60) -> list[dict[str, Any]]:
    """Return the measured days of both records, newest first."""
    rows = both(store, f"SELECT * FROM drift ORDER BY day DESC, ts DESC LIMIT {int(limit)}")
    return sorted(rows, key=lambda row: (row["day"], row["ts"]), reverse=True)


def drift_verdict(store: Database, strategy: str, now_ns: int) -> tuple[bool, str]:
    """Return whether the measured days of a strategy allow more capital, and the sentence that says why."""
    today = datetime.fromtimestamp(now_ns / NS_PER_S, UTC).date()
    since = (today - timedelta(days=WITHIN_DAYS)).isoformat()
    # measured by hand before it is over, a day shows a part of its drift, and counts only once it is measured anew
    rows = [
        row
        for row in drift_rows(store)
        if row["strategy"] == strategy and row["day"] >= since and row["ts"] >= _day_ns(row["day"]) + NS_PER_DAY
    ]
    if len(rows) < MIN_DAYS:
        return False, (
            f"{len(rows)} of {MIN_DAYS} days measured in the last {WITHIN_DAYS}. Each night measures the day before; "
            "python -m engine drift does it now."
        )
    if rows[0]["day"] < (today - timedelta(days=NEWEST_DAYS)).isoformat():
        return False, f"The newest measured day is {rows[0]['day']}; {NEWEST_DAYS} days is the limit."
    usual = float(np.median([abs(row["drift_bps"]) for row in rows]))
    beyond = sum(abs(row["drift_bps"]) > LIMIT_BPS for row in rows)
    said = f"{len(rows)} days, median {usual:.1f} bp of equity a day, {beyond} beyond {LIMIT_BPS:.0f} bp"
    return beyond * 5 <= len(rows), f"{said}; one day in five may be."


def too_large(row: dict[str, Any]) -> str | None:
    """Return the incident's sentence when a day's drift is beyond the limit."""
    if abs(row["drift_bps"]) <= LIMIT_BPS:
        return None
    return (
        f"profit of {row['day']} differs from its replay by {row['drift_bps']:+.1f} bp of equity: {row['verdict']}. "
        "See Drift on the Health page and the decisions of that day in the journal"
    )
