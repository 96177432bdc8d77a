"""Trying a strategy file out before it trades: on made-up bars, for mistakes, speed, memory and looking ahead."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

from engine.domain import NS_PER_S
from engine.errors import WorkstationError
from engine.research.loading import BarTable, align
from engine.research.user_scan import columns_of, same_signals, signals_at_once
from engine.strategies.user import UserRunner

SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT")
OPENING_PX = (60_000.0, 3_000.0, 150.0)
EXTRA_BARS = 300
FIRST_BARS = 1_500
"""Of its history, what a strategy is shown at first; all of it only where it has no opinion until then."""

SLOW_MS = 50.0


def made_up_bars(n_bars: int, symbols: tuple[str, ...] = SYMBOLS, seed: int = 1) -> BarTable:
    """Return bars of a seeded random walk with slow swings; they prove that code runs, and nothing else."""
    rng = np.random.default_rng(seed)
    ts_open = (1_700_000_000 // 3600 * 3600 + 3600 * np.arange(n_bars, dtype=np.int64)) * NS_PER_S
    series = []
    for index, symbol in enumerate(symbols):
        swing = 0.002 * np.sin(np.arange(n_bars) / 29.0 + index)
        close = OPENING_PX[index % 3] * np.exp(np.cumsum(swing + rng.normal(0.0, 0.006, n_bars)))
        open_px = np.concatenate([[OPENING_PX[index % 3]], close[:-1]])
        high = np.maximum(open_px, close) * (1.0 + rng.uniform(0.0, 0.002, n_bars))
        low = np.minimum(open_px, close) * (1.0 - rng.uniform(0.0, 0.002, n_bars))
        columns = (open_px, high, low, close, rng.uniform(50.0, 90.0, n_bars))
        series.append((symbol, ts_open, np.column_stack(columns)))
    return align(series)


def check_strategy(path: Path, params: dict[str, Any], symbols: tuple[str, ...] = SYMBOLS) -> list[dict[str, Any]]:
    """Return checks as ``name``, ``ok`` and ``detail``; the first that fails may leave the others out.

    Parameters
    ----------
    path : Path
    params : dict
        For the strategy's constructor.
    symbols : tuple of str
        Those that the strategy is to trade: it may name them.
    """
    try:
        runner = UserRunner(path, params, symbols)
    except WorkstationError as error:
        return [_check("Loads", False, str(error))]
    checks = [_check("Loads", True, f"class Strategy with {runner.method}; looks back at most {runner.history} bars")]
    n_bars = min(runner.history, FIRST_BARS) + EXTRA_BARS
    bars = made_up_bars(n_bars, symbols)
    try:
        weights, elapsed_ms = _run(runner, bars, n_bars)
        if runner.history > FIRST_BARS and not np.nan_to_num(weights).any():
            n_bars = runner.history + EXTRA_BARS
            bars = made_up_bars(n_bars, symbols)
            weights, elapsed_ms = _run(UserRunner(path, params, symbols), bars, n_bars)
    except WorkstationError as error:
        return [*checks, _check("Runs", False, str(error))]
    checks.append(_check("Runs", True, f"{n_bars} made-up bars of {', '.join(symbols)}"))
    checks += [_opinion(weights), _repeats(path, params, symbols, weights)]
    if runner.method == "signals":
        checks.append(_past_stays(path, params, bars, weights, runner.history))
    return [*checks, _speed(elapsed_ms)]


def _run(runner: UserRunner, bars: BarTable, n_bars: int) -> tuple[np.ndarray, np.ndarray]:
    columns = columns_of(bars)
    weights, elapsed_ms = np.full((n_bars, len(bars.symbols)), np.nan), np.zeros(n_bars)
    held = np.zeros(len(bars.symbols))
    for t in range(n_bars):
        began = time.perf_counter()
        weights[t] = runner.decide(int(bars.ts_close[t]), [column[t] for column in columns], held, 10_000.0)
        elapsed_ms[t] = (time.perf_counter() - began) * 1e3
        held = np.where(np.isnan(weights[t]), held, weights[t])
    return weights, elapsed_ms


def _opinion(weights: np.ndarray) -> dict[str, Any]:
    known = np.isfinite(weights)
    if not known.any():
        return _check(
            "Has an opinion", False,
            f"every answer over {len(weights):,d} bars was None or NaN: it would never trade. Is history too short?",
        )  # fmt: skip
    first = int(np.argmax(known.any(axis=1)))
    largest, gross = float(np.nanmax(np.abs(weights))), float(np.nanmax(np.nansum(np.abs(weights), axis=1)))
    said = f"first at bar {first}, largest weight {largest:.3g}, largest gross {gross:.3g}"
    if largest == 0.0:
        return _check(
            "Has an opinion", False, f"{said}: every weight over {len(weights):,d} bars is 0, so it would never trade"
        )
    return _check("Has an opinion", True, f"{said}; the gate caps a symbol at 0.5 and the book at 2.0 by default")


def _repeats(path: Path, params: dict[str, Any], symbols: tuple[str, ...], weights: np.ndarray) -> dict[str, Any]:
    """Run again on a history that goes on differently: what was decided before must come out to the bit."""
    cut = len(weights) - EXTRA_BARS // 2
    bars, other = made_up_bars(len(weights), symbols), made_up_bars(len(weights), symbols, seed=2)
    for name in ("open_px", "high_px", "low_px", "close_px", "volume"):
        getattr(bars, name)[cut:] = getattr(other, name)[cut:]
    again, _ = _run(UserRunner(path, params, symbols), bars, len(weights))
    if np.array_equal(again[:cut], weights[:cut], equal_nan=True):
        return _check("Repeats to the bit", True, "a second run, and one with another future, gave the same weights")
    bar = int(np.argmax((again[:cut] != weights[:cut]).any(axis=1)))
    return _check(
        "Repeats to the bit", False,
        f"a second run differs from bar {bar} on: give random numbers a fixed seed, and keep no memory outside of the "
        "object",
    )  # fmt: skip


def _past_stays(
    path: Path, params: dict[str, Any], bars: BarTable, weights: np.ndarray, history: int
) -> dict[str, Any]:
    """Compare what a whole table says of earlier bars with what was known at each bar's own close."""
    n_bars = min(history, len(weights))
    table = signals_at_once(path, params, bars, n_bars)
    same = same_signals(table, weights[:n_bars])
    if same.all():
        return _check("Past stays as it was", True, "no row of signals changes when later bars become known")
    bar, column = (int(place) for place in np.argwhere(~same)[0])
    return _check(
        "Past stays as it was", False,
        f"row {bar} of signals is {table[bar, column]:.4g} with later bars known and was {weights[bar, column]:.4g} at "
        "its own close: it looks ahead (a centred window, a scaler fitted to everything, a shift backwards?). Backtest "
        "and trading use the value at the close; a notebook would show the better one",
    )  # fmt: skip


def _speed(elapsed_ms: np.ndarray) -> dict[str, Any]:
    usual, slowest = float(np.median(elapsed_ms)), float(np.max(elapsed_ms))
    said = f"median {usual:.2f} ms, slowest {slowest:.1f} ms a decision"
    fits = usual <= SLOW_MS
    return _check("Fast enough", fits, said if fits else f"{said}; look back at fewer bars (history)")


def _check(name: str, ok: bool, detail: str) -> dict[str, Any]:
    return {"name": name, "ok": ok, "detail": detail}
