"""Background traders: market makers' ladders and printed trades, all through the exchange's own order entry.

Their orders stand in the same book as everybody's, so people's orders queue among them with price-time priority.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from engine.venues.sandbox.contracts import Contract
from engine.venues.sandbox.model import BUY, SELL, Order

if TYPE_CHECKING:
    from engine.venues.sandbox.exchange import Exchange

NOISE, MOMENTUM, PRINTER = "background-noise", "background-momentum", "background-printer"
# A move this large (fraction) is shown to the mark before anything trades: stop orders that a trade would trigger are
# bounded by the mark, and must be able to reach the new prices.
GAP = 0.008
_DEPOSIT = 1e9
_N_DRAWS = 8192
_TOUCH_BPS = 3.0
# Average of the thinning near the touch over the first 5 bp.
_MEAN_SHARE = 0.9


def maker_account(symbol: str, tick: int) -> str:
    """Return which of a symbol's two market-making accounts quotes a price."""
    return f"background-maker-{symbol}-{tick & 1}"


def open_background_accounts(exchange: Exchange, symbols: tuple[str, ...], now_ms: int) -> None:
    """Open the internal accounts that all market sources trade from."""
    makers = [maker_account(symbol, tick) for symbol in symbols for tick in (0, 1)]
    for account_id in (*makers, NOISE, MOMENTUM, PRINTER):
        exchange.open_account(account_id, _DEPOSIT, now_ms, internal=True)


class Grid(NamedTuple):
    """Where a ladder has levels: `n_near` per side every `near_ticks`, then `n_far` every `far_ticks`."""

    near_ticks: int
    far_ticks: int
    n_near: int
    n_far: int


def grid_for(contract: Contract, reference_px: float) -> Grid:
    """Return a grid whose near levels are about 0.1 bp apart, or a tick where the tick is coarser."""
    near = max(1, round(reference_px * 1e-5 / contract.tick_size))
    return Grid(near, 6 * near, 12, 12)


class Ladder:
    """Market makers' quotes in one symbol.

    Levels sit on fixed prices (multiples of the grid step, jittered), so a small move touches only the levels at both
    ends. Quantities follow a notional density per basis point, thinner at the touch, times lognormal noise. A level
    that was eaten comes back after a random pause: people's market orders move the price for a few tenths of a second.

    Parameters
    ----------
    contract : Contract
    grid : Grid
    depth_usdt : float
        Notional per side within 5 bp of fair value at thickness 1.
    rng : numpy Generator
        Consumed here once, for tables of draws.
    """

    def __init__(self, contract: Contract, grid: Grid, depth_usdt: float, rng: np.random.Generator) -> None:
        self.contract = contract
        self.grid = grid
        self._density = depth_usdt / 5.0 / _MEAN_SHARE
        self._accounts = (maker_account(contract.symbol, 0), maker_account(contract.symbol, 1))
        self._orders: dict[int, dict[int, Order]] = {BUY: {}, SELL: {}}
        self._jitter = rng.integers(0, grid.near_ticks, 1024).tolist()
        self._noise = rng.lognormal(-0.15, 0.55, _N_DRAWS).tolist()
        self._chance = rng.random(_N_DRAWS).tolist()
        self._draw = 0
        self._shape: dict[int, tuple[int, int]] = {}
        self._wanted: dict[int, list[tuple[int, int]]] = {BUY: [], SELL: []}

    def requote(
        self,
        exchange: Exchange,
        touch: tuple[int, int],
        thickness: float,
        now_ms: int,
        *,
        refill: float = 0.35,
        deep: bool = True,
    ) -> None:
        """Move the quotes so that none is better than the touch.

        Parameters
        ----------
        exchange : Exchange
        touch : (bid_tick, ask_tick)
            Best prices the makers are willing to quote.
        thickness : float > 0
            Multiplies quantities.
        now_ms : int
        refill : float in [0, 1]
            Chance that an eaten level comes back now.
        deep : bool
            False: only clear the way and keep two levels per side (for steps within a fast advance).
        """
        middle = 0.5 * (touch[0] + touch[1])
        for side, limit in ((BUY, touch[0]), (SELL, touch[1])):
            self._aim(side, limit, deep)
            self._clear(exchange, side, limit, deep, now_ms)
        for side in (BUY, SELL):
            orders = self._orders[side]
            for tick, span in self._wanted[side]:
                order = orders.get(tick)
                if order is not None and order.is_open and 2 * order.executed_lots < order.orig_lots:
                    continue
                if order is not None:
                    if self._next(self._chance) > refill:
                        continue
                    exchange.withdraw_quote(order, now_ms)
                self._quote(exchange, side, tick, self._lots(abs(tick - middle), span, middle, thickness), now_ms)
        if deep:
            self._flicker(exchange, middle, thickness, now_ms)

    def clear_through(self, exchange: Exchange, tick: int, now_ms: int) -> None:
        """Cancel bids at or above a price and asks at or below it."""
        for side in (BUY, SELL):
            for level in [t for t in self._orders[side] if (t - tick) * side >= 0]:
                exchange.withdraw_quote(self._orders[side].pop(level), now_ms)

    def mirror(self, exchange: Exchange, bids: dict[int, int], asks: dict[int, int], now_ms: int) -> None:
        """Make the quotes equal to given levels {tick: lots}; a level is replaced when its quantity differs by 20 %."""
        wanted = {BUY: bids, SELL: asks}
        for side in (BUY, SELL):
            for tick, order in list(self._orders[side].items()):
                left = order.remaining_lots if order.is_open else 0
                lots = wanted[side].get(tick, 0)
                if not left or abs(left - lots) > 0.2 * lots:
                    del self._orders[side][tick]
                    exchange.withdraw_quote(order, now_ms)
        for side in (BUY, SELL):
            for tick, lots in wanted[side].items():
                if tick not in self._orders[side] and lots > 0:
                    self._quote(exchange, side, tick, max(lots, self._least(tick)), now_ms)

    def pull(self, exchange: Exchange, now_ms: int) -> None:
        """Cancel every quote."""
        for side in (BUY, SELL):
            for order in self._orders[side].values():
                exchange.withdraw_quote(order, now_ms)
            self._orders[side].clear()
        self._shape.clear()

    def _aim(self, side: int, limit: int, deep: bool) -> None:
        """List the levels (tick, ticks it stands for) of one side, best first; only anew when the grid cell changed."""
        near, far, n_near, n_far = self.grid
        k = limit // near
        while (self._level(k) - limit) * side > 0:
            k -= side
        while (self._level(k + side) - limit) * side <= 0:
            k += side
        shape = (k, int(deep))
        if self._shape.get(side) == shape:
            return
        self._shape[side] = shape
        n_levels = n_near if deep else 2
        levels = [(self._level(k - side * i), near) for i in range(n_levels)]
        if deep:
            edge = (k - side * n_near) * near
            first = (edge // far - 1) if side > 0 else (edge // far + 2)
            levels += [((first - side * i) * far, far) for i in range(n_far)]
        self._wanted[side] = [level for level in levels if level[0] > 0]

    def _level(self, k: int) -> int:
        jitter: int = self._jitter[k & 1023]
        return k * self.grid.near_ticks + jitter

    def _clear(self, exchange: Exchange, side: int, limit: int, deep: bool, now_ms: int) -> None:
        orders = self._orders[side]
        kept = {tick for tick, _ in self._wanted[side]} if deep else None
        for tick in list(orders):
            if (tick - limit) * side > 0 or (kept is not None and tick not in kept):
                exchange.withdraw_quote(orders.pop(tick), now_ms)

    def _flicker(self, exchange: Exchange, middle: float, thickness: float, now_ms: int) -> None:
        side = BUY if self._next(self._chance) < 0.5 else SELL
        levels = self._wanted[side]
        tick, span = levels[int(self._next(self._chance) * len(levels))]
        order = self._orders[side].get(tick)
        if order is not None and order.is_open:
            exchange.withdraw_quote(order, now_ms)
            self._quote(exchange, side, tick, self._lots(abs(tick - middle), span, middle, thickness), now_ms)

    def _lots(self, distance: float, span: int, middle: float, thickness: float) -> int:
        """Lots of a level: density per bp x the bp it stands for, thinner at the touch, times noise."""
        bps = distance / middle * 1e4
        usdt = self._density * (span / middle * 1e4) * (0.45 + 0.65 * min(1.0, bps / _TOUCH_BPS))
        lots = usdt * thickness * self._next(self._noise) / self._lot_usdt(middle)
        return max(round(lots), self._least(middle))

    def _lot_usdt(self, tick: float) -> float:
        return tick * self.contract.tick_size * self.contract.lot_size

    def _least(self, tick: float) -> int:
        return int(1.2 * self.contract.min_notional / self._lot_usdt(tick)) + 1

    def _next(self, table: list[float]) -> float:
        self._draw = (self._draw + 1) % _N_DRAWS
        return table[self._draw]

    def _quote(self, exchange: Exchange, side: int, tick: int, lots: int, now_ms: int) -> None:
        symbol = self.contract.symbol
        self._orders[side][tick] = exchange.quote(self._accounts[tick & 1], symbol, side, tick, lots, now_ms)


def print_trade(exchange: Exchange, contract: Contract, tick: int, lots: int, sold: bool, now_ms: int) -> None:
    """Make the market trade `lots` at exactly `tick`, between background accounts and whoever queues there.

    People's orders that the price passes are swept first at their own limits, as an arriving crowd would; those
    resting at `tick` fill before the background maker because they came earlier. The market makers' ladder must have
    been cleared through `tick` before.

    Parameters
    ----------
    exchange, contract : the book and its contract
    tick, lots : int
        Price and quantity, both positive.
    sold : bool
        True if the aggressor sells.
    now_ms : int
    """
    symbol = contract.symbol
    bid, _, ask, _ = exchange.best(symbol)
    everything = round(contract.max_qty / contract.lot_size)
    if bid is not None and bid > tick:
        exchange.quote(PRINTER, symbol, SELL, tick + 1, everything, now_ms, "IOC")
    if ask is not None and ask < tick:
        exchange.quote(PRINTER, symbol, BUY, tick - 1, everything, now_ms, "IOC")
    side = BUY if sold else SELL
    # A queue at `tick` on the aggressor's own side would meet the maker order instead: let the aggressor hit it.
    if (side == BUY and ask == tick) or (side == SELL and bid == tick):
        side = -side
    maker = exchange.quote(maker_account(symbol, tick), symbol, side, tick, lots, now_ms)
    exchange.quote(PRINTER, symbol, -side, tick, lots, now_ms, "IOC")
    exchange.withdraw_quote(maker, now_ms)


def minimum_lots(contract: Contract, tick: int) -> int:
    """Return the smallest quantity in lots that a trade at `tick` may have."""
    least = contract.min_notional * 1.05 / (tick * contract.tick_size)
    return max(round(contract.min_qty / contract.lot_size), int(least / contract.lot_size) + 1)
