"""Everything the exchange remembers: one ``State`` that matching, margin, funding and liquidation work on."""

from __future__ import annotations

from engine.venues.sandbox.accounts import Account, Position
from engine.venues.sandbox.book import Book
from engine.venues.sandbox.contracts import Contract
from engine.venues.sandbox.model import AccountEvent, Event, Income, Order, OrderEvent, VenueReject

RATE_UNIT = 100_000_000
"""Fee and funding rates are integers of 1e-8 inside, so that every payment is integer arithmetic."""

INSURANCE = "insurance"
"""Account id of the insurance fund: an internal account with a wallet and, after a take-over, positions."""


class Listing:
    """One listed contract: its book, prices, waiting conditional orders and funding clock.

    ``mark_lot_q`` is 0 until the first price. ``pending_ticks`` are trade prices that conditional orders have not seen
    yet. ``premium_sum`` is the premium (mid over index, fraction) times milliseconds since the last settlement.
    """

    __slots__ = (
        "basis", "book", "conditionals", "contract", "index", "last_rate", "last_tick", "mark_lot_q",
        "n_agg", "next_funding_ms", "pending_ticks", "premium", "premium_ms", "premium_sum", "prices_ms", "unwind_ms",
    )  # fmt: skip

    def __init__(self, contract: Contract) -> None:
        self.contract = contract
        self.book = Book()
        self.conditionals: dict[int, Order] = {}
        self.pending_ticks: list[int] = []
        self.index = 0.0
        self.mark_lot_q = 0
        self.last_tick = 0
        self.n_agg = 0  # numbered by symbol without holes, so that a client can see what it missed
        self.basis = 0.0
        self.premium = 0.0
        self.premium_sum = 0.0
        self.premium_ms = 0
        self.prices_ms = 0
        self.next_funding_ms = 0
        self.last_rate = 0.0
        self.unwind_ms = 0

    def last_lot_q(self) -> int:
        """Return the last trade's price in quanta per lot; the mark before the first trade."""
        return self.last_tick * self.contract.unit_q or self.mark_lot_q


class State:
    """The exchange's whole memory."""

    __slots__ = (
        "accounts", "deadlines", "deposits_q", "dirty", "events", "external", "fees_q", "listings", "maker_rate",
        "n_orders", "n_trades", "n_trans", "taker_rate", "touched",
    )  # fmt: skip

    def __init__(self, contracts: dict[str, Contract], maker_fee: float, taker_fee: float) -> None:
        self.listings = {symbol: Listing(contract) for symbol, contract in contracts.items()}
        self.accounts: dict[str, Account] = {}
        self.external: dict[str, Account] = {}
        self.maker_rate = round(maker_fee * RATE_UNIT)
        self.taker_rate = round(taker_fee * RATE_UNIT)
        self.fees_q = 0
        self.deposits_q = 0
        self.deadlines: dict[tuple[str, str], int] = {}
        self.events: list[Event] = []
        self.dirty: dict[str, int] = {}  # symbol -> time of the latest book change since the last drain
        self.touched: dict[str, dict[str, None]] = {}  # account -> symbols filled in the running operation
        self.n_orders = self.n_trades = self.n_trans = 0

    def listing(self, symbol: str) -> Listing:
        """Return a listing or refuse with -1121."""
        listing = self.listings.get(symbol)
        if listing is None:
            raise VenueReject(-1121, "Invalid symbol.")
        return listing

    def account(self, account_id: str) -> Account:
        """Return an account or refuse with -1002."""
        account = self.accounts.get(account_id)
        if account is None:
            raise VenueReject(-1002, "You are not authorized to execute this request.")
        return account

    def position(self, account: Account, listing: Listing) -> Position:
        """Return an account's position in a listing, created flat when it never existed."""
        return account.position(listing.contract.symbol, listing.contract.max_leverage)

    def record_income(self, account: Account, symbol: str, kind: str, amount_q: int, now_ms: int, trade: int) -> None:
        """Remember one wallet change of a non-internal account; the wallet itself is changed by the caller."""
        if amount_q and not account.internal:
            self.n_trans += 1
            account.incomes.append(Income(self.n_trans, symbol, kind, amount_q, now_ms, trade))

    def emit(
        self, account: Account, order: Order, kind: str, now_ms: int, lots: int = 0, tick: int = 0, trade: int = 0,
        money: tuple[int, int] = (0, 0), is_maker: bool = False,
    ) -> None:  # fmt: skip
        """Append an order event of a non-internal account; ``money`` is (commission_q, realized_q)."""
        if not account.internal:
            self.events.append(
                OrderEvent(order.snapshot(), kind, lots, tick, trade, money[0], money[1], is_maker, now_ms)
            )

    def touch(self, account: Account, symbol: str) -> None:
        """Note that a fill changed a non-internal account; ``flush`` turns the notes into events."""
        self.touched.setdefault(account.account_id, {})[symbol] = None

    def flush(self, now_ms: int) -> None:
        """Emit one account event per account filled in the running operation."""
        for account_id, symbols in self.touched.items():
            self.accounts[account_id].update_ms = now_ms
            self.events.append(AccountEvent(account_id, "ORDER", now_ms, tuple(symbols)))
        self.touched.clear()
