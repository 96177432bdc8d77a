"""Made-up worlds: the same clock and coins, but returns drawn at random, so that nothing in them can be foretold."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from engine.core.simulate import SimResult
from engine.domain import F8
from engine.research.loading import GRID_COLUMNS, BarTable

N_WORLDS = 3
MIN_BARS = 300
MIN_COINS = 5  # from which a preference for some of them can be told from chance
EDGE_LIMIT = 3.5
"""Standard errors above zero at which an edge on unforeseeable returns is no accident (1 in 4,000)."""

KNOWLEDGE_LIMIT = 4.0
N_SHIFTS = 200
N_PERMUTATIONS = 2000
HINDSIGHT_LIMIT = 0.05


class World(NamedTuple):
    """What a rule did in one made-up world."""

    equity: F8  # (T,)
    wish: F8  # (T, N) weights that it wanted, or had where it is built in


def common_part(bars: BarTable, longest: int, rng: np.random.Generator, waits: int = 0) -> BarTable | None:
    """Return up to ``longest`` bars at which every kept symbol trades; None when there are too few.

    Symbols with the least history are blanked, not removed, until enough bars are left: a rule may name its coins. What
    is enough grows by the ``waits`` bars that the rule lets pass before it acts.
    """
    there = np.isfinite(bars.close_px) & np.isfinite(bars.open_px)
    order = np.argsort(-there.sum(axis=0), kind="stable")
    most = int(there.sum(axis=0).max())
    enough = max(MIN_BARS, min(longest, waits + 4 * MIN_BARS, max(most // 2, min(most, waits + MIN_BARS))))
    for n_kept in range(len(order), 0, -1):
        columns = np.sort(order[:n_kept])
        rows = np.flatnonzero(there[:, columns].all(axis=1))
        if len(rows) >= enough:
            start = int(rng.integers(0, len(rows) - min(longest, len(rows)) + 1))
            rows = rows[start : start + longest]
            picked = {name: getattr(bars, name)[rows] for name in GRID_COLUMNS}
            blank = np.setdiff1d(np.arange(len(bars.symbols)), columns)
            for column in picked.values():
                column[:, blank] = np.nan
            return bars._replace(ts_open=bars.ts_open[rows].copy(), **picked)
    return None


def made_up(bars: BarTable, rng: np.random.Generator) -> BarTable:
    """Return bars on the same clock whose returns are drawn from the real ones with replacement, without drift.

    All symbols take the same draw, so coins still move together. Drawing with replacement matters: the same returns in
    another order would end where they began, and a rule that buys low would know that.

    Parameters
    ----------
    bars : BarTable
        Each symbol has every bar or none.
    rng : Generator
    """
    before = np.vstack([bars.open_px[:1], bars.close_px[:-1]])
    shape = {name: np.log(getattr(bars, name) / before) for name in ("open_px", "high_px", "low_px", "close_px")}
    rows = rng.integers(0, len(bars.ts_open), len(bars.ts_open))
    drift = np.log(np.mean(np.exp(shape["close_px"]), axis=0))
    steps = shape["close_px"][rows] - drift
    level = np.log(bars.open_px[0]) + np.vstack([np.zeros(steps.shape[1]), np.cumsum(steps, axis=0)[:-1]])
    new = {name: np.exp(level + part[rows] - drift) for name, part in shape.items()}
    new["high_px"] = np.maximum(new["high_px"], np.maximum(new["open_px"], new["close_px"]))
    new["low_px"] = np.minimum(new["low_px"], np.minimum(new["open_px"], new["close_px"]))
    return bars._replace(volume=bars.volume[rows].copy(), **new)


def world_of(run: tuple[SimResult, F8]) -> World:
    """Return what a rule did: its wishes where they were recorded, else the weights it had."""
    result, wish = run
    if len(wish) != len(result.track.equity):
        return World(result.track.equity, result.track.weight)
    row = np.where(np.isfinite(wish), np.arange(len(wish))[:, None], -1)
    newest = np.maximum.accumulate(row, axis=0)
    held = np.where(newest >= 0, np.take_along_axis(wish, np.maximum(newest, 0), axis=0), 0.0)
    return World(result.track.equity, held)


def keeps_its_edge(worlds: list[World]) -> bool:
    """Return whether a rule earns where nothing can be foretold: its mean return, after costs, over all worlds."""
    scores = []
    for world in worlds:
        returns = np.diff(world.equity) / np.maximum(world.equity[:-1], 1e-9)
        deviation = float(np.std(returns))
        scores.append(float(np.mean(returns)) / deviation * math.sqrt(len(returns)) if deviation > 1e-15 else 0.0)
    return sum(scores) / math.sqrt(len(scores)) > EDGE_LIMIT


def knows_the_real_prices(worlds: list[World], real: BarTable, rng: np.random.Generator) -> bool:
    """Return whether wishes made from made-up prices earn on the real ones, which a rule in that room cannot know.

    The earnings are compared with those of the same wishes moved in time: that keeps how long a position lasts and how
    long a real trend lasts, and takes away only that they belong together.
    """
    returns = np.diff(np.log(real.close_px), axis=0)
    returns = np.nan_to_num(returns - returns.mean(axis=0))
    wishes = sum(world.wish[:-1] for world in worlds)
    n = len(returns)
    power = sum(
        np.fft.irfft(np.conj(np.fft.rfft(wish)) * np.fft.rfft(part), n)
        for wish, part in zip(np.asarray(wishes).T, returns.T, strict=True)
    )
    moved = np.asarray(power)[rng.choice(np.arange(1, n), min(N_SHIFTS, n - 1), replace=False)]
    here, spread = float(np.asarray(power)[0]), float(np.std(moved))
    return spread > 1e-15 and here > float(moved.max()) and here - float(moved.mean()) > KNOWLEDGE_LIMIT * spread


def picks_with_hindsight(worlds: list[World], there: npt.NDArray[np.bool_], gain: F8, rng: np.random.Generator) -> bool:
    """Return whether a rule prefers the same coins in every made-up world, and those that did best in the real one.

    Only a list of names can do that. How well the list fits is compared with the same list under permuted names.

    Parameters
    ----------
    worlds : list of World
    there : (N,) bool
        Symbols that the made-up worlds have.
    gain : (N,) float64
        What each did in the real world; see ``total_gain``.
    rng : Generator
    """
    chosen = [np.abs(world.wish[:, there]).max(axis=0) > 0 for world in worlds]
    if there.sum() < MIN_COINS or chosen[0].all() or not chosen[0].any():
        return False
    if not all(np.array_equal(names, chosen[0]) for names in chosen):
        return False
    preference = np.mean([world.wish[:, there].mean(axis=0) for world in worlds], axis=0)
    score = float(preference @ gain[there])
    others = np.array([float(preference @ rng.permutation(gain[there])) for _ in range(N_PERMUTATIONS)])
    return float(np.mean(others >= score - 1e-12)) <= HINDSIGHT_LIMIT


def total_gain(bars: BarTable) -> F8:
    """Return each symbol's rank by its gain a day from its first to its last bar, lowest first, (N,)."""
    gain = np.zeros(len(bars.symbols))
    for i, column in enumerate(bars.close_px.T):
        known = column[np.isfinite(column)]
        gain[i] = math.log(float(known[-1]) / float(known[0])) / len(known) if len(known) > 1 else 0.0
    return np.argsort(np.argsort(gain)).astype(np.float64)
