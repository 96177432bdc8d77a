"""Calls about research: long jobs, their results, and the goal."""

from __future__ import annotations

import base64
from typing import Any

ASK_TIMEOUT_S = 5.0
START_TIMEOUT_S = 10.0
SLOW_TIMEOUT_S = 60.0  # a big result, or 100,000 simulated paths on a busy machine


class ResearchCalls:
    """Mixed into ``EngineClient``."""

    def run_status(self, run_id: str) -> dict[str, Any]:
        """Return ``{"status", "progress" (0 to 1), "message"}`` of a long job."""
        return self._ask("run.status", timeout_s=ASK_TIMEOUT_S, run_id=run_id)

    def run_result(self, run_id: str) -> dict[str, Any]:
        """Return a finished run's result. Raises ``CommandRefused`` when there is none yet."""
        return self._command("run.result", SLOW_TIMEOUT_S, run_id=run_id)

    def start_run(self, config: dict[str, Any], key: str, *, kind: str = "backtest") -> dict[str, Any]:
        """Start a long job in a worker and return ``{"run_id"}``."""
        return self._command("run.start", START_TIMEOUT_S, kind=kind, config=config, idempotency_key=key)

    def cancel_run(self, run_id: str) -> dict[str, Any]:
        """Stop a long job."""
        return self._command("run.cancel", START_TIMEOUT_S, run_id=run_id)

    def resume_run(self, run_id: str, key: str) -> dict[str, Any]:
        """Go on with a sweep or walk-forward that failed, was cancelled or was lost; what it had finished is kept."""
        return self._command("run.resume", START_TIMEOUT_S, run_id=run_id, idempotency_key=key)

    def discard_run(self, run_id: str, key: str) -> dict[str, Any]:
        """Throw away what a sweep or walk-forward that stopped had finished; it cannot be resumed after that."""
        return self._command("run.discard", START_TIMEOUT_S, run_id=run_id, idempotency_key=key)

    def run_report(self, run_id: str) -> dict[str, Any]:
        """Return a finished run's report in parts: ``title``, ``subtitle``, ``badges`` and ``sections``."""
        return self._command("run.report", SLOW_TIMEOUT_S, run_id=run_id)

    def run_candles(
        self, run_id: str, symbol: str, *, start_ms: int | None = None, end_ms: int | None = None
    ) -> list[list[float]]:
        """Return the candles a run traded on, few enough for a chart: ``[[ts_ms, open, high, low, close], …]``."""
        answer = self._command(
            "run.candles", SLOW_TIMEOUT_S, run_id=run_id, symbol=symbol, start_ms=start_ms, end_ms=end_ms
        )
        return answer["candles"]

    def run_report_page(self, run_id: str) -> str:
        """Return a finished run's report as one web page that stands alone."""
        return str(self._command("run.report", SLOW_TIMEOUT_S, run_id=run_id, format="html")["html"])

    def run_risk_paper(self, run_id: str) -> bytes:
        """Return a finished run's risk analysis as PDF."""
        answer = self._command("run.report", SLOW_TIMEOUT_S, run_id=run_id, format="pdf")
        return base64.b64decode(answer["pdf_base64"])

    def own_costs(self) -> dict[str, Any]:
        """Return what costs fitted to our own fills are, or ``why`` they cannot be chosen yet (None: they can).

        ``needed`` and ``n_orders``; ``version``, ``ts`` ns and ``mode`` (paper, live) of the fit; ``half_spread,
        impact, taker_fee, maker_fee, maker_share``, fractions.
        """
        return self._ask("costs.own", timeout_s=ASK_TIMEOUT_S)

    def stored_datasets(self) -> list[dict[str, Any]]:
        """Return the data sets a backtest can run on: ``name``, ``version``, ``kind``, ``interval``, …"""
        return self._ask("datasets", timeout_s=ASK_TIMEOUT_S)["datasets"]

    def goal(self, question: dict[str, Any]) -> dict[str, Any]:
        """Return the chance of a goal from this account's record, or from a run's.

        Parameters
        ----------
        question : dict
            ``target`` and ``equity`` USDT, ``by`` (YYYY-MM-DD), ``max_drawdown`` and ``ruin_loss`` fractions,
            ``leverage``, ``run_id`` and ``sample`` ("out" or "whole"); what is left out has the engine's default.
        """
        return self._command("goal", SLOW_TIMEOUT_S, **question)
