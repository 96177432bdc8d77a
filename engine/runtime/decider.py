"""From closed bars and the account to a decision. Holds the core's state; the core itself is pure."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from engine.core import step as core
from engine.core.turnover import hour_notional
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
    Sleeve,
    TradingState,
)
from engine.errors import ConfigError
from engine.runtime.account import Account
from engine.runtime.by_hand import HandBook, equity_at_marks, hand_book, record, what_is_left, within_symbol_cap
from engine.runtime.counted import counts, with_counts
from engine.runtime.decision_record import decision_detail, summary
from engine.runtime.market import MarketState
from engine.runtime.model_host import ModelHost, Said
from engine.runtime.portfolio_sleeve import PortfolioSleeve
from engine.runtime.user_sleeve import UserSleeve
from engine.settings import SystemConfig
from engine.shocks import losses, seen_enough
from engine.strategies import portfolio
from engine.strategies.versions import is_file, kept_path

WARM_UP_HORIZONS = 3.0
CLOSE, VOLUME = 3, 4  # among open, high, low, close, volume
MAX_WARM_UP_BARS = 21_600
"""Fifteen days of minutes: who needs nearly fourteen is then awake since the beginning of the day."""


class Decider:
    """One strategy over one set of symbols.

    Parameters
    ----------
    config : SystemConfig
    instruments : dict
        Must hold every configured symbol.
    share : float
        What the capital ladder allows; scales a user's weights as it scales everything else that sizes.
    """

    def __init__(self, config: SystemConfig, instruments: dict[str, Instrument], share: float = 1.0) -> None:
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
        self._hour_notional = np.full(len(self.symbols), np.nan)
        self.ts_open_newest = 0  # of the newest bar that the state has seen
        self.share = share
        self.sleeve: UserSleeve | None = None  # the process of a user's strategy
        own = config.strategy == portfolio.NAME
        self.portfolio = PortfolioSleeve(self.params, config.strategy_params, self.symbols, share) if own else None
        self.models: ModelHost | None = None
        self._said: Said | str | None = None  # what the models want at the newest close, or why nothing
        self._not_opened: str | None = None
        self._told: dict[str, Any] = {}  # what the strategy was told of the account
        self._venue_mark_px = np.full(len(self.symbols), np.nan)
        self._equity_before = math.nan  # of the decision before, as a backtest tells it
        self._answer: tuple[int, F8] | None = None  # of a user's strategy, and at which close
        self._memory = self.state, 0, math.nan, self._hour_notional  # before the newest decision
        self._hand: HandBook | None = None  # what a person held at the newest decision
        self._held: dict[str, str] = {}  # why a symbol got less beside it
        self._hand_marks: dict[str, tuple[float, float]] = {}  # base units and the mark at the newest decision

    def open(self, home: Path, incident: Callable[[str, str, str], None]) -> None:
        """Start the process of a user's strategy; nothing to do for a built-in one. Takes about a second: use a thread.

        A file that is gone, was changed or cannot be used is told, and decisions go on without its wishes: positions
        keep their stops and the gate.
        """
        if not is_file(self.config.strategy):
            return
        try:
            path = kept_path(home, self.config.strategy)
            sleeve = UserSleeve(path, self.config.strategy_params, self.symbols, incident)
            sleeve.open()
        except ConfigError as error:
            self._not_opened = f"The strategy could not be started: {error}."
            incident("error", "strategy", f"{self._not_opened} Choose its file again on the Settings page.")
        else:
            self.sleeve = sleeve

    def catch_up(self) -> None:
        """Hand the history to the process of a user's strategy, if there is one. Takes seconds: use a thread."""
        if self.sleeve is not None:
            self.sleeve.catch_up()

    def close(self) -> None:
        """End the process of a user's strategy, if there is one."""
        if self.sleeve is not None:
            self.sleeve.close()

    @property
    def trouble(self) -> str | None:
        """Why a user's strategy has no wishes; None when it has, and for a built-in one."""
        return self._not_opened if self.sleeve is None else self.sleeve.trouble

    @property
    def warm_up_bars(self) -> int:
        """How many bars of history the slowest memory wants."""
        if self.sleeve is not None:
            return self.sleeve.history
        if self.portfolio is not None:
            return min(self.portfolio.history, MAX_WARM_UP_BARS)
        if self.config.strategy == "ema-cross":
            slowest = float(self.params.ema_slow)
        else:
            slowest = max(float(self.params.trend_horizon_bars.max()), self.params.vol_horizon_bars)
        return int(min(math.ceil(slowest * WARM_UP_HORIZONS), MAX_WARM_UP_BARS))

    def warm_up(self, history: Mapping[str, Sequence[Bar]]) -> int:
        """Let the sleeves see closed bars that came after the newest one seen; return how many."""
        columns, ts_open = align(history, self.symbols, self.ts_open_newest)
        if len(ts_open):
            self.state = core.warm_up(self.state, columns[CLOSE], self.params)
            hour_notional(self._hour_notional, columns[CLOSE], columns[VOLUME], self.params.bars_per_year)
            self.ts_open_newest = int(ts_open[-1])
        if self.portfolio is not None:
            self.portfolio.see(ts_open + self._span_ns, columns[CLOSE])
        if self.sleeve is not None:
            for row, ts in enumerate(ts_open):
                self.sleeve.see(int(ts) + self._span_ns, [column[row] for column in columns])
        return len(ts_open)

    @property
    def _span_ns(self) -> int:
        return INTERVAL_S[self.config.decision_interval] * NS_PER_S

    def is_next(self, ts_open: int) -> bool:
        """Return whether a bar follows the newest one seen without a gap."""
        return ts_open == self.ts_open_newest + self._span_ns

    def restore_book(self, memory: Mapping[str, Any]) -> None:
        """Take up the account's memory from before a restart, as ``memory`` gave it; an older one lacks some of it.

        The record of the strategy's edge is taken up only when it is of this strategy.
        """
        names = [name for name in core.Remembered._fields if name in memory]
        if memory.get("strategy") != self.config.strategy:
            names = [name for name in names if not name.startswith("edge_")]
        kept = core.Remembered(**{name: float(memory[name]) for name in names})
        state = core.restore_book(self.state, memory["peak_equity"], memory["day_open_equity"], memory["ts"], kept)
        self.state = with_counts(state, self.symbols, memory)

    def memory(self) -> dict[str, Any]:
        """Return what ``restore_book`` needs after a restart; nothing before there is a day."""
        book = self.state.book[0]
        peak, day_open, day_end = float(book["peak_equity"]), float(book["day_open_equity"]), int(book["ts_day_end"])
        if day_end == 0 or not (math.isfinite(peak) and math.isfinite(day_open)):
            return {}
        place = {"peak_equity": peak, "day_open_equity": day_open, "ts": day_end - 1}  # any moment of that day
        return place | self._remembered(self.state) | counts(self.state, self.symbols)

    def _remembered(self, state: core.State) -> dict[str, Any]:
        return {"strategy": self.config.strategy, **core.remembered(state)._asdict()}

    def rearm(self, equity: float) -> None:
        """Forget peak and daily loss: a person has accepted them."""
        self._change(lambda state: core.rearm(state, equity))

    def note_day_loss(self, loss: float) -> None:
        """Let decisions know of a loss between two bars, a fraction of the day's opening equity."""
        self.set_book(day_worst=max(float(self.state.book[0]["day_worst"]), loss))

    def set_book(self, **values: float) -> None:
        """Set fields of the account's memory, see ``BOOK``, at once: what copies a whole state is compiled first."""

        def changed(state: core.State) -> core.State:
            book = state.book.copy()
            for name, value in values.items():
                book[name] = value
            return state._replace(book=book)

        self._change(changed)

    def _change(self, change: Callable[[core.State], core.State]) -> None:
        """Change what is remembered of the account, also where a decision that cannot be recorded would return to."""
        self.state = change(self.state)
        self._memory = change(self._memory[0]), *self._memory[1:]

    def take_over(self, other: Decider) -> None:
        """Go on from another decider of the same strategy, symbols and interval."""
        self.state, self.ts_open_newest = other.state, other.ts_open_newest
        self._hour_notional, self._hand_marks = other._hour_notional, other._hand_marks
        self.sleeve, self._equity_before = other.sleeve, other._equity_before
        self._not_opened, self.models = other._not_opened, other.models
        if self.portfolio is not None and other.portfolio is not None:
            self.portfolio.take_over(other.portfolio)

    def adopt_book(self, other: Decider) -> None:
        """Keep another decider's peak, day and locks, and what it has counted in this hour and minute."""
        same = other.config.strategy == self.config.strategy
        state = core.adopt_book(self.state, other.state, same)
        self.state = with_counts(state, self.symbols, counts(other.state, other.symbols))

    async def wish(
        self, market: MarketSlice, account: Account, state: MarketState, in_flight_qty: Callable[[str], float]
    ) -> F8 | None:
        """Return what a user's strategy or the models want at a bar's close (N,), NaN where nothing; else None.

        A strategy is told what a backtest tells it: the weights at the close over the equity of the decision before.
        Models speak beside the trend rule and as a sleeve of the portfolio only, once there are any.
        """
        if self.sleeve is None:
            listens = self.config.use_models and (self.params.sleeve == Sleeve.TREND or self.portfolio is not None)
            models = self.models if listens and self.models is not None and self.models.is_trained else None
            self._said = None if models is None else await models.said(market.ts_close)
            given = self._said.weight if isinstance(self._said, Said) else None
            if self.portfolio is None:
                return given
            counted = None if given is None or self.model_share == 0.0 else given * self.model_share
            return self.portfolio.decide(market.ts_close, market.close_px, state.marks, counted)
        if self._answer is not None and self._answer[0] == market.ts_close:
            return self._answer[1]  # decided on again: the strategy has seen this bar
        in_flight = np.array([in_flight_qty(symbol) for symbol in self.symbols])
        view = account_view(self.symbols, account, state, in_flight, TradingState.RUNNING)
        qty = view.position_qty + in_flight
        before = self._equity_before
        if not math.isfinite(before):
            before = view.cash + float(np.sum(np.where(qty != 0.0, qty * (view.mark_px - view.entry_px), 0.0)))
        closes = np.where(np.isfinite(market.close_px), market.close_px, view.mark_px)
        weight = np.where(qty != 0.0, qty * closes / before, 0.0)
        self._told = {"weight": weight, "equity_before": before}
        rows = (market.open_px, market.high_px, market.low_px, market.close_px, market.volume)
        wish = await self.sleeve.decide(market.ts_close, rows, weight, before) * self.share
        self._answer = market.ts_close, wish
        return wish

    def decide(
        self, market: MarketSlice, account: Account, state: MarketState, in_flight: F8, trading_state: TradingState,
        wish: F8 | None = None, by_hand: Mapping[str, float] | None = None,
    ) -> tuple[Decision, AccountView]:  # fmt: skip
        """Return the decision on one closed bar, and the account as it was seen.

        ``wish`` is what ``wish`` gave, ``by_hand`` the base units that a person holds or may soon; by default holds.
        """
        self._leave_out_hand_profit(account, state)
        view = account_view(self.symbols, account, state, in_flight, trading_state)
        if not self.config.use_trend:
            view = view._replace(trading_state=max(int(trading_state), int(TradingState.REDUCE_ONLY)))
        external = np.full(len(self.symbols), np.nan) if wish is None else wish
        held = {symbol: p.manual_qty for symbol, p in account.positions.items()} if by_hand is None else by_hand
        equity, params = equity_at_marks(account, state), self.params._replace(model_share=self.model_share)
        self._hand, self._held = None, {}
        if equity > 0.0 and any(held.values()):  # without equity the gate refuses everything
            self._hand = hand_book(held, equity, state, market, self.state, self.symbols, self.table, self.params)
            params = what_is_left(params, self._hand, equity, float(self.state.book[0]["peak_equity"]))
        self._memory = self.state, self.ts_open_newest, self._equity_before, self._hour_notional.copy()
        hour_notional(self._hour_notional, market.close_px[None, :], market.volume[None, :], params.bars_per_year)
        market = market._replace(hour_notional=self._hour_notional.copy())
        self.state, decision = core.step(self.state, market, view, self.table, external, params)
        if self._hand is not None:
            decision, self._held = within_symbol_cap(
                decision, view, self._hand, self.symbols, self.table, params.max_symbol_weight, params.rebalance_band
            )
        self.ts_open_newest = market.ts_close - self._span_ns
        self._equity_before = decision.equity
        self._venue_mark_px = np.array([state.mark_px(symbol) for symbol in self.symbols])  # equity is valued at these
        return decision, view

    def _leave_out_hand_profit(self, account: Account, market: MarketState) -> None:
        """Keep what a person's positions made since the decision before out of the record of the strategy's edge."""
        made = sum(qty * (market.mark_px(symbol) - px) for symbol, (qty, px) in self._hand_marks.items())
        began = float(self.state.book[0]["period_equity"])
        if made != 0.0 and math.isfinite(made) and began > 0.0 and began + made > 0.0:
            self.set_book(period_equity=began + made)
        self._hand_marks = {
            symbol: (position.manual_qty, market.mark_px(symbol))
            for symbol, position in account.positions.items()
            if position.manual_qty != 0.0
        }

    @property
    def model_share(self) -> float:
        """What the models count in the newest decision: what their evidence gives them, within the setting's cap."""
        return min(self._said.share, self.config.max_model_share) if isinstance(self._said, Said) else 0.0

    def take_back(self) -> None:
        """Forget the newest decision, as if its bar had not closed yet: it could not be recorded."""
        self.state, self.ts_open_newest, self._equity_before, self._hour_notional = self._memory

    def detail(
        self,
        decision: Decision,
        market: MarketSlice,
        view: AccountView,
        held: Mapping[str, str],
        wish: F8 | None = None,
    ) -> str:
        """Return the JSON record of a decision; see ``decision_detail``."""
        held = self._held | dict(held)
        extra: dict[str, Any] = {"venue_mark_px": self._venue_mark_px, "memory": self._remembered(self._memory[0])}
        if self.trouble is not None:
            held = dict.fromkeys(self.symbols, self.trouble) | dict(held)
        if self._hand is not None:
            extra["by_hand"] = record(self._hand)
        if self.sleeve is not None:
            extra["own"] = self._told | {"wish": wish, "trouble": self.trouble, "elapsed_ms": self.sleeve.elapsed_ms}
        if self.portfolio is not None:
            extra["portfolio"] = {
                "wish": wish, "sleeves": self.portfolio.record(), "sharing": self.portfolio.sharing(),
            }  # fmt: skip
        if isinstance(self._said, Said):
            said = wish if self.portfolio is None else self._said.weight
            extra["models"] = self._said.record | {"used_share": self.model_share, "wish": said, "why_not": None}
        elif self._said is not None:
            extra["models"] = {"used_share": 0.0, "wish": None, "why_not": self._said}
        if self.config.book_limits_on and decision.equity > 0.0:
            extra["shocks"] = self._shock_losses(decision)
        seen = market._replace(hour_notional=self._hour_notional)
        return decision_detail(decision, seen, view, self.symbols, self.config, held, extra)

    def _shock_losses(self, decision: Decision) -> dict[str, float]:
        """Return what the approved book would lose in each shock of the limit on stress, fraction of equity."""
        limits = self.params.risk[0]
        moves = {name: float(limits[f"stress_{name}"]) for name in ("fall", "rise", "own")}
        known = seen_enough(self.state.n_bars, self.state.covariance, self.params.vol_horizon_bars)
        return losses(self.symbols, decision.approved_weight, self.state.covariance, known, moves)

    def summary(self, decision: Decision) -> str:
        """Return one line for lists; see ``summary``."""
        idle = self.trouble is not None and not decision.act.any()
        return f"No trade. {self.trouble}" if idle else summary(decision, self.symbols)


def align(
    history: Mapping[str, Sequence[Bar]], symbols: Sequence[str], after_ts_open: int
) -> tuple[list[F8], np.ndarray]:
    """Return open, high, low, close and volume, each (T, N), on one clock, and the bars' open times (T,).

    NaN where a symbol has no bar.
    """
    known = {}
    for symbol in symbols:
        bars = [bar[2:8] for bar in history.get(symbol, ()) if bar.is_closed and bar.ts_open > after_ts_open]
        known[symbol] = [np.array(column) for column in zip(*bars, strict=True)]
    opens = [columns[0] for columns in known.values() if columns]
    times = np.unique(np.concatenate(opens)) if opens else np.zeros(0, dtype=np.int64)
    aligned = [np.full((len(times), len(symbols)), np.nan) for _ in range(5)]
    for index, symbol in enumerate(symbols):
        if known[symbol]:
            ts_open, *values = known[symbol]
            row = np.searchsorted(times, ts_open)
            for column, value in zip(aligned, values, strict=True):
                column[row, index] = value
    return aligned, times


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
    equity = equity_at_marks(account, market)
    seen = float(np.nansum(np.where(qty != 0.0, qty * (mids - entry), 0.0)))
    return AccountView(equity - seen, qty, in_flight, np.where(qty != 0.0, entry, 0.0), mids, int(trading_state))


def params_hash(config: SystemConfig) -> str:
    """Return a short hash of everything a decision's parameters hold."""
    return hashlib.sha256(config.model_dump_json().encode()).hexdigest()[:12]
