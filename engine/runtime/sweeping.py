"""What watches the limits between decisions, once a second."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

from engine.domain import KillLevel
from engine.execution.day import day_rung
from engine.research.book_risk import closing_margin
from engine.runtime import sentences

if TYPE_CHECKING:
    from engine.runtime.decider import Decider
    from engine.runtime.loop import Loop


LOOKS_KEPT = 4


class RiskSweep:
    """Holds the account against its limits, ahead of them by what closing the book would still cost.

    A sweep that waits for the limit goes through it: in a fall of 30 % in five minutes a book of twice the equity
    loses 0.2 % a second, and is flat a second or two after the decision to close it.

    Parameters
    ----------
    loop : Loop
    """

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._seen: deque[tuple[float, float]] = deque(maxlen=LOOKS_KEPT)  # (s on a monotonic clock, equity)
        self._n_moved = 0
        self._told_day = -1  # end of the UTC day whose limit was told

    async def look(self) -> None:
        """Before the drawdown limit halt, before the daily limit flatten; cut a position close to its liquidation."""
        loop = self._loop
        if loop.liquidation.sweep():
            loop.executor.spawn(loop.reconcile())  # brings the new liquidation prices
        loop.transfers.catch_up()
        if loop.transfers.n_moved != self._n_moved:  # a withdrawal is no fall
            self._n_moved = loop.transfers.n_moved
            self._seen.clear()
        equity = loop.equity_now()
        if loop.decider is None or not math.isfinite(equity) or loop.phase not in ("trading", "reducing"):
            self._seen.clear()
            return
        self._seen.append((time.monotonic(), equity))
        book = loop.decider.state.book[0]
        peak, day_open = float(book["peak_equity"]), float(book["day_open_equity"])
        drawdown = 1.0 - equity / peak if peak > 0 else 0.0
        day_loss = 1.0 - equity / day_open if day_open > 0 else 0.0
        config, kill, held = loop.config, loop.kill, bool(loop.account.open_positions())
        ahead = self._ahead(equity) if held else 0.0
        reached = config.use_gate_drawdown and drawdown + ahead >= config.max_total_drawdown
        if reached and kill.level < KillLevel.HALT:
            loop.incident("critical", "risk", sentences.drawdown_reached(drawdown, ahead, config.max_total_drawdown))
            await kill.press(KillLevel.HALT, f"drawdown {drawdown:.2%} reached its limit", "risk sweep")
            return
        if held and config.use_gate_daily_loss and day_loss + ahead >= config.max_daily_loss:
            self._note(loop.decider, day_loss, ahead)
            await kill.cancel_entries()
            await kill.close_positions()

    def _note(self, decider: Decider, day_loss: float, ahead: float) -> None:
        """Keep the loss at once, and tell it once a day: closing takes several looks.

        The next decision, a ticket or a restart in between would open the day again.
        """
        loop, book = self._loop, decider.state.book[0]
        if day_loss + ahead > float(book["day_worst"]):
            decider.note_day_loss(day_loss + ahead)
            loop.remember_risk()
        if self._told_day != int(book["ts_day_end"]):
            self._told_day = int(book["ts_day_end"])
            limit = loop.config.max_daily_loss
            loop.incident("critical", "risk", sentences.day_loss_reached(day_loss, ahead, limit))

    def _ahead(self, equity: float) -> float:
        loop = self._loop
        notional = sum(abs(p.qty) * loop.market.mark_px(s) for s, p in loop.account.open_positions().items())
        fee = max((instrument.taker_fee for instrument in loop.executor.instruments.values()), default=0.0)
        return closing_margin(notional / equity if equity > 0 else 0.0, fee, falling(self._seen))


def falling(seen: Sequence[tuple[float, float]]) -> float:
    """Return how fast equity falls, as a fraction a second, over some looks (s, equity); 0 while it rises.

    Examples
    --------
    >>> falling([(0.0, 100.0), (2.0, 99.0)])
    0.005
    """
    if len(seen) < 2 or seen[-1][0] <= seen[0][0] or seen[0][1] <= 0.0:
        return 0.0
    return max((seen[0][1] - seen[-1][1]) / seen[0][1] / (seen[-1][0] - seen[0][0]), 0.0)


def why_not_grow(loop: Loop, symbol: str) -> str | None:
    """Return why a position may not grow now although trading goes on, in a sentence, or None."""
    if loop.liquidation.is_close(symbol):
        return f"{symbol} is close to its liquidation price"
    equity = loop.equity_now()
    if loop.decider is None or not math.isfinite(equity):
        return None
    book, config = loop.decider.state.book[0], loop.config
    peak, day_open = float(book["peak_equity"]), float(book["day_open_equity"])
    worst = max(float(book["day_worst"]), 1.0 - equity / day_open if day_open > 0 else 0.0)
    if not day_rung(worst, config).may_grow:
        return sentences.day_is_over(worst, config)
    if config.use_gate_drawdown and peak > 0 and 1.0 - equity / peak >= config.max_total_drawdown:
        return f"the drawdown is {1.0 - equity / peak:.2%} of {config.max_total_drawdown:.2%} allowed"
    return None
