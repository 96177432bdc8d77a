"""Calls about risk: every limit with its headroom, exposures, tail, stress, and what the gate objected to."""

from __future__ import annotations

import base64
from typing import Any

ASK_TIMEOUT_S = 5.0
STRESS_TIMEOUT_S = 60.0
REPORT_TIMEOUT_S = 60.0


class RiskCalls:
    """Mixed into ``EngineClient``."""

    def risk(self) -> dict[str, Any]:
        """Return the account's risk now. ``None`` is unknown; money is in the quote currency, weights in × equity.

        ``gauges``: rows of ``name, unit`` (fraction, volatility, weight, s, count, number), ``measured, limit, at_most,
        used, left, left_money, where, source`` (now, decision), ``enforced, sentence``. ``exposures``: rows of
        ``symbol, qty, notional, weight, approved, cluster, stop_px, stop_loss, liquidation_distance``. ``totals``:
        ``net, gross, free_margin, maintenance_margin``. ``clusters``: rows of ``name, symbols, net, gross``, or null;
        ``clustering``: ``threshold, memory_hours, young, why``. ``correlation``: ``symbols, matrix`` (null while
        unknown, with ``why``), ``hours, missing``. ``objections``: ``day`` ns, ``decisions``, ``economy``, and ``rows``
        of ``rule, symbol, verdict, count, measured, limit, ts, sentence``. ``refused``: a person's orders, rows of
        ``ts, order, symbol, side, reason``. ``tail``: rows of ``method`` (HISTORICAL, STUDENT_T, FILTERED), ``level``,
        ``value_at_risk, expected_shortfall`` (of the next day, fractions of equity, positive is a loss) and ``n_days``.
        ``shocks``: rows of ``title, loss, loss_money, limit, left, enforced``, the worst first, or null while unknown.
        """
        return self._ask("risk", timeout_s=ASK_TIMEOUT_S)

    def stress(self) -> dict[str, Any]:
        """Return the newest stress replay: ``ts`` ns (None before the first), ``age_s``, ``trigger``, ``equity``.

        ``rows``: a scenario each with ``key, title, kind, hours, by_beta, note, quote_value`` and ``modes``, by mode
        (held, stops, control) ``loss, loss_money, end, end_dollars, drawdown, worst_day, liquidation_distance,
        liquidated, costs, broken``. ``limits``: ``max_daily_loss, max_drawdown`` (None: off).
        ``source`` of the past moves.
        """
        return self._ask("stress", timeout_s=ASK_TIMEOUT_S)

    def run_stress(self) -> dict[str, Any]:
        """Replay the scenarios against the book of now, in a process beside the engine, and return as ``stress``."""
        return self._command("stress.run", STRESS_TIMEOUT_S, actor="desk")

    def live_record(self) -> dict[str, Any]:
        """Return the account's record: equity, daily returns, costs, uptime, latency, symbols, and goals with evidence.

        ``targets``: rows of ``name, unit, goal, measured, low, high, verdict, why``.
        """
        return self._command("report.live", REPORT_TIMEOUT_S, format="json")

    def live_risk_paper(self) -> bytes:
        """Return the account's risk analysis as PDF."""
        return base64.b64decode(self._command("report.live", REPORT_TIMEOUT_S, format="pdf")["pdf_base64"])
