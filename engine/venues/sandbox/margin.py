"""Cross margin: what positions and orders tie up, when an order is affordable, where a position is liquidated.

Position margin is notional at mark over leverage. Orders add the larger of the two exposures they could lead to:
``max(|P|, |P + bids|, |P - asks|) / leverage`` with P the signed notional at mark and bids, asks the notionals of the
resting non-reduce-only orders at their own prices. Conditional orders tie up nothing until they trigger.
"""

from __future__ import annotations

from engine.venues.sandbox.accounts import Account, Position
from engine.venues.sandbox.contracts import Bracket, Contract
from engine.venues.sandbox.model import QUANTA, AccountView, Order, PositionView, VenueReject
from engine.venues.sandbox.state import Listing, State


def bracket_of(contract: Contract, notional_q: int) -> Bracket:
    """Return the leverage bracket that a position's absolute notional (quanta) falls into."""
    for bracket in contract.brackets:
        if notional_q <= bracket.notional_cap * QUANTA:
            return bracket
    return contract.brackets[-1]


def maintenance_q(contract: Contract, notional_q: int) -> int:
    """Return the maintenance margin of an absolute notional: ``notional * mmr - cum``, rounded up, in quanta."""
    bracket = bracket_of(contract, notional_q)
    return max(0, -(-notional_q * bracket.maint_ppm // 1_000_000) - bracket.cum_q)


def unrealized_q(state: State, account: Account) -> int:
    """Return the account's unrealised profit at mark over all symbols, in quanta."""
    return sum(p.unrealized_q(state.listings[s].mark_lot_q) for s, p in account.positions.items() if p.lots)


def balance_q(state: State, account: Account) -> int:
    """Return the margin balance, wallet plus unrealised profit, in quanta."""
    return account.wallet_q + unrealized_q(state, account)


def total_maintenance_q(state: State, account: Account) -> int:
    """Return the maintenance margin of all positions, in quanta."""
    return sum(
        maintenance_q(state.listings[s].contract, abs(p.lots) * state.listings[s].mark_lot_q)
        for s, p in account.positions.items()
        if p.lots
    )


def exposure_q(
    account: Account, listing: Listing, extra: tuple[int, int] = (0, 0), without: Order | None = None
) -> int:
    """Return the notional that ties up initial margin in one symbol, in quanta.

    ``extra`` is a further (side, notional_q) order; ``without`` leaves out an order that is about to be replaced.
    """
    symbol, unit_q = listing.contract.symbol, listing.contract.unit_q
    open_q = {1: 0, -1: 0}
    for order in account.open_orders.values():
        if order.symbol == symbol and order is not without and not order.reduce_only and order.type == "LIMIT":
            open_q[order.side] += order.remaining_lots * order.price_tick * unit_q
    if extra[0]:
        open_q[extra[0]] += extra[1]
    position = account.positions.get(symbol)
    held_q = position.lots * listing.mark_lot_q if position else 0
    return max(abs(held_q), abs(held_q + open_q[1]), abs(held_q - open_q[-1]))


def initial_margin_q(state: State, account: Account) -> int:
    """Return the initial margin of all positions and open orders, in quanta."""
    symbols = {s for s, p in account.positions.items() if p.lots}
    symbols.update(o.symbol for o in account.open_orders.values())
    total = 0
    for symbol in symbols:
        listing = state.listings[symbol]
        total += -(-exposure_q(account, listing) // state.position(account, listing).leverage)
    return total


def available_q(state: State, account: Account) -> int:
    """Return what new orders may tie up: margin balance less initial margin, at least 0, in quanta."""
    return max(0, balance_q(state, account) - initial_margin_q(state, account))


def check_affordable(state: State, listing: Listing, order: Order, lot_q: int, without: Order | None = None) -> None:
    """Refuse an order that the account cannot carry.

    Parameters
    ----------
    order : Order
        The order about to go live; its remaining lots are what would be added.
    lot_q : int
        The price it is valued at, in quanta per lot.
    without : Order or None
        An open order that it replaces.

    Raises
    ------
    VenueReject
        -2027 when the exposure would pass the leverage's largest notional, -2019 when the increase of initial margin
        plus the loss at opening (price worse than mark) exceeds the available balance. An order that increases neither
        is always affordable.
    """
    account = state.accounts[order.account_id]
    if order.reduce_only or account.internal:
        return
    leverage = state.position(account, listing).leverage
    before = exposure_q(account, listing, without=without)
    after = exposure_q(account, listing, (order.side, order.remaining_lots * lot_q), without)
    if after <= before:
        return
    if after > listing.contract.max_notional(leverage) * QUANTA:
        raise VenueReject(-2027, "Exceeded the maximum allowable position at current leverage.")
    opening_loss = max(0, (lot_q - listing.mark_lot_q) * order.side) * order.remaining_lots
    freed = -(-exposure_q(account, listing) // leverage)
    needed = -(-after // leverage) + opening_loss
    if needed > balance_q(state, account) - initial_margin_q(state, account) + freed:
        raise VenueReject(-2019, "Margin is insufficient.")


def liquidation_price(state: State, account: Account, listing: Listing) -> float:
    """Return the mark price of this symbol at which the account is liquidated, other marks unchanged.

    Solves ``balance(L) = maintenance(L)``: with signed quantity s, cost s*e, and W the wallet plus the others'
    unrealised profit less their maintenance, ``L = (cost - W - cum) / (s - |s| mmr)`` in the bracket that holds
    ``|s| L``. 0.0 means that no positive price does it.
    """
    position = account.positions.get(listing.contract.symbol)
    if position is None or not position.lots:
        return 0.0
    contract, mark = listing.contract, listing.mark_lot_q
    own_maint = maintenance_q(contract, abs(position.lots) * mark)
    others = balance_q(state, account) - position.unrealized_q(mark) - total_maintenance_q(state, account) + own_maint
    answer = 0.0
    for bracket in contract.brackets:
        slope = position.lots - abs(position.lots) * bracket.maint_ppm / 1e6
        answer = (position.cost_q - others - bracket.cum_q) / slope
        if answer * abs(position.lots) <= bracket.notional_cap * QUANTA:
            break
    return contract.price_of_lot_q(round(answer)) if answer > 0 else 0.0


def view_position(state: State, account: Account, listing: Listing) -> PositionView:
    """Return one symbol of an account in floats."""
    contract, mark = listing.contract, listing.mark_lot_q
    position: Position = state.position(account, listing)
    notional_q = position.lots * mark
    margin_q = -(-exposure_q(account, listing) // position.leverage)
    return PositionView(
        contract.symbol, contract.qty(position.lots),
        contract.price_of_lot_q(position.cost_q / position.lots) if position.lots else 0.0,
        contract.price_of_lot_q(mark), position.unrealized_q(mark) / QUANTA,
        liquidation_price(state, account, listing), position.leverage, "cross", margin_q / QUANTA,
        maintenance_q(contract, abs(notional_q)) / QUANTA, notional_q / QUANTA,
        float(contract.max_notional(position.leverage)), position.update_ms,
    )  # fmt: skip


def view_account(state: State, account: Account) -> AccountView:
    """Return an account in floats, every symbol it has touched included."""
    for order in account.open_orders.values():
        state.position(account, state.listings[order.symbol])
    positions = {s: view_position(state, account, state.listings[s]) for s in account.positions}
    return AccountView(
        account.account_id, account.wallet_q / QUANTA, unrealized_q(state, account) / QUANTA,
        balance_q(state, account) / QUANTA, initial_margin_q(state, account) / QUANTA,
        total_maintenance_q(state, account) / QUANTA, available_q(state, account) / QUANTA, positions,
        account.update_ms,
    )  # fmt: skip
