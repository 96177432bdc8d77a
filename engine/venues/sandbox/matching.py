"""Matching: how an accepted order meets the book, and what each fill does to both accounts.

Self-trade prevention is EXPIRE_MAKER: a resting order of the same account that would be hit expires instead.
"""

from __future__ import annotations

from typing import NamedTuple

from engine.venues.sandbox.accounts import Account, Position
from engine.venues.sandbox.model import Order, TradeEvent, UserTrade
from engine.venues.sandbox.state import RATE_UNIT, Listing, State


def execute(state: State, listing: Listing, order: Order, limit_tick: int | None, now_ms: int) -> None:
    """Match a live LIMIT or MARKET order, then rest or expire what is left.

    ``limit_tick`` is the worst acceptable price; None means any. The caller has checked filters and margin, and has
    registered the order with its account.
    """
    account = state.accounts[order.account_id]
    if order.tif == "GTX" and _would_take(listing, order):
        finish(state, account, order, "EXPIRED", now_ms)
        return
    if order.tif == "FOK" and not _fillable(state, listing, order, limit_tick):
        finish(state, account, order, "EXPIRED", now_ms)
        return
    take(state, listing, order, limit_tick, now_ms)
    if not order.is_open:
        return
    if order.type == "LIMIT" and order.tif in ("GTC", "GTX", "HIDDEN"):
        listing.book.add(order)
        state.dirty[order.symbol] = now_ms
        if order.reduce_only:
            account.reduce_orders[order.order_id] = order
    else:
        finish(state, account, order, "EXPIRED", now_ms)


def finish(state: State, account: Account, order: Order, status: str, now_ms: int) -> None:
    """End an order that is not in a book: set its status, forget it as open, tell its owner."""
    order.status = status
    order.update_ms = now_ms
    account.forget_open(order)
    state.emit(account, order, status, now_ms)


def pull(state: State, account: Account, order: Order, status: str, now_ms: int) -> None:
    """End an open order wherever it waits: in the book or among the conditional orders."""
    listing = state.listings[order.symbol]
    if listing.conditionals.pop(order.order_id, None) is None:
        listing.book.remove(order)
        state.dirty[order.symbol] = now_ms
    finish(state, account, order, status, now_ms)


def trim_reduce_only(state: State, account: Account, symbol: str, position: Position, now_ms: int) -> None:
    """Shrink resting reduce-only orders to what is left to reduce; expire those that could reduce nothing.

    Called after every change of the position, so that a resting reduce-only order can always fill completely without
    growing or flipping it.
    """
    listing = state.listings[symbol]
    for order in list(account.reduce_orders.values()):
        if order.symbol != symbol:
            continue
        left = position.reducible(order.side)
        excess = order.remaining_lots - left
        if excess <= 0:
            continue
        if left == 0:
            pull(state, account, order, "EXPIRED", now_ms)
        else:
            listing.book.reduce(order, excess)
            order.orig_lots -= excess
            order.update_ms = now_ms
            state.dirty[symbol] = now_ms
            state.emit(account, order, "AMENDMENT", now_ms)


class Fill(NamedTuple):
    """One side of a trade; ``rate`` is the fee in 1e-8 of the notional, negative for a rebate."""

    lots: int
    tick: int
    trade_id: int
    kind: str
    is_maker: bool
    rate: int


def settle(state: State, listing: Listing, order: Order, fill: Fill, now_ms: int) -> None:
    """Book one side of a trade: order, position, wallet, fee, records and events."""
    account = state.accounts[order.account_id]
    position = state.position(account, listing)
    lots, lot_q = fill.lots, fill.tick * listing.contract.unit_q
    quote_q = lots * lot_q
    commission_q = (quote_q * fill.rate + RATE_UNIT // 2) // RATE_UNIT if fill.rate else 0
    realized_q = position.fill(lots * order.side, lot_q)
    position.update_ms = now_ms
    account.wallet_q += realized_q - commission_q
    state.fees_q += commission_q
    order.executed_lots += lots
    order.cum_quote_q += quote_q
    order.update_ms = now_ms
    if order.executed_lots == order.orig_lots:
        order.status = "FILLED"
        account.forget_open(order)
    else:
        order.status = "PARTIALLY_FILLED"
    if not account.internal:
        _record(state, account, order, fill, (commission_q, realized_q), now_ms)
    if account.reduce_orders:
        trim_reduce_only(state, account, order.symbol, position, now_ms)


def _record(state: State, account: Account, order: Order, fill: Fill, money: tuple[int, int], now_ms: int) -> None:
    commission_q, realized_q = money
    quote_q = fill.lots * fill.tick * state.listings[order.symbol].contract.unit_q
    row = UserTrade(
        fill.trade_id, order.order_id, order.client_order_id, order.symbol, order.side, fill.tick, fill.lots,
        quote_q, commission_q, realized_q, fill.is_maker, now_ms,
    )  # fmt: skip
    account.trades.append(row)
    state.record_income(account, order.symbol, "REALIZED_PNL", realized_q, now_ms, fill.trade_id)
    state.record_income(account, order.symbol, "COMMISSION", -commission_q, now_ms, fill.trade_id)
    state.emit(account, order, fill.kind, now_ms, fill.lots, fill.tick, fill.trade_id, money, fill.is_maker)
    state.touch(account, order.symbol)


def take(state: State, listing: Listing, taker: Order, limit_tick: int | None, now_ms: int) -> None:
    """Fill a live order from the book as far as price and depth allow; what is left stays open, in no book."""
    account = state.accounts[taker.account_id]
    book, side = listing.book, taker.side
    # Liquidations report their fills as CALCULATED, as the venue's user stream does.
    kind = "CALCULATED" if taker.client_order_id.startswith("autoclose-") else "TRADE"
    at_tick = 0
    while taker.executed_lots < taker.orig_lots:
        maker = book.front(-side)
        if maker is None:
            return
        tick = maker.price_tick
        if limit_tick is not None and (tick - limit_tick) * side > 0:
            return
        if maker.account_id == account.account_id:
            pull(state, account, maker, "EXPIRED", now_ms)
            continue
        if tick != at_tick:
            listing.n_agg += 1
            at_tick = tick
        lots = min(taker.orig_lots - taker.executed_lots, maker.orig_lots - maker.executed_lots)
        state.n_trades += 1
        trade_id = state.n_trades
        book.reduce(maker, lots)
        listing.last_tick = tick
        if listing.conditionals:
            listing.pending_ticks.append(tick)
        state.dirty[taker.symbol] = now_ms
        state.events.append(TradeEvent(taker.symbol, trade_id, listing.n_agg, tick, lots, side < 0, now_ms))
        settle(state, listing, maker, Fill(lots, tick, trade_id, "TRADE", True, state.maker_rate), now_ms)
        settle(state, listing, taker, Fill(lots, tick, trade_id, kind, False, state.taker_rate), now_ms)


def _would_take(listing: Listing, order: Order) -> bool:
    best = listing.book.best_tick(-order.side)
    return best is not None and (order.price_tick - best) * order.side >= 0


def _fillable(state: State, listing: Listing, taker: Order, limit_tick: int | None) -> bool:
    # A dry run, because resting reduce-only orders shrink when their account's other orders fill first.
    wanted = taker.remaining_lots
    held: dict[str, int] = {}
    for maker in listing.book.walk(-taker.side):
        if limit_tick is not None and (maker.price_tick - limit_tick) * taker.side > 0:
            break
        owner = maker.account_id
        if owner == taker.account_id:
            continue
        if owner not in held:
            held[owner] = state.position(state.accounts[owner], listing).lots
        lots = maker.remaining_lots
        if maker.reduce_only:
            lots = min(lots, max(0, -held[owner] * maker.side))
        held[owner] += lots * maker.side
        wanted -= lots
        if wanted <= 0:
            return True
    return False
