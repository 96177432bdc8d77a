"""Mirror: another server's public market, copied into our book.

The upstream's best twenty levels become background quotes and its trades become background trades, so people's orders
rest in a copy of the real book: they fill when upstream trades reach them, after nobody but earlier orders of our own
book. The copy knows no upstream queue and does not react to people's orders. When the upstream has been silent for five
seconds all quotes are pulled and the state is "stale" until it speaks again. Market time must run at wall speed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from engine.errors import ConfigError, Unreachable
from engine.venues.sandbox.contracts import CONTRACTS
from engine.venues.sandbox.market.assets import ASSETS, choose_symbols
from engine.venues.sandbox.market.bars import HOUR_MS, MINUTE_MS, Bars, empty_bars, fill_gaps
from engine.venues.sandbox.market.traders import GAP, Ladder, grid_for, open_background_accounts, print_trade
from engine.venues.sandbox.market.upstream import Upstream, parse_address

if TYPE_CHECKING:
    from engine.venues.sandbox.exchange import Exchange

STALE_MS = 5_000
_N_MINUTES, _N_HOURS, _N_FUNDING = 20_160, 17_520, 1_000
_FIRST_BOOK_S = 8.0
_AT_ONCE = 4


class MirrorMarket:
    """A market out of another server; implements `Market`.

    Parameters
    ----------
    symbols : sequence of str or None
    upstream : str or None
        See `upstream.parse_address`.
    start_ms : int
        Used until `open` has read the upstream's own time.
    """

    def __init__(self, symbols: Sequence[str] | None, upstream: str | None, start_ms: int) -> None:
        self.symbols = choose_symbols(symbols, tuple(CONTRACTS))
        self.market_start_ms = start_ms // MINUTE_MS * MINUTE_MS
        self.finished = False
        self.state = "connecting"
        self._contracts = {s: CONTRACTS[s] for s in self.symbols}
        self._upstream = Upstream(parse_address(upstream), self._contracts)
        self._past: dict[str, tuple[Bars, Bars]] = {s: (empty_bars(), empty_bars()) for s in self.symbols}
        self._funding: dict[str, list[tuple[int, float, float]]] = {s: [] for s in self.symbols}
        rng = np.random.default_rng(0)
        self._ladders = {
            s: Ladder(c, grid_for(c, ASSETS[s].reference_px), ASSETS[s].depth_usdt, rng)
            for s, c in self._contracts.items()
        }
        self._seen = 0
        self._heard_ms = 0
        self._now_ms = 0

    async def open(self) -> None:
        """Read time and history, connect the streams, and wait a few seconds for the first books.

        Raises
        ------
        Unreachable
            If the other server does not answer.
        """
        await self._upstream.open()
        try:
            server_ms = int((await self._upstream.get("time"))["serverTime"])
            self.market_start_ms = server_ms // MINUTE_MS * MINUTE_MS
            gate = asyncio.Semaphore(_AT_ONCE)
            await asyncio.gather(*(self._load(symbol, gate) for symbol in self.symbols))
        except BaseException:
            await self._upstream.close()
            raise
        self._upstream.follow()
        await self._wait_for_books()

    async def close(self) -> None:
        """Disconnect."""
        await self._upstream.close()

    def history(self, symbol: str, interval: str) -> Bars:
        """Return upstream bars closed before the start: fifteen days of minutes, two years of hours."""
        if interval not in ("1m", "1h"):
            raise ConfigError(f'history comes in "1m" and "1h", not "{interval}"')
        return self._past[symbol][0 if interval == "1m" else 1]

    def history_funding(self, symbol: str) -> list[tuple[int, float, float]]:
        """Return the upstream's last settlements; where it tells no mark, the hour's close stands in."""
        return self._funding[symbol]

    def start(self, exchange: Exchange, now_ms: int) -> None:
        """Open background accounts, set prices, and quote what the upstream has said so far."""
        open_background_accounts(exchange, self.symbols, now_ms)
        self._heard_ms = now_ms
        for symbol, (minutes, _) in self._past.items():
            inbox = self._upstream.inboxes[symbol]
            if not inbox.index_px:
                inbox.index_px = float(minutes["close"][-1])
            exchange.set_prices(symbol, index=inbox.index_px, now_ms=now_ms)
        self.advance(exchange, now_ms)

    def advance(self, exchange: Exchange, now_ms: int) -> None:
        """Apply what arrived since the last call, or pull the quotes when nothing has for five seconds."""
        # Trades belong to the time before this call, and a minute's last call to that minute.
        moment_ms = max(self._now_ms, now_ms - 1)
        self._now_ms = now_ms
        if self._upstream.n_messages == self._seen:
            if self.state == "live" and now_ms - self._heard_ms > STALE_MS:
                self.state = "stale"
                for symbol, ladder in self._ladders.items():
                    ladder.pull(exchange, moment_ms)
                    # A symbol is quoted again when its own book has been heard, not when another one's has.
                    self._upstream.inboxes[symbol].bids = {}
                    self._upstream.inboxes[symbol].asks = {}
            return
        self._seen, self._heard_ms = self._upstream.n_messages, now_ms
        self.state = "live"
        for symbol in self.symbols:
            self._apply(exchange, symbol, moment_ms)

    def _apply(self, exchange: Exchange, symbol: str, now_ms: int) -> None:
        inbox, ladder, contract = self._upstream.inboxes[symbol], self._ladders[symbol], self._contracts[symbol]
        trades, inbox.trades = inbox.trades, []
        if trades and abs(contract.price(trades[-1][0]) / (exchange.mark(symbol) or 1.0) - 1.0) > GAP:
            ladder.mirror(exchange, inbox.bids, inbox.asks, now_ms)
            exchange.set_prices(symbol, index=inbox.index_px, now_ms=now_ms)
        for tick, lots, sold in trades:
            ladder.clear_through(exchange, tick, now_ms)
            print_trade(exchange, contract, tick, lots, sold, now_ms)
        if inbox.book_changed or trades:
            ladder.mirror(exchange, inbox.bids, inbox.asks, now_ms)
            inbox.book_changed = False
        exchange.set_prices(symbol, index=inbox.index_px, now_ms=now_ms)

    async def _load(self, symbol: str, gate: asyncio.Semaphore) -> None:
        end_ms = self.market_start_ms
        async with gate:
            minutes = await self._upstream.klines(symbol, "1m", end_ms, _N_MINUTES)
            hours = await self._upstream.klines(symbol, "1h", end_ms // HOUR_MS * HOUR_MS, _N_HOURS)
            funding = await self._upstream.get("fundingRate", symbol=symbol, limit=_N_FUNDING)
        if len(minutes) == 0:
            raise Unreachable(f"the upstream has no candles of {symbol}")
        # Whole hours of minutes only, so that hours in progress can be aggregated from minutes.
        whole = minutes["open_ms"] >= -(-int(minutes["open_ms"][0]) // HOUR_MS) * HOUR_MS
        minutes = minutes[whole] if whole.any() else minutes
        self._past[symbol] = (fill_gaps(minutes, MINUTE_MS, end_ms), hours)
        self._funding[symbol] = [
            (int(r["fundingTime"]), float(r["fundingRate"]), float(r.get("markPrice") or _close_before(hours, r)))
            for r in funding
        ]

    async def _wait_for_books(self) -> None:
        deadline = asyncio.get_running_loop().time() + _FIRST_BOOK_S
        while asyncio.get_running_loop().time() < deadline:
            if all(inbox.bids and inbox.asks for inbox in self._upstream.inboxes.values()):
                return
            await asyncio.sleep(0.05)


def _close_before(hours: Bars, row: dict[str, object]) -> float:
    i = int(np.searchsorted(hours["open_ms"], int(str(row["fundingTime"])))) - 1
    return float(hours["close"][i]) if i >= 0 else 0.0
