"""The account as the risk pages see it: what is held against which limits, and the hourly past of what is held."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.domain import NS_PER_S
from engine.errors import CommandRefused
from engine.limits import MAINTENANCE_RATE
from engine.research.book_risk import Returns, returns_of
from engine.research.book_stress import Control, HeldBook
from engine.runtime.gauges import Book
from engine.settings import SystemConfig
from storage.database import Database

if TYPE_CHECKING:
    from engine.runtime.engine import Engine
    from engine.runtime.loop import Loop

HOUR_NS = 3_600 * NS_PER_S
HISTORY_HOURS = 2 * 365 * 24
MEMORY_HOURS = 90 * 24
"""Hourly bars that the decision function's memory has seen before a scenario begins."""


def limits_in_force(loop: Loop) -> SystemConfig:
    """Return the settings that decisions use now: the capital ladder may have made their limits smaller."""
    return loop.config if loop.decider is None else loop.decider.config


def account_book(loop: Loop, positions: list[dict[str, Any]]) -> Book:
    """Return equity, its peak, the day's opening equity and the weights; ``positions`` are the screen's rows."""
    equity, peak, day_open = loop.equity_now(), math.nan, math.nan
    if loop.decider is not None and loop.decider.state.book[0]["peak_equity"] > 0:
        book = loop.decider.state.book[0]
        peak, day_open = max(float(book["peak_equity"]), equity), float(book["day_open_equity"])
    weight = {row["symbol"]: _weight(row, equity) for row in positions}
    near = {row["symbol"]: loop.liquidation.distance(row["symbol"]) for row in positions}
    return Book(equity, peak, day_open, weight, near, loop.executor.rate.in_minute(loop.executor.now()))


def _weight(row: dict[str, Any], equity: float) -> float:
    return math.nan if row["notional"] is None else float(row["notional"]) / equity


def hourly_history(store: Database, symbols: tuple[str, ...]) -> Returns:
    """Return up to two years of hourly log returns from the stored candles."""
    newest = store.rows("SELECT max(ts_open) AS ts FROM bars WHERE interval = '1h'")[0]["ts"] or 0
    table = store.read(
        "SELECT symbol, ts_open, close_px FROM bars WHERE interval = '1h' AND ts_open > ? AND list_contains(?, symbol)",
        [newest - HISTORY_HOURS * HOUR_NS, list(symbols)],
    )
    ts_close = table.column("ts_open").to_numpy() + HOUR_NS
    closes = table.column("close_px").to_numpy()
    return returns_of(table.column("symbol").to_pylist(), ts_close, closes, symbols, HOUR_NS)


def held_book(engine: Engine) -> HeldBook:
    """Return the positions with their marks and stops, for a replay; a flat account holds nothing of each symbol.

    Raises
    ------
    CommandRefused
        Equity or a position's price is unknown: a replay of half a book would look better than the book.
    """
    loop = engine.loop
    rows = loop.screen.position_rows()
    book = account_book(loop, rows)
    unknown = [row["symbol"] for row in rows if row["mark_px"] is None]
    if unknown or not book.equity > 0.0:
        what = f"the mark price of {', '.join(unknown)}" if unknown else "the account's equity"
        raise CommandRefused(f"The book cannot be replayed: {what} is unknown now. Try again when prices arrive.")
    if not rows:
        symbols = loop.config.symbols
        rows = [{"symbol": symbol, "qty": 0.0, "mark_px": 1.0, "stop_px": None} for symbol in symbols]
    gross = sum(abs(weight) for weight in book.weight.values()) * book.equity
    margin = loop.account.maintenance_margin
    stops = loop.config.use_protective_stops
    return HeldBook(
        tuple(row["symbol"] for row in rows),
        np.array([row["qty"] for row in rows]),
        np.array([row["mark_px"] for row in rows]),
        np.array([row["stop_px"] if stops and row["stop_px"] else math.nan for row in rows]),
        book.equity,
        book.peak_equity if book.peak_equity == book.peak_equity else book.equity,
        book.day_open_equity if book.day_open_equity > 0 else book.equity,
        margin / gross if gross > 0 and margin > 0 else MAINTENANCE_RATE,
        max((instrument.taker_fee for instrument in engine.instruments.values()), default=0.0),
    )  # fmt: skip


def control_of(config: SystemConfig, returns: Returns, symbols: tuple[str, ...]) -> Control:
    """Return what the engine's rules need to act hour by hour: parameters, memory and limits.

    Parameters
    ----------
    config : SystemConfig
    returns : Returns
        Hourly, of at least the book's symbols.
    symbols : tuple of str
        The book's, in its order.
    """
    columns = [returns.symbols.index(symbol) for symbol in symbols]
    recent = np.nan_to_num(returns.log_return[-MEMORY_HOURS:, columns])
    return Control(
        config.model_copy(update={"decision_interval": "1h", "symbols": tuple(symbols)}).params(),
        np.exp(np.cumsum(recent, axis=0) - recent.sum(axis=0)),
        config.max_daily_loss if config.use_gate_daily_loss else math.inf,
        config.max_total_drawdown if config.use_gate_drawdown else math.inf,
    )
