"""Days that have happened, as shocks for the limit on stress: what each symbol did in the worst day of six crises.

The moves are those of ``research/crises.json`` (hourly spot candles, see ``scripts/make_crises.py``). The day of a
crisis is the 24 hours in which Bitcoin fell most; all symbols are taken over the same hours, so that what a book of
longs and shorts would have lost is what it would have lost together.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from engine.domain import F8, I8
from engine.underlyings import SPOT_SUFFIX

CRISES = Path(__file__).with_name("research") / "crises.json"
BENCHMARK = "BTCUSDT"
HOURS = 24


class Shock(NamedTuple):
    """One past day. Moves are fractions of the price at its beginning."""

    key: str
    title: str
    move: dict[str, float]  # by symbol, of those that traded then
    market: float  # the mean of them


@cache
def crises() -> dict[str, Any]:
    """Return the stored table: ``source``, ``crises`` by key, and in ``an_hour`` what three numbers in a row are."""
    return dict(json.loads(CRISES.read_text(encoding="utf-8")))


@cache
def shocks() -> tuple[Shock, ...]:
    """Return the worst day of every crisis, oldest first."""
    return tuple(_worst_day(key, crisis) for key, crisis in crises()["crises"].items())


def _worst_day(key: str, crisis: dict[str, Any]) -> Shock:
    growth = {
        symbol: np.log1p(np.array(rows, dtype=np.float64).reshape(-1, 3)[:, 0] * 1e-4)
        for symbol, rows in crisis["moves"].items()
    }
    path = np.concatenate(([0.0], np.cumsum(growth[BENCHMARK])))
    hours = min(HOURS, len(path) - 1)
    first = int(np.argmin(path[hours:] - path[:-hours]))
    move = {symbol: float(np.expm1(hourly[first : first + hours].sum())) for symbol, hourly in growth.items()}
    return Shock(key, crisis["title"], move, float(np.mean(list(move.values()))))


def past_shocks(symbols: Sequence[str]) -> F8:
    """Return the table that ``Params.shocks`` takes, (S, N + 1) float64, fractions.

    A column a symbol, NaN where it did not trade then, and last the market's move. A spot leg moves like its perpetual.
    """
    bare = [symbol.removesuffix(SPOT_SUFFIX) for symbol in symbols]
    return np.array([[*(shock.move.get(symbol, np.nan) for symbol in bare), shock.market] for shock in shocks()])


def seen_enough(n_bars: I8, covariance: F8, needed: float) -> np.ndarray:
    """Return of which symbols (N,) the covariance is known: seen for as long as it needs, and moving at all."""
    known: np.ndarray = (n_bars >= needed) & (np.diag(covariance) > 0.0)
    return known


def losses(
    symbols: Sequence[str], weight: F8, covariance: F8, known: Any, shock: Mapping[str, float]
) -> dict[str, float]:
    """Return what a book would lose in each shock that the limit on stress looks at, fraction of equity by title.

    The same as ``engine.core.stress`` works out, by name, for a book without spot legs.

    Parameters
    ----------
    symbols : sequence of str, (N,)
    weight : (N,) float64
    covariance : (N, N) float64
    known : (N,) bool
        False where the covariance of a symbol is not known yet.
    shock : mapping
        ``fall``, ``rise`` and ``own``: the two of the market and each symbol's own move, fractions.
    """
    among = np.where(np.outer(known, known), covariance, 0.0)
    variance = float(among.sum())
    can = known & (variance > 0.0)
    beta = np.where(can, among.sum(axis=1) * known.sum() / variance, 0.0) if variance > 0.0 else np.zeros(len(weight))
    exposed, against = float(weight @ beta), float(np.abs(weight[~can]).sum())
    own = shock["own"] * float(np.abs(weight).sum())
    found = {
        f"Market falls by {100.0 * shock['fall']:g} %": max(shock["fall"] * (against + exposed), 0.0) + own,
        f"Market rises by {100.0 * shock['rise']:g} %": max(shock["rise"] * (against - exposed), 0.0) + own,
    }
    for past, row in zip(shocks(), past_shocks(symbols), strict=True):
        unseen = np.where(can, -weight * beta * past.market, np.abs(weight * past.market))
        found[past.title] = float(np.where(np.isfinite(row[:-1]), -weight * np.nan_to_num(row[:-1]), unseen).sum())
    return found
