"""The practice exchange's records: requests, orders, events and views.

Units, stated once for the whole exchange core:

* ``*_tick`` is a price as a count of the contract's tick, ``*_lots`` a quantity as a count of its lot.
* ``*_q`` is money as an integer count of quanta; one quantum is 1e-8 USDT (``QUANTA``).
* ``*_lot_q`` is a price as quanta per lot, a finer grid than ticks; mark prices live on it. A trade at ``tick`` has
  ``lot_q = tick * contract.unit_q``, exactly.
* Plain floats (``price``, ``qty``, money in views) are USDT and base units; they exist at the edge only.
* ``*_ms`` is market time in milliseconds since the Unix epoch, UTC.
* ``side`` is +1 for buy and -1 for sell; positions and their lots are signed, + is long.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

QUANTA = 100_000_000
"""Quanta per USDT."""

BUY, SELL = 1, -1

LIMIT_TYPES = frozenset({"LIMIT", "STOP", "TAKE_PROFIT"})
STOP_TYPES = frozenset({"STOP", "STOP_MARKET"})
PROFIT_TYPES = frozenset({"TAKE_PROFIT", "TAKE_PROFIT_MARKET"})
TRAILING = "TRAILING_STOP_MARKET"
CONDITIONAL = STOP_TYPES | PROFIT_TYPES | {TRAILING}
OPEN_STATUSES = frozenset({"NEW", "PARTIALLY_FILLED"})


class VenueReject(Exception):
    """The exchange said no; nothing changed.

    Parameters
    ----------
    code : int
        The venue's error code, such as -2019.
    msg : str
        The venue's sentence.
    """

    def __init__(self, code: int, msg: str) -> None:
        super().__init__(f"{msg} ({code})")
        self.code = code
        self.msg = msg


@dataclass(slots=True)
class OrderRequest:
    """A client's wish, in floats. ``qty`` is None only with ``close_position``; ``callback_rate`` is in percent."""

    account_id: str
    symbol: str
    side: int
    type: str
    qty: float | None
    price: float | None = None
    stop_price: float | None = None
    tif: str = "GTC"
    reduce_only: bool = False
    close_position: bool = False
    client_order_id: str | None = None
    activation_price: float | None = None
    callback_rate: float | None = None
    working_type: str = "CONTRACT_PRICE"
    price_protect: bool = False
    position_side: str = "BOTH"


@dataclass(slots=True)
class Order:
    """One order from acceptance to its end.

    ``type`` becomes LIMIT or MARKET when a conditional order triggers; ``orig_type`` keeps what was asked.
    ``extreme_lot_q`` is a trailing order's best price since activation. ``price_tick`` is 0 for market orders and
    ``stop_tick``, ``activation_tick`` are 0 when not set.
    """

    order_id: int
    client_order_id: str
    account_id: str
    symbol: str
    side: int
    type: str
    orig_type: str
    tif: str
    price_tick: int
    stop_tick: int
    orig_lots: int
    executed_lots: int
    cum_quote_q: int
    status: str
    reduce_only: bool
    close_position: bool
    activation_tick: int
    callback_rate: float
    working_type: str
    price_protect: bool
    time_ms: int
    update_ms: int
    activated: bool = False
    extreme_lot_q: int = 0
    n_amends: int = 0
    position_side: str = "BOTH"

    @property
    def remaining_lots(self) -> int:
        """Lots not yet filled."""
        return self.orig_lots - self.executed_lots

    @property
    def is_open(self) -> bool:
        """True while it can still fill."""
        return self.status == "NEW" or self.status == "PARTIALLY_FILLED"

    @property
    def is_conditional(self) -> bool:
        """True while it waits for its trigger (afterwards ``type`` is LIMIT or MARKET)."""
        return self.type in CONDITIONAL

    def snapshot(self) -> Order:
        """Return a copy that later fills do not change."""
        return replace(self)


class OrderEvent(NamedTuple):
    """One change of one order of a non-internal account; the numbers after ``execution_type`` describe this change.

    ``execution_type`` is NEW, TRADE, CANCELED, EXPIRED, CALCULATED (a liquidation fill) or AMENDMENT. A conditional
    order emits a second NEW when it triggers, with ``order.type`` turned into LIMIT or MARKET.
    """

    order: Order
    execution_type: str
    last_lots: int
    last_tick: int
    trade_id: int
    commission_q: int
    realized_q: int
    is_maker: bool
    time_ms: int


class AccountEvent(NamedTuple):
    """A non-internal account's money or positions changed: ORDER, FUNDING_FEE, DEPOSIT or INSURANCE_CLEAR."""

    account_id: str
    reason: str
    time_ms: int
    symbols: tuple[str, ...]


class ConfigEvent(NamedTuple):
    """A non-internal account's leverage of one symbol changed."""

    account_id: str
    symbol: str
    leverage: int
    time_ms: int


class TradeEvent(NamedTuple):
    """One public trade. Fills of one taker order at one price share ``agg_id``."""

    symbol: str
    trade_id: int
    agg_id: int
    price_tick: int
    lots: int
    buyer_is_maker: bool
    time_ms: int


class BookEvent(NamedTuple):
    """The book of a symbol changed since the last drain."""

    symbol: str
    time_ms: int


class MarginCallEvent(NamedTuple):
    """Maintenance margin reached 80 % of the margin balance; always precedes a liquidation."""

    account_id: str
    time_ms: int
    symbols: tuple[str, ...]


class LiquidationEvent(NamedTuple):
    """One forced close: ``order`` is the finished autoclose order, ``taken_lots`` what the insurance fund took over."""

    account_id: str
    symbol: str
    order: Order
    taken_lots: int
    fee_q: int
    time_ms: int


class FundingEvent(NamedTuple):
    """Funding was settled; ``rate`` is the fraction of notional that longs paid to shorts."""

    symbol: str
    rate: float
    mark: float
    time_ms: int


Event = (
    OrderEvent | AccountEvent | ConfigEvent | TradeEvent | BookEvent | MarginCallEvent | LiquidationEvent | FundingEvent
)


class UserTrade(NamedTuple):
    """One fill of one of an account's own orders."""

    trade_id: int
    order_id: int
    client_order_id: str
    symbol: str
    side: int
    price_tick: int
    lots: int
    quote_q: int
    commission_q: int
    realized_q: int
    is_maker: bool
    time_ms: int


class Income(NamedTuple):
    """One change of a wallet: REALIZED_PNL, COMMISSION, FUNDING_FEE, TRANSFER or INSURANCE_CLEAR (fees: negative)."""

    tran_id: int
    symbol: str
    income_type: str
    amount_q: int
    time_ms: int
    trade_id: int


class PositionView(NamedTuple):
    """One symbol of one account in floats; ``liq_px`` is 0.0 where no price of this symbol alone would liquidate."""

    symbol: str
    qty: float
    entry_px: float
    mark_px: float
    unrealized: float
    liq_px: float
    leverage: int
    margin_type: str
    initial_margin: float
    maint_margin: float
    notional: float
    max_notional: float
    update_ms: int


class AccountView(NamedTuple):
    """An account in USDT. ``positions`` has every symbol it ever traded, set leverage on, or has orders in."""

    account_id: str
    wallet_balance: float
    unrealized: float
    margin_balance: float
    initial_margin: float
    maint_margin: float
    available: float
    positions: dict[str, PositionView]
    update_ms: int


class PremiumView(NamedTuple):
    """What premiumIndex reports: prices in USDT, rates as fractions per funding interval."""

    symbol: str
    mark: float
    index: float  # type: ignore[assignment]  # shadows tuple.index on purpose
    last_rate: float
    estimated_rate: float
    interest_rate: float
    next_funding_ms: int


class DepthChanges(NamedTuple):
    """Levels changed since the last call: (price_tick, displayed lots), 0 lots = removed. Ids as in diff depth."""

    first_update_id: int
    last_update_id: int
    previous_update_id: int
    bids: list[tuple[int, int]]
    asks: list[tuple[int, int]]
