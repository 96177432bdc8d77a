"""Trend following over several horizons, sized by volatility.

For every symbol and horizon: how far the log price stands from its EMA, in units of what a random walk would show. The
horizons are averaged with equal weight and bounded by tanh; symbols share risk by inverse volatility; the book aims at
a portfolio volatility in proportion to its conviction. Nothing in it is fitted to a symbol. It earns when moves last
for days and pays for it in sideways markets.
"""

from __future__ import annotations

from engine.domain import Sleeve

NAME = "trend"
SPEC = (Sleeve.TREND, "Several horizons of volatility-normalised momentum, inverse volatility, volatility target.")
