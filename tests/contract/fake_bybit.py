"""A local server with Bybit's public history: one perpetual, hourly candles, funding every eight, faults on request."""

from __future__ import annotations

import asyncio

import aiohttp.web

HOUR_MS = 3_600_000
LISTED_MS = 1_700_000_000_000 // HOUR_MS * HOUR_MS


class FakeBybit:
    """Bars close at 100, 101, 102 … from the listing on; ``holes`` are hours without a bar."""

    def __init__(self, n_bars: int = 2500, holes: frozenset[int] = frozenset()) -> None:
        self.n_bars, self.holes = n_bars, holes
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.faults: list[int] = []  # HTTP status of the next answers
        self.silent_after: int | None = None  # pages of candles; further ones are not answered
        self._closing = asyncio.Event()
        self.base_url = ""
        self.schedule = 8  # hours between settlements

    async def __aenter__(self) -> FakeBybit:
        app = aiohttp.web.Application()
        app.router.add_get("/{path:.*}", self._answer)
        self._runner = aiohttp.web.AppRunner(app)
        await self._runner.setup()
        site = aiohttp.web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.base_url = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._closing.set()
        await self._runner.cleanup()

    def count(self, path: str) -> int:
        return sum(name == path for name, _ in self.asked)

    async def _answer(self, request: aiohttp.web.Request) -> aiohttp.web.Response:
        path, query = request.path.removeprefix("/v5/market/"), dict(request.query)
        self.asked.append((path, query))
        if path == "kline" and self.faults:
            return aiohttp.web.Response(text="<html>upstream</html>", status=self.faults.pop(0))
        if path == "kline" and self.silent_after is not None and self.count(path) > self.silent_after:
            await self._closing.wait()
        rows = {"instruments-info": self._instruments, "kline": self._klines, "funding/history": self._rates}
        return aiohttp.web.json_response({"retCode": 0, "retMsg": "OK", "result": rows[path](query), "time": 0})

    def _instruments(self, query: dict[str, str]) -> dict:
        perpetual = {
            "symbol": "BTCUSDT", "contractType": "LinearPerpetual", "status": "Trading", "baseCoin": "BTC",
            "quoteCoin": "USDT", "settleCoin": "USDT", "launchTime": str(LISTED_MS), "deliveryTime": "0",
            "fundingInterval": 480, "priceScale": "2", "unifiedMarginTrade": True,
            "leverageFilter": {"minLeverage": "1", "maxLeverage": "100", "leverageStep": "0.01"},
            "priceFilter": {"minPrice": "0.1", "maxPrice": "1999999.8", "tickSize": "0.1"},
            "lotSizeFilter": {"maxOrderQty": "100", "minOrderQty": "0.001", "qtyStep": "0.001"},
        }  # fmt: skip
        return {"category": query.get("category"), "list": [perpetual], "nextPageCursor": ""}

    def _klines(self, query: dict[str, str]) -> dict:
        first, last = int(query["start"]), int(query["end"])
        rows = []
        for i in range(self.n_bars):
            ts = LISTED_MS + i * HOUR_MS
            if first <= ts <= last and i not in self.holes:
                rows.append([str(ts), *(str(100 + i + x) for x in (-0.5, 1, -1, 0)), "3", "300"])
        # as the venue does: the newest of the window first, and no more than asked for
        return {"category": "linear", "symbol": "BTCUSDT", "list": rows[::-1][: int(query["limit"])]}

    def _rates(self, query: dict[str, str]) -> dict:
        first, last = int(query["startTime"]), int(query["endTime"])
        rows = []
        for i in range(0, self.n_bars, self.schedule):
            ts = LISTED_MS + i * HOUR_MS
            if first <= ts <= last:
                rows.append({"symbol": "BTCUSDT", "fundingRate": "0.0001", "fundingRateTimestamp": str(ts)})
        return {"category": "linear", "list": rows[::-1][: int(query["limit"])]}
