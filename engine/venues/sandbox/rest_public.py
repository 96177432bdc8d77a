"""Public REST endpoints: time, rules, books, trades, candles, tickers, funding."""

from __future__ import annotations

from typing import Any

from engine.venues.sandbox import codes
from engine.venues.sandbox.clock import wall_ms
from engine.venues.sandbox.codes import Refusal
from engine.venues.sandbox.endpoint import Call, Endpoint, Table, by_limit, per_symbol
from engine.venues.sandbox.listing import exchange_info, spot_exchange_info
from engine.venues.sandbox.market.bars import INTERVALS
from engine.venues.sandbox.model import TradeEvent
from engine.venues.sandbox.tape import AggTrade
from engine.venues.sandbox.views import Json

DEPTH_LIMITS = (5, 10, 20, 50, 100, 500, 1000)


def ping(call: Call) -> Json:
    """Answer that the server is there."""
    return {}


def server_time(call: Call) -> Json:
    """Return the wall clock, which nonces are checked against, and the market's time beside it."""
    return {"serverTime": wall_ms(), "marketTime": call.now_ms}


def rules(call: Call) -> Json:
    """Return exchangeInfo."""
    return exchange_info(call.venue.contracts, call.venue.options, wall_ms())


def spot_rules(call: Call) -> Json:
    """Return spot exchangeInfo."""
    return spot_exchange_info(call.venue.contracts, wall_ms())


def depth(call: Call) -> Json:
    """Return the book; HIDDEN orders are not in it."""
    contract = call.contract()
    limit = call.params.integer("limit") or 500
    if limit not in DEPTH_LIMITS:
        raise Refusal(-4021, f"{limit} is not valid depth limit.")
    bids, asks, last_id = call.exchange.depth(contract.symbol, limit)
    return {
        "lastUpdateId": last_id,
        "E": call.now_ms,
        "T": call.now_ms,
        "bids": [[contract.price_text(tick), contract.qty_text(lots)] for tick, lots in bids],
        "asks": [[contract.price_text(tick), contract.qty_text(lots)] for tick, lots in asks],
    }


def trades(call: Call) -> list[Json]:
    """Return the newest trades, oldest first; ``fromId`` starts at a trade."""
    contract = call.contract()
    limit = call.params.limit(500, 1000)
    rows: list[TradeEvent] = list(call.venue.tape.trades[contract.symbol])
    first = call.params.integer("fromId")
    rows = rows[-limit:] if first is None else [row for row in rows if row.trade_id >= first][:limit]
    return [
        {
            "id": row.trade_id,
            "price": contract.price_text(row.price_tick),
            "qty": contract.qty_text(row.lots),
            "quoteQty": f"{contract.price(row.price_tick) * contract.qty(row.lots):.8f}",
            "time": row.time_ms,
            "isBuyerMaker": row.buyer_is_maker,
        }
        for row in rows
    ]


def agg_trades(call: Call) -> list[Json]:
    """Return aggregated trades, oldest first."""
    contract = call.contract()
    limit = call.params.limit(500, 1000)
    first, start, end = (call.params.integer(name) for name in ("fromId", "startTime", "endTime"))
    if start is not None and end is not None and end - start >= 3_600_000:
        raise Refusal(codes.BAD_WINDOW, "More than 1 hour between startTime and endTime.")
    rows: list[AggTrade] = [
        row
        for row in call.venue.tape.aggregates[contract.symbol]
        if (first is None or row.agg_id >= first)
        and (start is None or row.time_ms >= start)
        and (end is None or row.time_ms <= end)
    ]
    rows = rows[-limit:] if first is None and start is None else rows[:limit]
    return [
        {
            "a": row.agg_id,
            "p": contract.price_text(row.price_tick),
            "q": contract.qty_text(row.lots),
            "f": row.first_id,
            "l": row.last_id,
            "T": row.time_ms,
            "m": row.buyer_is_maker,
        }
        for row in rows
    ]


def _klines(call: Call, source: str, name: str = "symbol") -> list[list[Any]]:
    contract = call.contract_of(call.params.text(name))
    interval = call.params.choice("interval", INTERVALS, codes.BAD_INTERVAL)
    bars = call.venue.candles.klines(
        contract.symbol,
        interval,
        start_ms=call.params.integer("startTime"),
        end_ms=call.params.integer("endTime"),
        limit=call.params.limit(500, 1500),
        source=source,
    )
    return call.venue.messages.klines(contract.symbol, interval, bars)


def klines(call: Call) -> list[list[Any]]:
    """Return candles of trades, the open one last."""
    return _klines(call, "last")


def mark_klines(call: Call) -> list[list[Any]]:
    """Return candles of the mark price."""
    return _klines(call, "mark")


def index_klines(call: Call) -> list[list[Any]]:
    """Return candles of the index price; the parameter is called ``pair``."""
    return _klines(call, "index", "pair")


def _one_or_all(call: Call, rows: list[Json]) -> Json | list[Json]:
    return rows[0] if call.params.get("symbol") else rows


def premium_index(call: Call) -> Json | list[Json]:
    """Return mark, index and the running funding estimate."""
    rows = [call.venue.messages.premium_row(symbol, call.now_ms) for symbol in call.symbols()]
    known = [row for row in rows if row is not None]
    if not known and call.params.get("symbol"):
        raise Refusal(-1000, "The contract has no price yet.")
    return _one_or_all(call, known)


def funding_rate(call: Call) -> list[Json]:
    """Return past settlements, oldest first; without bounds the newest."""
    start, end = call.params.integer("startTime"), call.params.integer("endTime")
    limit = call.params.limit(100, 1000)
    rows: list[Json] = [
        {"symbol": symbol, "fundingRate": f"{rate:.8f}", "fundingTime": time_ms, "markPrice": f"{mark:.8f}"}
        for symbol in call.symbols()
        for time_ms, rate, mark in call.venue.funding[symbol]
        if (start is None or time_ms >= start) and (end is None or time_ms <= end)
    ]
    rows.sort(key=lambda row: row["fundingTime"])
    return rows[-limit:] if start is None else rows[:limit]


def funding_info(call: Call) -> list[Json]:
    """Return each contract's funding interval and caps."""
    return [
        {
            "symbol": contract.symbol,
            "interestRate": f"{contract.interest_rate:.8f}",
            "time": call.now_ms,
            "fundingIntervalHours": contract.funding_interval_h,
            "fundingFeeCap": contract.funding_cap,
            "fundingFeeFloor": -contract.funding_cap,
        }
        for contract in (call.venue.contracts[symbol] for symbol in call.symbols())
    ]


def ticker_day(call: Call) -> Json | list[Json]:
    """Return the rolling 24 h statistics."""
    return _one_or_all(call, [call.venue.messages.day(symbol, call.now_ms) for symbol in call.symbols()])


def ticker_price(call: Call) -> Json | list[Json]:
    """Return last prices."""
    rows = []
    for symbol in call.symbols():
        tick = call.exchange.last_tick(symbol)
        last = call.venue.contracts[symbol].price_text(tick) if tick else call.venue.messages.day(symbol, call.now_ms)[
            "lastPrice"
        ]  # fmt: skip
        rows.append({"symbol": symbol, "price": last, "time": call.now_ms})
    return _one_or_all(call, rows)


def ticker_book(call: Call) -> Json | list[Json]:
    """Return best bid and ask. ``lastUpdateId`` marks the row as a futures one."""
    rows = []
    for symbol in call.symbols():
        contract = call.venue.contracts[symbol]
        bids, asks, last_id = call.exchange.depth(symbol, 1)
        bid, ask = (side[0] if side else (0, 0) for side in (bids, asks))
        rows.append(
            {
                "lastUpdateId": last_id,
                "symbol": symbol,
                "bidPrice": contract.price_text(bid[0]),
                "bidQty": contract.qty_text(bid[1]),
                "askPrice": contract.price_text(ask[0]),
                "askQty": contract.qty_text(ask[1]),
                "time": call.now_ms,
            }
        )
    return _one_or_all(call, rows)


def nothing(call: Call) -> list[Json]:
    """Return an empty list, as spot tickers of a venue without spot pairs."""
    return []


_BARS = by_limit(((99, 1), (499, 2), (1000, 5), (1500, 10)), 500)
_DEPTH = by_limit(((50, 2), (100, 5), (500, 10), (1000, 20)), 500)

FUTURES: Table = {
    ("GET", "ping"): Endpoint(ping),
    ("GET", "time"): Endpoint(server_time),
    ("GET", "exchangeInfo"): Endpoint(rules),
    ("GET", "depth"): Endpoint(depth, _DEPTH),
    ("GET", "trades"): Endpoint(trades),
    ("GET", "historicalTrades"): Endpoint(trades, 20),
    ("GET", "aggTrades"): Endpoint(agg_trades, 20),
    ("GET", "klines"): Endpoint(klines, _BARS),
    ("GET", "markPriceKlines"): Endpoint(mark_klines, _BARS),
    ("GET", "indexPriceKlines"): Endpoint(index_klines, _BARS),
    ("GET", "premiumIndex"): Endpoint(premium_index),
    ("GET", "fundingRate"): Endpoint(funding_rate),
    ("GET", "fundingInfo"): Endpoint(funding_info),
    ("GET", "ticker/24hr"): Endpoint(ticker_day, per_symbol(1, 40)),
    ("GET", "ticker/price"): Endpoint(ticker_price, per_symbol(1, 2)),
    ("GET", "ticker/bookTicker"): Endpoint(ticker_book, per_symbol(1, 2)),
}

SPOT: Table = {
    ("GET", "ping"): Endpoint(ping),
    ("GET", "time"): Endpoint(server_time),
    ("GET", "exchangeInfo"): Endpoint(spot_rules),
    ("GET", "ticker/24hr"): Endpoint(nothing, 40),
    ("GET", "ticker/price"): Endpoint(nothing, 2),
    ("GET", "ticker/bookTicker"): Endpoint(nothing, 2),
}
