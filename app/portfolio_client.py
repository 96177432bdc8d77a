"""Calls about the portfolio strategy's sleeves."""

from __future__ import annotations

from typing import Any

ASK_TIMEOUT_S = 5.0
COMPARE_TIMEOUT_S = 120.0


class PortfolioCalls:
    """Mixed into ``EngineClient``."""

    def portfolio(self) -> dict[str, Any]:
        """Return what the newest decisions say of the sleeves, and the newest comparison.

        ``strategy, in_force``; ``ts_decided`` ns (None before the first decision), ``since`` ns, ``decisions``;
        ``sleeves``: rows of ``name, share, awake, gross, earned``; ``through_time``: rows of ``ts`` and each sleeve's
        multiplier; ``report`` (None before the first comparison): ``ts`` ns, ``days, symbols, evidence, optimisers,
        why``.
        """
        return self._ask("portfolio", timeout_s=ASK_TIMEOUT_S)

    def compare_portfolio(self) -> dict[str, Any]:
        """Run the sleeves and the optimisers over the recorded hourly candles, in a process beside the engine."""
        return self._command("portfolio.compare", COMPARE_TIMEOUT_S, actor="desk")
