"""Market sources of the practice exchange: simulated, replayed and mirrored prices, with history and candles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, Protocol

from engine.errors import ConfigError
from engine.venues.sandbox.contracts import CONTRACTS
from engine.venues.sandbox.market.bars import BAR_DTYPE, INTERVALS, Bars
from engine.venues.sandbox.market.candles import CandleStore

if TYPE_CHECKING:
    from engine.venues.sandbox.exchange import Exchange

__all__ = ["BAR_DTYPE", "INTERVALS", "CandleStore", "FundingRow", "Market", "MarketKind", "make_market"]

MarketKind = Literal["simulated", "replay", "mirror"]
FundingRow = tuple[int, float, float]


class Market(Protocol):
    """Where prices and other people's orders come from.

    Order of calls: `open`, then `history`, then `start` once, then `advance` with growing times, then `close`.

    Attributes
    ----------
    symbols : tuple of str
    market_start_ms : int
        Market time (UTC ms, a whole minute) at which the live part begins and history ends.
    finished : bool
        A replay reached its end; always False for the endless sources.
    state : str
        "live", "connecting", "stale" (quotes are pulled because the source is silent) or "finished".
    """

    symbols: tuple[str, ...]
    market_start_ms: int
    finished: bool
    state: str

    async def open(self) -> None:
        """Connect to the source; returns at once where there is none."""
        ...

    async def close(self) -> None:
        """Release what `open` took."""
        ...

    def history(self, symbol: str, interval: str) -> Bars:
        """Return closed bars before the start: "1m" for up to fifteen days, "1h" for up to two years."""
        ...

    def history_funding(self, symbol: str) -> list[FundingRow]:
        """Return past settlements as (funding_time_ms, rate per interval, mark price), oldest first."""
        ...

    def start(self, exchange: Exchange, now_ms: int) -> None:
        """Open the background accounts and quote, so that every book is two-sided at once."""
        ...

    def advance(self, exchange: Exchange, now_ms: int) -> None:
        """Move the market to `now_ms`: quotes, background trades, index prices."""
        ...


def make_market(
    kind: str,
    *,
    symbols: Sequence[str] | None,
    seed: int,
    start_ms: int,
    path: str | None = None,
    upstream: str | None = None,
) -> Market:
    """Build a market source.

    Parameters
    ----------
    kind : "simulated", "replay" or "mirror"
    symbols : sequence of str or None
        Contracts to offer; None or all of them means all known ones (replay: all that have a file).
    seed : int
        Seed of every random draw.
    start_ms : int
        Wanted market start, UTC ms. A replay uses it only if it lies inside the recorded span.
    path : str or None
        Replay: a file or a folder of SYMBOL.parquet / SYMBOL.csv.
    upstream : str or None
        Mirror: REST base URL, optionally "REST_URL|WS_URL"; None means Aster's public addresses.

    Raises
    ------
    ConfigError
        If the kind is unknown or a replay has no path.
    DataError
        If recorded prices cannot be used.
    """
    if kind == "simulated":
        from engine.venues.sandbox.market.simulated import SimulatedMarket

        return SimulatedMarket(symbols, seed, start_ms)
    if kind == "replay":
        from engine.venues.sandbox.market.replay import ReplayMarket

        if path is None:
            raise ConfigError("the replay market needs a path: a Parquet/CSV file or a folder of SYMBOL.parquet")
        everything = symbols is None or {s.upper() for s in symbols} >= set(CONTRACTS)
        return ReplayMarket(path, None if everything else symbols, seed, start_ms)
    if kind == "mirror":
        from engine.venues.sandbox.market.mirror import MirrorMarket

        return MirrorMarket(symbols, upstream, start_ms)
    raise ConfigError(f'market "{kind}" is unknown; use simulated, replay or mirror')
