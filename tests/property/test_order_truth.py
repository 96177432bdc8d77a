"""Orders against a scripted venue that loses, repeats and reorders, and an engine that dies at any moment."""

import asyncio
import math
from collections import Counter
from concurrent.futures import Future

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from engine.domain import FINAL_STATUSES, Fill, Instrument, OrderSpec, OrderStatus, OrderUpdate, TradingState
from engine.errors import Rejected, StateUnknown, Unreachable
from engine.runtime.account import Account
from engine.runtime.doubts import SETTLE_S
from engine.runtime.executor import Executor
from engine.runtime.market import MarketState

LOT = 0.001
PX = 50_000.0
INSTRUMENT = Instrument("BTCUSDT", "BTC", "USDT", 0.1, LOT, LOT, 1000, 120, 5, 0.02, 125, 0.0, 0.0004)
OUTCOMES = ("acked", "refused", "accepted-no-answer", "late-no-answer", "lost-no-answer", "not-sent")
LATE_S = 0.8 * SETTLE_S  # a request may lie this long in the venue's queue before the order exists


class Record:
    """The rows that reached the disk: intents at once, everything else when it is written, or never."""

    def __init__(self):
        self.orders, self.fills, self.waiting = {}, {}, []

    def append(self, table, rows):
        self.waiting += [(table, row) for row in rows]

    def append_ahead(self, table, rows):
        assert table == "orders"
        self.orders |= {row["client_id"]: row for row in rows}  # overtakes what waits
        done = Future()
        done.set_result(None)
        return done

    def write(self, n):
        for table, row in self.waiting[:n]:
            if table == "orders":
                self.orders[row["client_id"]] = row
            elif table == "fills":
                self.fills[row["trade_id"]] = row
        del self.waiting[:n]

    def rows(self, query, params=()):
        if "FROM orders WHERE client_id" in query:
            return [self.orders[params[0]]] if params[0] in self.orders else []
        return [{"n": 0}]


class ScriptedVenue:
    """Holds orders and fills; what it says is queued for the test to deliver."""

    def __init__(self):
        self.orders, self.trades, self.messages, self.submitted = {}, [], [], Counter()
        self.outcome, self.is_down, self.late, self.now_ns = "acked", False, {}, 10**18

    def wait(self, seconds):
        """Let time pass; requests that lay in a queue become orders."""
        self.now_ns += int(seconds * 1e9)
        for client_id, (spec, arrives_ns) in list(self.late.items()):
            if self.now_ns >= arrives_ns:
                del self.late[client_id]
                self.orders[client_id] = (spec, 0, "NEW")

    def update(self, client_id):
        spec, filled, status = self.orders[client_id]
        return OrderUpdate(
            "BTCUSDT", client_id, f"v{client_id}", status, spec.side, "LIMIT", "GTC", spec.qty, filled * LOT,
            PX if filled else math.nan, PX, math.nan, False, False, 1, 1,
        )  # fmt: skip

    async def submit(self, approved):
        self.submitted[approved.client_id] += 1
        if self.outcome == "refused":
            raise Rejected(-2019, "margin is insufficient")
        if self.outcome == "not-sent":
            raise Unreachable("no connection")
        if self.outcome == "late-no-answer":
            self.late[approved.client_id] = (approved.spec, self.now_ns + int(LATE_S * 1e9))
        elif self.outcome != "lost-no-answer":
            self.orders[approved.client_id] = (approved.spec, 0, "NEW")
            self.messages.append(self.update(approved.client_id))
        if self.outcome.endswith("no-answer"):
            raise StateUnknown("503")
        return self.update(approved.client_id)

    def fill(self, client_id, lots):
        spec, filled, _ = self.orders[client_id]
        total = round(spec.qty / LOT)
        lots = min(lots, total - filled)
        filled += lots
        self.orders[client_id] = (spec, filled, "FILLED" if filled == total else "PARTIALLY_FILLED")
        trade = Fill(
            "BTCUSDT", str(len(self.trades)), client_id, f"v{client_id}", spec.side * lots * LOT, PX, 0.0, 0.0, True,
            len(self.trades), 1,
        )  # fmt: skip
        self.trades.append(trade)
        self.messages += [trade, self.update(client_id)]

    def cancel(self, client_id):
        spec, filled, _ = self.orders[client_id]
        self.orders[client_id] = (spec, filled, "CANCELED")
        self.messages.append(self.update(client_id))

    def open_ids(self):
        return [i for i, (_, _, status) in self.orders.items() if OrderStatus(status) not in FINAL_STATUSES]

    async def order(self, symbol, client_id, venue_order_id=""):
        if self.is_down:
            raise Unreachable("down")
        client_id = client_id or venue_order_id.removeprefix("v")
        return self.update(client_id) if client_id in self.orders else None

    async def fills(self, symbol, venue_order_id, client_id):
        if self.is_down:
            raise Unreachable("down")
        return [trade for trade in self.trades if trade.venue_order_id == venue_order_id]

    async def fills_since(self, symbol, start_ns, until_ns):
        if self.is_down:
            raise Unreachable("down")
        return [trade._replace(client_id="") for trade in self.trades]


class OrderTruth(RuleBasedStateMachine):
    """Whatever happens, once the venue can be asked the engine knows the truth, and nothing was sent twice."""

    def __init__(self):
        super().__init__()
        self.events, self.venue, self.record = asyncio.new_event_loop(), ScriptedVenue(), Record()
        self.sequence = 0
        self.executor = self._executor()

    def _executor(self):
        executor = Executor(
            self.venue, self.record, MarketState(), Account(), account_key="me", tag="abcd",
            sequence=self.sequence, now=lambda: self.venue.now_ns,
            trading_state=lambda: TradingState.RUNNING, publish=lambda kind, row: None,
        )  # fmt: skip
        executor.instruments = {"BTCUSDT": INSTRUMENT}
        executor.doubts.look_up = lambda client_id: None  # the test says when
        return executor

    def run(self, work):
        return self.events.run_until_complete(work)

    @rule(outcome=st.sampled_from(OUTCOMES), side=st.sampled_from([1, -1]), lots=st.integers(1, 5))
    def place(self, outcome, side, lots):
        self.venue.outcome = outcome
        spec = OrderSpec("BTCUSDT", side, "LIMIT", lots * LOT, PX, math.nan, "GTC", False, False, "target")
        order = self.run(self.executor.place(spec))
        self.sequence = self.executor.sequence
        assert (order.status == OrderStatus.UNKNOWN) == outcome.endswith("no-answer")
        assert (order.status == OrderStatus.REJECTED) == (outcome in ("refused", "not-sent"))

    @rule(data=st.data(), lots=st.integers(1, 5))
    def venue_fills(self, data, lots):
        if self.venue.open_ids():
            self.venue.fill(data.draw(st.sampled_from(self.venue.open_ids())), lots)

    @rule(data=st.data())
    def venue_cancels(self, data):
        if self.venue.open_ids():
            self.venue.cancel(data.draw(st.sampled_from(self.venue.open_ids())))

    @rule(data=st.data(), fate=st.sampled_from(["once", "twice", "never"]))
    def deliver(self, data, fate):
        if not self.venue.messages:
            return
        message = self.venue.messages.pop(data.draw(st.integers(0, len(self.venue.messages) - 1)))
        for _ in range({"once": 1, "twice": 2, "never": 0}[fate]):
            self.executor.on_fill(message) if isinstance(message, Fill) else self.executor.on_order(message)

    @rule(is_down=st.booleans(), waited_s=st.sampled_from([0.2, 1.0, 2 * SETTLE_S]), data=st.data())
    def look_up(self, is_down, waited_s, data):
        doubtful = [o for o in self.executor.orders.values() if o.status == OrderStatus.UNKNOWN]
        if doubtful:
            self.venue.is_down = is_down
            self.venue.wait(waited_s)
            before = data.draw(st.sampled_from(doubtful))
            self.run(self.executor.doubts.ask(before))
            if is_down:
                assert self.executor.orders[before.client_id] == before  # no answer is no news
            self.venue.is_down = False

    @rule(n_written=st.integers(0, 20))
    def die_and_start_again(self, n_written):
        """Lose what was not written yet, in the middle of a commit's queue, and take up the record."""
        self.record.write(n_written)
        self.record.waiting.clear()
        self.executor = self._executor()
        self.executor.restore(list(self.record.orders.values()))
        fills = [
            Fill(*(row[name] for name in ("symbol", "trade_id", "client_id", "venue_order_id", "qty", "px", "fee",
                                          "pnl_realized", "is_maker", "ts_filled", "ts_received")))
            for row in self.record.fills.values()
        ]  # fmt: skip
        self.executor.restore_fills(fills)
        for fill in fills:
            self.executor.account.apply_fill(fill, LOT, "target")

    @invariant()
    def nothing_is_sent_twice(self):
        assert all(times == 1 for times in self.venue.submitted.values())

    @invariant()
    def no_fill_counts_twice(self):
        held = self.executor.account.position("BTCUSDT").qty / LOT
        assert abs(held) <= sum(abs(trade.qty) for trade in self.venue.trades) / LOT + 1e-6

    def teardown(self):
        """Ask the venue, as reconciliation does, and compare everything."""
        executor = self.executor
        for _ in range(3):
            self.venue.wait(2 * SETTLE_S)
            for order in list(executor.orders.values()):
                if order.status in (OrderStatus.UNKNOWN, OrderStatus.SENT):
                    self.run(executor.doubts.ask(order))
                else:
                    self.run(executor.catch_up(self.venue.update(order.client_id)))
        missed = [f for f in self.run(self.venue.fills_since("BTCUSDT", 0, 1)) if not executor.has_seen(f)]
        for fill in self.run(executor.doubts.named(missed)):
            executor.on_fill(fill)
        for client_id, (_, filled, status) in self.venue.orders.items():
            known = executor.known(client_id)
            assert known.status == status
            assert math.isclose(known.filled_qty, filled * LOT, abs_tol=1e-9)
            assert known.spec.purpose == "target"
        for client_id in self.venue.submitted:
            assert client_id in self.venue.orders or executor.known(client_id).status == OrderStatus.REJECTED
        net = sum(trade.qty for trade in self.venue.trades)
        assert math.isclose(executor.account.position("BTCUSDT").qty, net, abs_tol=1e-9)
        self.events.close()


OrderTruth.TestCase.settings = settings(max_examples=150, stateful_step_count=25, deadline=None)
TestOrderTruth = OrderTruth.TestCase
