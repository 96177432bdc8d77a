"""Two markets in which an algorithm can be tried a thousand times: the practice exchange's, and recorded books.

Both are asked the same questions by ``Trial``: the market moves a step, orders arrive one step after they were sent,
and what fills is told one step after it filled.

* ``Simulated`` is the practice exchange itself, matching engine and all, driven without sockets. Its fair value does
  not react to us; books that we eat come back within a second. Makers pull their quotes when the fair value moves, and
  run over resting orders that stay: a passive fill has its adverse selection.
* ``Recorded`` replays depth and trades. Nobody reacts to us at all. A resting order joins behind everything displayed
  at its price, moves up only by trades at that price (never by cancels ahead of it), and fills when its turn has come
  or when the market trades or quotes through it. A crossing order takes the displayed twenty levels; what it took is
  gone until that level shows a new quantity.
"""

from __future__ import annotations

import copy
import heapq
import itertools
import math
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import pyarrow.parquet as pq

from engine.domain import NS_PER_MS, BookTop, Instrument, OrderSpec
from engine.venues.sandbox.contracts import CONTRACTS
from engine.venues.sandbox.exchange import Exchange
from engine.venues.sandbox.market.fair import FairPath
from engine.venues.sandbox.market.simulated import SimulatedMarket
from engine.venues.sandbox.model import OrderRequest, TradeEvent

STEP_MS = 250
LEVELS = 20
TAKER_FEE, MAKER_FEE = 0.0004, 0.0
START_MS = 1_767_268_800_000  # 2026-01-01 12:00 UTC, a Thursday


class Filled(NamedTuple):
    """What an order had filled in one step."""

    order_id: int
    qty: float
    px: float
    is_maker: bool


class LabMarket(Protocol):
    """What a trial asks of a market."""

    instrument: Instrument
    now: int  # ns

    def step(self) -> tuple[list[Filled], float, float]:
        """Move on by ``STEP_MS``; return our fills, and everybody's trades as (volume, worth)."""

    def top(self) -> BookTop:
        """Return the displayed best."""

    def send(self, order_id: int, spec: OrderSpec) -> bool:
        """Take an order; return whether it rests or filled (False: refused or expired without a fill)."""

    def is_open(self, order_id: int) -> bool:
        """Return whether an order can still fill."""

    def pull(self, order_id: int) -> None:
        """Cancel an order; one that is gone is no error."""


def instrument_of(symbol: str, tick_size: float, lot_size: float) -> Instrument:
    """Return a contract with the venue's fees."""
    return Instrument(
        symbol, symbol.removesuffix("USDT"), "USDT", tick_size, lot_size, lot_size, 1e9, 1e9, 5.0, 0.05, 100.0,
        MAKER_FEE, TAKER_FEE,
    )  # fmt: skip


class Simulated:
    """The practice exchange and its simulated market, one symbol, without sockets.

    Parameters
    ----------
    market : SimulatedMarket
        A built one; its two years of history are shared by all trials, what lives is copied.
    seed : int
        Of everything that happens from now on.
    regime : int
        0 calm, 1 normal, 2 stressed: where the volatility begins.
    """

    def __init__(self, market: SimulatedMarket, seed: int, regime: int) -> None:
        symbol = market.symbols[0]
        fresh = copy.copy(market)
        past = copy.deepcopy(market._past)
        past.state.regime = regime
        fresh._past = past
        fresh._fair = FairPath(past, START_MS, seed)
        fresh._rng = np.random.default_rng([seed, 5])
        fresh._trend, fresh._seen_log_px = np.zeros(1), fresh._fair.log_px
        fresh._ladders = copy.deepcopy(market._ladders)
        fresh._last_side, fresh._now_ms = [1], START_MS
        contract = CONTRACTS[symbol]
        self.instrument = instrument_of(symbol, contract.tick_size, contract.lot_size)
        self._market, self._symbol, self._contract, self._ms = fresh, symbol, contract, START_MS
        self._exchange = Exchange({symbol: contract}, MAKER_FEE, TAKER_FEE)
        self._exchange.open_account("us", 1e9, START_MS)
        fresh.start(self._exchange, START_MS)
        self._ids: dict[int, int] = {}
        self._n_fills = 0
        self._exchange.drain()

    @property
    def now(self) -> int:
        """Market time, ns."""
        return self._ms * NS_PER_MS

    def step(self) -> tuple[list[Filled], float, float]:
        """See ``LabMarket``."""
        self._ms += STEP_MS
        self._market.advance(self._exchange, self._ms)
        volume = worth = 0.0
        for event in self._exchange.drain():
            if isinstance(event, TradeEvent):
                qty, px = self._contract.qty(event.lots), self._contract.price(event.price_tick)
                volume, worth = volume + qty, worth + qty * px
        return self._news(), volume, worth

    def _news(self) -> list[Filled]:
        rows = list(itertools.islice(self._exchange._state.accounts["us"].trades, self._n_fills, None))
        self._n_fills += len(rows)
        ours = {theirs: mine for mine, theirs in self._ids.items()}
        return [
            Filled(ours[r.order_id], self._contract.qty(r.lots), self._contract.price(r.price_tick), r.is_maker)
            for r in rows
        ]

    def top(self) -> BookTop:
        """See ``LabMarket``."""
        bid, bid_lots, ask, ask_lots = self._exchange.best(self._symbol)
        price, qty = self._contract.price, self._contract.qty
        return BookTop(self._symbol, self.now, self.now, price(bid), qty(bid_lots), price(ask), qty(ask_lots))

    def send(self, order_id: int, spec: OrderSpec) -> bool:
        """See ``LabMarket``."""
        order = self._exchange.place(
            OrderRequest("us", self._symbol, spec.side, "LIMIT", spec.qty, spec.limit_px, tif=spec.tif), self._ms
        )
        self._ids[order_id] = order.order_id
        return order.is_open or order.executed_lots > 0

    def is_open(self, order_id: int) -> bool:
        """See ``LabMarket``."""
        return self._exchange.order("us", self._symbol, self._ids[order_id]).is_open

    def pull(self, order_id: int) -> None:
        """See ``LabMarket``."""
        if self.is_open(order_id):
            self._exchange.cancel("us", self._symbol, order_id=self._ids[order_id], now_ms=self._ms)


class Tape(NamedTuple):
    """A recorded session on a grid of ``STEP_MS``: T steps, best first."""

    symbol: str
    tick_size: float
    lot_size: float
    start_ns: int
    bid_px: np.ndarray  # (T, LEVELS)
    bid_qty: np.ndarray
    ask_px: np.ndarray
    ask_qty: np.ndarray
    trades: list[list[tuple[float, float, int]]]  # by step: (px, qty, side of the aggressor)


def recorded_sessions(folder: Path) -> list[tuple[str, Path, Path]]:
    """Return (name, depth file, trades file) of every Binance session under ``folder``."""
    found = []
    for depth in sorted((folder / "books").glob("binance_*_depth.parquet")):
        trades = folder / "ticks" / depth.name.replace("_depth", "_trades")
        if trades.exists():
            found.append((depth.name.removesuffix("_depth.parquet"), depth, trades))
    return found


def load_tape(name: str, depth_file: Path, trades_file: Path) -> Tape:
    """Replay a session's depth once and keep twenty levels a side every ``STEP_MS``.

    Depth before the first snapshot builds up from single levels, so the first tenth of a session without a snapshot is
    left out, and so is every step whose book is crossed or thinner than twenty levels.
    """
    table = pq.read_table(depth_file).to_pandas()
    times = table["event_time"].to_numpy(dtype="datetime64[ns]").astype(np.int64)
    known = np.where(times > 0, times, np.iinfo(np.int64).max)  # a snapshot has no time of its own: the next event's
    times = np.minimum.accumulate(known[::-1])[::-1]
    has_snapshot = bool(table["is_snapshot"].any())
    sides, px, qty = (table[c].to_numpy() for c in ("side", "price", "qty"))
    snapshot = table["is_snapshot"].to_numpy()
    start, end = int(times.min()), int(times.max())
    first = int(times[snapshot][-1]) if has_snapshot else start + (end - start) // 10
    grid = np.arange(first, end, STEP_MS * NS_PER_MS)
    books: dict[int, dict[float, float]] = {1: {}, -1: {}}
    rows: list[tuple[list[tuple[float, float]], list[tuple[float, float]]]] = []
    index = 0
    for moment in grid:
        while index < len(times) and times[index] <= moment:
            if qty[index] == 0.0:
                books[int(sides[index])].pop(px[index], None)
            else:
                books[int(sides[index])][px[index]] = qty[index]
            index += 1
        rows.append((
            heapq.nlargest(LEVELS, books[1].items()), heapq.nsmallest(LEVELS, books[-1].items()),
        ))  # fmt: skip
    whole = [i for i, (b, a) in enumerate(rows) if len(b) == len(a) == LEVELS and b[0][0] < a[0][0]]
    begin = whole[0] if whole else 0
    arrays = [
        np.array([[level[k] for level in rows[i][s]] for i in range(begin, len(rows)) if len(rows[i][s]) == LEVELS])
        for s, k in ((0, 0), (0, 1), (1, 0), (1, 1))
    ]
    ticks = np.diff(np.unique(arrays[2][:200]))
    tick_size = float(round(ticks[ticks > 1e-9].min(), 8))
    trades = _trades_on_grid(trades_file, grid[begin:])
    lot = 0.001 if "BTC" in name else 0.01
    symbol = next(s for s in ("BTCUSDT", "ETHUSDT") if s in name)
    length = min(len(a) for a in arrays)
    return Tape(symbol, tick_size, lot, int(grid[begin]), *(a[:length] for a in arrays), trades[:length])


def _trades_on_grid(path: Path, grid: np.ndarray) -> list[list[tuple[float, float, int]]]:
    table = pq.read_table(path).to_pandas()
    times = table["trade_time"].to_numpy(dtype="datetime64[ns]").astype(np.int64)
    steps = np.searchsorted(grid, times)  # a trade belongs to the step that ends at or after it
    out: list[list[tuple[float, float, int]]] = [[] for _ in grid]
    rows = zip(steps, table["price"], table["qty"], table["buyer_is_maker"], strict=True)
    for step, px, qty, buyer_is_maker in rows:
        if 0 < step < len(grid):
            out[step].append((float(px), float(qty), -1 if buyer_is_maker else 1))
    return out


@dataclass
class Resting:
    """Our order in a recorded book, and what still trades before it."""

    side: int
    px: float
    left: float
    ahead: float


class Recorded:
    """A recorded session from some step on.

    Parameters
    ----------
    tape : Tape
    begin : int
        Step at which the trial starts.
    """

    def __init__(self, tape: Tape, begin: int) -> None:
        self.instrument = instrument_of(tape.symbol, tape.tick_size, tape.lot_size)
        self._tape, self._t = tape, begin
        self._resting: dict[int, Resting] = {}
        self._fills: list[Filled] = []
        self._eaten: dict[tuple[int, float], tuple[float, float]] = {}  # (side, px): (shown then, taken of it)

    @property
    def now(self) -> int:
        """Market time, ns."""
        return self._tape.start_ns + self._t * STEP_MS * NS_PER_MS

    def step(self) -> tuple[list[Filled], float, float]:
        """See ``LabMarket``."""
        self._t += 1
        volume = worth = 0.0
        for px, qty, side in self._tape.trades[self._t]:
            volume, worth = volume + qty, worth + qty * px
            for order_id, order in list(self._resting.items()):
                self._traded(order_id, order, px, qty, side)
        top = self.top()
        for order_id, order in list(self._resting.items()):
            other = top.ask_px if order.side > 0 else top.bid_px
            if (other - order.px) * order.side <= 0:  # the market now quotes at or through our price
                self._book(order_id, order, order.left)
        fills, self._fills = self._fills, []
        return fills, volume, worth

    def _traded(self, order_id: int, order: Resting, px: float, qty: float, side: int) -> None:
        if side == order.side:
            return
        beyond = (px - order.px) * order.side
        if beyond < -1e-9:
            self._book(order_id, order, order.left)
        elif beyond < 1e-9:
            passed = min(order.ahead, qty)
            order.ahead -= passed
            if qty - passed > 0:
                self._book(order_id, order, min(order.left, qty - passed))

    def _book(self, order_id: int, order: Resting, qty: float) -> None:
        self._fills.append(Filled(order_id, qty, order.px, True))
        order.left -= qty
        if order.left <= 1e-12:
            self._resting.pop(order_id, None)

    def top(self) -> BookTop:
        """See ``LabMarket``."""
        tape, t = self._tape, self._t
        return BookTop(
            tape.symbol, self.now, self.now, tape.bid_px[t, 0], tape.bid_qty[t, 0], tape.ask_px[t, 0],
            tape.ask_qty[t, 0],
        )  # fmt: skip

    def send(self, order_id: int, spec: OrderSpec) -> bool:
        """See ``LabMarket``."""
        top = self.top()
        touch = top.ask_px if spec.side > 0 else top.bid_px
        crosses = (touch - spec.limit_px) * spec.side <= 1e-9
        if spec.tif == "GTX":
            if crosses:
                return False
            self._resting[order_id] = Resting(spec.side, spec.limit_px, spec.qty, self._shown(spec.side, spec.limit_px))
            return True
        return self._take(order_id, spec)

    def _shown(self, side: int, px: float) -> float:
        pxs, qtys = self._side(side)
        at = np.flatnonzero(np.abs(pxs - px) < self.instrument.tick_size / 2)
        return float(qtys[at[0]]) if len(at) else 0.0

    def _side(self, side: int) -> tuple[np.ndarray, np.ndarray]:
        tape, t = self._tape, self._t
        return (tape.bid_px[t], tape.bid_qty[t]) if side > 0 else (tape.ask_px[t], tape.ask_qty[t])

    def _take(self, order_id: int, spec: OrderSpec) -> bool:
        left = spec.qty
        for px, shown in zip(*self._side(-spec.side), strict=True):
            if left <= 1e-12 or (px - spec.limit_px) * spec.side > 1e-9:
                break
            before, eaten = self._eaten.get((-spec.side, px), (math.nan, 0.0))
            eaten = eaten if before == shown else 0.0  # a new quantity: the level is what it says
            qty = min(left, max(shown - eaten, 0.0))
            if qty > 0:
                self._eaten[-spec.side, px] = (shown, eaten + qty)
                self._fills.append(Filled(order_id, qty, float(px), False))
                left -= qty
        return left < spec.qty

    def is_open(self, order_id: int) -> bool:
        """See ``LabMarket``."""
        return order_id in self._resting

    def pull(self, order_id: int) -> None:
        """See ``LabMarket``."""
        self._resting.pop(order_id, None)
