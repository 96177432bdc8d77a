"""From closed bars and the account to a decision. Holds the core's state; the core itself is pure."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence

import numpy as np

from engine.core import step as core
from engine.domain import (
    F8,
    INTERVAL_S,
    NS_PER_S,
    AccountView,
    Bar,
    Decision,
    Instrument,
    InstrumentTable,
    MarketSlice,
    Params,
    TradingState,
)
from engine.runtime.account import Account
from engine.runtime.market import MarketState
from engine.settings import SystemConfig

WARM_UP_HORIZONS = 3.0
MAX_WARM_UP_BARS = 20_000


class Decider:
    """One strategy over one set of symbols.

    Parameters
    ----------
    config : SystemConfig
    instruments : dict
        Must hold every configured symbol.
    """

    def __init__(self, config: SystemConfig, instruments: dict[str, Instrument]) -> None:
        self.config = config
        self.symbols = config.symbols
        self.params = core.normal_params(config.params())
        self.params_hash = params_hash(config)
        chosen = [instruments[symbol] for symbol in self.symbols]
        self.table = InstrumentTable(
            *(
                np.array([getattr(instrument, name) for instrument in chosen])
                for name in ("tick_size", "lot_size", "min_qty", "max_qty", "min_notional")
            )
        )
        self.state = core.new_state(len(self.symbols), self.params)
        self.ts_open_newest = 0  # of the newest bar that the state has seen

    @property
    def warm_up_bars(self) -> int:
        """How many bars of history the slowest memory wants."""
        if self.config.strategy == "ema-cross":
            slowest = float(self.params.ema_slow)
        else:
            slowest = max(float(self.params.trend_horizon_bars.max()), self.params.vol_horizon_bars)
        return int(min(math.ceil(slowest * WARM_UP_HORIZONS), MAX_WARM_UP_BARS))

    def warm_up(self, history: Mapping[str, Sequence[Bar]]) -> int:
        """Let the sleeves see closed bars that came after the newest one seen; return how many."""
        closes, ts_open = align(history, self.symbols, self.ts_open_newest)
        if len(ts_open):
            self.state = core.warm_up(self.state, closes, self.params)
            self.ts_open_newest = int(ts_open[-1])
        return len(ts_open)

    def is_next(self, ts_open: int) -> bool:
        """Return whether a bar follows the newest one seen without a gap."""
        return ts_open == self.ts_open_newest + INTERVAL_S[self.config.decision_interval] * NS_PER_S

    def restore_book(self, peak_equity: float, day_open_equity: float, ts_day: int) -> None:
        """Take up the account's memory from before a restart."""
        self.state = core.restore_book(self.state, peak_equity, day_open_equity, ts_day)

    def rearm(self, equity: float) -> None:
        """Forget peak and daily loss: a person has accepted them."""
        self.state = core.rearm(self.state, equity)

    def adopt_book(self, other: Decider) -> None:
        """Keep another decider's peak, day and locks."""
        self.state = self.state._replace(book=other.state.book.copy())

    def decide(
        self, market: MarketSlice, account: Account, state: MarketState, in_flight: F8, trading_state: TradingState
    ) -> tuple[Decision, AccountView]:
        """Return the decision on one closed bar, and the account as it was seen."""
        view = account_view(self.symbols, account, state, in_flight, trading_state)
        if not self.config.use_trend:
            view = view._replace(trading_state=max(int(trading_state), int(TradingState.REDUCE_ONLY)))
        external = np.full(len(self.symbols), np.nan)
        params = shared(self.params, account, state)
        self.state, decision = core.step(self.state, market, view, self.table, external, params)
        self.ts_open_newest = market.ts_close - INTERVAL_S[self.config.decision_interval] * NS_PER_S
        return decision, view


def align(history: Mapping[str, Sequence[Bar]], symbols: Sequence[str], after_ts_open: int) -> tuple[F8, np.ndarray]:
    """Return closes (T, N) on one clock and the bars' open times (T,); NaN where a symbol has no bar."""
    times = sorted({
        bar.ts_open for bars in history.values() for bar in bars if bar.is_closed and bar.ts_open > after_ts_open
    })  # fmt: skip
    row = {ts: index for index, ts in enumerate(times)}
    closes = np.full((len(times), len(symbols)), np.nan)
    for column, symbol in enumerate(symbols):
        for bar in history.get(symbol, ()):
            if bar.is_closed and bar.ts_open in row:
                closes[row[bar.ts_open], column] = bar.close_px
    return closes, np.array(times, dtype=np.int64)


def shared(params: Params, account: Account, market: MarketState) -> Params:
    """Return the parameters with the room that a person's positions leave: the caps hold for the whole account."""
    by_hand = sum(
        abs(position.manual_qty) * market.mark_px(symbol)
        for symbol, position in account.positions.items()
        if position.manual_qty != 0.0
    )
    equity = account.cash + account.unrealized({symbol: market.mark_px(symbol) for symbol in account.positions})
    if not (by_hand > 0.0 and equity > 0.0):
        return params
    taken = by_hand / equity
    return params._replace(
        max_gross_weight=max(params.max_gross_weight - taken, 0.0), max_leverage=max(params.max_leverage - taken, 0.0)
    )


def account_view(
    symbols: Sequence[str], account: Account, market: MarketState, in_flight: F8, trading_state: TradingState
) -> AccountView:
    """Return the account as the decision sees it.

    Quantities are worked out at the mid, where orders will fill; equity is valued at the venue's marks, which lag it.
    What a person did by hand is not the strategy's to undo, so ``position_qty`` leaves it out; its value stays in the
    account through ``cash``, and equity is that of the whole account.
    """
    positions = [account.position(symbol) for symbol in symbols]
    mids = np.array([market.mid_px(symbol) for symbol in symbols])
    qty = np.array([position.qty - position.manual_qty for position in positions])
    entry = np.array(
        [position.entry_px if position.entry_px > 0 else mid for position, mid in zip(positions, mids, strict=True)]
    )
    everything = {symbol: market.mark_px(symbol) for symbol in account.positions}
    equity = account.cash + account.unrealized(everything)
    seen = float(np.nansum(np.where(qty != 0.0, qty * (mids - entry), 0.0)))
    return AccountView(equity - seen, qty, in_flight, np.where(qty != 0.0, entry, 0.0), mids, int(trading_state))


def params_hash(config: SystemConfig) -> str:
    """Return a short hash of everything a decision's parameters hold."""
    return hashlib.sha256(config.model_dump_json().encode()).hexdigest()[:12]
