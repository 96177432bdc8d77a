"""What was tried on our research candles before the defaults were chosen: settings, and drafts that are gone.

Both documents on those candles, ``scripts/results.py`` and ``scripts/reference_portfolio.py``, count all of it: each
runs its own settings again, and counts those of the other without a curve.
"""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import numpy as np

from engine.research.ledger import Trial
from engine.strategies.portfolio import DEFAULT_SHARING, SHARINGS

_HORIZONS = ("4,12,36,108", "12,36,108", "24,72,216", "72,216,648", "120,360,1080")
_VOLATILITY_HOURS, _BANDS, _TARGETS = ("72", "168", "336"), ("0.05", "0.1"), ("0.1", "0.2", "0.4")

TREND: tuple[dict[str, Any], ...] = (
    *({"horizons": horizons, "volatility_horizon_hours": hours, "rebalance_band": band}
      for horizons, hours, band in product(_HORIZONS, _VOLATILITY_HOURS, _BANDS)),
    *({"vol_target": target, "use_gate_drawdown": gate, "use_gate_daily_loss": gate}
      for target, gate in product(_TARGETS, ("on", "off"))),
)  # fmt: skip
"""Settings of ``trend``, as far as docs/strategies.md tells."""

PORTFOLIO: tuple[dict[str, Any], ...] = (
    *({"momentum_hours": hours} for hours in (168, 336, 720, 1000)),
    *({"funding_hours": hours} for hours in (72, 336)),
    *({"sleeves": "trend+reversal", "reversal_hours": hours} for hours in (2, 4, 6, 8, 12, 24, 72, 168)),
    *({"basis_cap": cap, "basis_hurdle": hurdle} for cap, hurdle in ((0.3, 0.05), (0.2, 0.1), (0.2, 0.02))),
    *({"sleeves": "+".join(names)} for names in (
        ("trend", "momentum"), ("trend", "momentum", "carry"), ("trend", "basis"), ("trend", "momentum", "tail"),
        ("trend", "momentum", "carry", "basis"),
    )),
    *({"sharing": sharing} for sharing in SHARINGS if sharing != DEFAULT_SHARING),
)  # fmt: skip
"""Settings of ``portfolio`` that were looked at on 2018 to 2022 and can still be run."""

PORTFOLIO_GONE = 30
"""Drafts that were looked at and cannot be run any more: other paces, scales and thresholds of the sleeves."""


def without_curve(name: str, n: int) -> list[Trial]:
    """Return trials of which only the number is known: they raise the bar, and tell nothing of the spread."""
    return [Trial(f"{name} {number}", math.nan, np.empty(0)) for number in range(n)]
