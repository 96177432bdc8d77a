"""What watches the limits between decisions, once a second."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from engine.domain import KillLevel
from engine.runtime import sentences

if TYPE_CHECKING:
    from engine.runtime.loop import Loop


async def risk_sweep(loop: Loop) -> None:
    """At the drawdown limit halt, at the daily limit flatten; a position close to its liquidation is cut."""
    if loop.liquidation.sweep():
        loop.executor.spawn(loop.reconcile())  # brings the new liquidation prices
    equity = loop.equity_now()
    if loop.decider is None or not math.isfinite(equity) or loop.phase not in ("trading", "reducing"):
        return
    book = loop.decider.state.book[0]
    peak, day_open = float(book["peak_equity"]), float(book["day_open_equity"])
    drawdown = 1.0 - equity / peak if peak > 0 else 0.0
    day_loss = 1.0 - equity / day_open if day_open > 0 else 0.0
    config, kill = loop.config, loop.kill
    if config.use_gate_drawdown and drawdown >= config.max_total_drawdown and kill.level < KillLevel.HALT:
        loop.incident("critical", "risk", sentences.drawdown_reached(drawdown, config.max_total_drawdown))
        await kill.press(KillLevel.HALT, f"drawdown {drawdown:.2%} reached its limit", "risk sweep")
        return
    over = config.use_gate_daily_loss and day_loss >= config.max_daily_loss
    if over and loop.account.open_positions():
        loop.incident("critical", "risk", sentences.day_loss_reached(day_loss, config.max_daily_loss))
        await kill.cancel_entries()
        await kill.close_positions()


def why_not_grow(loop: Loop, symbol: str) -> str | None:
    """Return why a position may not grow now although trading goes on, in a sentence, or None."""
    if loop.liquidation.is_close(symbol):
        return f"{symbol} is close to its liquidation price"
    equity = loop.equity_now()
    if loop.decider is None or not math.isfinite(equity):
        return None
    book, config = loop.decider.state.book[0], loop.config
    peak, day_open = float(book["peak_equity"]), float(book["day_open_equity"])
    if config.use_gate_daily_loss and day_open > 0 and 1.0 - equity / day_open >= config.max_daily_loss:
        return f"today's loss is {1.0 - equity / day_open:.2%} of {config.max_daily_loss:.2%} allowed"
    if config.use_gate_drawdown and peak > 0 and 1.0 - equity / peak >= config.max_total_drawdown:
        return f"the drawdown is {1.0 - equity / peak:.2%} of {config.max_total_drawdown:.2%} allowed"
    return None
