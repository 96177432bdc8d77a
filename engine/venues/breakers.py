"""A circuit breaker for each group of endpoints: after repeated failures nothing is sent for a while, then one probe.

The states and counters are pybreaker's. Its own asyncio support needs tornado and would hold its lock over the whole
request, so only the outcome of a request goes through it, after the fact; what is added here is admission without
blocking: while the breaker is half-open exactly one request is the probe.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any

import pybreaker

from engine.errors import Unreachable

FAILURES_TO_OPEN = 5
FIRST_PAUSE_S = 2.0
LONGEST_PAUSE_S = 16.0

GROUPS = {
    "orders": "placing orders",
    "account": "reading the account",
    "market": "reading the market",
    "stream": "opening the account stream",
}


class Breaker:
    """One group's breaker.

    Parameters
    ----------
    group : str
        A key of ``GROUPS``.
    on_change : callable (sentence)
        Hears when it opens and when it closes.
    now : callable
        Monotonic clock, seconds.
    """

    def __init__(self, group: str, on_change: Callable[[str], None], now: Callable[[], float]) -> None:
        self.group = group
        self._on_change, self._now = on_change, now
        self._machine = pybreaker.CircuitBreaker(FAILURES_TO_OPEN, name=group, throw_new_error_on_trip=False)
        self._pause_s = FIRST_PAUSE_S
        self._probe_at = 0.0
        self._probing = False
        self._last_trouble = ""

    @property
    def state(self) -> str:
        """``closed``, ``open`` or ``half-open``."""
        return str(self._machine.current_state)

    def admit(self, always: bool) -> None:
        """Let a request pass, or refuse it; ``always`` is for what must be tried whatever the state.

        Raises
        ------
        Unreachable
            The breaker is open, or its probe is under way. Nothing was sent.
        """
        if self.state == pybreaker.STATE_CLOSED or always:
            return
        waited = self._now() >= self._probe_at
        if self._probing or not waited:
            retry_s = max(self._probe_at - self._now(), 0.0)
            raise Unreachable(
                f"Nothing was sent: {GROUPS[self.group]} failed {self.failures} times in a row (last: "
                f"{self._last_trouble}). The next attempt is made in {retry_s:.0f} s, by itself."
            )
        self._machine.half_open()
        self._probing = True

    @property
    def failures(self) -> int:
        """Failures in a row."""
        return int(self._machine.fail_counter)

    def succeeded(self) -> None:
        """Note an answer of the venue, a refusal included: it is alive."""
        was, self._probing = self.state, False
        if was != pybreaker.STATE_CLOSED:
            self._machine.close()
            self._pause_s = FIRST_PAUSE_S
            self._on_change(f"{GROUPS[self.group]} works again")
        self._machine.call(_succeeded)

    def failed(self, trouble: str) -> None:
        """Note a request that got no proper answer."""
        was, self._probing = self.state, False
        self._last_trouble = trouble
        if was == pybreaker.STATE_OPEN:
            return  # it was sent all the same, or before the breaker opened: nothing new
        with contextlib.suppress(_NoAnswer, pybreaker.CircuitBreakerError):
            self._machine.call(_failed)
        if self.state != pybreaker.STATE_OPEN:
            return
        if was == pybreaker.STATE_HALF_OPEN:
            self._pause_s = min(self._pause_s * 2, LONGEST_PAUSE_S)
        else:
            self._on_change(
                f"{GROUPS[self.group]} failed {self.failures} times in a row (last: {trouble}): paused, tried again "
                f"every {FIRST_PAUSE_S:.0f} to {LONGEST_PAUSE_S:.0f} s. Cancels and reducing orders are still sent."
            )
        self._probe_at = self._now() + self._pause_s

    def abandoned(self) -> None:
        """Note that a request ended without an outcome, such as by cancellation; the next one is the probe."""
        self._probing = False

    def report(self) -> dict[str, Any]:
        """Return the state for the screen."""
        waiting = self.state != pybreaker.STATE_CLOSED
        retry_in_s = max(self._probe_at - self._now(), 0.0) if waiting else 0.0
        return {
            "endpoint": self.group, "state": self.state.replace("-", "_"), "failures": self.failures,
            "retry_in_s": round(retry_in_s, 1),
        }  # fmt: skip


class Breakers:
    """All groups' breakers.

    Parameters
    ----------
    on_change : callable (sentence)
    now : callable
        Monotonic clock, seconds.
    """

    def __init__(self, on_change: Callable[[str], None], now: Callable[[], float] = time.monotonic) -> None:
        self._all = {group: Breaker(group, on_change, now) for group in GROUPS}

    def __getitem__(self, group: str) -> Breaker:
        return self._all[group]

    def report(self) -> list[dict[str, Any]]:
        """Return every breaker's state."""
        return [breaker.report() for breaker in self._all.values()]


class _NoAnswer(Exception):
    """What pybreaker counts."""


def _succeeded() -> None:
    return None


def _failed() -> None:
    raise _NoAnswer
