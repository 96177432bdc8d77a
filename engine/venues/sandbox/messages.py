"""Payloads of the public streams, and the rows that REST shows for the same things.

Hot payloads are formatted by hand: a depth message is built twenty times a second for each reader's symbol, and the
numbers come from integers that need no JSON encoder.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from engine.venues.sandbox.contracts import Contract
from engine.venues.sandbox.exchange import Exchange
from engine.venues.sandbox.market.bars import Bars, bucket_end
from engine.venues.sandbox.market.candles import CandleStore
from engine.venues.sandbox.model import DepthChanges
from engine.venues.sandbox.tape import AggTrade
from engine.venues.sandbox.wire import to_json, trimmed

DAY_MS = 86_400_000
TICKER_LIFE_MS = 500
Top = tuple[int, int, int, int]
Json = dict[str, Any]


@dataclass(slots=True)
class DepthMerge:
    """Level changes collected between two diff messages: tick to displayed lots, 0 removes."""

    first_update_id: int
    last_update_id: int
    previous_update_id: int
    bids: dict[int, int]
    asks: dict[int, int]


class MarketMessages:
    """Builds public payloads from the exchange and the candles.

    Parameters
    ----------
    exchange : Exchange
    candles : CandleStore
    contracts : dict of str to Contract
    """

    def __init__(self, exchange: Exchange, candles: CandleStore, contracts: dict[str, Contract]) -> None:
        self._exchange = exchange
        self._candles = candles
        self._contracts = contracts
        self._day: dict[str, tuple[int, Json]] = {}

    def open_bar(self, symbol: str, interval: str) -> Bars | None:
        """Return the bar in progress, None before the first price."""
        return self._candles.current(symbol, interval)

    def kline(self, symbol: str, interval: str, bar: Bars, closed: bool, now_ms: int) -> str:
        """Return a kline message."""
        row = kline_row(bar.tolist(), self._contracts[symbol], interval)
        return (
            f'{{"e":"kline","E":{now_ms},"s":"{symbol}","k":{{"t":{row[0]},"T":{row[6]},"s":"{symbol}",'
            f'"i":"{interval}","f":-1,"L":-1,"o":"{row[1]}","c":"{row[4]}","h":"{row[2]}","l":"{row[3]}",'
            f'"v":"{row[5]}","n":{row[8]},"x":{"true" if closed else "false"},"q":"{row[7]}","V":"{row[9]}",'
            f'"Q":"{row[10]}","B":"0"}}}}'
        )

    def agg_trade(self, trade: AggTrade, now_ms: int) -> str:
        """Return an aggTrade message."""
        contract = self._contracts[trade.symbol]
        return (
            f'{{"e":"aggTrade","E":{now_ms},"a":{trade.agg_id},"s":"{trade.symbol}",'
            f'"p":"{contract.price_text(trade.price_tick)}","q":"{contract.qty_text(trade.lots)}",'
            f'"f":{trade.first_id},"l":{trade.last_id},"T":{trade.time_ms},'
            f'"m":{"true" if trade.buyer_is_maker else "false"}}}'
        )

    def depth(self, symbol: str, levels: int, now_ms: int) -> str:
        """Return a partial book message, best levels first."""
        bids, asks, last_id = self._exchange.depth(symbol, levels)
        contract = self._contracts[symbol]
        return (
            f'{{"e":"depthUpdate","E":{now_ms},"T":{now_ms},"s":"{symbol}","U":{last_id},"u":{last_id},'
            f'"pu":{last_id},"b":{levels_text(bids, contract)},"a":{levels_text(asks, contract)}}}'
        )

    def depth_changes(self, symbol: str) -> DepthChanges | None:
        """Return the levels changed since the last call, None when there are none."""
        changes = self._exchange.depth_changes(symbol)
        return changes if changes.bids or changes.asks else None

    def diff(self, symbol: str, changes: DepthMerge, now_ms: int) -> str:
        """Return a diff message whose ids continue the previous one and REST's ``lastUpdateId``."""
        contract = self._contracts[symbol]
        return (
            f'{{"e":"depthUpdate","E":{now_ms},"T":{now_ms},"s":"{symbol}","U":{changes.first_update_id},'
            f'"u":{changes.last_update_id},"pu":{changes.previous_update_id},'
            f'"b":{levels_text(changes.bids.items(), contract)},"a":{levels_text(changes.asks.items(), contract)}}}'
        )

    def top(self, symbol: str) -> Top | None:
        """Return (bid tick, bid lots, ask tick, ask lots), None while a side is empty."""
        bid, bid_lots, ask, ask_lots = self._exchange.best(symbol)
        if bid is None or bid_lots is None or ask is None or ask_lots is None:
            return None
        return bid, bid_lots, ask, ask_lots

    def book_ticker(self, symbol: str, top: Top, now_ms: int) -> str:
        """Return a bookTicker message."""
        contract = self._contracts[symbol]
        last_id = self._exchange.depth(symbol, 1)[2]
        return (
            f'{{"e":"bookTicker","u":{last_id},"E":{now_ms},"T":{now_ms},"s":"{symbol}",'
            f'"b":"{contract.price_text(top[0])}","B":"{contract.qty_text(top[1])}",'
            f'"a":"{contract.price_text(top[2])}","A":"{contract.qty_text(top[3])}"}}'
        )

    def mark(self, symbol: str, now_ms: int) -> str | None:
        """Return a markPrice message, None before the first price. ``r`` is the running funding estimate."""
        if self._exchange.mark(symbol) is None:
            return None
        view = self._exchange.premium(symbol, now_ms)
        return (
            f'{{"e":"markPriceUpdate","E":{now_ms},"s":"{symbol}","p":"{trimmed(view.mark)}",'
            f'"i":"{trimmed(view.index)}","P":"{trimmed(view.mark)}","r":"{view.estimated_rate:.8f}",'
            f'"T":{view.next_funding_ms}}}'
        )

    def premium_row(self, symbol: str, now_ms: int) -> Json | None:
        """Return a premiumIndex row, None before the first price; ``lastFundingRate`` is the running estimate."""
        if self._exchange.mark(symbol) is None:
            return None
        view = self._exchange.premium(symbol, now_ms)
        return {
            "symbol": symbol,
            "markPrice": trimmed(view.mark),
            "indexPrice": trimmed(view.index),
            "estimatedSettlePrice": trimmed(view.mark),
            "lastFundingRate": f"{view.estimated_rate:.8f}",
            "interestRate": f"{view.interest_rate:.8f}",
            "nextFundingTime": view.next_funding_ms,
            "time": now_ms,
        }

    def ticker(self, symbol: str, now_ms: int) -> str:
        """Return a 24hrTicker message."""
        day = self.day(symbol, now_ms)
        return to_json({
            "e": "24hrTicker", "E": now_ms, "s": symbol, "p": day["priceChange"], "P": day["priceChangePercent"],
            "w": day["weightedAvgPrice"], "c": day["lastPrice"], "o": day["openPrice"],
            "h": day["highPrice"], "l": day["lowPrice"], "v": day["volume"], "q": day["quoteVolume"],
            "O": day["openTime"], "C": day["closeTime"], "n": day["count"],
        })  # fmt: skip

    def day(self, symbol: str, now_ms: int) -> Json:
        """Return the rolling day as a ticker/24hr row, from the last 24 h of quarter-hour bars."""
        known = self._day.get(symbol)
        if known is not None and 0 <= now_ms - known[0] < TICKER_LIFE_MS:
            return known[1]
        contract = self._contracts[symbol]
        bars = self._candles.klines(symbol, "15m", start_ms=now_ms - DAY_MS, end_ms=now_ms, limit=98)
        row = _day_row(bars, contract, now_ms, self._exchange.last_tick(symbol))
        self._day[symbol] = (now_ms, row)
        return row

    def klines(self, symbol: str, interval: str, bars: Bars) -> list[list[Any]]:
        """Return REST rows of candles."""
        contract = self._contracts[symbol]
        return [kline_row(values, contract, interval) for values in bars.tolist()]


def kline_row(values: tuple[Any, ...], contract: Contract, interval: str) -> list[Any]:
    """Return one candle, the values of a row of ``BAR_DTYPE``, as REST shows it.

    Takers' share of the quote volume is prorated from their share of the volume.
    """
    open_ms, first, high, low, last, volume, quote_volume, n_trades, taker_buy = values
    digits, lots = contract.price_precision, contract.qty_precision
    taker_quote = quote_volume * taker_buy / volume if volume else 0.0
    return [
        open_ms, f"{first:.{digits}f}", f"{high:.{digits}f}", f"{low:.{digits}f}", f"{last:.{digits}f}",
        f"{volume:.{lots}f}", bucket_end(open_ms, interval) - 1, f"{quote_volume:.4f}", n_trades,
        f"{taker_buy:.{lots}f}", f"{taker_quote:.4f}", "0",
    ]  # fmt: skip


def levels_text(levels: Iterable[tuple[int, int]], contract: Contract) -> str:
    """Return book levels as a JSON array of [price, quantity] strings."""
    tick, lot = contract.tick_size, contract.lot_size
    form = f'["%.{contract.price_precision}f","%.{contract.qty_precision}f"]'
    return "[" + ",".join([form % (price * tick, lots * lot) for price, lots in levels]) + "]"


def _day_row(bars: Bars, contract: Contract, now_ms: int, last_tick: int | None) -> Json:
    px = contract.price_precision
    if not len(bars):
        # listed but never priced: the venue shows zeros, too
        first = high = low = last = volume = quote_volume = 0.0
        count = 0
    else:
        first, high, low = float(bars["open"][0]), float(bars["high"].max()), float(bars["low"].min())
        last, count = float(bars["close"][-1]), int(bars["n_trades"].sum())
        volume, quote_volume = float(bars["volume"].sum()), float(bars["quote_volume"].sum())
    if last_tick:
        last = contract.price(last_tick)
    mean = quote_volume / volume if volume else last
    change = last - first
    return {
        "symbol": contract.symbol,
        "priceChange": f"{change:.{px}f}",
        "priceChangePercent": f"{change / first * 100:.3f}" if first else "0.000",
        "weightedAvgPrice": f"{mean:.{px}f}",
        "lastPrice": f"{last:.{px}f}",
        "openPrice": f"{first:.{px}f}",
        "highPrice": f"{high:.{px}f}",
        "lowPrice": f"{low:.{px}f}",
        "volume": f"{volume:.{contract.qty_precision}f}",
        "quoteVolume": f"{quote_volume:.4f}",
        "openTime": now_ms - DAY_MS,
        "closeTime": now_ms,
        "count": count,
    }
