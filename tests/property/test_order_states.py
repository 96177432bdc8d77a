"""Orders and positions for all deliveries: news late, twice or in another order ends in the same state."""

import math
from itertools import pairwise
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.domain import (
    FINAL_STATUSES,
    ApprovedOrder,
    Fill,
    Instrument,
    OrderSpec,
    OrderStatus,
    OrderUpdate,
    TradingState,
)
from engine.execution import orders as states
from engine.runtime.account import Account, Position, after_fill
from engine.runtime.executor import Executor
from engine.runtime.market import MarketState

LOT = 0.001
CLIENT_ID = "asabcd-1-1"
INSTRUMENT = Instrument("BTCUSDT", "BTC", "USDT", 0.1, LOT, LOT, 1000, 120, 5, 0.02, 125, 0.0, 0.0004)


class Record:
    """A store that takes everything."""

    def __init__(self):
        self.tables = {}

    def append(self, table, rows):
        self.tables.setdefault(table, []).extend(rows)

    def rows(self, query, params=()):
        return [{"n": 0}]


def new_executor(order):
    executor = Executor(
        SimpleNamespace(), Record(), MarketState(), Account(), account_key="me", tag="abcd", sequence=1,
        now=lambda: 1, trading_state=lambda: TradingState.RUNNING, publish=lambda kind, row: None,
    )  # fmt: skip
    executor.instruments = {"BTCUSDT": INSTRUMENT}
    executor.orders[order.client_id] = order
    return executor


@st.composite
def lives(draw):
    """One order's life at the venue: (order as sent, updates oldest first, fills oldest first)."""
    side = draw(st.sampled_from([1, -1]))
    lots = draw(st.lists(st.integers(1, 500), min_size=0, max_size=5))
    prices = draw(st.lists(st.integers(499_000, 501_000), min_size=len(lots), max_size=len(lots)))
    ending = draw(st.sampled_from(["FILLED", "CANCELED", "EXPIRED", "open"])) if lots else "CANCELED"
    rest = 0 if ending == "FILLED" else draw(st.integers(1, 500))
    total = sum(lots) + rest
    spec = OrderSpec("BTCUSDT", side, "LIMIT", total * LOT, 50_000.0, math.nan, "GTC", False, False, "target")
    order = states.sent(states.new_order(ApprovedOrder(CLIENT_ID, 1, spec, 50_000.0), 1), 2)

    def update(status, filled, avg, ts):
        return OrderUpdate(
            "BTCUSDT", CLIENT_ID, "77", status, side, "LIMIT", "GTC", total * LOT, filled * LOT, avg, 50_000.0,
            math.nan, False, False, ts, ts,
        )  # fmt: skip

    updates, fills, filled, value = [update("NEW", 0, math.nan, 10)], [], 0, 0
    for index, (n, tick) in enumerate(zip(lots, prices, strict=True)):
        filled, value = filled + n, value + n * tick / 10
        ts = 11 + index
        fills.append(Fill("BTCUSDT", str(index), CLIENT_ID, "77", side * n * LOT, tick / 10, 0.0, 0.0, True, ts, ts))
        status = "FILLED" if filled == total else "PARTIALLY_FILLED"
        updates.append(update(status, filled, value / filled, ts))
    if ending in ("CANCELED", "EXPIRED"):
        updates.append(update(ending, filled, value / filled if filled else math.nan, 99))
    return order, updates, fills


@st.composite
def deliveries(draw):
    """A life, and its news in any order with any of it repeated; all of it arrives at least once."""
    order, updates, fills = draw(lives())
    news = [*updates, *fills]
    again = draw(st.lists(st.sampled_from(news), max_size=6))
    return order, updates, fills, draw(st.permutations([*news, *again]))


@settings(max_examples=300, deadline=None)
@given(deliveries())
def test_any_delivery_ends_in_the_venues_last_word(delivery):
    order, updates, fills, news = delivery
    executor = new_executor(order)
    for item in news:
        executor.on_fill(item) if isinstance(item, Fill) else executor.on_order(item)
    last = updates[-1]
    known = executor.orders.get(CLIENT_ID) or executor.recent[CLIENT_ID]
    assert known.status == last.status
    assert (CLIENT_ID in executor.recent) == (OrderStatus(last.status) in FINAL_STATUSES)
    assert known.filled_qty == pytest.approx(last.filled_qty, abs=1e-9)
    assert known.avg_px == pytest.approx(last.avg_px, rel=1e-9, nan_ok=True)
    assert known.venue_order_id == "77"
    assert executor.account.position("BTCUSDT").qty == pytest.approx(sum(fill.qty for fill in fills), abs=1e-9)
    assert not executor.awaits_fill("BTCUSDT")
    assert len(executor.store.tables.get("fills", [])) == len(fills)
    leaves = order.spec.qty - last.filled_qty if known.status not in FINAL_STATUSES else 0.0
    assert executor.in_flight_qty("BTCUSDT") == pytest.approx(order.spec.side * leaves, abs=1e-9)


@settings(max_examples=200, deadline=None)
@given(deliveries(), st.data())
def test_status_never_goes_back(delivery, data):
    order, _, _, news = delivery
    doubtful = data.draw(st.integers(0, len(news)))
    rank = states._RANK
    executor = new_executor(order)
    seen = [order]
    for index, item in enumerate(news):
        if index == doubtful and CLIENT_ID in executor.orders:
            executor.orders[CLIENT_ID] = states.unknown(executor.orders[CLIENT_ID], "no answer")
        executor.on_fill(item) if isinstance(item, Fill) else executor.on_order(item)
        seen.append(executor.orders.get(CLIENT_ID) or executor.recent[CLIENT_ID])
    for earlier, later in pairwise(seen):
        assert rank[later.status] >= rank[earlier.status]
        assert later.filled_qty >= earlier.filled_qty
    assert seen[-1].status != OrderStatus.UNKNOWN


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.integers(-500, 500).filter(bool), st.integers(499_000, 501_000)), max_size=20))
def test_position_is_the_sum_of_signed_fills_and_money_adds_up(trades):
    position, realized, paid, total = Position(), 0.0, 0.0, 0
    for lots, tick in trades:
        qty, px = lots * LOT, tick / 10
        before = position
        position = after_fill(position, qty, px, LOT)
        total += lots
        paid += qty * px
        closed = min(abs(qty), abs(before.qty)) if before.qty * qty < 0 else 0.0
        realized += closed * (px - before.entry_px) * (1 if before.qty > 0 else -1)
        assert position.qty == pytest.approx(total * LOT, abs=1e-9)
        assert (position.qty == 0.0) == (total == 0)
        assert (position.entry_px > 0.0) == (total != 0)
        # cash paid = cost of what is held − what was realised: a wrong average would break this
        assert paid == pytest.approx(position.qty * position.entry_px - realized, abs=1e-6)


@settings(max_examples=100, deadline=None)
@given(deliveries())
def test_row_and_order_are_each_others_inverse(delivery):
    order, updates, _, _ = delivery
    for update in updates:
        order = states.apply_update(order, update)
        back = states.from_row(order.row())
        assert back.row() == order.row()
        assert (back.status, back.is_final, back.leaves_qty) == (order.status, order.is_final, order.leaves_qty)
