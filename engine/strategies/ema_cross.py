"""The public yardstick: long when a fast EMA crosses above a slow one, out (or short) when it crosses below.

EMA with alpha = 2 / (n + 1), seeded with the first close; no signal before bar slow - 1; decided at the close, filled
at the next open; held untouched until the next signal. It exists so that anybody can compare this backtest with
another, not because it is good.
"""

from __future__ import annotations

from engine.domain import Sleeve

NAME = "ema-cross"
SPEC = (Sleeve.EMA_CROSS, "Crossing of two EMAs, acted on at the crossing only.")
