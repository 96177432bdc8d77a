"""The drift meter: a traded day against its replay through the backtester, and what the difference is made of.

The replay and the record are the ends of a row of worlds. Each world differs from the one before in one respect, and
the change of profit from one to the next is that respect's part, so the parts add up to the whole difference:

==============  =====================================================================================================
replay          the day's stored candles, no rounding, fills at the next open, the backtest's fee and slippage
rounding        the venue's lots and smallest orders
data            the weights and prices that the decisions really had, and the venue's marks as values
signal_time     only decisions that were made, at the open that followed when they were made late
veto            what was really aimed at: kill switch, reconciliation, stops, liquidation guard, a person
latency         the mid at which orders were sent instead of the next open
fill            executed quantities and prices: spread, depth, makers' gain, what was left unfilled
fee             fees as charged
funding         funding as paid
residual        what the record cannot explain
==============  =====================================================================================================
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from engine.core import step as core
from engine.core.costs import Costs
from engine.core.decide import no_limits
from engine.core.simulate import Scan, SimBars
from engine.domain import F8, NS_PER_DAY, InstrumentTable, Params, Purpose, Sleeve
from engine.research.loading import BarTable
from engine.research.parity import numbers
from engine.research.simulation import usual_trade
from engine.settings import SystemConfig

PARTS = ("rounding", "data", "signal_time", "veto", "latency", "fill", "fee", "funding", "residual")
COSTS = Costs(0.0004, 0.0001)
MIN_DECISIONS = 10
OWN_POSITION = frozenset({Purpose.TARGET, Purpose.PROTECT, Purpose.FLATTEN})

Wishes = Callable[[int, F8, float], F8]
"""A user's strategy: bar, present weights, equity before; to weights."""


class Made(NamedTuple):
    """One decision as it was recorded."""

    decision_id: int
    ts_close: int
    ts_decided: int
    equity: float
    drawdown: float
    day_pnl: float
    detail: Mapping[str, Any]


class Executed(NamedTuple):
    """One of our executions inside the day."""

    symbol: str
    qty: float  # signed base
    px: float
    fee: float  # paid, ccy
    arrival_px: float  # NaN when unknown
    decision_id: int  # 0: none
    purpose: str
    ts_received: int


class Day(NamedTuple):
    """A day's record, or that of several where decisions are far apart, and the candles around it."""

    config: SystemConfig  # in force at the first decision
    bars: BarTable  # of the decision interval: warm-up and the day
    made: list[Made]  # oldest first; at least two
    executed: list[Executed]
    funding_rate: F8  # (T, N) due at each bar's close
    funding_paid: float  # ccy, as the venue booked it between the first decision and the last
    instruments: InstrumentTable
    wishes: Wishes | None  # of a user's strategy


class Drift(NamedTuple):
    """What a day's difference is made of, quote currency; ``parts`` add up to ``pnl_recorded - pnl_replayed``."""

    pnl_recorded: float
    pnl_replayed: float
    parts: dict[str, float]
    equity: float  # at the first decision
    n_decisions: int
    n_fills: int
    days: float = 1.0  # from the first decision to the last, at least 1

    @property
    def total(self) -> float:
        """Recorded minus replayed."""
        return self.pnl_recorded - self.pnl_replayed

    @property
    def drift_bps(self) -> float:
        """The total as basis points of the opening equity, a day where several are joined."""
        return self.total / self.equity * 1e4 / self.days


class _Trade(NamedTuple):
    symbol: int
    qty: float
    bar: int  # at whose open a backtest would have it
    px: float
    fee: float


class _Run(NamedTuple):
    pnl: float
    sized: F8  # (T, N)


class _Replay:
    """The worlds of one day."""

    def __init__(self, day: Day) -> None:
        self.day = day
        ts_close = day.bars.ts_close
        self.first = int(np.searchsorted(ts_close, day.made[0].ts_close))
        last = int(np.searchsorted(ts_close, day.made[-1].ts_close))
        self.rows = {int(ts): index for index, ts in enumerate(ts_close[self.first : last + 1])}
        self.open_px = day.bars.open_px[self.first : last + 1]
        self.close_px = day.bars.close_px[self.first : last + 1]
        self.volume = day.bars.volume[self.first : last + 1]
        self.ts_close = ts_close[self.first : last + 1]
        self.symbols = day.bars.symbols
        self.params: Params = core.normal_params(day.config.params())
        self.hour_notional = usual_trade(day.bars, self.params)[self.first : last + 1]
        opening = day.made[0].detail
        self.opening_qty = numbers(opening["position_qty"])
        self.opening_px = numbers(opening["venue_mark_px"])
        self.blends = self._blends()
        self.closing_px = numbers(day.made[-1].detail["venue_mark_px"])

    # simulated worlds --------------------------------------------------------------------------------------------

    def run(self, close_px: F8, instruments: InstrumentTable, external: F8 | None, at_marks: bool) -> _Run:
        """Backtest from the first decision's account on, with the sized weights ``external`` (T, N) where given."""
        day, opening = self.day, self.day.made[0]
        user = external is None and day.wishes is not None
        params = (
            self.params if external is None else self.params._replace(sleeve=int(Sleeve.EXTERNAL), allow_short=True)
        )
        blends = self.blends if external is None else {}
        if blends:  # room for the models' wishes
            params = params._replace(model_share=1.0)
        funding = self._funding()
        none = np.empty((0, len(self.symbols)))
        bars = SimBars(self.ts_close, self.open_px, close_px, funding, none, none, self.volume, self.hour_notional)
        scan = Scan(bars, instruments, COSTS, params, opening.equity)
        peak, day_open = opening.equity / (1.0 - opening.drawdown), opening.equity - opening.day_pnl
        warm = core.warm_up(scan.state, day.bars.close_px[: self.first], params)
        kept = {name: value for name, value in opening.detail.get("memory", {}).items() if name != "strategy"}
        scan.state = core.restore_book(warm, peak, day_open, opening.ts_close, core.Remembered(**kept))
        begin_px = np.where(np.isfinite(self.opening_px) & at_marks, self.opening_px, close_px[0])
        begin_px = np.where(np.isfinite(begin_px), begin_px, self.opening_px)
        scan.account.position_qty[:] = self.opening_qty
        scan.account.entry_px[:] = np.where(self.opening_qty != 0.0, begin_px, 0.0)
        scan.account.mark_px[:] = begin_px
        if external is not None:
            scan.external_weight[:] = external
        sized, equity = np.full(close_px.shape, np.nan), opening.equity
        for t in range(len(self.ts_close)):
            if user and day.wishes is not None:
                qty = scan.account.position_qty + scan.account.in_flight_qty
                weight = np.where(qty != 0.0, qty * np.nan_to_num(close_px[t], nan=0.0) / equity, 0.0)
                scan.external_weight[t] = day.wishes(self.first + t, weight, equity)
            if blends:
                share, wish = blends.get(t, (0.0, np.nan))
                scan.params, scan.external_weight[t] = scan.params._replace(model_share=share), wish
            scan.advance(t + 1)
            equity = float(scan.track.equity[t])
            sized[t] = np.where(np.isnan(scan.draft.raw_weight), np.nan, scan.draft.sized_weight)
        held = scan.account.position_qty
        ends = np.where(held != 0.0, held * (self.closing_px - scan.account.mark_px), 0.0) if at_marks else 0.0
        return _Run(equity + float(np.sum(ends)) - opening.equity, sized)

    def _blends(self) -> dict[int, tuple[float, F8]]:
        """Return, by bar, what models or the portfolio counted in the recorded decisions and what they wanted."""
        found: dict[int, tuple[float, F8]] = {}
        for made in self.day.made:
            said, row = made.detail.get("models"), self.rows.get(made.ts_close)
            own = made.detail.get("portfolio")
            if own and own["wish"] is not None and row is not None:  # whole wishes, of which no rule is a part
                found[row] = 1.0, numbers(own["wish"])
            elif said and said["wish"] is not None and said["used_share"] > 0.0 and row is not None:
                found[row] = float(said["used_share"]), numbers(said["wish"])
        return found

    def _funding(self) -> F8:
        if not self.day.funding_rate.any():
            return np.empty((0, len(self.symbols)))
        rates: F8 = self.day.funding_rate[self.first : self.first + len(self.ts_close)].copy()
        return rates

    def seen_closes(self) -> F8:
        """Return the closes with those that the decisions had instead of the stored ones."""
        closes = self.close_px.copy()
        for made in self.day.made:
            if (row := self.rows.get(made.ts_close)) is not None:
                closes[row] = numbers(made.detail["close_px"])
        return closes

    def recorded_sizes(self, otherwise: F8) -> F8:
        """Return the sized weights of the record, and ``otherwise`` on bars without a decision."""
        sized = otherwise.copy()
        for made in self.day.made:
            if (row := self.rows.get(made.ts_close)) is not None:
                raw, weights = numbers(made.detail["raw_weight"]), numbers(made.detail["sized_weight"])
                sized[row] = np.where(np.isnan(raw), np.nan, weights)
        return sized

    def at_their_time(self, sized: F8) -> F8:
        """Return the sized weights on the bars at whose close they were really known; nothing where none was made."""
        timely = np.full(sized.shape, np.nan)
        for made in self.day.made:
            row = self.rows.get(made.ts_close)
            if row is not None and row + self._late(made) < len(timely):
                timely[row + self._late(made)] = sized[row]
        return timely

    def _late(self, made: Made) -> int:
        """Return how many bars later than a backtest assumes a decision was made; a sped-up market cannot tell."""
        late_s = (made.ts_decided - made.ts_close) / 1e9
        return int(late_s // self.day.bars.interval_s) if 0.0 < late_s < 86_400.0 else 0

    # worlds made of trades ---------------------------------------------------------------------------------------

    def aimed(self) -> list[_Trade]:
        """Return what was really aimed at, as a backtest would have traded it: at the next open, at its costs."""
        trades, position = [], self.opening_qty.copy()
        others = [fill for fill in self.day.executed if not self._is_aimed(fill)]
        for index, made in enumerate(self.day.made[:-1]):
            while others and others[0].ts_received <= made.ts_decided:
                trades += self._other(others.pop(0), position, index)
            row = self.rows.get(made.ts_close)
            if row is None:
                continue
            target, act = numbers(made.detail["target_qty"]), made.detail["act"]
            for i in np.flatnonzero(act):
                trades += self._at_open(int(i), float(target[i] - position[i]), row + 1 + self._late(made))
                position[i] = target[i]
        for fill in others:
            trades += self._other(fill, position, len(self.day.made) - 1)
        return trades

    def _is_aimed(self, fill: Executed) -> bool:
        return fill.purpose == Purpose.TARGET and self.day.made[0].decision_id <= fill.decision_id

    def _other(self, fill: Executed, position: F8, index: int) -> list[_Trade]:
        i = self.symbols.index(fill.symbol)
        if fill.purpose in OWN_POSITION:
            position[i] += fill.qty
        row = self.rows.get(self.day.made[index].ts_close, 0)
        return self._at_open(i, fill.qty, row + 1 if index else row)

    def _at_open(self, i: int, qty: float, bar: int) -> list[_Trade]:
        opens = self.open_px[bar:, i]
        known = np.flatnonzero(np.isfinite(opens))
        if qty == 0.0 or not len(known):
            return []
        px = float(opens[known[0]]) * (1.0 + math.copysign(COSTS.slippage_rate, qty))
        return [_Trade(i, qty, bar + int(known[0]), px, abs(qty) * px * COSTS.fee_rate)]

    def at_arrival(self, trades: Sequence[_Trade]) -> list[_Trade]:
        """Return the same trades at the mids at which their orders were sent, where the record knows them."""
        arrivals: dict[tuple[int, int], list[Executed]] = {}
        by_id = {made.decision_id: made for made in self.day.made}
        for fill in self.day.executed:
            if (made := by_id.get(fill.decision_id)) is not None and math.isfinite(fill.arrival_px):
                row = self.rows.get(made.ts_close, 0) + 1 + self._late(made)
                arrivals.setdefault((self.symbols.index(fill.symbol), row), []).append(fill)
        moved = []
        for trade in trades:
            found = arrivals.get((trade.symbol, trade.bar))
            if found:
                mid = float(np.average([f.arrival_px for f in found], weights=[abs(f.qty) for f in found]))
                px = mid * (1.0 + math.copysign(COSTS.slippage_rate, trade.qty))
                trade = trade._replace(px=px, fee=abs(trade.qty) * px * COSTS.fee_rate)
            moved.append(trade)
        return moved

    def really(self, *, real_fees: bool) -> list[_Trade]:
        """Return the executions of the record."""
        rows = np.array([made.ts_decided for made in self.day.made])
        trades = []
        for fill in self.day.executed:
            index = int(np.searchsorted(rows, fill.ts_received, side="right")) - 1
            row = self.rows.get(self.day.made[max(index, 0)].ts_close, 0) + 1
            fee = fill.fee if real_fees else abs(fill.qty) * fill.px * COSTS.fee_rate
            trades.append(_Trade(self.symbols.index(fill.symbol), fill.qty, row, fill.px, fee))
        return trades

    def worth(self, trades: Sequence[_Trade], funding: float | None = None) -> float:
        """Return the profit of opening position and trades at the venue's marks; funding as modelled, or as given."""
        moves = np.where(self.opening_qty != 0.0, self.opening_qty * (self.closing_px - self.opening_px), 0.0)
        gained = sum(trade.qty * (self.closing_px[trade.symbol] - trade.px) - trade.fee for trade in trades)
        paid = self._funding_of(trades) if funding is None else funding
        return float(np.sum(moves) + gained - paid)

    def _funding_of(self, trades: Sequence[_Trade]) -> float:
        rates = self._funding()
        if not len(rates):
            return 0.0
        held = np.tile(self.opening_qty, (len(rates), 1))
        for trade in trades:
            held[min(trade.bar, len(rates)) :, trade.symbol] += trade.qty
        notional = np.where(np.isfinite(self.close_px), held * self.close_px, 0.0)
        return float(np.sum(notional * rates))


def measure(day: Day) -> Drift:
    """Return what a day's difference between record and replay is made of.

    Parameters
    ----------
    day : Day

    Returns
    -------
    Drift
        The parts add up to recorded minus replayed profit, to rounding of the last digit.

    Notes
    -----
    The order of the worlds is a choice: another order would give an interaction to another part, and the same total.
    """
    replay = _Replay(day)
    plain = no_limits(len(replay.symbols))
    closes, seen = replay.close_px, replay.seen_closes()
    ideal = replay.run(closes, plain, None, at_marks=False)
    rounded = replay.run(closes, day.instruments, None, at_marks=False)
    sized = replay.recorded_sizes(rounded.sized)
    informed = replay.run(seen, day.instruments, sized, at_marks=True)
    timely = replay.run(seen, day.instruments, replay.at_their_time(sized), at_marks=True)
    aimed = replay.aimed()
    worlds = [
        ideal.pnl, rounded.pnl, informed.pnl, timely.pnl, replay.worth(aimed), replay.worth(replay.at_arrival(aimed)),
        replay.worth(replay.really(real_fees=False)), replay.worth(replay.really(real_fees=True)),
        replay.worth(replay.really(real_fees=True), day.funding_paid), day.made[-1].equity - day.made[0].equity,
    ]  # fmt: skip
    parts = {name: after - before for name, before, after in zip(PARTS, worlds[:-1], worlds[1:], strict=True)}
    days = max(1.0, (day.made[-1].ts_close - day.made[0].ts_close) / NS_PER_DAY)
    return Drift(worlds[-1], worlds[0], parts, day.made[0].equity, len(day.made), len(day.executed), days)
