"""Contract rules of the practice exchange: steps, limits, fees and leverage brackets.

Ticks, lots, limits and bounds of BTC, ETH, BNB, SOL, XRP, DOGE, ADA and LINK are those of the venue's exchangeInfo of
2026-01-12; AVAX and LTC follow the same pattern. The venue has no public bracket table: the ladders here are built so
that the known points (BTC 12 M at 40x, ETH 65 M at 20x, SOL 8 M, DOGE 4 M, BNB and XRP 2 M at 20x) hold.
"""

from __future__ import annotations

from typing import NamedTuple

from engine.venues.sandbox.model import QUANTA


class Bracket(NamedTuple):
    """One step of a leverage ladder; notional bounds in USDT, ``maint_ppm`` in millionths, ``cum_q`` in quanta."""

    bracket: int
    initial_leverage: int
    notional_floor: int
    notional_cap: int
    maint_margin_ratio: float
    cum: float
    maint_ppm: int
    cum_q: int


class Contract(NamedTuple):
    """Rules of one perpetual; sizes in USDT and base units, bounds and rates as fractions."""

    symbol: str
    base: str
    tick_size: float
    lot_size: float
    price_precision: int
    qty_precision: int
    min_price: float
    max_price: float
    min_qty: float
    max_qty: float
    max_market_qty: float
    percent_price: float
    market_take_bound: float
    trigger_protect: float
    interest_rate: float
    unit_q: int
    brackets: tuple[Bracket, ...]
    quote: str = "USDT"
    min_notional: float = 5.0
    liquidation_fee: float = 0.025
    max_orders: int = 200
    max_algo: int = 10
    funding_interval_h: int = 8
    funding_cap: float = 0.02

    def price(self, tick: int) -> float:
        """Return a tick count as a price in USDT."""
        return round(tick * self.tick_size, self.price_precision)

    def qty(self, lots: int) -> float:
        """Return a lot count as a quantity in base units (sign kept)."""
        return round(lots * self.lot_size, self.qty_precision)

    def price_text(self, tick: int) -> str:
        """Return a tick count as the decimal string the venue would send."""
        return f"{tick * self.tick_size:.{self.price_precision}f}"

    def qty_text(self, lots: int) -> str:
        """Return a lot count as the decimal string the venue would send."""
        return f"{lots * self.lot_size:.{self.qty_precision}f}"

    def nearest_tick(self, price: float) -> int:
        """Return the tick count nearest to a price in USDT."""
        return round(price / self.tick_size)

    def nearest_lots(self, qty: float) -> int:
        """Return the lot count nearest to a quantity in base units."""
        return round(qty / self.lot_size)

    def lot_q(self, price: float) -> int:
        """Return a price in USDT as quanta per lot, rounded half to even."""
        return round(price * self.lot_size * QUANTA)

    def price_of_lot_q(self, lot_q: float) -> float:
        """Return quanta per lot as a price in USDT, rounded to 1e-8."""
        return round(lot_q / (self.lot_size * QUANTA), 8)

    def max_notional(self, leverage: int) -> int:
        """Return the largest position notional in USDT that a leverage allows."""
        return max((b.notional_cap for b in self.brackets if b.initial_leverage >= leverage), default=0)

    @property
    def max_leverage(self) -> int:
        """The first bracket's leverage."""
        return self.brackets[0].initial_leverage


# Leverage and maintenance ratio (millionths) of each step; the notional caps differ per symbol.
_LADDER = (
    (100, 5_000),
    (75, 6_500),
    (40, 12_500),
    (20, 25_000),
    (10, 50_000),
    (5, 100_000),
    (2, 250_000),
    (1, 500_000),
)


def ladder(caps: tuple[int, ...]) -> tuple[Bracket, ...]:
    """Return brackets for increasing notional caps in USDT, the last ``len(caps)`` steps of the common ladder.

    ``cum`` makes maintenance margin continuous: cum_i = cum_{i-1} + floor_i (mmr_i - mmr_{i-1}).
    """
    brackets: list[Bracket] = []
    floor, cum_q, previous_ppm = 0, 0, 0
    for i, (cap, (leverage, ppm)) in enumerate(zip(caps, _LADDER[-len(caps) :], strict=True)):
        cum_q += floor * (QUANTA // 1_000_000) * (ppm - previous_ppm) if i else 0
        brackets.append(Bracket(i + 1, leverage, floor, cap, ppm / 1e6, cum_q / QUANTA, ppm, cum_q))
        floor, previous_ppm = cap, ppm
    return tuple(brackets)


def _contract(
    base: str, steps: tuple[str, str], quantities: tuple[float, float], bound: float, caps: tuple[int, ...]
) -> Contract:
    tick, lot = steps
    px_digits, qty_digits = (len(s.partition(".")[2]) for s in steps)
    tick_size, lot_size = float(tick), float(lot)
    return Contract(
        symbol=f"{base}USDT", base=base, tick_size=tick_size, lot_size=lot_size,
        price_precision=px_digits, qty_precision=qty_digits,
        min_price=tick_size, max_price=round(tick_size * 20_000_000, px_digits),
        min_qty=lot_size, max_qty=quantities[0], max_market_qty=quantities[1],
        percent_price=bound, market_take_bound=bound, trigger_protect=bound,
        interest_rate=0.0 if base == "BNB" else 0.0001,
        unit_q=round(tick_size * lot_size * QUANTA), brackets=ladder(caps),
    )  # fmt: skip


_K, _M = 1_000, 1_000_000
_BTC = (300 * _K, 3 * _M, 12 * _M, 70 * _M, 150 * _M, 300 * _M, 500 * _M, 1000 * _M)
_ETH = (250 * _K, 2 * _M, 10 * _M, 65 * _M, 130 * _M, 250 * _M, 400 * _M, 800 * _M)
_MID = (50 * _K, 250 * _K, 2 * _M, 8 * _M, 16 * _M, 30 * _M, 60 * _M, 100 * _M)
_DOGE = (10 * _K, 150 * _K, 1 * _M, 4 * _M, 8 * _M, 15 * _M, 30 * _M, 50 * _M)
_SMALL = (10 * _K, 500 * _K, 2 * _M, 4 * _M, 8 * _M, 15 * _M, 30 * _M)

CONTRACTS: dict[str, Contract] = {
    c.symbol: c
    for c in (
        _contract("BTC", ("0.1", "0.001"), (1000.0, 120.0), 0.02, _BTC),
        _contract("ETH", ("0.1", "0.001"), (10_000.0, 2000.0), 0.02, _ETH),
        _contract("SOL", ("0.01", "0.01"), (1e6, 5000.0), 0.03, _MID),
        _contract("BNB", ("0.1", "0.01"), (100_000.0, 2000.0), 0.02, _SMALL),
        _contract("XRP", ("0.0001", "0.1"), (1e6, 200_000.0), 0.03, _SMALL),
        _contract("DOGE", ("0.00001", "1"), (1e7, 2e6), 0.02, _DOGE),
        _contract("ADA", ("0.0001", "1"), (1e7, 30_000.0), 0.03, _SMALL),
        _contract("LINK", ("0.001", "0.01"), (1e5, 10_000.0), 0.03, _SMALL),
        _contract("AVAX", ("0.001", "0.1"), (1e5, 20_000.0), 0.03, _SMALL),
        _contract("LTC", ("0.01", "0.001"), (1e5, 5000.0), 0.03, _SMALL),
    )
}
"""Every listed contract by symbol."""
