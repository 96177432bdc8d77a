"""Calls about the portfolio strategy's sleeves."""

from __future__ import annotations

from typing import Any

ASK_TIMEOUT_S = 5.0
START_TIMEOUT_S = 10.0


class PortfolioCalls:
    """Mixed into ``EngineClient``."""

    def portfolio(self) -> dict[str, Any]:
        """Return what the newest decisions say of the sleeves, and the newest comparison.

        ``strategy, in_force``; ``ts_decided`` ns (None before the first decision), ``since`` ns, ``decisions``;
        ``sleeves``: rows of ``name, share, awake, gross, earned``; ``through_time``: rows of ``ts`` and each sleeve's
        multiplier; ``report`` (None before the first comparison): ``ts`` ns, ``days, symbols, evidence, optimisers,
        why``; ``comparison``, the newest one begun (None before the first): ``run_id, status`` (running, done, failed,
        cancelled), ``progress`` 0 to 1, ``error, ts_started, ts_finished`` ns; ``sharing``: who shares the risk out
        ``now`` (None: the strategy is not at work), what is ``wanted`` and the ``choices``.
        """
        return self._ask("portfolio", timeout_s=ASK_TIMEOUT_S)

    def compare_portfolio(self, key: str) -> dict[str, Any]:
        """Begin to run the sleeves and optimisers over the recorded hourly candles; return ``{"run_id"}``."""
        return self._command("portfolio.compare", START_TIMEOUT_S, idempotency_key=key, actor="desk")

    def cancel_comparison(self, key: str) -> dict[str, Any]:
        """Stop the comparison that goes on; the newest finished one stays."""
        return self._command("portfolio.cancel", START_TIMEOUT_S, idempotency_key=key, actor="desk")
