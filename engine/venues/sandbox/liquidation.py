"""Margin calls, liquidation, and the insurance fund.

An account whose margin balance falls to its maintenance margin is closed out position by position, the largest
maintenance margin first, until the balance is above maintenance again:

1. all its open orders are cancelled;
2. an ``autoclose-`` IOC order takes the book up to the bankruptcy price (where the margin balance would be zero),
   never beyond the market take bound;
3. what the book did not absorb passes to the insurance fund at the bankruptcy price, without a public trade;
4. the liquidation fee goes to the fund as far as the balance allows;
5. a wallet left below zero with no position is paid back to zero by the fund.
"""

from __future__ import annotations

from engine.venues.sandbox import margin, matching
from engine.venues.sandbox.accounts import Account
from engine.venues.sandbox.filters import take_bound_tick
from engine.venues.sandbox.model import AccountEvent, LiquidationEvent, MarginCallEvent, Order
from engine.venues.sandbox.state import INSURANCE, Listing, State

CALL_RATIO, CALM_RATIO = (8, 10), (7, 10)
"""A margin call goes out at maintenance/balance >= 0.8 and may repeat after the ratio was below 0.7."""

UNWIND_EVERY_MS = 1000


def check(state: State, account: Account, now_ms: int) -> None:
    """Call for margin or liquidate, as the account's balance demands."""
    maint_q = margin.total_maintenance_q(state, account)
    if not maint_q:
        account.margin_called = False
        return
    balance_q = margin.balance_q(state, account)
    if maint_q * CALM_RATIO[1] < balance_q * CALM_RATIO[0]:
        account.margin_called = False
    if maint_q * CALL_RATIO[1] >= balance_q * CALL_RATIO[0] and not account.margin_called:
        account.margin_called = True
        held = tuple(s for s, p in account.positions.items() if p.lots)
        state.events.append(MarginCallEvent(account.account_id, now_ms, held))
    if balance_q <= maint_q:
        _liquidate(state, account, now_ms)


def unwind(state: State, listing: Listing, now_ms: int) -> None:
    """Let the insurance fund sell (or buy back) what it took over: once a second, at most the best displayed level."""
    fund = state.accounts[INSURANCE]
    position = fund.positions.get(listing.contract.symbol)
    if position is None or not position.lots or now_ms - listing.unwind_ms < UNWIND_EVERY_MS:
        return
    side = -1 if position.lots > 0 else 1
    shown = listing.book.shown(-side, 1)
    if not shown:
        return
    listing.unwind_ms = now_ms
    tick, lots = shown[0]
    order = _system_order(state, listing, fund, (side, min(lots, abs(position.lots)), tick), now_ms)
    matching.execute(state, listing, order, tick, now_ms)


def _liquidate(state: State, account: Account, now_ms: int) -> None:
    for order in list(account.open_orders.values()):
        matching.pull(state, account, order, "CANCELED", now_ms)
    held = [(s, p) for s, p in account.positions.items() if p.lots]
    held.sort(key=lambda sp: -_maintenance(state, sp[0], sp[1].lots))
    for symbol, _ in held:
        _close(state, account, state.listings[symbol], now_ms)
        if margin.balance_q(state, account) > margin.total_maintenance_q(state, account):
            break
    pay_shortfall(state, account, now_ms)


def _close(state: State, account: Account, listing: Listing, now_ms: int) -> None:
    position = state.position(account, listing)
    side = -1 if position.lots > 0 else 1
    bankrupt = _bankruptcy_tick(state, account, listing)
    bound = take_bound_tick(listing, side)
    order = _system_order(state, listing, account, (side, abs(position.lots), bankrupt), now_ms)
    state.emit(account, order, "NEW", now_ms)
    matching.take(state, listing, order, max(bankrupt, bound) if side < 0 else min(bankrupt, bound), now_ms)
    taken = order.remaining_lots
    if taken:
        _take_over(state, listing, order, now_ms)
    fee_q = _charge_fee(state, account, listing, order, now_ms)
    state.events.append(
        LiquidationEvent(account.account_id, listing.contract.symbol, order.snapshot(), taken, fee_q, now_ms)
    )


def _take_over(state: State, listing: Listing, order: Order, now_ms: int) -> None:
    # The transfer is the forced order's last fill, so the account's records add up to its position.
    fund = state.accounts[INSURANCE]
    lots, tick = order.remaining_lots, order.price_tick
    mirror = _system_order(state, listing, fund, (-order.side, lots, tick), now_ms)
    state.n_trades += 1
    matching.settle(state, listing, order, matching.Fill(lots, tick, state.n_trades, "CALCULATED", False, 0), now_ms)
    matching.settle(state, listing, mirror, matching.Fill(lots, tick, state.n_trades, "TRADE", True, 0), now_ms)


def _bankruptcy_tick(state: State, account: Account, listing: Listing) -> int:
    # Rounded in the account's favour: up when a long is sold, down when a short is bought back.
    lots, unit_q = state.position(account, listing).lots, listing.contract.unit_q
    value_q = lots * listing.mark_lot_q - margin.balance_q(state, account)  # proceeds that leave nothing
    if lots > 0:
        return max(1, -(-value_q // (lots * unit_q)))
    return max(1, -value_q // (-lots * unit_q))


def _charge_fee(state: State, account: Account, listing: Listing, order: Order, now_ms: int) -> int:
    due_q = order.cum_quote_q * round(listing.contract.liquidation_fee * 1e6) // 1_000_000
    fee_q = min(due_q, max(0, margin.balance_q(state, account)))
    account.wallet_q -= fee_q
    state.accounts[INSURANCE].wallet_q += fee_q
    state.record_income(account, listing.contract.symbol, "INSURANCE_CLEAR", -fee_q, now_ms, 0)
    return fee_q


def pay_shortfall(state: State, account: Account, now_ms: int) -> None:
    """Let the insurance fund bring a wallet below zero back to zero once no position can."""
    if account.wallet_q >= 0 or any(p.lots for p in account.positions.values()):
        return
    missing_q = -account.wallet_q
    account.wallet_q = 0
    state.accounts[INSURANCE].wallet_q -= missing_q
    state.record_income(account, "", "INSURANCE_CLEAR", missing_q, now_ms, 0)
    state.events.append(AccountEvent(account.account_id, "INSURANCE_CLEAR", now_ms, ()))


def _system_order(state: State, listing: Listing, account: Account, terms: tuple[int, int, int], now_ms: int) -> Order:
    side, lots, tick = terms
    state.n_orders += 1
    order = Order(
        state.n_orders, f"autoclose-{state.n_orders}", account.account_id, listing.contract.symbol, side,
        "LIMIT", "LIMIT", "IOC", tick, 0, lots, 0, 0, "NEW", False, False, 0, 0.0, "CONTRACT_PRICE", False,
        now_ms, now_ms,
    )  # fmt: skip
    account.remember(order)
    return order


def _maintenance(state: State, symbol: str, lots: int) -> int:
    listing = state.listings[symbol]
    return margin.maintenance_q(listing.contract, abs(lots) * listing.mark_lot_q)
