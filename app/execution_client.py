"""Calls about parent orders and what trading costs."""

from __future__ import annotations

from typing import Any

TIMEOUT_S = 10.0
FIT_TIMEOUT_S = 60.0


class ExecutionCalls:
    """Mixed into ``EngineClient``."""

    def parents(self) -> dict[str, Any]:
        """Return parent orders: ``running`` with schedule and progress, ``ended`` with their shortfall, ``now_ns``."""
        return self._ask("parents", timeout_s=TIMEOUT_S)

    def preview_parent(self, ticket: dict[str, Any]) -> dict[str, Any]:
        """Judge and price a parent order; ``choices`` says what each way is expected to cost. Sends nothing.

        Raises
        ------
        CommandRefused
            What was typed is not an order; the sentence says why.
        """
        return self._command("parents.preview", TIMEOUT_S, **ticket)

    def start_parent(self, ticket: dict[str, Any], key: str, *, actor: str = "desk") -> dict[str, Any]:
        """Start a parent order; the same key starts it once."""
        return self._command("parents.start", TIMEOUT_S, **ticket, actor=actor, idempotency_key=key)

    def act_on_parent(
        self, action: str, parent_id: int, key: str, *, actor: str = "desk", **changes: Any
    ) -> dict[str, Any]:
        """Pause, resume, cancel or replace a parent order."""
        return self._command(
            f"parents.{action}", TIMEOUT_S, parent_id=parent_id, actor=actor, idempotency_key=key, **changes
        )

    def execution_costs(self) -> dict[str, Any]:
        """Return the cost model in force, what was assumed before, and each order's cost against both."""
        return self._ask("execution.costs", timeout_s=TIMEOUT_S)

    def fit_costs(self, key: str) -> dict[str, Any]:
        """Fit the cost model to our fills anew."""
        return self._command("execution.fit", FIT_TIMEOUT_S, idempotency_key=key)
