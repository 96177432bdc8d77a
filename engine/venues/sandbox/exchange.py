"""The exchange itself: one synchronous object, a function of the calls made on it and of the times given with them.

It knows no clock, network, file or random number. One-way positions and cross margin are modelled; hedge mode is
refused with -4061 and isolated margin with -4168.
"""

from __future__ import annotations

from engine.venues.sandbox import funding, liquidation, margin, orders
from engine.venues.sandbox.accounts import Account, window
from engine.venues.sandbox.contracts import CONTRACTS, Contract
from engine.venues.sandbox.model import (
    QUANTA,
    AccountEvent,
    AccountView,
    BookEvent,
    ConfigEvent,
    DepthChanges,
    Event,
    Income,
    Order,
    OrderRequest,
    PremiumView,
    UserTrade,
    VenueReject,
)
from engine.venues.sandbox.state import INSURANCE, State


class Exchange:
    """A futures exchange with a matching engine, cross margin, funding and liquidation.

    Parameters
    ----------
    contracts : dict of str to Contract
        What is listed.
    maker_fee, taker_fee : float
        Fractions of notional; a negative maker fee is a rebate.
    insurance_deposit : float
        The insurance fund's start in USDT.
    auto_funding : bool
        Whether ``advance`` settles funding at every interval boundary by itself.
    """

    def __init__(
        self,
        contracts: dict[str, Contract] = CONTRACTS,
        maker_fee: float = 0.0,
        taker_fee: float = 0.0004,
        insurance_deposit: float = 1_000_000.0,
        auto_funding: bool = True,
    ) -> None:
        self.contracts = dict(contracts)
        self._state = State(contracts, maker_fee, taker_fee)
        self._auto_funding = auto_funding
        self.open_account(INSURANCE, insurance_deposit, 0, internal=True)

    # Accounts -------------------------------------------------------------------------------------------------

    def open_account(self, account_id: str, deposit: float, now_ms: int, internal: bool = False) -> None:
        """Open an account with a first deposit in USDT.

        Internal accounts (background traders) pass no filters or margin checks, get no events and keep no history;
        their money counts all the same.
        """
        state = self._state
        if account_id in state.accounts:
            raise ValueError(f"account {account_id} exists already")
        account = state.accounts[account_id] = Account(account_id, internal)
        if not internal:
            state.external[account_id] = account
        if deposit:
            self.deposit(account_id, deposit, now_ms)

    def deposit(self, account_id: str, amount: float, now_ms: int) -> None:
        """Add USDT to a wallet (negative: withdraw, refused with -2018 beyond what is available)."""
        state, account = self._state, self._state.account(account_id)
        amount_q = round(amount * QUANTA)
        if amount_q < 0 and not account.internal and -amount_q > margin.available_q(state, account):
            raise VenueReject(-2018, "Balance is insufficient.")
        account.wallet_q += amount_q
        state.deposits_q += amount_q
        account.update_ms = now_ms
        state.record_income(account, "", "TRANSFER", amount_q, now_ms, 0)
        if not account.internal:
            reason = "DEPOSIT" if amount_q >= 0 else "WITHDRAW"
            state.events.append(AccountEvent(account_id, reason, now_ms, ()))

    def has_account(self, account_id: str) -> bool:
        """Return whether an account of this id exists."""
        return account_id in self._state.accounts

    def account_ids(self) -> list[str]:
        """Return the ids of the non-internal accounts, in the sequence of their opening."""
        return list(self._state.external)

    def set_leverage(self, account_id: str, symbol: str, leverage: int, now_ms: int) -> None:
        """Set a symbol's leverage; -4028 out of range, -2027 notional too large for it, -2019 margin missing."""
        state, account, listing = self._state, self._state.account(account_id), self._state.listing(symbol)
        if not 1 <= leverage <= listing.contract.max_leverage:
            raise VenueReject(-4028, f"Leverage {leverage} is not valid.")
        position = state.position(account, listing)
        exposure_q = margin.exposure_q(account, listing)
        if exposure_q > listing.contract.max_notional(leverage) * QUANTA:
            raise VenueReject(-2027, "Exceeded the maximum allowable position at current leverage.")
        growth_q = -(-exposure_q // leverage) + exposure_q // -position.leverage
        if growth_q > margin.available_q(state, account):
            raise VenueReject(-2019, "Margin is insufficient.")
        position.leverage = leverage
        if not account.internal:
            state.events.append(ConfigEvent(account_id, symbol, leverage, now_ms))

    def set_margin_type(self, account_id: str, symbol: str, margin_type: str, now_ms: int) -> None:
        """Answer as the venue does when the type is CROSSED already (-4046); refuse ISOLATED with -4168."""
        self._state.account(account_id)
        self._state.listing(symbol)
        if margin_type == "CROSSED":
            raise VenueReject(-4046, "No need to change margin type.")
        raise VenueReject(-4168, "Unable to adjust to isolated-margin mode: this exchange offers cross margin only.")

    # Orders ---------------------------------------------------------------------------------------------------

    def place(self, req: OrderRequest, now_ms: int) -> Order:
        """Place an order and match it at once; return it as it is afterwards.

        A post-only order that would take, and what IOC, FOK and MARKET leave unfilled, ends EXPIRED.

        Raises
        ------
        VenueReject
            With the venue's code; nothing changed then.
        """
        return orders.place(self._state, req, now_ms)

    def quote(
        self, account_id: str, symbol: str, side: int, price_tick: int | None, lots: int, now_ms: int, tif: str = "GTC"
    ) -> Order:  # fmt: skip
        """Place an internal account's order in ticks and lots, the fast way; no price means MARKET without a bound."""
        state = self._state
        account = state.accounts[account_id]
        if not account.internal:
            raise ValueError(f"quote is for internal accounts, {account_id} is not one")
        return orders.quote(state, account, state.listings[symbol], (side, price_tick, lots, tif), now_ms)

    def withdraw_quote(self, order: Order, now_ms: int) -> bool:
        """Cancel an order returned by ``quote``; False when it was finished already."""
        if not order.is_open:
            return False
        orders.cancel(self._state, self._state.accounts[order.account_id], order, now_ms)
        return True

    def amend(
        self, account_id: str, symbol: str, *, order_id: int | None = None, client_order_id: str | None = None,
        qty: float, price: float, now_ms: int,
    ) -> Order:  # fmt: skip
        """Change quantity and price of a LIMIT order; see ``orders.amend`` for priority and refusals."""
        account = self._state.account(account_id)
        order = account.find(symbol, order_id, client_order_id)
        return orders.amend(self._state, account, order, qty, price, now_ms)

    def cancel(
        self, account_id: str, symbol: str, *, order_id: int | None = None, client_order_id: str | None = None,
        now_ms: int,
    ) -> Order:  # fmt: skip
        """Cancel one order; -2011 when it is unknown or finished."""
        account = self._state.account(account_id)
        return orders.cancel(self._state, account, account.find(symbol, order_id, client_order_id), now_ms)

    def cancel_all(self, account_id: str, symbol: str, now_ms: int) -> int:
        """Cancel every open order of a symbol, conditional ones too; return how many."""
        self._state.listing(symbol)
        return orders.cancel_all(self._state, self._state.account(account_id), symbol, now_ms)

    def countdown(self, account_id: str, symbol: str, countdown_ms: int, now_ms: int) -> None:
        """Arm the dead-man switch: all orders of the symbol go after ``countdown_ms`` unless called again; 0 stops it.

        The venue says "all open orders"; conditional ones are taken to be among them.
        """
        orders.set_countdown(self._state, self._state.account(account_id), symbol, countdown_ms, now_ms)

    # Market time ----------------------------------------------------------------------------------------------

    def set_prices(self, symbol: str, *, index: float, now_ms: int) -> None:
        """Take a new index price in USDT; the mark moves, mark-price orders trigger, accounts are checked."""
        funding.set_prices(self._state, self._state.listing(symbol), index, now_ms)
        self._state.flush(now_ms)

    def settle_funding(self, symbol: str, rate: float, now_ms: int) -> None:
        """Settle funding now at ``rate`` (fraction of notional, longs pay when positive)."""
        funding.settle(self._state, self._state.listing(symbol), rate, now_ms)

    def advance(self, now_ms: int) -> None:
        """Let time pass: countdowns fire, funding is settled, margins are checked, the insurance fund unwinds."""
        state = self._state
        orders.fire_countdowns(state, now_ms)
        for listing in state.listings.values():
            if not listing.mark_lot_q:
                continue
            if self._auto_funding:
                funding.settle_due(state, listing, now_ms)
            funding.check_holders(state, listing, now_ms)
            liquidation.unwind(state, listing, now_ms)
            orders.after(state, listing, now_ms)
        for account in state.external.values():
            liquidation.pay_shortfall(state, account, now_ms)

    def drain(self) -> list[Event]:
        """Return the events since the last call in the sequence they happened, then one BookEvent per changed book."""
        state = self._state
        events, state.events = state.events, []
        events.extend(BookEvent(symbol, now_ms) for symbol, now_ms in state.dirty.items())
        state.dirty.clear()
        return events

    # Views ----------------------------------------------------------------------------------------------------

    def depth(self, symbol: str, levels: int) -> tuple[list[tuple[int, int]], list[tuple[int, int]], int]:
        """Return displayed (bids, asks, last_update_id), each row (price_tick, lots), best first."""
        book = self._state.listing(symbol).book
        return book.shown(1, levels), book.shown(-1, levels), book.update_id

    def depth_changes(self, symbol: str) -> DepthChanges:
        """Return the displayed levels that changed since the last call of this method."""
        return self._state.listing(symbol).book.changes()

    def best(self, symbol: str) -> tuple[int | None, int | None, int | None, int | None]:
        """Return displayed (bid_tick, bid_lots, ask_tick, ask_lots), None where a side is empty."""
        book = self._state.listing(symbol).book
        bids, asks = book.shown(1, 1), book.shown(-1, 1)
        return (*(bids[0] if bids else (None, None)), *(asks[0] if asks else (None, None)))

    def last_tick(self, symbol: str) -> int | None:
        """Return the last trade's price in ticks, None before the first trade."""
        return self._state.listing(symbol).last_tick or None

    def mark(self, symbol: str) -> float | None:
        """Return the mark price in USDT, None before the first index price."""
        listing = self._state.listing(symbol)
        return listing.contract.price_of_lot_q(listing.mark_lot_q) if listing.mark_lot_q else None

    def index(self, symbol: str) -> float | None:
        """Return the index price in USDT, None before the first one."""
        return self._state.listing(symbol).index or None

    def premium(self, symbol: str, now_ms: int) -> PremiumView:
        """Return mark, index and funding figures as premiumIndex reports them."""
        return funding.view(self._state.listing(symbol), now_ms)

    def funding_rate(self, symbol: str) -> float:
        """Return the rate at which the running interval would settle, as a fraction."""
        return funding.estimated_rate(self._state.listing(symbol))

    def order(
        self, account_id: str, symbol: str, order_id: int | None = None, client_order_id: str | None = None
    ) -> Order:
        """Return an order, open or finished; -2013 when there is none."""
        found = self._state.account(account_id).find(symbol, order_id, client_order_id)
        if found is None:
            raise VenueReject(-2013, "Order does not exist.")
        return found

    def open_orders(self, account_id: str, symbol: str | None = None) -> list[Order]:
        """Return open orders, conditional ones included, oldest first."""
        rows = self._state.account(account_id).open_orders.values()
        return sorted((o for o in rows if symbol in (None, o.symbol)), key=lambda o: o.order_id)

    def all_orders(
        self, account_id: str, symbol: str | None = None, start_ms: int | None = None, end_ms: int | None = None,
        from_id: int | None = None, limit: int = 500,
    ) -> list[Order]:  # fmt: skip
        """Return orders of any status by creation time, oldest first; the newest ``limit`` without start and id."""
        rows = [
            o
            for o in self._state.account(account_id).orders.values()
            if symbol in (None, o.symbol) and o.order_id >= (from_id or 0)
        ]
        return window(rows, start_ms, end_ms, limit, start_ms is None and from_id is None)

    def user_trades(
        self, account_id: str, symbol: str | None = None, start_ms: int | None = None, end_ms: int | None = None,
        from_id: int | None = None, limit: int = 500,
    ) -> list[UserTrade]:  # fmt: skip
        """Return own fills, oldest first; the newest ``limit`` without start and id."""
        rows = [
            t
            for t in self._state.account(account_id).trades
            if symbol in (None, t.symbol) and t.trade_id >= (from_id or 0)
        ]
        return window(rows, start_ms, end_ms, limit, start_ms is None and from_id is None)

    def income(
        self, account_id: str, symbol: str | None = None, income_type: str | None = None,
        start_ms: int | None = None, end_ms: int | None = None, limit: int = 100,
    ) -> list[Income]:  # fmt: skip
        """Return wallet changes, oldest first; the newest ``limit`` without a start."""
        rows = [
            r
            for r in self._state.account(account_id).incomes
            if symbol in (None, r.symbol) and income_type in (None, r.income_type)
        ]
        return window(rows, start_ms, end_ms, limit, start_ms is None)

    def account(self, account_id: str) -> AccountView:
        """Return balances, margins and positions of an account in USDT and base units."""
        return margin.view_account(self._state, self._state.account(account_id))

    def leverage(self, account_id: str, symbol: str) -> int:
        """Return the leverage an account has set on a symbol."""
        state = self._state
        return state.position(state.account(account_id), state.listing(symbol)).leverage

    def totals(self) -> dict[str, int]:
        """Return all money in quanta (1e-8 USDT) by class.

        ``wallets`` and ``unrealized`` are those of all accounts but the insurance fund, ``insurance`` is the fund's
        wallet and unrealised profit, ``fees`` what the venue kept. The four add up to ``deposits`` exactly, always.
        """
        state = self._state
        customers = [a for a in state.accounts.values() if a.account_id != INSURANCE]
        return {
            "wallets": sum(a.wallet_q for a in customers),
            "unrealized": sum(margin.unrealized_q(state, a) for a in customers),
            "fees": state.fees_q,
            "insurance": margin.balance_q(state, state.accounts[INSURANCE]),
            "deposits": state.deposits_q,
        }
