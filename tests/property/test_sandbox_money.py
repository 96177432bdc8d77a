"""Whatever traders do on the practice exchange, no quantum of money appears or vanishes, and its rules hold."""

import random
from collections import Counter

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.venues.sandbox.contracts import CONTRACTS
from engine.venues.sandbox.exchange import Exchange
from engine.venues.sandbox.model import FundingEvent, LiquidationEvent, OrderEvent, OrderRequest, VenueReject
from engine.venues.sandbox.state import INSURANCE

SYMBOLS = ("BTCUSDT", "DOGEUSDT")
START = {"BTCUSDT": 60_000.0, "DOGEUSDT": 0.2}
TRADERS = ("ann", "bob", "cy", "dee")
TYPES = (
    "LIMIT", "LIMIT", "LIMIT", "MARKET", "MARKET", "STOP", "STOP_MARKET", "TAKE_PROFIT", "TAKE_PROFIT_MARKET",
    "TRAILING_STOP_MARKET",
)  # fmt: skip
TIFS = ("GTC", "GTC", "GTC", "IOC", "FOK", "GTX", "HIDDEN")


class Floor:
    """An exchange with traders, and every rule checked after every step."""

    def __init__(self, maker_fee: float = 0.0) -> None:
        self.exchange = Exchange({s: CONTRACTS[s] for s in SYMBOLS}, maker_fee=maker_fee, insurance_deposit=50.0)
        self.now = 1_700_000_000_000
        self.index = dict(START)
        self.held: Counter[tuple[str, str]] = Counter()
        self.seen: Counter[str] = Counter()
        self.exchange.open_account("maker", 1_000.0, self.now, internal=True)
        for name in TRADERS:
            self.exchange.open_account(name, 500.0, self.now)
        for symbol in SYMBOLS:
            self.exchange.set_prices(symbol, index=self.index[symbol], now_ms=self.now)
            for name in TRADERS:
                self.exchange.set_leverage(name, symbol, 75, self.now)

    def step(self, draw: random.Random) -> None:
        self.now += draw.choice((1, 50, 1000, 60_000, 3_600_000))
        action = draw.choice(
            (self.trade,) * 8 + (self.make,) * 6 + (self.cancel, self.amend, self.move, self.pass_time)
        )
        try:
            action(draw)
        except VenueReject as refusal:
            self.seen[f"reject {refusal.code}"] += 1
        self.check()

    def trade(self, draw: random.Random) -> None:
        symbol, side, kind = draw.choice(SYMBOLS), draw.choice((1, -1)), draw.choice(TYPES)
        contract = CONTRACTS[symbol]
        closing = kind in ("STOP_MARKET", "TAKE_PROFIT_MARKET") and draw.random() < 0.3
        qty = None if closing else contract.qty(contract.nearest_lots(draw.uniform(10, 4000) / self.index[symbol]))
        self.exchange.place(
            OrderRequest(
                draw.choice(TRADERS), symbol, side, kind, qty,
                price=self.near(symbol, draw), stop_price=self.near(symbol, draw), tif=draw.choice(TIFS),
                reduce_only=not closing and draw.random() < 0.25, close_position=closing,
                activation_price=self.near(symbol, draw) if draw.random() < 0.5 else None,
                callback_rate=round(draw.uniform(0.1, 1.0), 1),
                working_type=draw.choice(("CONTRACT_PRICE", "MARK_PRICE")), price_protect=draw.random() < 0.2,
            ),
            self.now,
        )  # fmt: skip

    def make(self, draw: random.Random) -> None:
        symbol, side = draw.choice(SYMBOLS), draw.choice((1, -1))
        contract = CONTRACTS[symbol]
        tick = contract.nearest_tick(self.index[symbol] * (1 - side * draw.uniform(-0.0005, 0.01)))
        lots = contract.nearest_lots(draw.uniform(100, 3000) / self.index[symbol])
        self.exchange.quote("maker", symbol, side, tick, lots, self.now)

    def cancel(self, draw: random.Random) -> None:
        name, symbol = draw.choice(TRADERS), draw.choice(SYMBOLS)
        orders = self.exchange.open_orders(name, symbol)
        if orders and draw.random() < 0.8:
            self.exchange.cancel(name, symbol, order_id=draw.choice(orders).order_id, now_ms=self.now)
        elif draw.random() < 0.5:
            self.exchange.countdown(name, symbol, draw.choice((0, 500)), self.now)
        else:
            self.exchange.cancel_all(name, symbol, self.now)

    def amend(self, draw: random.Random) -> None:
        name = draw.choice(TRADERS)
        orders = [o for o in self.exchange.open_orders(name) if o.type == "LIMIT"]
        if orders:
            order = draw.choice(orders)
            contract = CONTRACTS[order.symbol]
            qty = contract.qty(max(1, order.orig_lots + draw.randint(-5, 5)))
            self.exchange.amend(
                name, order.symbol, order_id=order.order_id, qty=qty, price=self.near(order.symbol, draw),
                now_ms=self.now,
            )  # fmt: skip

    def move(self, draw: random.Random) -> None:
        symbol = draw.choice(SYMBOLS)
        self.index[symbol] = max(
            START[symbol] / 2, self.index[symbol] * (1 + draw.choice((1, -1)) * draw.random() * 0.02)
        )
        self.exchange.set_prices(symbol, index=self.index[symbol], now_ms=self.now)

    def pass_time(self, draw: random.Random) -> None:
        if draw.random() < 0.3:
            self.exchange.settle_funding(draw.choice(SYMBOLS), draw.uniform(-0.003, 0.003), self.now)
        if draw.random() < 0.2:
            self.exchange.deposit(draw.choice(TRADERS), draw.choice((123.456789, -7.5)), self.now)
        self.exchange.advance(self.now)

    def near(self, symbol: str, draw: random.Random) -> float:
        contract = CONTRACTS[symbol]
        return contract.price(contract.nearest_tick(self.index[symbol] * draw.uniform(0.985, 1.015)))

    def check(self) -> None:
        self.check_events()
        self.check_money()
        self.check_books()

    def check_money(self) -> None:
        totals = self.exchange.totals()
        deposits = totals.pop("deposits")
        assert sum(totals.values()) == deposits
        accounts = self.exchange._state.accounts
        for symbol in SYMBOLS:
            assert sum(a.positions[symbol].lots for a in accounts.values() if symbol in a.positions) == 0
        for name in TRADERS:
            assert accounts[name].wallet_q == sum(row.amount_q for row in accounts[name].incomes)
            for symbol in SYMBOLS:
                fills = self.exchange.user_trades(name, symbol, limit=10**6)
                position = accounts[name].positions[symbol]
                assert position.lots == sum(t.side * t.lots for t in fills) == self.held[name, symbol]
                assert position.lots or position.cost_q == 0

    def check_books(self) -> None:
        state = self.exchange._state
        waiting = {o.order_id for listing in state.listings.values() for o in listing.conditionals.values()}
        for symbol in SYMBOLS:
            book = state.listings[symbol].book
            bid, ask = book.best_tick(1), book.best_tick(-1)
            assert bid is None or ask is None or bid < ask
            for side in (1, -1):
                for tick, level in book.levels[side].items():
                    shown = [o.remaining_lots for o in level.orders.values() if o.tif != "HIDDEN"]
                    assert level.shown_lots == sum(shown)
                    assert all(
                        o.remaining_lots > 0 and o.price_tick == tick and o.is_open for o in level.orders.values()
                    )
                waiting.update(o.order_id for o in book.walk(side))
        assert waiting == {i for a in state.accounts.values() for i in a.open_orders}

    def check_events(self) -> None:
        for event in self.exchange.drain():
            self.seen[type(event).__name__] += 1
            if isinstance(event, OrderEvent) and event.last_lots:
                key = (event.order.account_id, event.order.symbol)
                before = self.held[key]
                self.held[key] += event.order.side * event.last_lots
                self.seen[f"fill {event.order.orig_type}"] += 1
                if event.order.reduce_only or event.order.close_position:
                    assert abs(self.held[key]) < abs(before)
                    assert self.held[key] * before >= 0
            if isinstance(event, LiquidationEvent):
                self.seen["take-over"] += event.taken_lots > 0


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(draw=st.randoms(use_true_random=False), n_steps=st.integers(1, 120), maker_fee=st.sampled_from((0.0, -0.00005)))
def test_any_flow_conserves_money_and_keeps_the_rules(draw, n_steps, maker_fee):
    floor = Floor(maker_fee)
    for _ in range(n_steps):
        floor.step(draw)


def test_a_long_flow_conserves_money_through_every_kind_of_event():
    floor, draw = Floor(), random.Random(7)
    for _ in range(4000):
        floor.step(draw)
    kinds = {f"fill {t}" for t in TYPES} | {"LiquidationEvent", "MarginCallEvent", FundingEvent.__name__, "take-over"}
    assert kinds <= {k for k, n in floor.seen.items() if n}, floor.seen
    assert floor.exchange._state.accounts[INSURANCE].wallet_q != 50 * 10**8
