"""From raw wishes to a book of one sleeve: equal risk a symbol, no market where that is the bet, a volatility."""

from __future__ import annotations

import math

from engine.core.compiling import kernel_part
from engine.domain import F8

USUAL_CONVICTION = 0.5
"""Of a sleeve whose wishes say an order and not how sure it is: about what a trend has on average."""

MOST_GROSS = 4.0
"""Gross weight of a sleeve's own book, at most: a covariance that sees no risk where there is some levers nothing."""


@kernel_part
def volatility_of(covariance: F8, weight: F8) -> float:
    """Return sqrt(w' C w): volatility a bar, fraction."""
    total = 0.0
    for i in range(weight.shape[0]):
        if weight[i] == 0.0:
            continue
        for j in range(weight.shape[0]):
            total += weight[i] * weight[j] * covariance[i, j]
    return math.sqrt(max(total, 0.0))


@kernel_part
def write_book(raw: F8, sigma: F8, beta: F8, covariance: F8, neutral: bool, convinced: bool, target: float) -> None:
    """Turn raw wishes into a book, in place.

    Every wish is divided by its symbol's volatility, so that equal wishes carry equal risk. What moves with the market
    is taken out of a neutral sleeve: w - beta (beta . w) / (beta . beta), the orthogonal projection. The rest is scaled
    to the volatility ``target``, times the root mean square of the raw wishes, at most 1, where conviction counts, and
    times ``USUAL_CONVICTION`` where it does not. Its gross weight stays within ``MOST_GROSS``.

    Parameters
    ----------
    raw : (N,) float64, changed
    sigma : (N,) float64
        Volatility a bar; 0: the symbol cannot be held.
    beta : (N,) float64
        Against the mean of all perpetuals; 0 where ``sigma`` is.
    covariance : (N, N) float64
    neutral, convinced : bool
    target : float
        Volatility a bar.
    """
    known, square, product, market = 0, 0.0, 0.0, 0.0
    for i in range(raw.shape[0]):
        if not sigma[i] > 0.0:
            raw[i] = 0.0
            continue
        known += 1
        square += raw[i] * raw[i]
        raw[i] /= sigma[i]
        product += beta[i] * raw[i]
        market += beta[i] * beta[i]
    if neutral and market > 0.0:
        for i in range(raw.shape[0]):
            raw[i] -= beta[i] * product / market
    if convinced:
        target *= min(math.sqrt(square / known), 1.0) if known > 0 else 0.0
    else:
        target *= USUAL_CONVICTION
    volatility = volatility_of(covariance, raw)
    gross = 0.0
    for i in range(raw.shape[0]):
        gross += abs(raw[i])
    factor = min(target / volatility, MOST_GROSS / gross) if volatility > 0.0 and gross > 0.0 else 0.0
    for i in range(raw.shape[0]):
        raw[i] *= factor
