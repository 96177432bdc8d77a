"""Bad days to hold a book against: six that happened, hour by hour, and six that are made up. Pure.

Past ones come from ``crises.json`` (moves of hourly spot candles, see ``scripts/make_crises.py``). A symbol that did
not trade then moves by its beta to Bitcoin, and the scenario says so. Spot prices know no funding and no index: a
perpetual's mark may have been worse than this for minutes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from engine.domain import F8
from engine.shocks import BENCHMARK, crises

OTHER_BETA = 1.5
"""Beta to Bitcoin of a symbol of which nothing is known. Larger than most: unknown must not look safe."""

SIGMA_DAY = {BENCHMARK: 0.04}
OTHER_SIGMA_DAY = 0.06
"""Daily volatility of a symbol without history, as a fraction."""

WORST_MOVE = -0.95
THROUGH = 0.5
"""How far from its trigger to the hour's worst price a stop fills, as a fraction.

Measured on minute candles of Bitcoin in the crises of 2021 to 2024, a fill at the worst price of the minute that
crosses the trigger lay 24 % of the way on average and 83 % in the worst tenth (hours that fell by 2 % or more).
"""

SLIPPAGE = 0.001
GAP = 0.30
SIGMAS = 4.0
FUNDING_8H = 0.0075
DEPEG = 0.10


class Scenario(NamedTuple):
    """Moves of N symbols over H hours; (H, N) arrays are fractions of the close of the hour before."""

    key: str
    title: str
    kind: str  # historic or synthetic
    close: F8  # (H, N)
    low: F8  # (H, N)
    high: F8  # (H, N)
    funding: F8  # (H, N) paid by longs, fraction of notional and hour
    slippage: float  # of every fill, fraction of the price, besides the fee
    through: float  # see THROUGH; 1.0 is a gap: nothing fills before the hour's worst price
    quote_value: float  # what one unit of the quote currency is worth at the end, in what it was worth before
    by_beta: tuple[str, ...]  # symbols that moved by beta because they did not trade then
    note: str


def historic(symbols: Sequence[str], beta: Mapping[str, float]) -> list[Scenario]:
    """Return the past crises for some symbols.

    Parameters
    ----------
    symbols : sequence of str, (N,)
    beta : dict
        To Bitcoin, for symbols without data in a crisis; ``OTHER_BETA`` where missing.
    """
    return [_historic(key, crisis, symbols, beta) for key, crisis in crises()["crises"].items()]


def _historic(key: str, crisis: Mapping[str, Any], symbols: Sequence[str], beta: Mapping[str, float]) -> Scenario:
    known = crisis["moves"]
    columns = []
    for symbol in symbols:
        rows = np.array(known.get(symbol, known[BENCHMARK]), dtype=np.float64).reshape(-1, 3) * 1e-4
        close = rows[:, 0]
        column = np.stack([close, np.minimum(close, 0.0) - rows[:, 1], np.maximum(close, 0.0) + rows[:, 2]])
        columns.append(column if symbol in known else column * beta.get(symbol, OTHER_BETA))
    close, low, high = np.maximum(np.stack(columns, axis=2), WORST_MOVE)
    by_beta = tuple(symbol for symbol in symbols if symbol not in known)
    note = f"{crisis['hours']} hours from {crisis['start']}."
    return Scenario(
        key, crisis["title"], "historic", close, low, high, np.zeros_like(close), SLIPPAGE, THROUGH, 1.0, by_beta, note
    )


def synthetic(
    symbols: Sequence[str], weight: F8, beta: Mapping[str, float], sigma_day: Mapping[str, float]
) -> list[Scenario]:
    """Return the made-up scenarios; where a direction is free it is the one that hurts the book.

    Parameters
    ----------
    symbols : sequence of str, (N,)
    weight : (N,) float64
        Signed notional over equity.
    beta : dict
        To Bitcoin.
    sigma_day : dict
        Daily volatility, fraction.
    """
    betas = np.array([beta.get(symbol, 1.0 if symbol == BENCHMARK else OTHER_BETA) for symbol in symbols])
    sigma = np.array([sigma_day.get(s, SIGMA_DAY.get(s, OTHER_SIGMA_DAY)) for s in symbols])
    against = -1.0 if float(weight @ sigma) >= 0.0 else 1.0
    toward = -1.0 if float(weight @ betas) >= 0.0 else 1.0
    flat = np.zeros(len(symbols))
    side = np.sign(weight)
    return [
        _path("gap-down", f"Gap −{GAP:.0%}", [flat - GAP], through=1.0,
              note="Every price at once; nothing can be sold on the way, stops and the engine act at the bottom."),
        _path("gap-up", f"Gap +{GAP:.0%}", [flat + GAP], through=1.0, note="The same for a short book."),
        _path("liquidity-gone", "Liquidity gone", [toward * 0.02 * np.maximum(betas, 0.5)] * 8, slippage=0.03,
              through=1.0,
              note=f"Eight hours of 2% against the book ({_word(toward)}), times beta; every fill costs 3% of the "
                   "price, and stops fill at the hour's worst price."),
        _path("correlation-one", "Correlation 1", [np.expm1(against * np.log1p(SIGMAS * sigma) / 24)] * 24,
              note=f"Every symbol {_word(against)} by {SIGMAS:g} of its daily sigmas within a day: hedges between "
                   "symbols do not help."),
        _path("funding-spike", "Funding spike", [flat] * 72, funding=side * FUNDING_8H / 8.0,
              note=f"Prices stand still, and each position pays {FUNDING_8H:.2%} every eight hours for three days."),
        _path("depeg", "Stablecoin depeg", [flat + (1.0 - DEPEG) ** (-1.0 / 12) - 1.0] * 12, quote_value=1.0 - DEPEG,
              note=f"The quote currency loses {DEPEG:.0%} in twelve hours, so prices in it rise and shorts lose. The "
                   "whole account is worth less outside of it, which no limit in the quote currency sees."),
    ]  # fmt: skip


def _word(direction: float) -> str:
    return "down" if direction < 0.0 else "up"


def _path(
    key: str,
    title: str,
    moves: list[F8],
    *,
    funding: F8 | None = None,
    slippage: float = SLIPPAGE,
    through: float = THROUGH,
    quote_value: float = 1.0,
    note: str,
) -> Scenario:
    close = np.maximum(np.stack(moves), WORST_MOVE)
    paid = np.zeros_like(close) if funding is None else np.tile(funding, (len(close), 1))
    return Scenario(
        key, title, "synthetic", close, np.minimum(close, 0.0), np.maximum(close, 0.0), paid, slippage, through,
        quote_value, (), note,
    )  # fmt: skip
