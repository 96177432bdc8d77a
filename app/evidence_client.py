"""Calls about the evidence that what trades is what was tested: parity certificates and the drift meter."""

from __future__ import annotations

from typing import Any

TIMEOUT_S = 10.0
MEASURE_TIMEOUT_S = 60.0


class EvidenceCalls:
    """Mixed into ``EngineClient``."""

    def certificate(self) -> dict[str, Any]:
        """Return the certificate of the strategy in force: ``status`` (pass, fail, none), ``running_since``, …"""
        return self._ask("certificate.get", timeout_s=TIMEOUT_S)

    def start_certificate(self, key: str, *, actor: str = "desk") -> dict[str, Any]:
        """Have the strategy in force certified at throw-away exchanges; this account is not touched."""
        return self._command("certificate.start", TIMEOUT_S, actor=actor, idempotency_key=key)

    def drift(self) -> list[dict[str, Any]]:
        """Return the measured days, newest first; the parts of a day add up to recorded minus replayed profit."""
        return self._ask("drift", timeout_s=TIMEOUT_S)

    def measure_drift(self, day: str | None = None) -> dict[str, Any]:
        """Replay one UTC day, by default the day before, and return its row."""
        return self._command("drift.measure", MEASURE_TIMEOUT_S, **({"day": day} if day else {}))
