"""Calls about risk: every limit with its headroom, exposures, correlation, and what the gate objected to."""

from __future__ import annotations

from typing import Any

ASK_TIMEOUT_S = 5.0


class RiskCalls:
    """Mixed into ``EngineClient``."""

    def risk(self) -> dict[str, Any]:
        """Return the account's risk now. ``None`` is unknown; money is in the quote currency, weights in × equity.

        ``gauges``: rows of ``name, unit`` (fraction, weight, s, number), ``measured, limit, at_most, used, left,
        left_money, where, source`` (now, decision), ``enforced, sentence``. ``exposures``: rows of ``symbol, qty,
        notional, weight, approved, cluster, stop_px, stop_loss, liquidation_distance``. ``totals``: ``net, gross,
        free_margin, maintenance_margin``. ``clusters``: rows of ``name, symbols, net, gross``, or null.
        ``correlation``: ``symbols, matrix`` (null while unknown, with ``why``), ``hours, missing``. ``objections``:
        ``day`` ns, ``decisions``, ``economy``, and ``rows`` of ``rule, symbol, verdict, count, measured, limit, ts,
        sentence``. ``refused``: a person's tickets, rows of ``ts, symbol, side, reason``.
        """
        return self._ask("risk", timeout_s=ASK_TIMEOUT_S)
