"""Deposits and withdrawals on a practice exchange, held against the loss limits by the sweep that enforces them."""

import pytest
from engine_rig import BTC, crossing, fault, practice_exchange, rig_on
from waiting import eventually

from engine.domain import KillLevel
from engine.runtime.decider import Decider
from engine.runtime.sweeping import RiskSweep


def move(server, amount):
    server.venue.exchange.deposit(server.address, amount, server.venue.market_ms)
    server.venue.pump(server.venue.market_ms)


def take_up(rig, **book):
    """Give the engine the limits' memory, as a start does."""
    loop = rig.loop
    loop.decider = Decider(loop.config, rig.executor.instruments)
    memory = rig.store.recall(loop.session.risk_key, {})
    names = ("peak_equity", "day_open_equity")
    loop.decider.set_book(ts_day_end=2**62, **({name: memory[name] for name in names} if memory else book))
    loop.transfers.begin(memory)
    return loop


def percentages(loop):
    book, equity = loop.decider.state.book[0], loop.equity_now()
    return [1.0 - equity / float(book[name]) for name in ("peak_equity", "day_open_equity")]


@pytest.mark.parametrize("is_heard", [True, False], ids=["pushed", "only in the incomes"])
async def test_a_withdrawal_closes_nothing_and_a_deposit_gives_no_room(tmp_path, is_heard):
    async with practice_exchange() as server, rig_on(server, tmp_path) as rig:
        await rig.executor.place(crossing(1, 0.02))
        await eventually(lambda: rig.position() == pytest.approx(0.02))
        loop = take_up(rig, peak_equity=10_500.0, day_open_equity=10_200.0)
        sweep, before = RiskSweep(loop), percentages(loop)
        if not is_heard:
            fault(server, "lose_ws", match={"stream": "user"})
        for amount in (-2_500.0, 5_000.0):
            cash = rig.account.cash
            move(server, amount)
            if is_heard:
                await eventually(lambda wanted=cash + amount: rig.account.cash == pytest.approx(wanted))
                await sweep.look()
            await loop.reconcile()
            await sweep.look()
            assert rig.account.cash == pytest.approx(cash + amount)
            assert percentages(loop) == pytest.approx(before, abs=1e-4)  # the mark may move by a tick
        assert (rig.kill.level, rig.position()) == (KillLevel.NONE, pytest.approx(0.02))
        assert [s.split(":")[0] for s in rig.incidents() if "USDT" in s and "equity" in s] == [
            "A withdrawal of 2,500.00 USDT", "A deposit of 5,000.00 USDT",
        ]  # fmt: skip


async def test_what_was_moved_while_the_engine_was_away_counts_once_at_its_start(tmp_path):
    async with practice_exchange() as server:
        async with rig_on(server, tmp_path) as rig:
            loop = take_up(rig, peak_equity=10_500.0, day_open_equity=10_200.0)
            before = percentages(loop)
            move(server, -1_000.0)
            await eventually(lambda: rig.account.cash == 9_000.0)  # counted, and its income not seen yet
        move(server, -1_500.0)
        for _ in range(2):
            async with rig_on(server, tmp_path) as rig:
                loop = take_up(rig)
                assert rig.account.cash == 7_500.0
                assert percentages(loop) == pytest.approx(before)
                await loop.reconcile()
                assert percentages(loop) == pytest.approx(before)
        assert rig.account.position(BTC).qty == 0.0
