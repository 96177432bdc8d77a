"""Index, mark price and funding.

mark = median of (index adjusted by the funding still to come, index plus the 5-minute mean basis, last trade).
rate = (mean premium + clamp(interest - mean premium, ±0.05 %)) / (8 / interval hours), within ± the contract's cap.
The mean basis is an exponential one of the same centre of mass (150 s) as a 5-minute window.
"""

from __future__ import annotations

import math

from engine.venues.sandbox import conditional, liquidation
from engine.venues.sandbox.model import AccountEvent, FundingEvent, PremiumView
from engine.venues.sandbox.state import INSURANCE, RATE_UNIT, Listing, State

BASIS_MS = 150_000.0
CLAMP = 0.0005
MS_PER_HOUR = 3_600_000


def set_prices(state: State, listing: Listing, index: float, now_ms: int) -> None:
    """Take a new index price: recompute the mark, trigger mark-price orders, call for margin, liquidate."""
    if not index > 0:
        raise ValueError(f"index {index} of {listing.contract.symbol} must be a positive number")
    _observe_premium(listing, index, now_ms)
    listing.mark_lot_q = max(1, listing.contract.lot_q(_mark(listing, now_ms)))
    if listing.conditionals:
        conditional.show_price(state, listing, "MARK_PRICE", listing.mark_lot_q, now_ms)
        conditional.run_triggers(state, listing, now_ms)
    check_holders(state, listing, now_ms)


def check_holders(state: State, listing: Listing, now_ms: int) -> None:
    """Check the margin of every non-internal account that holds this contract."""
    for account in state.external.values():
        position = account.positions.get(listing.contract.symbol)
        if position is not None and position.lots:
            liquidation.check(state, account, now_ms)
    # A liquidation trades in every symbol the account held.
    for traded in state.listings.values():
        if traded.pending_ticks:
            conditional.run_triggers(state, traded, now_ms)


def interval_ms(listing: Listing) -> int:
    """Return the time between settlements."""
    return listing.contract.funding_interval_h * MS_PER_HOUR


def next_funding(listing: Listing, now_ms: int) -> int:
    """Return the next settlement time after ``now_ms``; settlements fall on multiples of the interval in UTC."""
    step = interval_ms(listing)
    return (now_ms // step + 1) * step


def estimated_rate(listing: Listing) -> float:
    """Return the funding rate that the running interval would settle at, as a fraction of notional."""
    contract = listing.contract
    premium = listing.premium_sum / listing.premium_ms if listing.premium_ms else listing.premium
    rate = premium + min(CLAMP, max(-CLAMP, contract.interest_rate - premium))
    rate /= 8 / contract.funding_interval_h
    return min(contract.funding_cap, max(-contract.funding_cap, rate))


def settle(state: State, listing: Listing, rate: float, now_ms: int) -> None:
    """Pay funding: every position pays ``lots * mark * rate`` (shorts receive when the rate is positive).

    Payments are rounded to quanta one by one; what the roundings leave over goes to the insurance fund, so nothing
    is lost.
    """
    symbol, rate_int = listing.contract.symbol, round(rate * RATE_UNIT)
    paid_q = 0
    for account in state.accounts.values():
        position = account.positions.get(symbol)
        if position is None or not position.lots:
            continue
        pay_q = (position.lots * listing.mark_lot_q * rate_int + RATE_UNIT // 2) // RATE_UNIT
        account.wallet_q -= pay_q
        paid_q += pay_q
        if not account.internal:
            account.update_ms = now_ms
            state.record_income(account, symbol, "FUNDING_FEE", -pay_q, now_ms, 0)
            state.events.append(AccountEvent(account.account_id, "FUNDING_FEE", now_ms, ()))
    state.accounts[INSURANCE].wallet_q += paid_q
    listing.last_rate = rate_int / RATE_UNIT
    listing.premium_sum, listing.premium_ms = 0.0, 0
    mark = listing.contract.price_of_lot_q(listing.mark_lot_q)
    state.events.append(FundingEvent(symbol, listing.last_rate, mark, now_ms))


def settle_due(state: State, listing: Listing, now_ms: int) -> None:
    """Settle every funding time that has passed, each at the estimated rate."""
    if not listing.mark_lot_q:
        return
    if not listing.next_funding_ms:
        listing.next_funding_ms = next_funding(listing, now_ms)
    while now_ms >= listing.next_funding_ms:
        settle(state, listing, estimated_rate(listing), listing.next_funding_ms)
        listing.next_funding_ms += interval_ms(listing)


def view(listing: Listing, now_ms: int) -> PremiumView:
    """Return what premiumIndex reports."""
    contract = listing.contract
    return PremiumView(
        contract.symbol, contract.price_of_lot_q(listing.mark_lot_q), listing.index, listing.last_rate,
        estimated_rate(listing), contract.interest_rate, next_funding(listing, now_ms),
    )  # fmt: skip


def _observe_premium(listing: Listing, index: float, now_ms: int) -> None:
    bids, asks = listing.book.shown(1, 1), listing.book.shown(-1, 1)
    premium = 0.0
    if bids and asks:
        premium = (bids[0][0] + asks[0][0]) / 2 * listing.contract.tick_size / index - 1.0
    if listing.prices_ms:
        dt = max(0, now_ms - listing.prices_ms)
        listing.basis += (premium - listing.basis) * -math.expm1(-dt / BASIS_MS)
        listing.premium_sum += premium * dt
        listing.premium_ms += dt
    else:
        listing.basis = premium
    listing.premium = premium
    listing.index = index
    listing.prices_ms = now_ms


def _mark(listing: Listing, now_ms: int) -> float:
    index = listing.index
    left = (next_funding(listing, now_ms) - now_ms) / interval_ms(listing)
    last = listing.last_tick * listing.contract.tick_size or index
    return sorted((index * (1 + estimated_rate(listing) * left), index * (1 + listing.basis), last))[1]
