"""The vocabulary that every other module speaks: enums, records and array types.

Conventions, stated once:

* Time is int64 nanoseconds since the Unix epoch, UTC, and a name says which moment (``ts_exchange``, ``ts_received``).
* A quantity (``qty``) is in base units. In positions and fills it is signed: positive is long or bought.
* ``Side`` belongs to orders and market trades only.
* A weight is signed notional divided by equity: +1.0 is long one times the account.
* NaN means unknown. It never means zero.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from engine.limits import risk_limits
from engine.rules import N_RULES as N_RULES
from engine.rules import RULE_ORDER as RULE_ORDER
from engine.rules import RULE_SENTENCE as RULE_SENTENCE
from engine.rules import Rule as Rule
from engine.rules import Verdict as Verdict

F8: TypeAlias = npt.NDArray[np.float64]
I8: TypeAlias = npt.NDArray[np.int64]

NOT_GIVEN: F8 = np.zeros(0)
NO_SHOCKS: F8 = np.zeros((0, 0))

NS_PER_MS = 1_000_000
NS_PER_S = 1_000_000_000
NS_PER_DAY = 86_400 * NS_PER_S

INTERVAL_S: dict[str, int] = {
    "1m": 60, "3m": 180, "5m": 300, "15m": 900, "30m": 1800, "1h": 3600, "2h": 7200, "4h": 14400,
    "6h": 21600, "8h": 28800, "12h": 43200, "1d": 86400,
}  # fmt: skip
"""Bar intervals the engine stores and decides on, in seconds."""


class Mode(StrEnum):
    """Where the orders go."""

    BACKTEST = "backtest"
    PAPER = "paper"
    LIVE = "live"


class Side(IntEnum):
    """Direction of an order or of a market trade's aggressor. Multiply a quantity by it to sign it."""

    BUY = 1
    SELL = -1


class OrderType(StrEnum):
    """Order types, spelt as the venue spells them."""

    LIMIT = "LIMIT"
    MARKET = "MARKET"
    STOP = "STOP"
    STOP_MARKET = "STOP_MARKET"
    TAKE_PROFIT = "TAKE_PROFIT"
    TAKE_PROFIT_MARKET = "TAKE_PROFIT_MARKET"
    TRAILING_STOP_MARKET = "TRAILING_STOP_MARKET"


CONDITIONAL_TYPES = frozenset({
    OrderType.STOP, OrderType.STOP_MARKET, OrderType.TAKE_PROFIT, OrderType.TAKE_PROFIT_MARKET,
    OrderType.TRAILING_STOP_MARKET,
})  # fmt: skip


class Tif(StrEnum):
    """Time in force. GTX is post-only; HIDDEN rests without being shown in the book."""

    GTC = "GTC"
    IOC = "IOC"
    FOK = "FOK"
    GTX = "GTX"
    HIDDEN = "HIDDEN"


class OrderStatus(StrEnum):
    """Life of one of our orders.

    INTENT is durable before anything is sent. UNKNOWN means that the venue may or may not have the order; it is
    looked up, never sent again.
    """

    INTENT = "INTENT"
    SENT = "SENT"
    UNKNOWN = "UNKNOWN"
    NEW = "NEW"
    PARTIALLY_FILLED = "PARTIALLY_FILLED"
    FILLED = "FILLED"
    CANCELED = "CANCELED"
    EXPIRED = "EXPIRED"
    REJECTED = "REJECTED"


FINAL_STATUSES = frozenset({OrderStatus.FILLED, OrderStatus.CANCELED, OrderStatus.EXPIRED, OrderStatus.REJECTED})


class Purpose(StrEnum):
    """Why an order exists."""

    TARGET = "target"
    PROTECT = "protect"
    MANUAL = "manual"
    FLATTEN = "flatten"
    EXTERNAL = "external"


class KillLevel(IntEnum):
    """The kill switch, from mild to final. Each level includes the ones before it."""

    NONE = 0
    PAUSE = 1
    CANCEL = 2
    FLATTEN = 3
    HALT = 4


class TradingState(IntEnum):
    """What the risk gate lets through."""

    RUNNING = 0
    REDUCE_ONLY = 1
    HALTED = 2


class Sleeve(IntEnum):
    """Built-in sources of raw target weights. EXTERNAL takes them from the caller."""

    TREND = 0
    EMA_CROSS = 1
    EXTERNAL = 2


class MarketSlice(NamedTuple):
    """One closed bar of every symbol. Arrays are (N,) float64, NaN where a symbol has no bar."""

    ts_close: int
    open_px: F8
    high_px: F8
    low_px: F8
    close_px: F8
    volume: F8
    age_s: F8  # seconds since the symbol's newest price at decision time
    hour_notional: F8 = NOT_GIVEN  # what usually trades in an hour, quote currency; empty: nothing is limited by it


class AccountView(NamedTuple):
    """The account as the decision sees it. Positions include what is in flight only in ``in_flight_qty``."""

    cash: float  # settled money, quote currency
    position_qty: F8  # (N,) signed base
    in_flight_qty: F8  # (N,) signed base: working, not yet filled
    entry_px: F8  # (N,) quote per base, 0 when flat
    mark_px: F8  # (N,) quote per base
    trading_state: int  # TradingState


class InstrumentTable(NamedTuple):
    """The venue's filters for N symbols, arrays (N,) float64."""

    tick_size: F8
    lot_size: F8
    min_qty: F8
    max_qty: F8
    min_notional: F8


class Params(NamedTuple):
    """Everything a decision depends on besides data and account. Scalars and small arrays, so numba can take it."""

    sleeve: int  # Sleeve
    bars_per_year: float  # annualises volatility
    # trend sleeve
    trend_horizon_bars: F8  # (H,) EMA horizons, in bars
    vol_horizon_bars: float
    vol_target: float  # annualised portfolio volatility, fraction
    ema_fast: int  # ema-cross sleeve, bars
    ema_slow: int
    allow_short: bool
    # risk gate
    gate: bool  # False only for the public yardstick
    max_symbol_weight: float
    max_gross_weight: float
    max_leverage: float
    max_daily_loss: float  # fraction of the day's opening equity
    max_drawdown: float  # fraction of peak equity
    max_age_s: float
    rebalance_band: float  # weight; smaller changes are not traded
    model_share: float = 0.0  # trend sleeve: share of the conviction that given weights count for, where there are any
    risk: np.ndarray = risk_limits()  # (1,) engine.limits.RISK_LIMITS
    tail_table: F8 = np.ones(2)  # (K,) expected shortfall of a unit-variance Student-t, see ``shortfall_table``
    underlying: I8 = np.zeros(0, dtype=np.int64)  # (N,) column each symbol moves with, see ``underlyings``; or empty
    shocks: F8 = NO_SHOCKS  # (S, N + 1) past moves of each symbol and of the market, see ``engine.shocks``; or none


class Decision(NamedTuple):
    """What one step decided and why. Arrays are (N,) unless said otherwise."""

    ts_close: int
    raw_weight: F8  # the sleeve's wish
    sized_weight: F8  # after portfolio volatility target and allocation
    approved_weight: F8  # after the gate
    target_qty: F8  # signed base, rounded to lots: what the position should become
    act: npt.NDArray[np.int8]  # 1 where the executor should work towards target_qty
    verdict: npt.NDArray[np.int8]  # (N, N_RULES) Verdict
    measured: F8  # (N, N_RULES) the number the rule looked at
    limit: F8  # (N, N_RULES) what it was compared with
    equity: float
    peak_equity: float
    drawdown: float
    day_pnl: float  # equity minus the day's opening equity
    gross_weight: float  # of the present book
    portfolio_vol: float  # annualised, of sized_weight; NaN while warming up


class Instrument(NamedTuple):
    """One tradable perpetual at the venue."""

    symbol: str
    base: str
    quote: str
    tick_size: float
    lot_size: float
    min_qty: float
    max_qty: float
    max_market_qty: float
    min_notional: float
    price_band: float  # fraction around mark allowed for a limit price
    max_leverage: float
    maker_fee: float
    taker_fee: float


class Bar(NamedTuple):
    """Candle over [ts_open, ts_close); known at ts_close. While ``is_closed`` is False its values still change."""

    symbol: str
    interval: str
    ts_open: int
    open_px: float
    high_px: float
    low_px: float
    close_px: float
    volume: float
    is_closed: bool = True
    ts_received: int = 0


class MarketTrade(NamedTuple):
    """Somebody's execution in the market; not ours."""

    symbol: str
    ts_exchange: int
    ts_received: int
    px: float
    qty: float
    side: int  # Side of the aggressor


class BookSnapshot(NamedTuple):
    """Partial depth, best first: tuples of (px, qty)."""

    symbol: str
    ts_exchange: int
    ts_received: int
    bids: tuple[tuple[float, float], ...]
    asks: tuple[tuple[float, float], ...]


class BookTop(NamedTuple):
    """Best bid and ask."""

    symbol: str
    ts_exchange: int
    ts_received: int
    bid_px: float
    bid_qty: float
    ask_px: float
    ask_qty: float


class MarkPrice(NamedTuple):
    """The venue's fair price and its funding."""

    symbol: str
    ts_exchange: int
    ts_received: int
    mark_px: float
    index_px: float
    funding_rate: float
    ts_next_funding: int


class OrderSpec(NamedTuple):
    """An order the planner wants, before the gate has approved it."""

    symbol: str
    side: int
    order_type: str
    qty: float  # base, > 0 (0 with close_position)
    limit_px: float  # NaN when the type has none
    stop_px: float  # NaN when the type has none
    tif: str
    reduce_only: bool
    close_position: bool
    purpose: str


class ApprovedOrder(NamedTuple):
    """An order that passed the gate and has its id. The only thing a venue's ``submit`` takes."""

    client_id: str
    decision_id: int  # 0 for orders a person made
    spec: OrderSpec
    decision_px: float


class OrderUpdate(NamedTuple):
    """The venue's word on one order."""

    symbol: str
    client_id: str
    venue_order_id: str
    status: str
    side: int
    order_type: str
    tif: str
    qty: float
    filled_qty: float
    avg_px: float
    limit_px: float
    stop_px: float
    reduce_only: bool
    close_position: bool
    ts_exchange: int
    ts_received: int


class Fill(NamedTuple):
    """Our execution, whole or part. ``qty`` is signed."""

    symbol: str
    trade_id: str
    client_id: str
    venue_order_id: str
    qty: float
    px: float
    fee: float
    pnl_realized: float
    is_maker: bool
    ts_filled: int
    ts_received: int


class Income(NamedTuple):
    """The venue's statement of one change of the wallet, quote currency, signed."""

    tran_id: str
    kind: str  # the venue's word, such as REALIZED_PNL, COMMISSION, FUNDING_FEE, TRANSFER
    symbol: str  # empty when it belongs to none
    amount: float
    ts: int

    @property
    def key(self) -> tuple[str, str, str]:
        """What tells it from every other: one id may stand for several kinds."""
        return self.tran_id, self.kind, self.symbol


class PositionReport(NamedTuple):
    """The venue's word on one position."""

    symbol: str
    qty: float
    entry_px: float
    mark_px: float
    liq_px: float  # NaN when the venue gives none
    leverage: float
    ts_received: int


class StreamState(NamedTuple):
    """A connection changed: ``up`` False means that events may be missing until it is True again."""

    stream: str
    up: bool
    reason: str
    ts_received: int


class BalanceReport(NamedTuple):
    """The venue's word on our money, in the quote currency."""

    cash: float
    free_margin: float
    maintenance_margin: float
    ts_received: int
