"""What the simulated market assumes about each asset: level, volatility, correlation, liquidity, activity."""

from __future__ import annotations

from typing import NamedTuple

from engine.errors import ConfigError


class Asset(NamedTuple):
    """Assumptions about one contract.

    Attributes
    ----------
    reference_px : float
        Price in USDT near which the history ends.
    annual_vol : float
        Long-run volatility, fraction per square-root year of 365 days.
    loading : float in (0, 1)
        Correlation of diffusive returns with the market factor.
    half_spread_bps : float
        Distance of the best quote from fair value in normal times.
    depth_usdt : float
        Resting notional per side within 5 bp of fair value in normal times.
    trades_per_s : float
        Background taker orders per second, average over the week.
    taker_usdt : float
        Mean notional of a background taker order.
    """

    reference_px: float
    annual_vol: float
    loading: float
    half_spread_bps: float
    depth_usdt: float
    trades_per_s: float
    taker_usdt: float


ASSETS: dict[str, Asset] = {
    "BTCUSDT": Asset(95_000.0, 0.50, 0.90, 0.20, 220_000.0, 12.0, 1_400.0),
    "ETHUSDT": Asset(3_400.0, 0.65, 0.88, 0.20, 150_000.0, 7.0, 1_100.0),
    "SOLUSDT": Asset(190.0, 0.85, 0.78, 0.30, 80_000.0, 4.0, 700.0),
    "BNBUSDT": Asset(650.0, 0.60, 0.75, 0.30, 60_000.0, 3.0, 550.0),
    "XRPUSDT": Asset(2.2, 0.85, 0.70, 0.30, 60_000.0, 3.0, 550.0),
    "DOGEUSDT": Asset(0.32, 0.95, 0.75, 0.40, 40_000.0, 3.0, 420.0),
    "ADAUSDT": Asset(0.9, 0.90, 0.76, 0.35, 30_000.0, 2.0, 320.0),
    "LINKUSDT": Asset(20.0, 0.90, 0.76, 0.50, 30_000.0, 2.0, 320.0),
    "AVAXUSDT": Asset(36.0, 0.95, 0.76, 0.60, 25_000.0, 2.0, 300.0),
    "LTCUSDT": Asset(105.0, 0.75, 0.72, 0.35, 25_000.0, 2.0, 300.0),
}


def choose_symbols(symbols: object, known: tuple[str, ...]) -> tuple[str, ...]:
    """Return the wanted symbols in upper case, all known ones for None.

    Raises
    ------
    ConfigError
        If a symbol is not known; the message lists those that are.
    """
    if symbols is None:
        return known
    wanted = tuple(dict.fromkeys(str(symbol).upper() for symbol in symbols))  # type: ignore[attr-defined]
    unknown = [symbol for symbol in wanted if symbol not in known]
    if unknown or not wanted:
        raise ConfigError(f"no such contract: {', '.join(unknown) or '(none given)'}; known are {', '.join(known)}")
    return wanted
