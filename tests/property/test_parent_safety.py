"""No parent order ever over-fills, whatever is delayed, refused, lost or repeated, and however often it restarts."""

import math
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from engine.domain import NS_PER_S, ApprovedOrder, BookTop, Instrument, OrderStatus
from engine.execution import orders as states
from engine.execution import parents
from engine.execution.algorithms import View, next_step
from engine.execution.ids import child_order_id
from engine.execution.orders import NO_SUCH_ORDER
from engine.execution.parents import Algorithm, Parent, ParentSpec, ParentStatus, from_row, tally

NAN, NOW = math.nan, 1_000 * NS_PER_S
BTC = Instrument("BTCUSDT", "BTC", "USDT", 0.1, 0.001, 0.001, 1000.0, 120.0, 5.0, 0.02, 125.0, 0.0, 0.0004)
TOP = BookTop("BTCUSDT", NOW, NOW, 49_999.9, 1.0, 50_000.1, 1.0)
WHAT = ("fill", "fill", "part", "cancel-late", "reject", "lose", "vanish", "wait", "wait", "restart", "pause", "resume")
QTY = 2.0


class World:
    """A venue that does what it is told to, and the record that a restart reads."""

    def __init__(self, spec: ParentSpec) -> None:
        self.now = NOW
        self.parent = Parent(7, spec, ParentStatus.WORKING, NOW, NOW)
        self.children: dict[str, states.Order] = {}
        self.truth: dict[str, float] = {}  # what the venue has filled, whether we know it or not
        self.position = -1.5 if spec.reduce_only else 0.0
        self.sent_while_paused = 0
        self.n_sent = 0

    def look(self, mid: float) -> None:
        top = TOP._replace(bid_px=mid - 0.1, ask_px=mid + 0.1)
        traded = (self.now - self.parent.ts_from) / NS_PER_S  # one a second
        view = View(top, BTC, self.position, market_volume=traded, trade_rate=1.0)
        children = list(self.children.values())
        step = next_step(self.parent, children, view, self.now)
        for client_id in step.cancel:
            self.children[client_id] = replace(self.children[client_id], cancel_sent_ns=self.now)
        if step.stop is not None:
            self.parent = parents.brought_to_end(self.parent, step.stop, step.why, children, self.now)
        if step.place is not None:
            self.check(step.place)
            self.check_share(step.place, traded, tally(children).committed)
            self.n_sent += 1
            approved = ApprovedOrder(child_order_id("abcd", 7, self.n_sent), 0, step.place, NAN)
            order = states.sent(states.new_order(approved, self.now), self.now)
            self.children[approved.client_id] = replace(order, status=OrderStatus.NEW)
            self.truth[approved.client_id] = 0.0

    def check(self, placed) -> None:
        spec = self.parent.spec
        assert self.parent.status == ParentStatus.WORKING
        if not math.isnan(spec.limit_px):
            assert (placed.limit_px - spec.limit_px) * spec.side <= 1e-9
        assert placed.reduce_only == spec.reduce_only
        assert (placed.side, placed.symbol) == (spec.side, spec.symbol)
        if spec.reduce_only:
            assert placed.qty <= abs(self.position) + 1e-9
        assert placed.tif == "IOC" or spec.algorithm == Algorithm.ICEBERG or placed.tif == "GTX"

    def check_share(self, placed, traded: float, committed: float) -> None:
        spec = self.parent.spec
        if spec.max_participation and not (spec.reduce_only and self.now >= spec.ts_end):
            whole = committed + placed.qty - self.parent.base_qty
            assert whole <= spec.max_participation * traded + 1e-9
            assert placed.qty <= spec.max_participation * 60.0 + 1e-9

    def happen(self, what: str, share: float) -> None:
        if what == "restart":  # the parent and its children are read from the record; sent ones are in doubt
            self.parent = from_row(self.parent.row("me", tally(list(self.children.values()))))
        elif what == "pause" and self.parent.status == ParentStatus.WORKING:
            self.parent = parents.paused(self.parent)
        elif what == "resume" and self.parent.status == ParentStatus.PAUSED and self.now < self.parent.spec.ts_end:
            committed = tally(list(self.children.values())).committed
            self.parent = parents.resumed(self.parent, committed, self.now)
        for client_id, order in list(self.children.items()):
            if order.is_final:
                self.late_fill(client_id, order, what, share)
            else:
                self.children[client_id] = self.news(client_id, order, what, share)

    def news(self, client_id: str, order: states.Order, what: str, share: float) -> states.Order:
        left = order.spec.qty - self.truth[client_id]
        if what in ("fill", "part"):
            self.book(client_id, order, left if what == "fill" else left * share)
            filled = self.truth[client_id]
            status = OrderStatus.FILLED if filled >= order.spec.qty - 1e-12 else OrderStatus.PARTIALLY_FILLED
            return replace(order, status=status, filled_qty=filled, avg_px=50_000.0)
        if what == "cancel-late" and order.cancel_sent_ns:  # it fills in part while the cancel is under way
            self.book(client_id, order, left * share)
            filled = self.truth[client_id]
            return replace(order, status=OrderStatus.CANCELED, filled_qty=filled, avg_px=50_000.0 if filled else NAN)
        if what == "reject" and self.truth[client_id] == 0.0:
            return states.rejected(order, "Margin is insufficient.", self.now)
        if what == "lose":  # no answer: in doubt, and it may fill all the same
            self.book(client_id, order, left * share)
            return states.doubted(order, "timed out", self.now)
        if what == "vanish" and order.status == OrderStatus.UNKNOWN and order.filled_qty == 0.0:
            return states.rejected(order, NO_SUCH_ORDER, self.now)  # the venue says so, and may be wrong
        return order

    def late_fill(self, client_id: str, order: states.Order, what: str, share: float) -> None:
        if order.reason == NO_SUCH_ORDER and what == "part":
            self.book(client_id, order, (order.spec.qty - self.truth[client_id]) * share)
            self.children[client_id] = replace(order, filled_qty=self.truth[client_id], avg_px=50_000.0)

    def book(self, client_id: str, order: states.Order, qty: float) -> None:
        if order.spec.reduce_only:  # the venue never lets it grow or flip the position
            qty = min(qty, abs(self.position))
        self.truth[client_id] += qty
        self.position += qty * order.spec.side


WORLDS = st.builds(
    ParentSpec, st.just("BTCUSDT"), st.sampled_from([1, -1]), st.just(QTY), st.sampled_from(list(Algorithm)),
    st.just(NOW), st.just(NOW + 120 * NS_PER_S), st.sampled_from([NAN, 50_000.0]), st.just(False),
    st.just("manual"), st.sampled_from([0.0, 3.0]), st.just(0.2), st.just(0.1), st.booleans(), st.booleans(),
    st.sampled_from([0.0, 0.01]),
)  # fmt: skip
NEWS = st.lists(st.tuples(st.sampled_from(WHAT), st.floats(0.0, 1.0), st.floats(-300.0, 300.0)), max_size=50)


@given(WORLDS, st.booleans(), NEWS)
@settings(max_examples=150, deadline=None)
def test_no_parent_ever_over_fills_and_every_parent_ends(spec, reduces, news):
    if spec.algorithm != Algorithm.ICEBERG:
        spec = spec._replace(hidden=False)
    world = World(spec._replace(side=1, reduce_only=True) if reduces else spec)
    for what, share, move in news:
        world.look(50_000.0 + move)
        committed = tally(list(world.children.values())).committed
        assert committed <= QTY + 1e-9
        assert sum(world.truth.values()) <= QTY + 1e-9
        world.happen(what, share)
        world.now += 3 * NS_PER_S
    for _ in range(80):  # then the venue answers every question, and each cancel and order comes to its end
        world.now += 5 * NS_PER_S
        world.look(50_000.0)  # paused or not
        for client_id, order in list(world.children.items()):
            if not order.is_final:
                world.book(client_id, order, 0.0)
                filled = world.truth[client_id]
                ended = replace(order, status=OrderStatus.CANCELED, filled_qty=filled, avg_px=50_000.0)
                world.children[client_id] = ended
    assert world.parent.is_ended
    assert sum(world.truth.values()) <= QTY + 1e-9
    if reduces:
        assert world.position <= 1e-9
