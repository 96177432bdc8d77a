"""The sweep between decisions: it closes the book ahead of a limit, so that the limit holds."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from engine.core.state import BOOK
from engine.domain import KillLevel
from engine.research.book_risk import closing_margin
from engine.runtime import sweeping
from engine.runtime.sweeping import RiskSweep, falling, why_not_grow
from engine.settings import SystemConfig


class Kill:
    def __init__(self):
        self.level, self.done = KillLevel.NONE, []

    async def press(self, level, reason, actor):
        self.level = level
        self.done.append("halt")

    async def cancel_entries(self):
        self.done.append("cancel")

    async def close_positions(self):
        self.done.append("close")


def account(equity, *, gross=2.0, peak=10_000.0, day_open=10_000.0, **settings):
    """Return a loop that holds one position of ``gross`` times its equity."""
    book = np.zeros(1, dtype=BOOK)
    book["peak_equity"], book["day_open_equity"] = peak, day_open
    positions = {"BTCUSDT": SimpleNamespace(qty=gross * equity / 100.0)} if gross else {}
    loop = SimpleNamespace(
        equity=equity, kill=Kill(), phase="trading", config=SystemConfig(**settings), told=[],
        decider=SimpleNamespace(state=SimpleNamespace(book=book)),
        liquidation=SimpleNamespace(sweep=lambda: False, is_close=lambda symbol: False),
        account=SimpleNamespace(open_positions=lambda: positions), market=SimpleNamespace(mark_px=lambda s: 100.0),
        executor=SimpleNamespace(instruments={"BTCUSDT": SimpleNamespace(taker_fee=0.0004)}),
        transfers=SimpleNamespace(n_moved=0, catch_up=lambda: None), kept=[],
    )  # fmt: skip

    def note_day_loss(loss):
        book["day_worst"] = max(book["day_worst"][0], loss)

    loop.decider.note_day_loss = note_day_loss
    loop.remember_risk = lambda: loop.kept.append(float(book["day_worst"][0]))
    loop.equity_now = lambda: loop.equity
    loop.incident = lambda *told: loop.told.append(told[2])
    return loop


async def look(loop, *equities, monkeypatch):
    """Look once a second while equity goes through some values."""
    sweep, now = RiskSweep(loop), [0.0]
    monkeypatch.setattr(sweeping.time, "monotonic", lambda: now[0])
    for equity in equities:
        loop.equity = equity
        await sweep.look()
        now[0] += 1.0
    return loop.kill.done


async def test_a_calm_book_is_closed_ahead_of_the_limit_by_what_closing_costs(monkeypatch):
    # 2.0 times the equity costs 0.28 % to close: the limit of 5 % is acted on from 4.72 %
    assert await look(account(9_530.0), 9_530.0, monkeypatch=monkeypatch) == []
    assert await look(account(9_527.0), 9_527.0, monkeypatch=monkeypatch) == ["cancel", "close"]


async def test_a_falling_book_is_closed_earlier_and_a_small_one_later(monkeypatch):
    steps = (9_620.0, 9_601.0, 9_582.0, 9_563.0)  # 0.2 % a second
    fast = account(9_600.0)
    assert await look(fast, *steps, monkeypatch=monkeypatch) == ["cancel", "close"]
    assert "today's loss 4.37%, and closing may cost 0.77% more" in fast.told[0]
    assert await look(account(9_600.0, gross=0.1), 9_560.0, monkeypatch=monkeypatch) == []
    assert await look(account(9_400.0, gross=0.0), 9_400.0, monkeypatch=monkeypatch) == []


async def test_the_drawdown_limit_halts_once_and_a_limit_that_is_off_never_acts(monkeypatch):
    loop = account(8_520.0, day_open=8_600.0)
    assert await look(loop, 8_520.0, 8_515.0, monkeypatch=monkeypatch) == ["halt"]
    off = account(8_000.0, use_gate_drawdown=False, use_gate_daily_loss=False)
    assert await look(off, 8_000.0, monkeypatch=monkeypatch) == []


async def test_once_the_book_was_closed_nothing_grows_for_the_day_though_the_limit_itself_was_not_reached(monkeypatch):
    fast = account(9_700.0)
    assert why_not_grow(fast, "BTCUSDT") is None
    assert await look(fast, 9_800.0, 9_720.0, monkeypatch=monkeypatch) == ["cancel", "close"]
    assert 1.0 - fast.equity / 10_000.0 < 0.7 * 0.05  # the loss alone would not have stopped it
    assert "nothing may grow until the next UTC day" in why_not_grow(fast, "BTCUSDT")


async def test_the_loss_of_the_day_is_kept_at_once_and_told_once_while_closing_takes_several_looks(monkeypatch):
    loop = account(9_500.0)
    assert await look(loop, 9_500.0, 9_480.0, 9_490.0, monkeypatch=monkeypatch) == ["cancel", "close"] * 3
    assert loop.kept == pytest.approx([0.0528, 0.0548 + 20 / 9_500 * 2.5], abs=2e-5)  # what is not worse is not written
    assert len(loop.told) == 1
    loop.decider.state.book["ts_day_end"] += 1  # another day is another incident
    assert await look(loop, 9_480.0, monkeypatch=monkeypatch)
    assert len(loop.told) == 2


async def test_a_withdrawal_is_no_fall(monkeypatch):
    loop = account(10_000.0, gross=0.3)
    sweep, now = RiskSweep(loop), [0.0]
    monkeypatch.setattr(sweeping.time, "monotonic", lambda: now[0])
    await sweep.look()
    # nine tenths are withdrawn, and the memory moved with them: 90 % a second would close any book
    loop.equity, now[0], loop.transfers.n_moved = 1_000.0, 1.0, 1
    loop.decider.state.book["peak_equity"] = loop.decider.state.book["day_open_equity"] = 1_000.0
    await sweep.look()
    assert loop.kill.done == []


def test_margin_grows_with_the_book_and_with_the_fall():
    assert closing_margin(0.0, 0.0004) == 0.0
    assert closing_margin(2.0, 0.0004, 0.002) == pytest.approx(0.0028 + 0.005)
    assert falling([(0.0, 100.0)]) == 0.0
    assert falling([(0.0, 100.0), (1.0, 101.0)]) == 0.0
