"""Reconciliation on a practice exchange: the missed is fetched, the foreign is shown, doubt is not an answer."""

import pytest
from engine_rig import (
    BEST_ASK,
    BTC,
    books,
    crossing,
    fault,
    limit,
    position_at_venue,
    practice_exchange,
    quick_to_close,
    rig_on,
    take,
)
from waiting import eventually

from engine.domain import ApprovedOrder, OrderStatus, Purpose, StreamState, TradingState
from engine.errors import CommandRefused
from engine.runtime import doubts as doubts_module
from engine.runtime import reconcile as reconcile_module
from engine.venues import aster as aster_module
from engine.venues.aster import AsterVenue
from engine.venues.aster_client import client_config


@pytest.fixture(autouse=True)
def no_grace(monkeypatch):
    monkeypatch.setattr(reconcile_module, "FRESH_S", 0.0)
    monkeypatch.setattr(doubts_module, "FILL_WITHIN_S", 60.0)  # only the comparison may fetch


async def foreign(server, spec, client_id="somebody-else"):
    """Place an order on the same account by another program."""
    config = client_config(private_key=server.private_key, base_url=server.base_url, ws_url=server.ws_url)
    other = quick_to_close(AsterVenue(config))
    try:
        await other.instruments()
        return await other.submit(ApprovedOrder(client_id, 0, spec, 0.0))
    finally:
        await other.close()


def deaf(server):
    """Lose every message of the account's stream from now on."""
    fault(server, "lose_ws", match={"stream": "user"})


async def test_missed_fill_of_our_order_is_fetched_once(tmp_path):
    async with practice_exchange() as server, rig_on(server, tmp_path) as rig:
        order = await rig.executor.place(limit(1, 0.3, 49_999.9))
        deaf(server)
        take(server, -1, 1_100)  # one BTC ahead of us, then a third of ours
        assert (position_at_venue(server), rig.position()) == (pytest.approx(0.1), 0.0)
        outcome = await rig.reconciler.run()
        assert rig.position() == pytest.approx(0.1)
        known = rig.executor.orders[order.client_id]
        assert (known.status, known.filled_qty) == (OrderStatus.PARTIALLY_FILLED, pytest.approx(0.1))
        assert not [sentence for sentence in outcome.mismatches if "position" in sentence]
        await rig.reconciler.run()
        assert rig.position() == pytest.approx(0.1)
        rig.store.flush()
        (fill,) = rig.store.rows("SELECT client_id, qty, px FROM fills")
        assert fill == {"client_id": order.client_id, "qty": pytest.approx(0.1), "px": 49_999.9}


async def test_order_that_ended_unseen_is_closed_on_our_books(tmp_path):
    async with practice_exchange() as server, rig_on(server, tmp_path) as rig:
        filled = await rig.executor.place(limit(1, 0.1, 49_999.9))
        resting = await rig.executor.place(limit(1, 0.1, 49_000.0))
        deaf(server)
        take(server, -1, 1_100)
        await rig.venue.cancel(BTC, resting.client_id)
        assert set(rig.executor.orders) == {filled.client_id, resting.client_id}
        await rig.reconciler.run()
        assert rig.executor.orders == {}
        assert rig.executor.recent[filled.client_id].status == OrderStatus.FILLED
        assert rig.executor.recent[resting.client_id].status == OrderStatus.CANCELED
        assert rig.position() == pytest.approx(0.1)


async def test_books_that_agree_say_so(tmp_path):
    async with practice_exchange() as server, rig_on(server, tmp_path) as rig:
        await rig.executor.place(crossing(1, 0.2))
        await rig.executor.place(limit(1, 0.1, 49_000.0))
        await eventually(lambda: rig.position() == pytest.approx(0.2))
        await eventually(lambda: rig.account.cash < 10_000)
        outcome = await rig.reconciler.run()
        assert (outcome.ok, outcome.mismatches, outcome.message) == (True, (), "books agree")
        assert rig.account.cash == pytest.approx(float(books(server)["balances"]["wallet"]))
        # the mark may move by a tick between the question and the comparison
        assert rig.account.maintenance_margin == pytest.approx(
            float(books(server)["balances"]["maint_margin"]), abs=0.01
        )
        assert rig.loop.trading_state() == TradingState.RUNNING


async def test_foreign_order_is_adopted_in_plain_sight(tmp_path):
    async with practice_exchange() as server, rig_on(server, tmp_path) as rig:
        deaf(server)
        await foreign(server, limit(1, 0.1, 49_000.0))
        assert rig.executor.orders == {}
        await rig.loop.reconcile()
        outcome = rig.reconciler.last
        assert outcome.mismatches == ("BTCUSDT: order somebody-else was not made by this engine",)
        adopted = rig.executor.orders["somebody-else"]
        assert (adopted.spec.purpose, adopted.status, adopted.spec.limit_px) == (
            Purpose.EXTERNAL, OrderStatus.NEW, 49_000.0,
        )  # fmt: skip
        assert rig.stored_order("somebody-else")["purpose"] == "external"
        assert any(sentence.startswith(f"{outcome.mismatches[0]}. The venue's word") for sentence in rig.incidents())
        assert rig.loop.trading_state() == TradingState.REDUCE_ONLY
        assert len(books(server)["open_orders"]) == 1  # shown, not fought
        await rig.loop.reconcile()  # known by now
        assert rig.reconciler.last.ok
        assert rig.loop.trading_state() == TradingState.RUNNING


async def test_foreign_trade_seen_on_the_stream_counts_as_manual(tmp_path):
    async with practice_exchange() as server, rig_on(server, tmp_path) as rig:
        await foreign(server, crossing(1, 0.2))
        await eventually(lambda: rig.position() == pytest.approx(0.2))
        position = rig.account.position(BTC)
        assert (position.manual_qty, position.entry_px) == (pytest.approx(0.2), pytest.approx(BEST_ASK))
        assert (await rig.reconciler.run()).ok


async def nothing(*args):
    """Answer a question about fills or incomes as a venue that has lost them."""
    return []


async def test_foreign_position_is_reported_adopted_and_stays_unexplained_until_a_person_explains_it(
    tmp_path, monkeypatch
):
    async with practice_exchange() as server, rig_on(server, tmp_path) as rig:
        deaf(server)
        monkeypatch.setattr(rig.venue, "fills_since", nothing)
        await foreign(server, crossing(1, 0.2))
        await rig.loop.reconcile()
        outcome = rig.reconciler.last
        assert "BTCUSDT: position ours 0, the venue's 0.2" in outcome.mismatches
        assert not outcome.ok
        assert any(s.startswith("BTCUSDT: position ours 0, the venue's 0.2. The venue's word") for s in rig.incidents())
        position = rig.account.position(BTC)
        assert (position.qty, position.entry_px, position.manual_qty) == (0.2, BEST_ASK, pytest.approx(0.2))
        await rig.loop.reconcile()  # adopted is not explained
        assert rig.loop.trading_state() == TradingState.REDUCE_ONLY
        # fee 0.2 · 50 000.1 · 0.0004 = 4.00 is missing from the cash, and the position at its mark of about 50 000
        assert rig.reconciler.ledger.last.unexplained == pytest.approx(10_004.0, abs=20.0)
        with pytest.raises(CommandRefused, match="Say why"):
            await rig.reconciler.accept(" ")
        left = await rig.reconciler.accept("a transfer between our own accounts")
        assert any("quantity BTCUSDT" in sentence for sentence in left)
        await rig.loop.reconcile()
        assert rig.reconciler.last.ok
        assert rig.loop.trading_state() == TradingState.RUNNING


async def test_position_that_is_gone_at_the_venue_is_reported_and_dropped(tmp_path, monkeypatch):
    async with practice_exchange() as server, rig_on(server, tmp_path) as rig:
        await rig.executor.place(crossing(1, 0.2))
        await eventually(lambda: rig.position() == pytest.approx(0.2))
        deaf(server)
        monkeypatch.setattr(rig.venue, "fills_since", nothing)
        await foreign(server, crossing(-1, 0.2, reduce_only=True))
        outcome = await rig.reconciler.run()
        assert "BTCUSDT: position ours 0.2, the venue's 0" in outcome.mismatches
        assert rig.position() == 0.0


async def test_missed_foreign_trades_are_fetched_instead_of_adopted(tmp_path):
    async with practice_exchange() as server, rig_on(server, tmp_path) as rig:
        deaf(server)
        await foreign(server, crossing(1, 1.5))
        outcome = await rig.reconciler.run()
        assert not [sentence for sentence in outcome.mismatches if "position" in sentence]
        assert rig.position() == pytest.approx(1.5)
        rig.store.flush()
        assert rig.store.rows("SELECT count(*) AS n, sum(qty) AS qty FROM fills") == [{"n": 2, "qty": 1.5}]


async def test_deposit_is_explained_by_its_income(tmp_path):
    async with practice_exchange() as server, rig_on(server, tmp_path) as rig:
        deaf(server)
        server.venue.exchange.deposit(server.address, 250.0, server.venue.market_ms)
        assert (await rig.reconciler.run()).ok
        assert rig.account.cash == 10_250.0
        lines = {line["name"]: line["ours"] for line in rig.reconciler.ledger.last.answer()["lines"]}
        assert lines["transfers and other (stated by the venue)"] == 250.0
        assert lines["cash"] == 10_250.0


async def test_cash_that_no_income_explains_is_reported_and_only_reducing_is_allowed(tmp_path, monkeypatch):
    async with practice_exchange() as server, rig_on(server, tmp_path) as rig:
        deaf(server)
        monkeypatch.setattr(rig.venue, "incomes_since", nothing)
        server.venue.exchange.deposit(server.address, 250.0, server.venue.market_ms)
        outcome = await rig.reconciler.run()
        assert outcome.mismatches == ("ledger: cash: ours 10000, the venue's 10250",)
        assert (rig.account.cash, rig.reconciler.ledger.last.unexplained) == (10_250.0, 250.0)
        assert rig.loop.trading_state() == TradingState.REDUCE_ONLY


async def test_fills_and_incomes_from_while_nobody_listened_are_on_the_books_after_the_start(tmp_path):
    async with practice_exchange() as server:
        async with rig_on(server, tmp_path) as rig:
            order = await rig.executor.place(limit(1, 0.3, 49_999.9))
        take(server, -1, 1_100)  # a third of ours, while the engine is away
        async with rig_on(server, tmp_path) as rig:
            assert rig.reconciler.last.ok
            assert rig.position() == pytest.approx(0.1)
            known = rig.executor.orders[order.client_id]
            assert (known.status, known.filled_qty) == (OrderStatus.PARTIALLY_FILLED, pytest.approx(0.1))
            rig.store.flush()
            assert rig.store.rows("SELECT client_id, qty FROM fills") == [{"client_id": order.client_id, "qty": 0.1}]
            assert rig.reconciler.ledger.last.unexplained == 0.0


async def test_more_fills_than_one_page_are_all_fetched(tmp_path, monkeypatch):
    monkeypatch.setattr(aster_module, "PAGE_ROWS", 4)
    async with practice_exchange(lots_per_level=10) as server, rig_on(server, tmp_path) as rig:
        deaf(server)
        await foreign(server, crossing(1, 0.13))
        n = len(books(server)["fills"])
        assert n > 8
        await rig.reconciler.run()
        rig.store.flush()
        assert rig.store.rows("SELECT count(*) AS n FROM fills") == [{"n": n}]
        assert rig.position() == pytest.approx(0.13)


@pytest.mark.parametrize("action", ["html_500", "http_503_before", "429"])
async def test_venue_that_cannot_be_asked_changes_nothing(tmp_path, action):
    async with practice_exchange() as server, rig_on(server, tmp_path) as rig:
        order = await rig.executor.place(limit(1, 0.1, 49_000.0))
        await rig.executor.place(crossing(1, 0.2))
        await eventually(lambda: rig.position() == pytest.approx(0.2))
        fault(server, action, match={"method": "GET"})
        outcome = await rig.reconciler.run()
        assert (outcome.ok, outcome.mismatches) == (False, ())
        assert outcome.message.startswith("the venue could not be asked")
        assert rig.position() == pytest.approx(0.2)
        assert rig.executor.orders[order.client_id].status == OrderStatus.NEW  # no answer is not "not found"
        assert rig.loop.trading_state() == TradingState.REDUCE_ONLY
        server.venue.faults.clear()
        assert (await rig.reconciler.run()).ok
        assert rig.loop.trading_state() == TradingState.RUNNING


async def test_start_takes_over_positions_without_a_mismatch_and_leaves_them_to_the_strategy(tmp_path):
    async with practice_exchange() as server:
        async with rig_on(server, tmp_path) as rig:
            await rig.executor.place(crossing(1, 0.2))
            await eventually(lambda: rig.position() == pytest.approx(0.2))
        async with rig_on(server, tmp_path) as rig:
            position = rig.account.position(BTC)
            assert (position.qty, position.entry_px, position.manual_qty) == (0.2, BEST_ASK, 0.0)
            assert rig.account.cash == pytest.approx(10_000 - 0.2 * BEST_ASK * 0.0004, abs=1e-6)
            assert rig.reconciler.last.mismatches == ()


async def test_stream_that_returns_brings_a_comparison(tmp_path):
    async with practice_exchange() as server, rig_on(server, tmp_path) as rig:
        order = await rig.executor.place(limit(1, 0.3, 49_999.9))
        await rig.loop.on_account(StreamState("account", False, "test", 1))
        deaf(server)
        take(server, -1, 1_300)
        before = rig.reconciler.last
        await rig.loop.on_account(StreamState("account", True, "connected", 2))
        await eventually(lambda: rig.reconciler.last is not before, what="a comparison")
        await eventually(lambda: rig.position() == pytest.approx(0.3))
        assert rig.executor.recent[order.client_id].status == OrderStatus.FILLED
        assert any("account stream is down" in sentence for sentence in rig.incidents())
